"""Layers that compute as usual in single precision, and exactly (`exact.py`) in double precision.

A network made of them is trained as it is; `network.double()` is the same network with the same bits on every machine.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codectk_caesar_freq.learned import exact

ActivationName = Literal["hard_swish", "silu"]

EPSILON = 1e-5
"""Added to variances before their root is taken."""


def is_exact(x: Tensor) -> bool:
    """Whether layers are to compute exactly."""
    return x.dtype == torch.float64


class Convolution(nn.Conv3d):
    """Convolution over time, height and width; zeros outside."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, O, T', H', W')."""
        if not is_exact(x):
            return super().forward(x)
        return exact.convolution(x, self.weight, self.bias, self.stride, self.padding)  # type: ignore[arg-type]


class TransposedConvolution(nn.ConvTranspose3d):
    """Transposed convolution over time, height and width."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, C, T, H, W) → (B, O, T', H', W'); the size follows from the options alone."""
        if not is_exact(x):
            return super().forward(x)
        sizes = (self.stride, self.padding, self.output_padding)
        return exact.transposed_convolution(x, self.weight, self.bias, *sizes)  # type: ignore[arg-type]


def flat(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> Convolution:
    """A convolution of each frame by itself, which keeps the size at stride 1."""
    return Convolution(inputs, outputs, (1, size, size), (1, stride, stride), (0, size // 2, size // 2))


class Linear(nn.Linear):
    """Linear map of vectors."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C) → (B, O)."""
        if not is_exact(x):
            return super().forward(x)
        return exact.product(x[:, None], self.weight.T)[:, 0] + self.bias


class GroupNorm(nn.GroupNorm):
    """Each group of channels of each sample to mean 0 and variance 1, then a gain and an offset per channel."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, …), same shape out."""
        if not is_exact(x):
            return super().forward(x)
        grouped = x.reshape(len(x), self.num_groups, -1)
        centred = grouped - exact.mean(grouped, (2,))
        scaled = centred / torch.sqrt(exact.mean_square(centred, (2,)) + self.eps)
        channels = (1, -1, *(1,) * (x.dim() - 2))
        scaled = scaled.view(x.shape) * self.weight.view(channels)
        return scaled + self.bias.view(channels)


class ChannelNorm(nn.Module):
    """Vectors of channels to a mean square of 1, then a gain per channel.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W), same shape out."""
        square = exact.mean_square(x, (1,)) if is_exact(x) else x.square().mean(1, keepdim=True)
        return x / torch.sqrt(square + EPSILON) * self.gain.view(-1, 1, 1, 1)


class Activation(nn.Module):
    """Hard swish, whose operations are exact anyway, or SiLU.

    Args:
        name: which.
    """

    def __init__(self, name: ActivationName) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out."""
        if not is_exact(x):
            return F.hardswish(x) if self.name == "hard_swish" else F.silu(x)
        return x * ((x + 3).clamp(0, 6) / 6) if self.name == "hard_swish" else x * exact.sigmoid(x)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Dot-product attention.

    Args:
        q, k, v: (…, n, d).
        bias: added to the scores; (…, n, n).

    Returns:
        (…, n, d).
    """
    q = q * (1 / math.sqrt(q.shape[-1]))
    if not is_exact(q):
        scores = q @ k.transpose(-2, -1)
        return (scores if bias is None else scores + bias).softmax(-1) @ v
    scores = exact.product(q, k.transpose(-2, -1))
    return exact.product(exact.softmax(scores if bias is None else scores + bias, -1), v)


def attend_linearly(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Linear attention, whose cost grows with n alone: softmax of q over d, of k over n.

    Args:
        q, k, v: (…, n, d).

    Returns:
        (…, n, d).
    """
    scale = 1 / math.sqrt(q.shape[-1])
    if not is_exact(q):
        return (q.softmax(-1) * scale) @ (k.softmax(-2).transpose(-2, -1) @ v)
    context = exact.product(exact.softmax(k, -2).transpose(-2, -1), v)
    return exact.product(exact.softmax(q, -1) * scale, context)


def fit(x: Tensor, multiple: int) -> Tensor:
    """(B, C, T, h, w) with its last rows and columns repeated until h and w are multiples of a number."""
    below, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    return F.pad(x, (0, right, 0, below, 0, 0), mode="replicate") if below or right else x
