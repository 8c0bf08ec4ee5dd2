"""Windows of frames: which are keyframes, what lies between them, and in which units networks see them.

    keyframes 0, r, 2r, …, n - 1 ── linear in time ── every frame
    latents: the first planes of a frame
        condition = (linear - mean of the keyframes) / step        network's input
        residual  = (latent - linear) / step                       network's output, zero at keyframes
    step: root mean square of the differences of neighbouring keyframes, for each plane

Mean and step come from keyframes alone, so the decoder has them. CAESAR-Freq scales all planes together to [-1, 1];
then a slow field's residual is lost beside its range, and the planes of higher frequencies beside the first.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from codectk.errors import OptionsError
from codectk_caesar_freq.learned import exact
from codectk_caesar_freq.learned.layers import is_exact

SMALLEST_STEP = 2.0**-40
"""Steps below, relative to the largest plane's, count as none: those planes are constant but for rounding."""

LIMIT = 4.0
"""Residuals are kept within so many steps: whatever a network says, a prediction stays near the keyframes."""


def keyframes(n_frame: int, interpo_rate: int) -> list[int]:
    """Numbers of the keyframes of a window.

    Raises:
        OptionsError: the window does not end on a keyframe.
    """
    if n_frame < 2 or interpo_rate < 1 or (n_frame - 1) % interpo_rate:
        nearest = max(1, round((n_frame - 1) / max(1, interpo_rate))) * max(1, interpo_rate) + 1
        raise OptionsError(
            f"A window of {n_frame} frames does not end on a keyframe, with one every {interpo_rate} frames.",
            f"Choose n_frame = k·interpo_rate + 1, such as {nearest}.",
        )
    return list(range(0, n_frame, interpo_rate))


def missing(n_frame: int, interpo_rate: int) -> list[int]:
    """Numbers of the other frames."""
    return [t for t in range(n_frame) if t % interpo_rate]


def interpolate(keys: Tensor, interpo_rate: int, dim: int) -> Tensor:
    """All frames of a window, linear in time between its keyframes.

    Args:
        keys: with the keyframes along a dimension.
        interpo_rate: frames from one to the next.
        dim: that dimension.
    """
    rows = keys.unbind(dim)
    made = []
    for before, after in pairwise(rows):
        made.append(before)
        for i in range(1, interpo_rate):
            earlier, later = before * ((interpo_rate - i) / interpo_rate), after * (i / interpo_rate)
            made.append(earlier + later)
    return torch.stack([*made, rows[-1]], dim=dim)


def mask(n_frame: int, interpo_rate: int, like: Tensor) -> Tensor:
    """(1, 1, T, 1, 1): 1 at keyframes, 0 elsewhere, of the type of `like`."""
    flags = [float(t % interpo_rate == 0) for t in range(n_frame)]
    return torch.tensor(flags, dtype=like.dtype, device=like.device).view(1, 1, -1, 1, 1)


class Condition(NamedTuple):
    """What the decoder knows of a window's latents.

    Attributes:
        linear: (B, C, T, h, w) latents, interpolated.
        condition: the same for networks: without the keyframes' mean, in steps.
        step: (B, C, 1, 1, 1).
        mask: (1, 1, T, 1, 1), 1 at keyframes.
    """

    linear: Tensor
    condition: Tensor
    step: Tensor
    mask: Tensor

    def residual(self, latents: Tensor) -> Tensor:
        """What networks are to predict: (B, C, T, h, w) in steps, zero at keyframes.

        Args:
            latents: true ones, (B, C, T, h, w).
        """
        between = (latents - self.linear) / self.step
        return (between * (1 - self.mask)).clamp(-LIMIT, LIMIT)

    def latents(self, residual: Tensor) -> Tensor:
        """The inverse of `residual`, where that is within the limit."""
        return self.linear + residual * self.step


def condition(keys: Tensor, interpo_rate: int) -> Condition:
    """What is known from keyframes.

    Args:
        keys: their latents (B, C, K, h, w).
        interpo_rate: frames from one keyframe to the next.
    """
    rows = keys.unbind(2)
    mean = rows[0]
    for row in rows[1:]:  # one after the other: a sum of few terms whose order is fixed
        mean = mean + row
    mean = (mean / len(rows))[:, :, None]
    steps = keys[:, :, 1:] - keys[:, :, :-1]
    square = exact.mean_square(steps, (2, 3, 4)) if is_exact(keys) else steps.square().mean((2, 3, 4), keepdim=True)
    step = square.sqrt()
    floor = step.amax(1, keepdim=True) * SMALLEST_STEP
    step = torch.where(step > floor, step, torch.ones_like(step))
    linear = interpolate(keys, interpo_rate, 2)
    n_frame = linear.shape[2]
    return Condition(linear, (linear - mean) / step, step, mask(n_frame, interpo_rate, keys))
