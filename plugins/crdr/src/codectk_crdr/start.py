"""A start for training: transforms that are at first linear, and as good as linear ones can be.

Between the convolutions of g_a and g_s there are only residual steps. With these at zero, four convolutions in a row
remain: here they gather 2×2 neighbours and keep, by principal components of training crops, as many combinations as the
next step has channels. g_s is the transpose. Gains then set the width of the quantiser for each quality.

    x ─ 12 ─ 48 ─ top of 192 ─ top M of 4·width ─ gain 1/step ─ y        3·2·2 = 12, 12·2·2 = 48, …
"""

import math

import torch
from torch import Tensor, nn

from codectk_crdr.context import SpaceChannelContext
from codectk_crdr.model import CompressionModel
from codectk_crdr.transforms import Block, Bottleneck

SLOPE = 2 * math.log(2) * 150 / 3
"""Loss per squared error of one value in [0, 1], over that per bit, at high rates: MSE counts 150/3; D' = -2 ln 2 D."""


@torch.no_grad()
def linear_start(model: CompressionModel, crops: Tensor, lambdas: tuple[float, ...]) -> None:
    """Set g_a and g_s to a linear transform and its inverse, and scales of y to what they then are.

    Args:
        model: changed in place.
        crops: (B, 3, H, W) in [-1, 1].
        lambdas: weight of the rate at each level, beside 150·MSE.
    """
    encoder, decoder = model.encoder, model.decoder
    for part in (encoder, decoder):
        for module in part.modules():
            if isinstance(module, Block):
                for block in module.children():
                    nn.init.zeros_(block.get_parameter("conv.4.weight"))
                    nn.init.zeros_(block.get_parameter("conv.4.bias"))
    x = crops
    for down, up in ((1, 4), (2, 3), (3, 2), (4, 1)):
        x = _step(getattr(encoder, f"conv{down}"), getattr(decoder, f"conv{up}"), x)
    steps = [math.sqrt(12 * 4 * weight / SLOPE) for weight in lambdas]
    if model.options.levels > 1:
        for level, step in enumerate(steps):
            encoder.interp_ca_list[-1].get_parameter("weight")[level] = math.log(math.expm1(1 / step))
            decoder.interp_ca_list[0].get_parameter("weight")[level] = math.log(math.expm1(step))
    spread = x.std((0, 2, 3)) / steps[len(steps) // 2]
    _start_scales(model, spread)


def _step(down: nn.Conv2d, up: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """Make one convolution and its counterpart, from their input; returns the output."""
    _, channels, height, width = x.shape
    blocks = x.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 2, 3, 1, 4, 5).reshape(-1, 4 * channels)
    count = min(4 * channels, down.out_channels)
    if count == 4 * channels:
        basis = _pyramid(channels).to(x)
    else:
        values, vectors = torch.linalg.eigh((blocks.T @ blocks).double() / len(blocks))
        basis = vectors[:, values.argsort(descending=True)[:count]].T.to(x.dtype)
    used = slice(2, 4)
    down.weight[:count] = 0
    kernel = basis.view(count, channels, 2, 2)
    down.weight[:count, :channels, used, used] = kernel
    assert down.bias is not None and up.bias is not None
    down.bias.zero_()
    up.bias.zero_()
    up.weight[:, :channels] = 0
    up.weight[:count, :channels, used, used] = kernel
    return (blocks @ basis.T).view(x.shape[0], height // 2, width // 2, count).permute(0, 3, 1, 2)


def _pyramid(channels: int) -> Tensor:
    """Sums and differences of 2×2 neighbours (4C, 4C), orthonormal: first all means, then all differences."""
    haar = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    return torch.stack([torch.kron(torch.eye(channels), row[None]) for row in haar]).flatten(0, 1)


def _start_scales(model: CompressionModel, spread: Tensor) -> None:
    """Predict at first the spread of each channel of y: the last biases of whatever makes scales."""
    context, start = model.context_model, 0
    if isinstance(context, SpaceChannelContext):
        for size, layers in zip(context.groups, context.aggregation, strict=True):
            layers.get_parameter("4.bias")[size:] = spread[start : start + size]
            start += size


@torch.no_grad()
def zero_condition(model: CompressionModel) -> None:
    """Let realism change nothing yet: projections at zero, so the decoder is at first that of the earlier stage.

    The condition itself starts at the usual size of layers, for projections learn as fast as it is large.

    Args:
        model: with realism; changed in place.
    """
    for module in model.decoder.modules():
        if isinstance(module, Bottleneck):
            for projection in (module.proj_1, module.proj_2, module.proj_3):
                nn.init.zeros_(projection.weight)
                nn.init.zeros_(projection.bias)  # type: ignore[arg-type]
    for layer in model.decoder.mlp:
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
