"""Better starts than random numbers, for short trainings: a filter from statistics, a decoder from its predecessor."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codectk_frappe.model import Decoder, Encoders, ScaleEncoder
from codectk_frappe.options import LIMIT
from codectk_frappe.shared import SharedDecoder

RIDGE = 1e-4
"""Part of the mean variance that is added to each, so that smooth pictures have an invertible covariance."""

STRAIGHT = 3.0
"""Scale of the companding over the largest outputs: so far below it, companding is nearly a straight line, and errors
of large values are not blown up when it is undone."""
MAX_GAMMA = 4.0
"""With this factor the largest outputs are as large as integers may be."""


@torch.no_grad()
def klt_filter(encoder: ScaleEncoder, pairs: Iterable[tuple[Tensor, Tensor]], std: float) -> None:
    """Set a single filter to the one whose output explains most of the residual linearly (reduced-rank regression).

    For a residual of the picture itself that is the first vector of the Karhunen-Loève transform.

    Args:
        encoder: of one channel; its convolution is changed in place.
        pairs: what the encoder sees and the residual to explain, both (B, 3, H, W).
        std: wanted standard deviation of the latents, in quantiser steps.
    """
    convolution: nn.Conv2d = encoder[0]  # type: ignore[assignment]
    ps = convolution.kernel_size[0]
    columns = zip(*((_patches(x, ps), _patches(residual, ps)) for x, residual in pairs), strict=True)
    x_patches, r_patches = (torch.cat(column) for column in columns)
    mean_seen = x_patches.mean(0)
    seen = torch.cov(x_patches.T)
    explained = (x_patches - mean_seen).T @ (r_patches - r_patches.mean(0)) / len(x_patches)
    seen += RIDGE * seen.diagonal().mean() * torch.eye(len(seen), dtype=torch.float64)
    regression = torch.linalg.solve(seen, explained)  # residual ≈ regressionᵀ · patch
    direction = torch.linalg.eigh(explained.T @ regression).eigenvectors[:, -1]
    vector = regression @ direction
    vector *= std / (vector @ seen @ vector).sqrt()
    vector *= vector[vector.abs().argmax()].sign()  # eigenvectors have no sign of their own; fix one
    convolution.weight.copy_(vector.view_as(convolution.weight))
    convolution.bias.fill_(-float(mean_seen @ vector))  # type: ignore[union-attr]


@torch.no_grad()
def haar_klt(encoders: Encoders, decoder: SharedDecoder, crops: list[Tensor], step: float) -> None:
    """Start all filters at once: on each scale, the directions in which most energy is left.

    A filter of patch size p sees means of its patch's four quarters (2 x 2 x 3 values); its vector is one of the
    Karhunen-Loève transform of what the coarser scales left of them. So no detail is asked of a scale that a finer one
    codes better. The decoder's linear synthesis starts as the transpose, its probe as a copy.

    Args:
        encoders, decoder: changed in place.
        crops: (B, 3, H, W) as the encoder sees them.
        step: quantiser step for filters of norm 1.
    """
    x = torch.cat(crops).double().cpu()
    mean = x.mean((0, 2, 3))
    decoder.mean.copy_(mean)
    rest = x - mean.view(1, -1, 1, 1)
    parts: Any = zip(encoders, decoder.linear, decoder.probe, strict=True)
    for (convolution, quantiser), synthesis, probe in parts:
        count, colours, ps = convolution.weight.shape[:3]
        quarters = 2 if ps % 2 == 0 else 1
        side = ps // quarters
        means = F.avg_pool2d(rest, side) * side  # of norm 1 over a quarter
        columns = _patches(means, quarters)
        vectors = torch.linalg.eigh(columns.T @ columns).eigenvectors.flip(1)[:, :count].T
        if len(vectors) < count:  # more channels than quarters have values
            vectors = torch.cat([vectors, torch.randn(count - len(vectors), vectors.shape[1], dtype=x.dtype) * 0.1])
        vectors = vectors * vectors.gather(1, vectors.abs().argmax(1, keepdim=True)).sign()
        weight = vectors.view(count, colours, quarters, quarters)
        weight = weight.repeat_interleave(side, 2).repeat_interleave(side, 3) / side
        convolution.weight.copy_(weight)
        convolution.bias.copy_(-(weight.sum((2, 3)) @ mean))
        synthesis.weight.copy_(weight)
        probe.weight.copy_(weight)
        probe.bias.copy_(convolution.bias)
        sizes = F.conv2d(x, weight, convolution.bias.double(), stride=ps).abs()
        largest = STRAIGHT * sizes.transpose(0, 1).flatten(1).numpy().clip(min=1e-3)
        sigma = torch.from_numpy(np.quantile(largest, 0.999, axis=1))
        quantiser[0]._σ.copy_(sigma)
        quantiser[2].γ.copy_((sigma / (LIMIT * step)).clamp(max=MAX_GAMMA))
        rest = rest - F.conv_transpose2d(F.conv2d(rest, weight, stride=ps), weight, stride=ps)


@torch.no_grad()
def widen(decoder: Decoder, previous: Decoder) -> None:
    """Start a decoder as the previous one, which did not know the new channel: its weights are zero at first.

    Args:
        decoder: for one more channel than `previous`, which comes last; changed in place.
        previous: the decoder to start from.
    """
    old = previous.state_dict()
    first = torch.zeros_like(decoder.state_dict()["0.weight"])
    first[:, : old["0.weight"].shape[1]] = old["0.weight"]
    decoder.load_state_dict({**old, "0.weight": first})


def _patches(x: Tensor, ps: int) -> Tensor:
    """(B, 3, H, W) → (patches, 3·ps²) in float64, values in the order of a convolution's weight."""
    return F.unfold(x.double().cpu(), ps, stride=ps).transpose(1, 2).flatten(0, 1)
