"""The codec: its knobs, what it stores, and what it refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codectk.arrays import ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.codec import Encoded
from codectk.compression import LoadedCodec, load_codec
from codectk.container import unpack
from codectk.errors import CodectkError, ContainerError, DesyncError, OptionsError, WeightsError
from codectk_crdr.codec import CrdrCodec
from codectk_crdr.export import checkpoint as make_checkpoint
from codectk_crdr.model import CompressionModel
from codectk_crdr.options import DecodeOptions, EncodeOptions, ModelOptions

WEIGHTS = Path(__file__).parent / "golden" / "space_channel" / "ef8e503c44a7ea16.safetensors"

TINY = {
    "latent_channels": 8,
    "hyper_channels": 4,
    "encoder_width": 4,
    "encoder_middle": 4,
    "decoder_width": 4,
    "decoder_middle": 4,
    "blocks": 1,
    "condition_channels": 4,
    "context": "none",
    "attention": False,
}


@pytest.fixture(scope="module")
def weights() -> Checkpoint:
    return Checkpoint.open(WEIGHTS)


@pytest.fixture(scope="module")
def loaded(weights: Checkpoint) -> LoadedCodec:
    return load_codec("crdr", weights)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    rows, columns = np.mgrid[0:70, 0:90]
    waves = [np.sin(rows / (5 + c)) * np.cos(columns / (7 - c)) for c in range(3)]
    return np.clip(127 + 90 * np.stack(waves, axis=2), 0, 255).astype(np.uint8)


def info_of(x: np.ndarray) -> ArrayInfo:
    return ArrayInfo("image/rgb8", x.shape)


def float_weights(**changes: Any) -> Checkpoint:
    torch.manual_seed(0)
    return make_checkpoint(CompressionModel(ModelOptions.parse({**TINY, **changes})).eval(), {})


def test_a_higher_quality_is_a_larger_file(loaded: LoadedCodec, photo: np.ndarray) -> None:
    sizes = [
        len(loaded.compress(photo, info_of(photo), loaded.encode_options({"quality": quality})))
        for quality in (0, 0.7, 2)
    ]
    assert sizes[0] < sizes[1] < sizes[2]


def test_the_encoder_uses_the_quality_that_the_file_stores(loaded: LoadedCodec, photo: np.ndarray) -> None:
    asked, stored = (
        loaded.compress(photo, info_of(photo), loaded.encode_options({"quality": q})).data for q in (1.23456, 1.235)
    )
    assert asked == stored
    assert unpack(asked).header.params == {"q": 1.235}


def test_realism_is_chosen_when_decoding_and_a_default_may_be_stored(loaded: LoadedCodec, photo: np.ndarray) -> None:
    plain, kept = (
        unpack(loaded.compress(photo, info_of(photo), loaded.encode_options(given)).data)
        for given in ({"quality": 1}, {"quality": 1, "realism": 3.84})
    )
    assert plain.segments == kept.segments
    zero, high = (loaded.decompress(plain, loaded.decode_options({"realism": b})) for b in (0, 3.84))
    assert not np.array_equal(zero, high)
    assert np.array_equal(loaded.decompress(plain), zero)
    assert np.array_equal(loaded.decompress(kept), high)
    assert np.array_equal(loaded.decompress(kept, loaded.decode_options({"realism": 0})), zero)


@pytest.mark.parametrize("quality", [-0.001, 2.001, 5])
def test_qualities_out_of_range_are_refused(loaded: LoadedCodec, photo: np.ndarray, quality: float) -> None:
    with pytest.raises(OptionsError, match="Choose --quality from 0 to 2"):
        loaded.compress(photo, info_of(photo), loaded.encode_options({"quality": quality}))


def test_realisms_out_of_range_are_refused(loaded: LoadedCodec) -> None:
    with pytest.raises(OptionsError, match=r"realism.*5\.12"):
        loaded.decode_options({"realism": 5.13})


def test_weights_without_knobs_take_none_or_negative_values(photo: np.ndarray) -> None:
    plain = load_codec("crdr", float_weights(levels=1, realism=False))
    packed = plain.compress(photo, info_of(photo), plain.encode_options({"quality": -1, "realism": -1}))
    assert unpack(packed.data).header.params == {"same_machine": True}
    assert plain.rate_option is None
    assert plain.rate_ladder == ()
    file = unpack(packed.data)
    assert np.array_equal(plain.decompress(file), plain.decompress(file, plain.decode_options({"realism": -1})))
    with pytest.raises(OptionsError, match="single rate"):
        plain.compress(photo, info_of(photo), plain.encode_options({"quality": 0}))
    with pytest.raises(OptionsError, match="no realism"):
        plain.compress(photo, info_of(photo), plain.encode_options({"realism": 1}))
    with pytest.raises(OptionsError, match="no realism"):
        plain.decompress(file, plain.decode_options({"realism": 1}))


def test_float_weights_code_and_decode_here_and_their_files_say_so(photo: np.ndarray) -> None:
    weights = float_weights()
    first, second = (load_codec("crdr", weights) for _ in range(2))
    file = unpack(first.compress(photo, info_of(photo)).data)
    assert file.header.params["same_machine"] is True
    assert second.decompress(file).shape == photo.shape


def test_files_of_integer_weights_do_not_say_so(loaded: LoadedCodec, photo: np.ndarray) -> None:
    assert "same_machine" not in unpack(loaded.compress(photo, info_of(photo)).data).header.params


def test_pixels_are_rounded_not_cut(weights: Checkpoint, photo: np.ndarray) -> None:
    codec = CrdrCodec.load(weights, "cpu")
    x = np.ascontiguousarray(photo[:64, :64])
    encoded = codec.encode(x, info_of(x), EncodeOptions(quality=1))
    floats: list[np.ndarray] = []
    decoder = codec.model.decoder
    handle = decoder.register_forward_hook(lambda *call: floats.append(call[-1][0].numpy()))
    x_hat = codec.decode(encoded, info_of(x), DecodeOptions())
    handle.remove()
    exact = floats[0].transpose(1, 2, 0) * 127.5 + 127.5
    assert np.abs(np.clip(exact, 0, 255) - x_hat).max() < 0.501


def test_a_search_by_size_finds_a_quality(loaded: LoadedCodec, photo: np.ndarray) -> None:
    from codectk.target import compress_to

    smallest, largest = (
        len(loaded.compress(photo, info_of(photo), loaded.encode_options({"quality": q}))) for q in (0, 2)
    )
    bpp = 8 * (smallest + largest) / 2 / (photo.shape[0] * photo.shape[1])
    found = compress_to(loaded, photo, info_of(photo), {}, bpp=bpp)
    assert smallest < len(found) <= (smallest + largest) / 2


def test_other_symbols_are_a_desync_error(weights: Checkpoint, photo: np.ndarray) -> None:
    codec = CrdrCodec.load(weights, "cpu")
    x = np.ascontiguousarray(photo[:64, :64])
    encoded = codec.encode(x, info_of(x), EncodeOptions())
    other = codec.encode(255 - x, info_of(x), EncodeOptions())
    with pytest.raises(DesyncError):
        codec.decode(replace(encoded, segments=other.segments), info_of(x), DecodeOptions())


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"q": -0.1},
        {"q": 2.5},
        {"q": "1"},
        {"q": True, "x": 1},
        {"q": 1, "b": 6},
        {"q": 1, "b": -1},
        {"q": [1]},
        {"q": float("nan")},
    ],
)
def test_odd_parameters_are_refused(weights: Checkpoint, photo: np.ndarray, params: dict[str, Any]) -> None:
    codec = CrdrCodec.load(weights, "cpu")
    x = np.ascontiguousarray(photo[:64, :64])
    encoded = codec.encode(x, info_of(x), EncodeOptions())
    with pytest.raises(ContainerError):
        codec.decode(Encoded(params, encoded.segments), info_of(x), DecodeOptions())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("tables.z.frequencies"), "tables"),
        (lambda t: t.pop("model.encoder.conv1.weight"), "model.encoder.conv1.weight is missing"),
        (lambda t: t.update({"model.extra": np.zeros(1, np.float32)}), "model.extra has no place"),
        (lambda t: t.update({"model.encoder.conv1.bias": np.zeros(3, np.float32)}), "model.encoder.conv1.bias is"),
        (lambda t: t.update({"integer.z.median": np.zeros(3, np.int32)}), "medians"),
        (lambda t: t.pop("integer.hyper.means.1.weight"), "hyper.means.1.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: Checkpoint, change: Any, message: str) -> None:
    tensors = dict(weights.tensors)
    change(tensors)
    with pytest.raises(WeightsError, match=message):
        CrdrCodec.load(replace(weights, tensors=tensors), "cpu")


def test_another_number_of_levels_is_another_codec(weights: Checkpoint) -> None:
    with pytest.raises(CodectkError):
        CrdrCodec.load(replace(weights, config={**weights.config, "levels": 4}), "cpu")
