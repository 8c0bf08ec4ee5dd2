"""Prediction of the frames between keyframes, with the same bits on every machine.

    keyframes ─┬─ linear in time ────────────────────────────────────────┐
               └─ planes ─ condition ─ network in double precision ─ residual ─ inverse transform ─ + ─ frames

All planes are interpolated linearly; the network adds its residual in the first ones. Large fields are cut into tiles,
each with its own scale; the sides of a tile are extended to the transform's cell.
"""

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codectk.checkpoint import Checkpoint
from codectk.errors import InputError, OptionsError, WeightsError
from codectk_caesar_freq.architecture import (
    DIFFUSION,
    STUDENT,
    FrequencyConfig,
    WindowConfig,
    frequency_of,
    parts_of,
    window_of,
)
from codectk_caesar_freq.learned.diffusion import Diffusion, seeded_noise
from codectk_caesar_freq.learned.frequency import FrequencyTransform
from codectk_caesar_freq.learned.parts import load_part
from codectk_caesar_freq.learned.windows import LIMIT, condition, interpolate, keyframes

Method = Literal["linear", "student", "teacher"]

LARGEST = 2.0**1000
"""Values beyond are refused: differences of them would not be finite."""
SMALLEST_SPAN = 2.0**-800
"""A tile whose values span less is predicted linearly."""


class Predictor:
    """Predicts windows from their keyframes.

    Args:
        frequency: transform, and number of planes.
        window: the largest tile.
        student: single-step network, in double precision, if there is one.
        teacher: diffusion model, likewise.
    """

    def __init__(
        self,
        frequency: FrequencyConfig,
        window: WindowConfig,
        student: nn.Module | None = None,
        teacher: Diffusion | None = None,
    ) -> None:
        self.transform = FrequencyTransform(frequency.wavelet, frequency.dct_block_size)
        self.channels, self.tile = frequency.latent_channels, window.tile
        self.student, self.teacher = student, teacher

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> "Predictor":
        """From weights with any of the parts.

        Raises:
            WeightsError: they are of another codec, or damaged.
        """
        there = parts_of(checkpoint)
        networks = {name: load_part(checkpoint, name).double() for name in (STUDENT, DIFFUSION) if name in there}
        teacher = networks.get(DIFFUSION)
        return cls(
            frequency_of(checkpoint),
            window_of(checkpoint),
            networks.get(STUDENT),
            teacher if isinstance(teacher, Diffusion) else None,
        )

    @property
    def methods(self) -> tuple[Method, ...]:
        """What the weights can be used for."""
        networks: dict[Method, nn.Module | None] = {"student": self.student, "teacher": self.teacher}
        return ("linear", *(name for name, network in networks.items() if network is not None))

    @torch.no_grad()
    def predict(
        self,
        keys: NDArray[Any],
        method: Method,
        n_frame: int,
        interpo_rate: int,
        seed: int = 0,
        sampling_steps: int | None = None,
    ) -> NDArray[np.float64]:
        """The frames of a window that are no keyframes.

        Args:
            keys: decoded keyframes, float32 or float64, (K, H, W), finite; any H and W.
            method: linear interpolation, the single-step network or the diffusion model.
            n_frame: frames in the window, (K - 1)·interpo_rate + 1.
            interpo_rate: frames from one keyframe to the next.
            seed: of the diffusion's noise, from 0; windows should have different ones.
            sampling_steps: of the diffusion: so many without noise between them (DDIM); None takes all, with noise.

        Returns:
            (n_frame - K, H, W).

        Raises:
            OptionsError: the window does not fit, or the weights lack what the method needs.
            InputError: a value is not finite.
            WeightsError: the network's answer is not finite.
        """
        x = self._checked(keys, method, n_frame, interpo_rate, sampling_steps)
        made = interpolate(x, interpo_rate, 0)
        if method != "linear":
            for number, (rows, columns) in enumerate(self._tiles(x.shape[1], x.shape[2])):
                part = x[:, rows, columns]
                made[:, rows, columns] += self._residual(part, method, interpo_rate, (seed, number), sampling_steps)
        return made[[t for t in range(n_frame) if t % interpo_rate]].numpy()

    def _checked(
        self, keys: NDArray[Any], method: Method, n_frame: int, interpo_rate: int, sampling_steps: int | None
    ) -> Tensor:
        """The keyframes in double precision, if `predict` can do what it is asked to."""
        count = len(keyframes(n_frame, interpo_rate))
        if keys.ndim != 3 or len(keys) != count or 0 in keys.shape:
            raise OptionsError(
                f"A window of {n_frame} frames has {count} keyframes, not an array {keys.shape}.",
                "Give (K, H, W) with K = (n_frame - 1) / interpo_rate + 1.",
            )
        if method not in self.methods:
            known = ", ".join(self.methods)
            raise OptionsError(f"These weights cannot predict by '{method}'.", f"They can by {known}.")
        if sampling_steps is not None and self.teacher and not 1 <= sampling_steps <= self.teacher.steps:
            raise OptionsError(f"{sampling_steps} sampling steps.", f"Choose from 1 to {self.teacher.steps}.")
        x = torch.from_numpy(np.array(keys, dtype=np.float64))
        if not bool((x.abs() < LARGEST).all()):  # NaN is not below it either
            raise InputError("A keyframe holds values that are not finite.", "Replace them before predicting.")
        return x

    def _tiles(self, height: int, width: int) -> Iterator[tuple[slice, slice]]:
        for top in range(0, height, self.tile):
            for left in range(0, width, self.tile):
                yield slice(top, min(height, top + self.tile)), slice(left, min(width, left + self.tile))

    def _residual(
        self, keys: Tensor, method: Method, interpo_rate: int, place: tuple[int, int], sampling_steps: int | None
    ) -> Tensor:
        """What the network adds to linear interpolation: (T, H, W), zero at keyframes.

        Args:
            keys: of one tile, (K, H, W).
            method, interpo_rate, sampling_steps: see `predict`.
            place: seed of the window, and number of the tile.
        """
        low, high = keys.amin(), keys.amax()
        span = high - low
        if float(span) < SMALLEST_SPAN:
            return keys.new_zeros(())
        # The scale is a power of two, so that dividing by it and multiplying again are exact.
        scale = math.ldexp(1.0, math.frexp(float(span))[1])
        planes = self.transform.forward(extended((keys - low) / scale, self.transform.cell))
        known = condition(planes[:, : self.channels].transpose(0, 1)[None], interpo_rate)
        if method == "teacher" and self.teacher is not None:
            noise = seeded_noise([place], known.linear.shape[1:])
            residual = self.teacher.sample(known, noise, sampling_steps)
        elif self.student is not None:
            residual = self.student(known.condition, known.mask).clamp(-LIMIT, LIMIT)
        if not bool(residual.isfinite().all()):
            raise WeightsError("The weights predict values that are not finite.", "Train them again.")
        frames = self.transform.inverse((residual * known.step)[0].transpose(0, 1))
        return frames[:, : keys.shape[1], : keys.shape[2]] * scale


def extended(x: Tensor, cell: int) -> Tensor:
    """(K, H, W), mirrored below and on the right to multiples of the cell."""
    for dim in (1, 2):
        size = x.shape[dim]
        places = [i % (2 * size) for i in range(math.ceil(size / cell) * cell)]
        x = x.index_select(dim, torch.tensor([i if i < size else 2 * size - 1 - i for i in places]))
    return x
