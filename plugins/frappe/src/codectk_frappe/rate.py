"""Bits of latents as training sees them: a smooth estimate that counts every symbol."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

FLOOR = 0.02
"""Smallest expected magnitude, in quantiser steps."""


def estimated_bits(clean: list[Tensor], noisy: list[Tensor]) -> Tensor:
    """Bits of each picture.

    Each value is taken as Laplacian around zero with the mean magnitude of its eight neighbours, as the entropy coder
    does in effect, and its probability as that of its unit bin.

    Args:
        clean: latents in quantiser steps per scale group, (B, n_s, h, w).
        noisy: the same with uniform noise.

    Returns:
        (B,).
    """
    total = torch.zeros(clean[0].shape[0], device=clean[0].device)
    for v, y in zip(clean, noisy, strict=True):
        size = v.abs()
        mean = 0.9 * mean_around(size) + 0.1 * size.mean((2, 3), keepdim=True) + FLOOR
        total = total - torch.log2(bin_probability(y, mean) + 1e-9).sum((1, 2, 3))
    return total


def mean_around(size: Tensor) -> Tensor:
    """Mean of each value's eight neighbours, (B, n, h, w) → same shape; the border repeats."""
    padded = F.pad(size, (1, 1, 1, 1), mode="replicate")
    return (9 * F.avg_pool2d(padded, 3, stride=1) - size) / 8


def bin_probability(y: Tensor, scale: Tensor) -> Tensor:
    """Mass of a Laplace distribution with mean magnitude `scale` in [y - 1/2, y + 1/2]."""
    near, far = (y.abs() - 0.5) / scale, (y.abs() + 0.5) / scale
    outside = 0.5 * (torch.exp(-near.clamp(min=0)) - torch.exp(-far))
    inside = 1 - 0.5 * torch.exp(near.clamp(max=0)) - 0.5 * torch.exp(-far)
    return torch.where(near > 0, outside, inside)


SLOPE = 1.03 / math.log(10)
"""Decades of mean squared error per factor e of rate: what a good codec trades at medium rates."""
