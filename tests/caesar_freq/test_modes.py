"""Encoding with weights: backgrounds, and frames between keyframes that are predicted."""

import subprocess
import sys
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from codectk.arrays import ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.compression import LoadedCodec, load_codec
from codectk.container import unpack
from codectk.errors import CodectkError, ContainerError, OptionsError, WeightsError, WeightsMismatch
from codectk_caesar_freq import background, windows
from codectk_caesar_freq.architecture import BACKGROUND, COMPRESSOR, DIFFUSION, STUDENT, BackgroundConfig, config_of
from codectk_caesar_freq.background import Backgrounds
from codectk_caesar_freq.blocks import LATENTS, Block, Method
from codectk_caesar_freq.codec import CaesarFreqCodec
from codectk_caesar_freq.learned.latents_coder import LatentCoder
from codectk_caesar_freq.merge import MergeOptions, combined, merge
from codectk_caesar_freq.options import EncodeOptions
from codectk_caesar_freq.windows import METHODS, Layout

from .small import moving_waves, part, run, write_fields

WINDOWS = {"n_frame": 7, "interpo_rate": 3}


def climate(frames: int, seed: int = 0) -> NDArray[np.float32]:
    """A fixed pattern, a season of another pattern, and noise: (frames, 24, 32)."""
    h, w = np.mgrid[:24, :32]
    fixed = 40 * np.sin(h / 3) + 20 * np.sin(w * h / 40)
    season = 5 * np.cos(h / 5 + w / 7)
    noise = np.random.default_rng(seed).normal(0, 0.3, (frames, 24, 32))
    t = np.arange(frames)[:, None, None]
    return (280 + fixed + season * np.sin(t / 2) + noise).astype(np.float32)


def background_weights(*frames: NDArray[Any], modes: int = 3) -> Checkpoint:
    found = Backgrounds(tuple(background.fit(x.astype(np.float64), modes) for x in frames))
    config = config_of(None, None, **{BACKGROUND: BackgroundConfig(count=len(frames))})
    return replace(part(STUDENT), tensors=background.tensors_of(found), config=config)


def codec_with(checkpoint: Checkpoint | None) -> LoadedCodec:
    return load_codec("caesar_freq", checkpoint)


def info_of(x: NDArray[Any]) -> ArrayInfo:
    return ArrayInfo("field/f32", x.shape, (float(x.min()), float(x.max())))


def packed(codec: LoadedCodec, x: NDArray[Any], **options: Any) -> bytes:
    return codec.compress(x, info_of(x), codec.encode_options(options)).data


def opened(codec: LoadedCodec, data: bytes) -> NDArray[Any]:
    return codec.decompress(unpack(data))


def networks() -> Checkpoint:
    return combined({DIFFUSION: part(DIFFUSION), STUDENT: part(STUDENT)})


def test_frames_over_their_background_take_fewer_bytes_within_the_same_bound() -> None:
    codec, x = codec_with(background_weights(climate(40))), climate(6, seed=1)
    plain, learned = (packed(codec, x, mode=mode, abs_error=0.5) for mode in ("transform", "learned"))
    assert len(learned) < 0.7 * len(plain)
    assert np.abs(opened(codec, learned) - x).max() <= 0.5


def test_components_are_worth_their_coefficients() -> None:
    means, codec = codec_with(background_weights(climate(40), modes=0)), codec_with(background_weights(climate(40)))
    x = climate(6, seed=1)
    assert len(packed(codec, x, mode="learned", abs_error=0.5)) < len(packed(means, x, mode="learned", abs_error=0.5))


def test_of_several_backgrounds_the_one_that_fits_is_taken() -> None:
    x = climate(6, seed=1)
    one = codec_with(background_weights(climate(40)))
    several = codec_with(background_weights(-climate(40), climate(40), climate(40)[:, :, :20]))
    difference = len(packed(several, x, mode="learned", abs_error=0.5)) - len(
        packed(one, x, mode="learned", abs_error=0.5)
    )
    assert abs(difference) <= 1


def test_chunks_take_their_part_of_a_background() -> None:
    codec, x = codec_with(background_weights(climate(40))), climate(6, seed=1)
    plain, learned = (packed(codec, x, mode=mode, abs_error=0.5, chunk=(6, 8, 16)) for mode in ("transform", "learned"))
    assert len(learned) < 0.9 * len(plain)
    assert np.abs(opened(codec, learned) - x).max() <= 0.5


@pytest.mark.parametrize("bound", [{"nrmse": 1e-2}, {"eb": 1e-2}, {"psnr": 45.0}, {"pointwise_rel": 1e-3}])
def test_every_bound_holds_over_a_background(bound: dict[str, float]) -> None:
    codec, x = codec_with(background_weights(climate(40))), climate(6, seed=1)
    gaps = np.abs(opened(codec, packed(codec, x, mode="learned", **bound)).astype(np.float64) - x)
    spread = float(x.max()) - float(x.min())
    if "pointwise_rel" in bound:
        assert (gaps <= 1e-3 * np.abs(x)).all()
    elif "eb" in bound:
        patches = np.sqrt((gaps**2).reshape(6, 3, 8, 4, 8).mean(axis=(2, 4)))
        assert patches.max() <= 1e-2 * spread
    else:
        assert np.sqrt((gaps**2).mean()) <= (1e-2 if "nrmse" in bound else 10 ** (-45 / 20)) * spread


def test_special_values_come_back_exactly_in_every_mode() -> None:
    codec = codec_with(
        combined({DIFFUSION: part(DIFFUSION), STUDENT: part(STUDENT), BACKGROUND: background_weights(climate(40))})
    )
    x = climate(15, seed=1)
    x[:, 3:6, 4:9] = np.nan
    x[7, 20] = np.inf
    for mode in ("learned", "diffusion", "single_step"):
        for way in ("auto", "linear"):
            y = opened(codec, packed(codec, x, mode=mode, predict=way, abs_error=0.5, **WINDOWS))
            good = np.isfinite(x)
            assert np.array_equal(x[~good], y[~good], equal_nan=True)
            assert np.abs(x[good] - y[good]).max() <= 0.5


@pytest.mark.parametrize("way", ["skip", "linear", "student", "teacher"])
def test_frames_between_keyframes_keep_to_the_bound_however_they_are_predicted(way: str) -> None:
    codec, x = codec_with(networks()), moving_waves(20)[0, 0]
    data = packed(codec, x, mode="diffusion", predict=way, abs_error=0.02, **WINDOWS)
    block = Block.unpack(list(unpack(data).segments), "it")
    assert block.method == Method.WINDOWS
    assert {METHODS[m] for m in windows.Body.methods_of(block.body)} == {way}
    assert np.abs(opened(codec, data) - x).max() <= 0.02


def test_the_cheapest_way_is_chosen_for_each_window() -> None:
    h, w = np.mgrid[:40, :48]
    rng = np.random.default_rng(0)
    keys = rng.normal(0, 1, (3, 40, 48))
    ramp = [keys[0] + (keys[1] - keys[0]) * t / 6 for t in range(7)]  # linear in time, nothing else
    still = [*[keys[1]] * 5, keys[2]]  # then a jump: nothing is better than the keyframe before
    x = (np.stack([*ramp, *still]) + 0 * (h + w)).astype(np.float32)
    codec = codec_with(networks())
    sizes = {
        way: len(packed(codec, x, mode="diffusion", predict=way, abs_error=0.01, n_frame=7, interpo_rate=6))
        for way in ("auto", "skip", "linear")
    }
    assert sizes["auto"] < min(sizes["skip"], sizes["linear"]) < len(packed(codec, x, abs_error=0.01))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mode", ["learned", "single-step"])
def test_values_whose_squares_overflow_are_coded_without_predictions(mode: str) -> None:
    weights = combined({STUDENT: part(STUDENT), BACKGROUND: background_weights(climate(40))})
    x = climate(14).astype(np.float64) * 1e200
    x[::2] = -x[::2]
    codec, info = codec_with(weights), ArrayInfo("field/f64", x.shape)
    data = codec.compress(x, info, codec.encode_options({"mode": mode, "rel_error": 1e-3, **WINDOWS})).data
    assert unpack(data).header.weights_digest is None
    assert (np.abs(opened(codec, data) - x) <= 1e-3 * (x.max() - x.min())).all()


def test_predicting_never_costs_more_than_not_doing_so() -> None:
    codec, x = codec_with(networks()), np.random.default_rng(0).normal(0, 1, (14, 16, 16)).astype(np.float32)
    plain = len(packed(codec, x, abs_error=0.1))
    assert len(packed(codec, x, mode="diffusion", abs_error=0.1, **WINDOWS)) <= plain


def test_windows_share_keyframes_and_the_rest_is_kept() -> None:
    layout = Layout(20, 7, 3)
    assert layout.count == 3
    assert list(layout.keyframes(1)) == [6, 9, 12]
    assert list(layout.between(1)) == [7, 8, 10, 11]
    predicted = layout.predicted((METHODS.index("linear"), windows.DIRECT, METHODS.index("skip")))
    assert list(np.flatnonzero(~predicted)) == [0, 3, 6, 7, 8, 9, 10, 11, 12, 15, 18, 19]


def test_files_of_mode_transform_need_no_weights_and_files_that_do_say_so() -> None:
    with_weights, without = codec_with(background_weights(climate(40))), codec_with(None)
    x = climate(6, seed=1)
    plain, learned = (packed(with_weights, x, mode=mode, abs_error=0.5) for mode in ("transform", "learned"))
    assert np.array_equal(opened(without, plain), opened(with_weights, plain))
    assert unpack(plain).header.weights_digest is None
    with pytest.raises(WeightsMismatch, match="-w"):
        opened(without, learned)
    with pytest.raises(WeightsMismatch):
        opened(codec_with(background_weights(climate(41))), learned)


def test_a_mode_without_its_weights_is_a_plain_error() -> None:
    x = climate(6)
    with pytest.raises(OptionsError, match="needs weights"):
        CaesarFreqCodec().encode(x, info_of(x), EncodeOptions(mode="learned"))
    with pytest.raises(WeightsError, match="no part diffusion"):
        packed(codec_with(part(STUDENT)), x, mode="diffusion")
    with pytest.raises(OptionsError, match="n_frame"):
        packed(codec_with(networks()), x, mode="diffusion", n_frame=16, interpo_rate=4)


def test_a_file_decodes_in_a_fresh_process_with_one_thread(tmp_path: Path) -> None:
    codec, x = codec_with(networks()), moving_waves(13)[0, 0]
    data = packed(codec, x, mode="single_step", predict="student", abs_error=0.02, **WINDOWS)
    (tmp_path / "x.ctk").write_bytes(data)
    networks().save(tmp_path / "w.safetensors")
    code = """
import sys
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(1)
from codectk.compression import decompress
np.save("y.npy", decompress(Path("x.ctk").read_bytes(), Path("w.safetensors"))[0])
assert "torch._dynamo" not in sys.modules, "torch's compiler was imported, which takes a second"
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert np.array_equal(np.load(tmp_path / "y.npy"), opened(codec, data))


def test_damaged_windows_and_backgrounds_are_plain_errors_in_bounded_memory() -> None:
    codec, x = codec_with(networks()), moving_waves(13)[0, 0]
    body = Block.unpack(
        list(unpack(packed(codec, x, mode="diffusion", predict="linear", **WINDOWS)).segments), "it"
    ).body
    rng = np.random.default_rng(0)
    for _ in range(60):
        hostile = bytearray(body)
        for place in rng.integers(0, min(40, len(hostile)), 3):
            hostile[place] = rng.integers(256)
        tracemalloc.start()
        with suppress(ContainerError):
            windows.Body.unpack(bytes(hostile), 13, "it")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()
    entries = Backgrounds.load(background_weights(climate(9)))
    for data in (b"", b"\1", b"\0\4", b"\0\x7f" + bytes(8), b"\0\0" + b"\xff" * 8):
        with pytest.raises(CodectkError):
            entries.decode(data, (2, 24, 32), (0, 0, 24, 32), "it")


@pytest.mark.parametrize("change", ["missing", "type", "shape", "unit"])
def test_damaged_backgrounds_in_weights_are_plain_errors(change: str) -> None:
    weights = background_weights(climate(9))
    tensors: dict[str, Any] = dict(weights.tensors)
    if change == "missing":
        del tensors["background.0.modes"]
    elif change == "type":
        tensors["background.0.mean"] = tensors["background.0.mean"].astype(np.float64)
    elif change == "shape":
        tensors["background.0.modes"] = tensors["background.0.modes"][:, :5]
    else:
        tensors["background.0.unit"] = np.ones(2)
    with pytest.raises(WeightsError, match="background 0"):
        Backgrounds.load(replace(weights, tensors=tensors))


def test_the_trainer_finds_what_frames_have_in_common(tmp_path: Path) -> None:
    data = write_fields(
        tmp_path / "data", climate=climate(50)[None, None], noise=np.random.default_rng(0).normal(size=(1, 1, 20, 8, 8))
    )
    trained = run("background", tmp_path / "run", {"train_data": str(data), "modes": 2})
    (entry,) = Backgrounds.load(trained).entries  # noise has nothing in common with its past
    assert entry.mean.shape == (24, 32) and len(entry.modes) == 2
    x = climate(10, seed=1)
    q, step = entry.coefficients(x, None, 2)
    assert np.sqrt(np.mean((entry.base(q, step) - x) ** 2)) < 0.4  # the noise is 0.3


def test_backgrounds_are_merged_with_the_phases(tmp_path: Path) -> None:
    background_weights(climate(9)).save(tmp_path / "b.safetensors")
    part(STUDENT).save(tmp_path / "s.safetensors")
    paths = {"background": str(tmp_path / "b.safetensors"), "single_step_diffusion": str(tmp_path / "s.safetensors")}
    out = tmp_path / "all.safetensors"
    merge(MergeOptions(**paths, without=("freq_compressor", "diffusion"), output=str(out), half=True))
    merged = Checkpoint.open(out)
    assert len(Backgrounds.load(merged).entries) == 1
    x = climate(13, seed=1)
    assert len(packed(codec_with(merged), x, mode="single_step", abs_error=0.5, **WINDOWS)) < len(
        packed(codec_with(merged), x, abs_error=0.5)
    )


def test_the_default_weights_have_all_parts_and_each_can_be_used() -> None:
    codec = codec_with(None)
    x = climate(16, seed=1)
    for mode in ("learned", "diffusion", "single_step"):
        assert (
            np.abs(opened(codec, packed(codec, x[:, :16, :16], mode=mode, abs_error=0.5)) - x[:, :16, :16]).max() <= 0.5
        )
    learned = codec.codec.learned  # type: ignore[attr-defined]
    assert {entry.mean.shape for entry in learned.backgrounds.entries} == {(64, 128), (33, 49), (96, 192)}


def test_fields_over_latents_of_the_frequency_compressor_keep_to_the_bound() -> None:
    codec, x = codec_with(combined({COMPRESSOR: part(COMPRESSOR), STUDENT: part(STUDENT)})), moving_waves(5)[0, 0]
    x[1, 3:5, 4] = np.nan
    for bound in ({"abs_error": 0.02}, {"nrmse": 1e-3}):
        data = packed(codec, x, mode="learned", predict="latents", **bound)
        block = Block.unpack(list(unpack(data).segments), "it")
        assert block.base[0] == LATENTS and len(block.base) > 17
        y = opened(codec, data)
        assert np.array_equal(np.isnan(x), np.isnan(y))
        gaps = np.abs(x - y)[np.isfinite(x)]
        assert (
            gaps.max() <= 0.02
            if "abs_error" in bound
            else np.sqrt((gaps**2).mean()) <= 1e-3 * np.nanmax(x - np.nanmin(x))
        )
    assert len(packed(codec, x, mode="learned", abs_error=0.02)) <= len(packed(codec, x, abs_error=0.02)) + 8


def test_latents_decode_to_the_base_that_was_encoded_and_damage_is_a_plain_error() -> None:
    coder = LatentCoder.load(part(COMPRESSOR))
    x = moving_waves(5)[0, 0].astype(np.float64)
    data, base = coder.encode(x)
    assert np.array_equal(coder.decode(data, x.shape, "it"), base)
    for hostile in (b"", data[:10], data[:-3], data + b"\0", bytes(16), b"\xff" * 40):
        with pytest.raises(CodectkError):
            coder.decode(hostile, x.shape, "it")
