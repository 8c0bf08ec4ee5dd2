"""The diffusion model of a window's residuals: noise schedule, loss, and samplers.

    residual · GAIN ─ x ─ x_t = a_t·x + s_t·noise at the missing frames, 0 at keyframes ─ U-Net ─ v, x or noise

Cosine schedule (Nichol and Dhariwal, 2021), v-prediction (Salimans and Ho, 2022), ancestral sampling (Ho et al., 2020)
and DDIM (Song et al., 2021). The tables are computed once and kept in the weights, in double precision.

Noise of the samplers depends on a window's own seed and the step, not on its place in a batch.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codectk.errors import WeightsError
from codectk_caesar_freq.learned.unet import UNet
from codectk_caesar_freq.learned.windows import LIMIT, Condition

Prediction = Literal["v", "x0", "eps"]

OFFSET = 0.008
LARGEST_BETA = 0.9999
GAIN = 2.0
"""Residuals have a deviation of about a half, and diffusion wants one."""
UNIFORMS = 12
"""Whose sum, less 6, has mean 0 and variance 1."""

Noise = Callable[[int], Tensor]
"""step → noise of the state's shape; -1 is the start."""


class Rates(NamedTuple):
    """Of the state at a step: `signal`·x + `noise`·noise, with signal² + noise² = 1."""

    signal: float
    noise: float


class Diffusion(nn.Module):
    """A U-Net and its schedule.

    Args:
        network: with as many steps in its table.
        steps: of the schedule.
        prediction: what the network gives.
    """

    def __init__(self, network: UNet, steps: int = 32, prediction: Prediction = "v") -> None:
        super().__init__()
        self.network, self.steps, self.prediction = network, steps, prediction
        self.register_buffer("signal_power", _signal_powers(steps))

    def rates(self, step: int) -> Rates:
        """At a step; -1 is where nothing is noise."""
        power = 1.0 if step < 0 else float(self._powers[step])
        return Rates(math.sqrt(power), math.sqrt(1 - power))

    def check(self) -> None:
        """Make sure of a schedule that comes from a file.

        Raises:
            WeightsError: it is none.
        """
        powers = [1.0, *self._powers.tolist(), 0.0]
        if len(powers) != self.steps + 2 or any(later >= earlier for earlier, later in pairwise(powers)):
            raise WeightsError("The weights' noise schedule is damaged.", "Train the diffusion model again.")

    def noisy(self, residual: Tensor, noise: Tensor, step: int, known: Condition) -> Tensor:
        """The state of a residual in steps, with noise of a step of the diffusion."""
        signal, scale = self.rates(step)
        clean = residual * (GAIN * signal)
        return (clean + noise * scale) * (1 - known.mask)

    def loss(self, residual: Tensor, known: Condition) -> Tensor:
        """Squared error of what the network is to predict, at the missing frames, at random steps of the diffusion.

        Args:
            residual: (B, C, T, h, w) in steps, zero at keyframes.
            known: of the same windows.
        """
        x = residual * GAIN
        times = torch.randint(self.steps, (len(x),), device=x.device)
        powers = self._powers[times].to(x).view(-1, 1, 1, 1, 1)
        signal, scale, noise = powers.sqrt(), (1 - powers).sqrt(), torch.randn_like(x)
        state = (signal * x + scale * noise) * (1 - known.mask)
        targets = {"v": signal * noise - scale * x, "x0": x, "eps": noise}
        made = self.network(state, known.condition, known.mask, times)
        return missing_error(made, targets[self.prediction], known.mask)

    def clean(self, state: Tensor, known: Condition, step: int) -> Tensor:
        """The x that the network sees in a state: (B, C, T, h, w), zero at keyframes."""
        signal, scale = self.rates(step)
        times = torch.full((len(state),), step, device=state.device)
        made: Tensor = self.network(state, known.condition, known.mask, times)
        if self.prediction == "v":
            made = state * signal - made * scale
        elif self.prediction == "eps":
            made = (state - made * scale) / signal
        bound = LIMIT * GAIN
        return made.clamp(-bound, bound) * (1 - known.mask)

    def sample(self, known: Condition, noise: Noise, sampling_steps: int | None = None) -> Tensor:
        """A residual in steps, (B, C, T, h, w), zero at keyframes.

        Args:
            known: what is known of the windows.
            noise: of the start and of each step.
            sampling_steps: fewer steps without noise between them (DDIM); None takes all, with noise (ancestral).
        """
        free = 1 - known.mask
        state = noise(-1) * free
        steps = ladder(self.steps, sampling_steps or self.steps)
        for step, below in zip(steps, [*steps[1:], -1], strict=True):
            x = self.clean(state, known, step)
            if sampling_steps is None:
                state = self._ancestor(state, x, step, noise)
            else:
                state = self.descend(state, x, step, below)
            state = state * free
        return state / GAIN

    def descend(self, state: Tensor, x: Tensor, step: int, below: int) -> Tensor:
        """DDIM: the state at a lower step with the same noise.

        Args:
            state: at `step`.
            x: clean, as the network sees it there.
            step, below: from where to where; -1 is clean.
        """
        now, then = self.rates(step), self.rates(below)
        guessed = (state - x * now.signal) / now.noise
        kept = x * then.signal
        return kept + guessed * then.noise

    def _ancestor(self, state: Tensor, x: Tensor, step: int, noise: Noise) -> Tensor:
        """A draw of the state one step below, given x."""
        if step == 0:
            return x
        power, before = float(self._powers[step]), float(self._powers[step - 1])
        alpha = power / before
        beta = 1 - alpha
        mean = x * (math.sqrt(before) * beta / (1 - power))
        mean = mean + state * (math.sqrt(alpha) * (1 - before) / (1 - power))
        return mean + noise(step) * math.sqrt(beta * (1 - before) / (1 - power))

    @property
    def _powers(self) -> Tensor:
        return self.get_buffer("signal_power")


def missing_error(made: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error at the missing frames.

    Args:
        made, target: (B, C, T, h, w).
        mask: (1, 1, T, 1, 1), 1 at keyframes.
    """
    share = 1 - mask.mean()
    return F.mse_loss(made * (1 - mask), target * (1 - mask)) / share


def ladder(steps: int, count: int) -> list[int]:
    """So many of the steps 0 … steps - 1, evenly spread, from the last down."""
    return [(i + 1) * steps // count - 1 for i in reversed(range(count))]


def seeded_noise(seeds: Sequence[tuple[int, int]], shape: Sequence[int]) -> Noise:
    """Noise of some windows, the same on every machine, nearly normal (sums of twelve uniform numbers).

    Args:
        seeds: of the windows: two numbers from 0 to 2^63 - 1.
        shape: of one window's state.
    """
    count = math.prod(shape)

    def noise(step: int) -> Tensor:
        rows = []
        for seed, number in seeds:
            # Of numpy's generators, only the raw bits are promised to stay the same.
            raw = np.random.Philox(counter=[0, 0, 0, step + 1], key=[seed, number]).random_raw(count * UNIFORMS // 2)
            halves = raw.view(np.uint32).reshape(count, UNIFORMS).astype(np.int64).sum(1)
            rows.append(torch.from_numpy(halves.astype(np.float64) * 2.0**-32 - UNIFORMS / 2).view(*shape))
        return torch.stack(rows)

    return noise


def _signal_powers(steps: int) -> Tensor:
    """(steps,) float64: share of the signal in the state's variance, by a cosine."""
    powers, before = [], 1.0
    start = math.cos(OFFSET / (1 + OFFSET) * math.pi / 2) ** 2
    for step in range(steps):
        angle = ((step + 1) / steps + OFFSET) / (1 + OFFSET) * math.pi / 2
        ideal = math.cos(angle) ** 2 / start
        earlier = math.cos((step / steps + OFFSET) / (1 + OFFSET) * math.pi / 2) ** 2 / start
        before *= 1 - min(LARGEST_BETA, 1 - ideal / earlier)
        powers.append(before)
    return torch.tensor(powers, dtype=torch.float64)
