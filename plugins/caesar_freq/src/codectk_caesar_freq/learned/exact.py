"""Arithmetic whose results have the same bits on every machine, with any number of threads and in batches of any size.

An error bound that is met by correcting a prediction holds only where the decoder predicts the encoder's bits.
Floating-point sums depend on their order, which libraries choose by device, threads and shapes. Here every factor is
first rounded to so few bits, below the largest of its sample, that all products and all partial sums fit into the 53
bits of a double: then no order matters.

    factor ─ x / unit, rounded to b bits ─┐
                                          ├─ products of 2b bits ─ sum of n: 2b + log2 n ≤ 52 bits, exact
    factor ─ w / unit, rounded to b bits ─┘

All else is made of +, -, ·, /, √, comparisons and rounding, one operation at a time: IEEE 754 fixes each result.
"""

import math
from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

SUM_BITS = 52
"""Sums of integers up to 2^52 are exact in double precision, and so is one more bit, which is left to rounding."""

TINY = 2.0**-900
"""What is nowhere larger than this counts as zero: units far below would not be normal numbers."""

LOG2_E = 1.4426950408889634
LN_2 = 0.6931471805599453
TERMS = 15
"""Of the series of 2^f, f from 0 to 1."""
LOWEST_POWER = 64
"""Powers of 2 below 2^-64 are taken for it."""


def bits_for(terms: int, factors: int = 2) -> int:
    """How many bits each factor may have, so that a sum of so many products is exact."""
    return (SUM_BITS - (terms - 1).bit_length()) // factors


def rounded(x: Tensor, bits: int, dims: int | tuple[int, ...]) -> Tensor:
    """`x` in multiples of 2^-bits times the power of two above its largest magnitude.

    Args:
        x: float64, finite.
        bits: that magnitudes have at most.
        dims: over which the largest is taken; all that is summed up must lie in them.
    """
    largest = x.abs().amax(dims, keepdim=True)
    # Dividing by the mantissa leaves the power of two itself, without a logarithm.
    power = torch.where(largest > TINY, largest / torch.frexp(largest).mantissa, torch.ones_like(largest))
    unit = power * 2.0**-bits
    return torch.round(x / unit) * unit


def total(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Sum over some dimensions, which stay with size 1."""
    return rounded(x, bits_for(_count(x, dims), 1), dims).sum(dims, keepdim=True)


def mean(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Mean over some dimensions, which stay with size 1."""
    return total(x, dims) / _count(x, dims)


def mean_square(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Mean of squares over some dimensions, which stay with size 1."""
    values = rounded(x, bits_for(_count(x, dims)), dims)
    return (values * values).sum(dims, keepdim=True) / _count(x, dims)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product (…, m, n) · (…, n, p), exact for factors rounded to about 2^-23 of the largest in their matrix."""
    bits = bits_for(a.shape[-1])
    return rounded(a, bits, (-2, -1)) @ rounded(b, bits, (-2, -1))


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """Convolution over time, height and width, as one matrix product a sample.

    Args:
        x: (B, C, T, H, W).
        weight: (O, C, t, h, w).
        bias: (O,).
        stride, padding: of T, H and W.

    Returns:
        (B, O, T', H', W').
    """
    kernel, terms = weight.shape[2:], weight[0].numel()
    bits = bits_for(terms)
    values = F.pad(rounded(x, bits, (1, 2, 3, 4)), [p for p in reversed(padding) for _ in range(2)])
    for dim in range(3):
        values = values.unfold(2 + dim, kernel[dim], stride[dim])
    sizes = values.shape[2:5]
    patches = values.permute(0, 1, 5, 6, 7, 2, 3, 4).reshape(len(x), terms, -1)
    made = (rounded(weight.flatten(1), bits, 1) @ patches).view(len(x), -1, *sizes)
    return made if bias is None else made + bias.view(-1, 1, 1, 1)


def transposed_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int], extra: Sequence[int]
) -> Tensor:
    """What `torch.nn.ConvTranspose3d` computes: a convolution of `x` with zeros between its values.

    Args:
        x: (B, C, T, H, W).
        weight: (C, O, t, h, w).
        bias: (O,).
        stride, padding: of the convolution that it transposes.
        extra: rows of output more, at the far sides.
    """
    kernel = weight.shape[2:]
    spread = [(size - 1) * s + 1 for size, s in zip(x.shape[2:], stride, strict=True)]
    sides = [(k - 1 - p, k - 1 - p + e) for k, p, e in zip(kernel, padding, extra, strict=True)]
    values = x.new_zeros(*x.shape[:2], *(near + size + far for size, (near, far) in zip(spread, sides, strict=True)))
    places = [slice(near, near + size, s) for size, (near, _), s in zip(spread, sides, stride, strict=True)]
    values[:, :, places[0], places[1], places[2]] = x
    return convolution(values, weight.transpose(0, 1).flip(2, 3, 4), bias, (1, 1, 1), (0, 0, 0))


def exponential(x: Tensor) -> Tensor:
    """e^x of x ≤ 0, within about 2^-49 of itself down to x = -44; below it stays 2^-64."""
    coefficients, powers = _constants(x.device)
    y = (x * LOG2_E).clamp(min=-float(LOWEST_POWER))
    whole = torch.floor(y)
    fraction = y - whole
    series = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        series = series * fraction  # in two steps, for a fused one rounds once
        series = series + coefficient
    return series * powers[(-whole).long()]


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e^-x)."""
    small = exponential(-x.abs())
    return torch.where(x >= 0, torch.ones_like(x), small) / (1 + small)


def softmax(x: Tensor, dim: int) -> Tensor:
    """e^x over its sum along a dimension."""
    powers = exponential(x - x.amax(dim, keepdim=True))
    return powers / total(powers, (dim,))


def _count(x: Tensor, dims: Sequence[int]) -> int:
    return math.prod(x.shape[dim] for dim in dims)


@cache
def _constants(device: torch.device) -> tuple[list[float], Tensor]:
    """Coefficients (ln 2)^k / k!, and the powers 2^0, 2^-1, …; without the C library's own pow."""
    coefficients = [1.0]
    for k in range(1, TERMS):
        coefficients.append(coefficients[-1] * LN_2 / k)
    powers = [math.ldexp(1.0, -k) for k in range(LOWEST_POWER + 1)]
    return coefficients, torch.tensor(powers, dtype=torch.float64, device=device)
