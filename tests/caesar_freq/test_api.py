"""The interface of the guide: bytes that open anywhere, within the bound, and a dataset of windows of its field."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import codectk
from codectk.arrays import Array, ArrayInfo
from codectk.container import unpack
from codectk.dataset import Sample
from codectk.errors import CodectkError, ContainerError, InputError, OptionsError, WeightsError, WeightsMismatch
from codectk_caesar_freq import CAESARFreq, ScientificDataset
from codectk_caesar_freq.architecture import STUDENT

from .small import moving_waves, part

SHAPE = (2, 1, 11, 40, 25)


def field(shape: tuple[int, ...] = SHAPE) -> Array:
    """Two variables of very different ranges, which the bound takes together."""
    x = np.cumsum(np.random.default_rng(0).normal(size=shape), axis=-1)
    x[0] *= 1e-3
    return (280 + x).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.savez(tmp_path / "field.npz", data=field().astype(np.float64))
    return tmp_path / "field.npz"


def worst(x: Array, x_hat: Array) -> float:
    """Largest root mean square error of an 8×8 patch, over the range of all values."""
    x, x_hat = x.astype(np.float64), x_hat.astype(np.float64)
    squares = (x - x_hat) ** 2
    patches = [squares[..., i : i + 8, j : j + 8] for i in range(0, x.shape[-2], 8) for j in range(0, x.shape[-1], 8)]
    return float(max(np.sqrt(patch.mean(axis=(-2, -1))).max() for patch in patches) / np.ptp(x))


def test_a_loader_comes_back_within_the_bound_from_its_bytes(path: Path) -> None:
    dataset = ScientificDataset({"data_path": str(path), "n_frame": 4, "test_size": (16, 16)})
    model = CAESARFreq()
    for eb in (1e-2, 1e-3):
        compressed, total_bytes = model.compress(DataLoader(dataset, batch_size=3), eb=eb)  # type: ignore[arg-type]
        assert isinstance(compressed, bytes) and total_bytes == len(compressed)
        assert unpack(compressed).header.params["bound"] == ["eb", eb]
        x_hat = dataset.recons_data(model.decompress(compressed))
        assert x_hat.dtype == torch.float32 and x_hat.shape == dataset.input_data().shape == SHAPE
        assert 0.5 * eb < worst(field(), x_hat.numpy()) <= eb
    assert total_bytes < field().nbytes / 2


def test_bytes_decode_the_same_in_a_fresh_process(tmp_path: Path) -> None:
    compressed, _ = CAESARFreq(device="cpu").compress(field())
    (tmp_path / "x.ctk").write_bytes(compressed)
    code = (
        "import sys, numpy as np, pathlib; from codectk_caesar_freq import CAESARFreq\n"
        f"x = CAESARFreq().decompress(pathlib.Path({str(tmp_path / 'x.ctk')!r}).read_bytes())\n"
        f"np.save({str(tmp_path / 'x.npy')!r}, x.numpy())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert np.array_equal(np.load(tmp_path / "x.npy"), CAESARFreq().decompress(compressed).numpy())
    assert np.array_equal(codectk.open(tmp_path / "x.ctk"), CAESARFreq().decompress(compressed).numpy())


class Samples:
    """A dataset as codectk knows them."""

    def __init__(self, *arrays: Array) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, i: int) -> Sample:
        return Sample(self.arrays[i], str(i), ArrayInfo("field/f32", self.arrays[i].shape))


def test_arrays_tensors_and_datasets_of_codectk_are_taken_too(path: Path) -> None:
    model = CAESARFreq()
    expected, _ = model.compress(field())
    for same in (torch.from_numpy(field()), field().astype(np.float64), Samples(*field()[:, 0]), Samples(field())):
        assert model.compress(same)[0] == expected
    assert model.compress(ScientificDataset(path))[0] == expected
    flat, _ = model.compress(field()[0, 0, 0])
    assert model.decompress(flat).shape == (1, 1, 1, *SHAPE[-2:])


def test_missing_values_come_back() -> None:
    x = field()
    x[0, 0, :, :5] = np.nan
    x_hat = CAESARFreq().decompress(CAESARFreq().compress(x)[0]).numpy()
    assert np.array_equal(np.isnan(x_hat), np.isnan(x))


@pytest.mark.parametrize("x", [np.zeros((1,) * 6), np.zeros((2, 0)), np.array(["a"]), np.array([1e300]), 3, [], "x"])
def test_what_is_no_field_is_an_error(x: Any) -> None:
    with pytest.raises(InputError):
        CAESARFreq().compress(x)


def test_fields_of_several_shapes_are_an_error() -> None:
    with pytest.raises(InputError, match="one shape"):
        CAESARFreq().compress(Samples(np.zeros((3, 4), np.float32), np.zeros((4, 4), np.float32)))


def test_settings_out_of_range_are_errors() -> None:
    for model, eb in ((CAESARFreq(), 0.0), (CAESARFreq(wavelet="db4"), 1e-3), (CAESARFreq(dct_block_size=65), 1e-3)):
        with pytest.raises(OptionsError):
            model.compress(field(), eb)


def test_transforms_other_than_the_usual_ones_are_used_as_given() -> None:
    usual, haar = CAESARFreq().compress(field())[1], CAESARFreq(dct_block_size=4).compress(field())[1]
    assert CAESARFreq(use_diffusion=False).compress(field())[1] == usual
    assert CAESARFreq(wavelet="cdf97").compress(field())[1] != haar
    for settings in ({"dct_block_size": 4}, {"wavelet": "cdf97"}, {"use_dwt": False}):
        compressed, total_bytes = CAESARFreq(**settings).compress(field())  # type: ignore[arg-type]
        assert usual < total_bytes
        assert worst(field(), CAESARFreq().decompress(compressed).numpy()) <= 1e-3


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({}, "transform"),
        ({"use_single_step": True}, "transform"),
        ({"model_path": "w"}, "diffusion"),
        ({"model_path": "w", "use_single_step": True}, "single_step"),
        ({"model_path": "w", "use_diffusion": False}, "transform"),
    ],
)
def test_the_arguments_choose_the_mode(settings: dict[str, Any], mode: str) -> None:
    assert CAESARFreq(**settings).mode == mode


def test_with_weights_frames_between_keyframes_are_predicted(tmp_path: Path) -> None:
    part(STUDENT).save(tmp_path / "w.safetensors")
    model = CAESARFreq(tmp_path / "w.safetensors", use_single_step=True, device="cpu", n_frame=7)
    compressed, _ = model.compress(moving_waves())
    assert worst(moving_waves(), model.decompress(compressed).numpy()) <= 1e-3
    with pytest.raises(WeightsError, match="no part diffusion"):
        CAESARFreq(tmp_path / "w.safetensors").compress(moving_waves())
    with pytest.raises(OptionsError, match="keyframe"):
        CAESARFreq(tmp_path / "w.safetensors", use_single_step=True, n_frame=8).compress(moving_waves())


def test_a_file_that_needs_weights_opens_with_them_alone(tmp_path: Path) -> None:
    part(STUDENT).save(tmp_path / "w.safetensors")
    settings = {"mode": "single_step", "n_frame": 7, "predict": "student", "eb": 1e-2}
    data = codectk.compress(moving_waves(), "caesar_freq", weights=tmp_path / "w.safetensors", **settings).data
    x_hat = CAESARFreq(tmp_path / "w.safetensors").decompress(data).numpy()
    assert worst(moving_waves(), x_hat) <= 1e-2
    with pytest.raises(WeightsMismatch):
        CAESARFreq().decompress(data)


def test_weights_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(CodectkError):
        CAESARFreq(tmp_path / "none.safetensors").compress(field())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_cpu_takes_the_place_of_a_missing_cuda_device() -> None:
    assert CAESARFreq().device == CAESARFreq(device="cuda:1").device == "cpu"


def test_damaged_bytes_and_too_large_fields_are_errors() -> None:
    compressed, _ = CAESARFreq().compress(field())
    for data in (b"", compressed[:-1], compressed[:50] + b"\0" + compressed[51:], b"x" + compressed):
        with pytest.raises(ContainerError):
            CAESARFreq().decompress(data)
    with pytest.raises(ContainerError, match="limit"):
        CAESARFreq().decompress(compressed, max_bytes=field().nbytes - 1)


@pytest.mark.parametrize("norm_type", ["mean_range", "min_max", "mean_range_hw"])
def test_windows_make_up_the_field(path: Path, norm_type: str) -> None:
    dataset = ScientificDataset(path, n_frame=4, test_size=(16, 16), norm_type=norm_type)
    tiles = torch.full((2, 1 * 3 * 2, 12, 16, 16), torch.nan)
    for batch in DataLoader(dataset, batch_size=5):  # type: ignore[arg-type]
        values = batch["input"] * batch["scale"] + batch["offset"]
        for window, v, s, first, end in zip(values, *batch["index"], strict=True):
            tiles[v, s, first:end] = window[0]
        assert batch["input"].abs().max() <= 1.0001
    assert torch.allclose(dataset.recons_data(dataset.deblocking_hw(tiles)), dataset.input_data(), rtol=1e-6)
    with pytest.raises(InputError):
        dataset.deblocking_hw(tiles[:, 1:])


def test_samples_are_as_published(path: Path) -> None:
    dataset = ScientificDataset(path, n_frame=16, n_overlap=2, test_size=(64, 32))
    assert len(dataset) == 2  # one window for each variable
    sample = dataset[1]
    assert sample["input"].shape == (1, 16, 64, 32) and sample["offset"].shape == sample["scale"].shape == (1, 1, 1, 1)
    assert sample["index"] == [1, 0, 0, 16]
    x = field()[1, 0]
    mirrored = np.pad(np.concatenate([x, x[:-6:-1]]), [(0, 0), (12, 12), (3, 4)], mode="reflect")
    expected = (mirrored - mirrored.mean(dtype=np.float64)) / np.ptp(mirrored)
    assert np.allclose(sample["input"][0], expected, atol=1e-6)
    with pytest.raises(IndexError):
        dataset[2]


def test_windows_overlap_by_so_many_frames(path: Path) -> None:
    dataset = ScientificDataset(path, n_frame=5, n_overlap=2, test_size=(40, 25), variable_idx=[0])
    assert [sample["index"][2:] for sample in (dataset[i] for i in range(len(dataset)))] == [[0, 5], [3, 8], [6, 11]]


def test_a_part_of_the_file_can_be_chosen(path: Path) -> None:
    dataset = ScientificDataset(
        path, variable_idx=[1], section_range=(0, 1), frame_range=(2, 7), resolution=(10, 9), test_size=(10, 9)
    )
    assert np.array_equal(dataset.input_data(), field()[[1], :1, 2:7, 15:25, 8:17])


@pytest.mark.parametrize(
    "changes",
    [
        {"variable_idx": [2]},
        {"frame_range": (5, 5)},
        {"resolution": (41, 4)},
        {"n_overlap": 16},
        {"test_size": (0, 4)},
        {"train": True},
        {"nframe": 3},
        {"norm_type": "std"},
    ],
)
def test_choices_that_make_no_sense_are_errors(path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(OptionsError):
        ScientificDataset(path, **changes)


def test_a_constant_window_has_scale_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", data=np.full((1, 1, 2, 4, 4), 7.0))
    sample = ScientificDataset(tmp_path / "x.npz", n_frame=2, test_size=(4, 4))[0]
    assert sample["scale"].item() == 1 and not sample["input"].any()


def test_the_package_imports_neither_numpy_nor_torch_before_they_are_needed() -> None:
    code = "import sys, codectk_caesar_freq; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = "import sys; from codectk_caesar_freq import CAESARFreq; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
