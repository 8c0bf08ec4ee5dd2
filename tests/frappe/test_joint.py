"""Mode joint: one decoder for all numbers of channels and all steps of the quantiser."""

from pathlib import Path

import numpy as np
import pytest
import torch

from codectk import container
from codectk.arrays import ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.compression import LoadedCodec, load_codec
from codectk.errors import ContainerError, DesyncError, OptionsError, WeightsError
from codectk.options import RunOptions
from codectk.train import Run
from codectk_frappe.model import Encoders
from codectk_frappe.options import EncodeOptions, ModelOptions, TrainOptions
from codectk_frappe.rate import bin_probability, estimated_bits
from codectk_frappe.shared import SharedDecoder, expand, quantiser_scalars
from codectk_frappe.start import haar_klt
from codectk_frappe.trainer import make_trainer

from .conftest import make_joint_checkpoint


@pytest.fixture(scope="module")
def joint() -> LoadedCodec:
    return load_codec("frappe", make_joint_checkpoint())


def info_of(x: np.ndarray) -> ArrayInfo:
    return ArrayInfo("image/rgb8", x.shape)


def psnr(x: np.ndarray, x_hat: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((x.astype(float) - x_hat) ** 2)))


def test_every_first_part_of_a_file_is_the_picture_of_its_channels(joint: LoadedCodec, photo: np.ndarray) -> None:
    file = container.unpack(joint.compress(photo, info_of(photo)).data)
    assert len(file.segments) == 4
    for n in range(1, 4):
        alone = container.unpack(joint.compress(photo, info_of(photo), EncodeOptions(channels=n)).data)
        assert alone.segments == file.segments[:n]
        assert np.array_equal(joint.decompress(file, segments=n), joint.decompress(alone))


def test_wider_steps_make_smaller_files(joint: LoadedCodec, photo: np.ndarray) -> None:
    data = [joint.compress(photo, info_of(photo), EncodeOptions(step=step)).data for step in (1, 2, 4, 8)]
    sizes = [len(d) for d in data]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 4
    for d in data:
        assert joint.decompress(container.unpack(d)).shape == photo.shape


def test_the_ladder_of_rates_begins_small_and_ends_at_the_best(joint: LoadedCodec, photo: np.ndarray) -> None:
    ladder = joint.rate_ladder
    assert ladder[0] == {"channels": 1, "step": 64.0} and ladder[-1] == {"step": 1.0}
    large = np.tile(photo, (4, 4, 1))
    made = [joint.compress(large, info_of(large), joint.encode_options(rung)).data for rung in ladder]
    sizes = np.array([len(data) for data in made])
    assert sizes[0] < sizes[-1] / 5 and (np.diff(sizes) >= -0.1 * sizes[:-1]).all()


def test_files_with_impossible_settings_are_refused(joint: LoadedCodec, photo: np.ndarray) -> None:
    file = container.unpack(joint.compress(photo, info_of(photo)).data)
    for params in ({"n": 5}, {"n": 0}, {"n": "4"}, {"step": 0.5}, {"step": 1e9}, {"step": "2"}, {"other": 1}):
        header = container.Header(**{**vars(file.header), "params": params})
        with pytest.raises(ContainerError, match="do not fit"):
            joint.decompress(container.unpack(container.pack(header, file.segments)))


def test_a_file_of_two_channels_is_not_one_of_one(joint: LoadedCodec, photo: np.ndarray) -> None:
    file = container.unpack(joint.compress(photo, info_of(photo), EncodeOptions(channels=2)).data)
    header = container.Header(**{**vars(file.header), "params": {"n": 1}})
    with pytest.raises(ContainerError, match="2 segments where 1 channels"):
        joint.decompress(container.unpack(container.pack(header, file.segments)))
    cut = container.unpack(container.pack(file.header, file.segments[:1]))
    with pytest.raises(DesyncError):
        joint.decompress(cut)


def test_weights_with_a_decoder_for_each_number_have_no_steps(loaded: LoadedCodec, photo: np.ndarray) -> None:
    with pytest.raises(OptionsError, match="one width"):
        loaded.compress(photo, info_of(photo), EncodeOptions(step=2))


@pytest.mark.parametrize("name", ["coder.tables", "decoder.head.weight", "encoders.0.0.weight", "decoder.mean"])
def test_incomplete_weights_are_refused(name: str) -> None:
    whole = make_joint_checkpoint()
    tensors = {k: v for k, v in whole.tensors.items() if k != name}
    with pytest.raises(WeightsError, match="is missing"):
        load_codec("frappe", Checkpoint(**{**vars(whole), "tensors": tensors}))


def test_tables_out_of_bounds_are_refused() -> None:
    whole = make_joint_checkpoint()
    tensors = dict(whole.tensors) | {"coder.tables": np.zeros_like(whole.tensors["coder.tables"])}
    with pytest.raises(WeightsError, match="out of bounds"):
        load_codec("frappe", Checkpoint(**{**vars(whole), "tensors": tensors}))


def test_tiles_give_the_picture_of_one_piece(
    joint: LoadedCodec, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.tile(photo, (5, 5, 1))
    file = container.unpack(joint.compress(large, info_of(large)).data)
    whole = joint.decompress(file).astype(int)
    monkeypatch.setattr("codectk_frappe.tiling.TILE_VALUES", 1)
    tiled = joint.decompress(file).astype(int)
    assert np.abs(whole - tiled).max() <= 1, "float sums may differ in their last bit, never more"
    assert (whole != tiled).mean() < 1e-3


def test_decoding_is_the_same_on_one_and_two_threads(joint: LoadedCodec, photo: np.ndarray) -> None:
    file = container.unpack(joint.compress(photo, info_of(photo)).data)
    before = torch.get_num_threads()
    try:
        pictures = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            pictures.append(joint.decompress(file))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*pictures)


def test_the_start_is_a_working_codec(photo: np.ndarray) -> None:
    options = ModelOptions.parse({"mode": "joint", "ps": "8x3,4x3,2x9", "decoder_ps": 8, "decoder_dim": 8})
    encoders, decoder = Encoders(options).eval(), SharedDecoder(options)
    x = torch.from_numpy(photo[:40, :56]).permute(2, 0, 1)[None].float() / 127.5 - 1
    haar_klt(encoders, decoder, [x], 0.02)
    with torch.no_grad():
        latents = [v.round() for v in encoders.latents(x, 15)]
        filters = expand(latents, quantiser_scalars(encoders))
        x_hat = decoder(latents, filters, torch.tensor([15]), torch.tensor([1.0]))
    assert psnr(x.numpy() * 127.5, x_hat.numpy() * 127.5) > 30


def test_expanding_undoes_companding() -> None:
    options = ModelOptions.parse({"mode": "joint", "ps": "4x2"})
    encoders = Encoders(options).eval()
    u = torch.linspace(-300, 300, 32).view(1, 2, 4, 4)
    (sigma, gamma), *_ = scalars = quantiser_scalars(encoders)
    assert torch.allclose(expand([gamma * 127 * u / (sigma + u.abs())], scalars)[0], u, rtol=1e-4, atol=1e-3)


def test_bins_share_all_of_the_probability() -> None:
    y = torch.arange(-200.0, 201.0)
    for scale in (0.05, 0.7, 12.0):
        assert float(bin_probability(y + 0.25, torch.tensor(scale)).sum()) == pytest.approx(1, abs=1e-5)


def test_estimated_bits_rise_with_the_spread_and_have_a_gradient() -> None:
    torch.manual_seed(0)
    bits = []
    for spread in (0.1, 1.0, 10.0):
        v = (torch.randn(2, 3, 16, 16) * spread).requires_grad_()
        total = estimated_bits([v], [v + torch.rand_like(v) - 0.5])
        total.sum().backward()
        assert v.grad is not None and torch.isfinite(v.grad).all() and v.grad.abs().sum() > 0
        bits.append(float(total.detach().mean()))
    assert bits == sorted(bits)
    gaussian = 3 * 256 * np.log2(10 * np.sqrt(2 * np.pi * np.e))
    assert bits[-1] == pytest.approx(gaussian, rel=0.1)


def test_training_betters_its_start(tmp_path: Path, photo: np.ndarray) -> None:
    from PIL import Image

    for i in range(6):
        Image.fromarray(np.roll(np.tile(photo, (2, 2, 1)), 9 * i, (0, 1))).save(tmp_path / f"{i}.png")
    options = TrainOptions.parse(
        {
            "data": str(tmp_path),
            "val_data": str(tmp_path),
            **{"mode": "joint", "ps": "16x2,8x3,4x3", "decoder_ps": 8, "decoder_dim": 16, "decoder_arch": "C"},
            **{"batch_size": 2, "min_size": 32, "max_size": 32, "max_step": 4},
        }
    )
    results = []
    for name, steps in (("start", 1), ("trained", 150)):
        longer = options.model_copy(update={"joint_steps": steps, "decoder_steps": steps})
        with Run(tmp_path / name, RunOptions(device="cpu", workers=0)) as run:
            trainer = make_trainer(longer, run)
            trainer.train()
            codec = load_codec("frappe", trainer.export())
        data = codec.compress(photo, info_of(photo)).data
        results.append(psnr(photo, codec.decompress(container.unpack(data))))
    assert results[1] > results[0] + 0.5


def test_training_begins_at_the_wanted_rate(tmp_path: Path, photo: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(np.tile(photo, (2, 2, 1))).save(tmp_path / "a.png")
    rates = []
    for target in (0.5, 1.5):
        given = {"mode": "joint", "ps": "16x2,8x3,4x3", "decoder_ps": 8, "decoder_dim": 16, "decoder_arch": "C"}
        given |= {"data": str(tmp_path), "val_data": str(tmp_path), "min_size": 64, "max_size": 64, "batch_size": 1}
        options = TrainOptions.parse({**given, "joint_steps": 1, "decoder_steps": 0, "target_bpp": target})
        with Run(tmp_path / f"{target}", RunOptions(device="cpu", workers=0)) as run:
            trainer = make_trainer(options, run)
            trainer.train()
            rates.append(trainer.record.bpp / target)  # type: ignore[union-attr]
    assert rates == pytest.approx([1, 1], rel=0.5)


def test_the_weight_of_the_rate_follows_the_measured_rate() -> None:
    from codectk_frappe.joint import Record

    record = Record("data")
    for _ in range(50):
        record.steer(2.0, target=1.0)
    assert 1.5 < record.multiplier <= 2
    for _ in range(200):
        record.steer(0.5, target=1.0)
    assert 0.5 <= record.multiplier < 0.7
