"""Files of the frappe codec: they open again at every size, and hostile ones are refused."""

import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codectk import container
from codectk.arrays import ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.compression import LoadedCodec, load_codec
from codectk.errors import CodectkError, ContainerError, DesyncError, OptionsError, WeightsError, WeightsMismatch
from codectk_frappe import bitstream
from codectk_frappe.options import EncodeOptions

from .conftest import make_checkpoint

GOLDEN = Path(__file__).parent / "golden"


def info_of(x: np.ndarray) -> ArrayInfo:
    return ArrayInfo("image/rgb8" if x.shape[2] == 3 else "image/gray8", x.shape)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (37, 1), (8, 8), (17, 23), (40, 56)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_size_opens_again_at_every_number_of_channels(
    loaded: LoadedCodec, size: tuple[int, int], channels: int
) -> None:
    x = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    untouched = x.copy()
    data = loaded.compress(x, info_of(x), EncodeOptions(channels=channels)).data
    x_hat = loaded.decompress(container.unpack(data))
    assert x_hat.shape == x.shape
    assert x_hat.dtype == np.uint8
    assert np.array_equal(x, untouched)
    assert data == loaded.compress(x, info_of(x), EncodeOptions(channels=channels)).data


def test_grey_pictures_stay_grey(loaded: LoadedCodec, photo: np.ndarray) -> None:
    x = photo[:, :, :1]
    data = loaded.compress(x, info_of(x)).data
    assert loaded.decompress(container.unpack(data)).shape == x.shape


def test_fewer_channels_make_smaller_files_with_the_same_beginning(loaded: LoadedCodec, photo: np.ndarray) -> None:
    files = [
        container.unpack(loaded.compress(photo, info_of(photo), EncodeOptions(channels=n)).data) for n in (2, 3, 4)
    ]
    assert [len(f.segments) for f in files] == [1, 2, 3]
    assert files[0].segments == files[1].segments[:1] == files[2].segments[:1]


def test_a_file_that_lost_segments_is_refused(loaded: LoadedCodec, photo: np.ndarray) -> None:
    file = container.unpack(loaded.compress(photo, info_of(photo)).data)
    for kept in range(len(file.segments)):
        cut = container.unpack(container.pack(file.header, file.segments[:kept]))
        with pytest.raises(CodectkError, match=f"{kept} segments" if kept == 0 else "not those that were encoded"):
            loaded.decompress(cut)


def test_the_first_segments_are_the_picture_of_their_channels(loaded: LoadedCodec, photo: np.ndarray) -> None:
    file = container.unpack(loaded.compress(photo, info_of(photo)).data)
    for kept, channels in ((1, 2), (2, 3)):
        alone = loaded.compress(photo, info_of(photo), EncodeOptions(channels=channels)).data
        assert np.array_equal(loaded.decompress(file, segments=kept), loaded.decompress(container.unpack(alone)))


def test_tiles_give_the_picture_of_one_piece(
    loaded: LoadedCodec, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.tile(photo, (4, 4, 1))
    file = container.unpack(loaded.compress(large, info_of(large)).data)
    whole = loaded.decompress(file).astype(int)
    monkeypatch.setattr("codectk_frappe.tiling.TILE_VALUES", 1)
    tiled = loaded.decompress(file).astype(int)
    assert np.abs(whole - tiled).max() <= 1, "float sums may differ in their last bit, never more"
    assert (whole != tiled).mean() < 1e-3


def test_attention_sees_the_whole_picture_however_small_tiles_are(
    photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_codec("frappe", make_checkpoint(decoder_arch="CT"))
    large = np.tile(photo, (4, 4, 1))
    file = container.unpack(loaded.compress(large, info_of(large)).data)
    whole = loaded.decompress(file)
    monkeypatch.setattr("codectk_frappe.tiling.TILE_VALUES", 1)
    assert np.array_equal(loaded.decompress(file), whole)


def test_encoding_needs_no_torch(tmp_path: Path, checkpoint: Checkpoint, photo: np.ndarray) -> None:
    checkpoint.save(tmp_path / "w.safetensors")
    np.save(tmp_path / "x.npy", photo)
    script = f"""
import sys, numpy as np
from pathlib import Path
from codectk.arrays import ArrayInfo
from codectk.compression import load_codec
x = np.load(r"{tmp_path / "x.npy"}")
data = load_codec("frappe", Path(r"{tmp_path / "w.safetensors"}")).compress(x, ArrayInfo("image/rgb8", x.shape)).data
assert len(data) > 100
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_fresh_process_decodes_to_the_same_picture(
    tmp_path: Path, loaded: LoadedCodec, checkpoint: Checkpoint, photo: np.ndarray
) -> None:
    data = loaded.compress(photo, info_of(photo)).data
    here = loaded.decompress(container.unpack(data))
    checkpoint.save(tmp_path / "w.safetensors")
    (tmp_path / "photo.ctk").write_bytes(data)
    script = f"""
import numpy as np, torch
from pathlib import Path
from codectk import decompress
torch.set_num_threads(1)
folder = Path(r"{tmp_path}")
x, info = decompress((folder / "photo.ctk").read_bytes(), folder / "w.safetensors")
np.save(folder / "x_hat.npy", x)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    there = np.load(tmp_path / "x_hat.npy").astype(int)
    assert np.abs(there - here).max() <= 1


def test_other_weights_are_refused_by_name(photo: np.ndarray, loaded: LoadedCodec, checkpoint: Checkpoint) -> None:
    data = loaded.compress(photo, info_of(photo)).data
    tensors = {**checkpoint.tensors, "encoders.0.0.bias": checkpoint.tensors["encoders.0.0.bias"] + 1}
    other = load_codec("frappe", replace(checkpoint, tensors=tensors))
    with pytest.raises(WeightsMismatch, match=checkpoint.digest[:16]):
        other.decompress(container.unpack(data))


def test_changed_symbols_are_a_desync_error(photo: np.ndarray, loaded: LoadedCodec) -> None:
    file = container.unpack(loaded.compress(photo, info_of(photo)).data)
    count, height, width = 2, 5, 7
    latent = bitstream.unpack(file.segments[0], count, height, width)
    latent[0, 0, 0] = -latent[0, 0, 0] + 1
    forged = container.pack(file.header, (bitstream.pack(latent), *file.segments[1:]))
    with pytest.raises(DesyncError):
        loaded.decompress(container.unpack(forged))


@pytest.mark.parametrize(
    "params", [{"n": 0}, {"n": 5}, {"n": "2"}, {"n": 2.5}, {"n": True}, {"n": 2, "m": 1}, {"n": 1}]
)
def test_params_that_do_not_fit_are_refused(params: dict[str, object], photo: np.ndarray, loaded: LoadedCodec) -> None:
    file = container.unpack(loaded.compress(photo, info_of(photo)).data)
    forged = container.pack(replace(file.header, params=params), file.segments)
    with pytest.raises(ContainerError):
        loaded.decompress(container.unpack(forged))


def test_a_prefix_of_two_channels_is_refused_by_a_model_of_one(photo: np.ndarray, checkpoint: Checkpoint) -> None:
    tensors = {k: v for k, v in checkpoint.tensors.items() if not k.startswith("merged.") or k.startswith("merged.1.")}
    one = load_codec("frappe", replace(checkpoint, tensors=tensors))
    assert one.codec.rate_points == (1,)
    with pytest.raises(OptionsError, match="2 channels"):
        one.compress(photo, info_of(photo), EncodeOptions(channels=2))
    with pytest.raises(OptionsError, match="4 channels"):
        one.compress(photo, info_of(photo))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_damage_with_valid_checks_never_escapes_as_another_error(
    data: st.DataObject, photo: np.ndarray, loaded: LoadedCodec
) -> None:
    file = container.unpack(loaded.compress(photo, info_of(photo)).data)
    undamaged = loaded.decompress(file)
    segments = [bytearray(s) for s in file.segments]
    which = data.draw(st.integers(0, len(segments) - 1))
    segment = segments[which]
    if data.draw(st.booleans()):
        del segment[data.draw(st.integers(0, len(segment))) :]
    else:
        segment[data.draw(st.integers(0, len(segment) - 1))] ^= data.draw(st.integers(1, 255))
    forged = container.pack(file.header, tuple(bytes(s) for s in segments))
    try:
        x_hat = loaded.decompress(container.unpack(forged))
    except CodectkError:
        return
    assert np.array_equal(x_hat, undamaged), "only a change that leaves the latents as they were may pass"


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20)),
    low=st.integers(-127, 0),
    high=st.integers(0, 127),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_latents_survive_the_bitstream(shape: tuple[int, int, int], low: int, high: int, seed: int) -> None:
    latent = np.random.default_rng(seed).integers(low, high + 1, shape).astype(np.int8)
    assert np.array_equal(bitstream.unpack(bitstream.pack(latent), *shape), latent)


def test_segments_hold_no_jpegls_headers() -> None:
    latent = np.random.default_rng(0).integers(-3, 4, (2, 24, 16)).astype(np.int8)
    standard = imagecodecs.jpegls_encode((latent.astype(np.int16) + 127).astype(np.uint8).reshape(48, 16))
    assert len(bitstream.pack(latent)) == len(standard) - 71


def test_a_plane_beyond_jpegls_is_refused_with_advice() -> None:
    latent = np.broadcast_to(np.zeros((), np.int8), (2, 40_000, 1))
    with pytest.raises(CodectkError, match="--channels, or cut the picture"):
        bitstream.pack(latent)


def refused(checkpoint: Checkpoint, **changes: Any) -> str:
    """The one line with which weights are refused before a file is made with them."""
    with pytest.raises(WeightsError) as caught:
        load_codec("frappe", replace(checkpoint, **changes))
    message = str(caught.value)
    assert len(message) <= 200
    assert message.isprintable()
    return message


def test_weights_without_a_tensor_are_refused_whichever_it_is(checkpoint: Checkpoint) -> None:
    for missing in checkpoint.tensors:
        tensors = {k: v for k, v in checkpoint.tensors.items() if k != missing}
        assert f"{missing} is missing" in refused(checkpoint, tensors=tensors)


@pytest.mark.parametrize("name", ["encoders.1.0.weight", "encoders.0.1.0._σ", "merged.2.decoder.1.main.0.weight"])
def test_tensors_of_another_shape_or_type_are_refused_by_name(name: str, checkpoint: Checkpoint) -> None:
    tensor = checkpoint.tensors[name]
    for wrong in (tensor[:-1], tensor[..., np.newaxis], tensor.astype(np.int32), tensor.astype(np.complex64)):
        assert name in refused(checkpoint, tensors={**checkpoint.tensors, name: wrong})


def test_a_decoder_with_tensors_too_many_is_refused(checkpoint: Checkpoint) -> None:
    name = "merged.2.decoder.1.\x1b[2J\n" + "x" * 1000
    assert "merged.2.decoder.1.?[2J?xxx" in refused(checkpoint, tensors={**checkpoint.tensors, name: np.zeros(1)})


def test_weights_without_any_decoder_are_refused(checkpoint: Checkpoint) -> None:
    filters = {k: v for k, v in checkpoint.tensors.items() if not k.startswith("merged.")}
    assert "no decoder" in refused(checkpoint, tensors=filters)


@pytest.mark.parametrize("version", [0, 2, 10**3000])
def test_weights_of_another_bitstream_version_are_refused(version: int, checkpoint: Checkpoint) -> None:
    assert "bitstream version 1, not " in refused(checkpoint, bitstream_version=version)


HOSTILE = {
    "patch sizes that do not divide": {"ps": [7, 4], "decoder_ps": 4},
    "no channels": {"ps": []},
    "an unknown option": {"ps": [8], "evil": 1},
    "an unknown option of a hostile name": {"ps": [8], "\x1b[2J\n" * 999: 1},
    "too many channels": {"ps": [8] * 5000},
    "a patch size without end": {"ps": [10**3000]},
    "pictures of astronomic size": {"ps": [256, 255, 253, 251, 249, 247], "decoder_ps": 1},
    "a large decoder that is not there": {"ps": [8], "decoder_dim": 8192, "decoder_arch": "C" * 64},
    "a large decoder of attention": {"ps": [8], "decoder_dim": 8192, "decoder_arch": "T" * 64},
    "a wide grid": {"ps": [1] * 256, "decoder_ps": 256, "decoder_dim": 8192, "decoder_kernel_size": 31},
}


@pytest.mark.parametrize("config", HOSTILE.values(), ids=HOSTILE.keys())
def test_weights_of_a_hostile_description_are_refused_in_little_memory(
    config: dict[str, Any], checkpoint: Checkpoint
) -> None:
    config = {**config, "decoder_mlp_ratio": 16}
    tensors = {
        "encoders.0.0.weight": np.zeros((1, 3, 8, 8), np.float32),
        **{f"encoders.0.{name}": np.ones(1, np.float32) for name in ("0.bias", "1.0._σ", "1.2.γ")},
        "merged.1.decoder.0.weight": np.zeros((8192, 1, 3, 3), np.float32),
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(checkpoint, config=config, tensors=tensors)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10, "kilobytes"


def test_decoding_draws_no_random_numbers(photo: np.ndarray, loaded: LoadedCodec) -> None:
    file = container.unpack(loaded.compress(photo, info_of(photo)).data)
    before = torch.get_rng_state()
    loaded.decompress(file)
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_of_half_precision_decode_as_floats(photo: np.ndarray, checkpoint: Checkpoint) -> None:
    tensors = {name: tensor.astype(np.float16) for name, tensor in checkpoint.tensors.items()}
    halves = load_codec("frappe", replace(checkpoint, tensors=tensors))
    same = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    floats = load_codec("frappe", replace(checkpoint, tensors=same))
    results = [c.decompress(container.unpack(c.compress(photo, info_of(photo)).data)) for c in (halves, floats)]
    assert np.array_equal(*results)


def test_the_golden_file_decodes_as_it_did_when_it_was_written() -> None:
    """The file, its weights and its picture were written once, by release 0.1.0, and are never made again."""
    weights = Checkpoint.open(GOLDEN / "tiny.safetensors")
    loaded = load_codec("frappe", weights)
    data = (GOLDEN / "photo.ctk").read_bytes()
    x_hat = loaded.decompress(container.unpack(data)).astype(int)
    expected = np.load(GOLDEN / "photo.npz")
    assert np.abs(x_hat - expected["x_hat"]).max() <= 1, "symbols are exact; the network's floats may round differently"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_decodes_to_the_cpus_picture(photo: np.ndarray, checkpoint: Checkpoint, loaded: LoadedCodec) -> None:
    file = container.unpack(loaded.compress(photo, info_of(photo)).data)
    on_gpu = load_codec("frappe", checkpoint, "cuda").decompress(file).astype(int)
    assert np.abs(on_gpu - loaded.decompress(file)).max() <= 1
