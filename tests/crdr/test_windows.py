"""Large pictures: tiles are coded on their own, and windows of transforms do not show."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from codectk.errors import ContainerError
from codectk_crdr import windows
from codectk_crdr.codec import CrdrCodec
from codectk_crdr.export import as_tensor, checkpoint
from codectk_crdr.options import DecodeOptions, EncodeOptions
from codectk_crdr.windows import STRIDE, analyse, coded_tiles, margin, synthesise

from .tiny import exact_weights, info_of, knob, photo, tiny_model, tiny_options

CPU = torch.device("cpu")
KINDS: list[dict[str, Any]] = [
    {"attention": False, "blocks": "1"},
    {"attention": True, "blocks": "1"},
    {"attention": True, "blocks": "3"},
    {"attention": False, "blocks": "1,2,3"},
]


def test_tiles_cover_a_picture_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "TILE", 128)
    areas = coded_tiles(192, 320)
    assert [(a.rows, a.columns) for a in areas] == [
        (rows, columns) for rows in ((0, 8), (8, 12)) for columns in ((0, 8), (8, 16), (16, 20))
    ]


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("context", ["none", "space_channel"])
def test_a_picture_larger_than_a_tile_is_coded_in_several_segments(
    exact: bool, context: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(context=context)
    codec = CrdrCodec.load(exact_weights(model) if exact else checkpoint(model, {}), "cpu")
    x = photo(128, 192)
    options = EncodeOptions(quality=1.0), DecodeOptions()
    whole = codec.encode(x, info_of(x), options[0])
    assert len(whole.segments) == 1
    monkeypatch.setattr(windows, "TILE", 64)
    tiled = codec.encode(x, info_of(x), options[0])
    assert len(tiled.segments) == 6
    one, other = (_decoded(codec, x, encoded, tile, monkeypatch) for encoded, tile in ((whole, 1024), (tiled, 64)))
    # y_hat differs by less than a level of rounding at most: y is the same, means are not.
    assert float((one - other).abs().max()) < 1.6
    assert math.isclose(len(b"".join(tiled.segments)), len(whole.segments[0]), rel_tol=0.2)
    with pytest.raises(ContainerError, match="has 1 segments for 6 tiles"):
        codec.decode(whole, info_of(x), options[1])


def _decoded(codec: CrdrCodec, x: np.ndarray, encoded: Any, tile: int, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """y_hat of a file."""
    monkeypatch.setattr(windows, "TILE", tile)
    seen: list[torch.Tensor] = []
    handle = codec.model.decoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    codec.decode(encoded, info_of(x), DecodeOptions())
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_windows_of_transforms_do_not_show(kind: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(**kind)
    x, q, beta = photo(64, 1024), knob(model, 1.3), torch.tensor([2.0])
    picture = torch.from_numpy(x).permute(2, 0, 1)[None]
    wanted = model.encoder(as_tensor(x), q)
    model.decoder.conv4.weight.data *= 0.5 / model.decoder(wanted, q, beta).std()
    drawn = (model.decoder(wanted, q, beta)[0] * 127.5 + 127.5).clamp(0, 255)
    assert float(drawn.std()) > 20
    monkeypatch.setattr(windows, "WINDOW", 16)
    calls: list[int] = []

    def counted(part: torch.Tensor, module: torch.nn.Module, *knobs: Any) -> torch.Tensor:
        calls.append(part.shape[-1])
        return module(part, *knobs)

    y = analyse(picture, model.options, lambda part: counted(part, model.encoder, q), CPU)
    x_hat = synthesise(wanted, model.options, lambda part: counted(part, model.decoder, q, beta), CPU)
    assert len(calls) == 8, "four windows each"
    assert float((y - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())
    assert float((x_hat - drawn).abs().max()) < 0.5 + 0.01


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_transforms_reach_as_far_as_the_margin_and_no_farther(kind: dict[str, Any]) -> None:
    """With positive weights alone, whatever can depend on the one position that is not zero is not zero."""
    model = tiny_model(**kind, realism=False)
    for module in (*model.encoder.modules(), *model.decoder.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight.data.fill_(0.1)
            module.bias.data.zero_()  # type: ignore[union-attr]
    edge, q = margin(model.options), knob(model, 0.5)
    width = 2 * edge + 5
    middle = width // 2
    x = torch.zeros(1, 3, 64, STRIDE * width)
    x[..., STRIDE * middle : STRIDE * (middle + 1)] = 1
    y = torch.zeros(1, model.options.latent_channels, 4, width)
    y[..., middle] = 1
    for out, stride in ((model.encoder(x, q), 1), (model.decoder(y, q), STRIDE)):
        reach = int((out[0].any(0).any(0).nonzero() // stride - middle).abs().max())
        assert edge - 3 <= reach <= edge


def test_margins_of_published_models_are_bounded() -> None:
    """So that windows of 64 positions are worth it."""
    assert margin(tiny_options(blocks="3", attention=True)) <= 16


def test_a_picture_little_larger_than_a_window_is_transformed_whole() -> None:
    model = tiny_model()
    picture = torch.from_numpy(photo(64, 128)).permute(2, 0, 1)[None]
    sizes: list[tuple[int, ...]] = []

    def g_a(part: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(part.shape[2:]))
        return model.encoder(part, knob(model))

    analyse(picture, model.options, g_a, CPU)
    assert sizes == [(64, 128)]
