"""Losses: distortion, perception, rate and adversary. All but the discriminator's are one number for each crop.

Sources: Mentzer et al., "High-Fidelity Generative Image Compression", NeurIPS 2020 (the rate's two weights);
Jolicoeur-Martineau, "The relativistic discriminator", ICLR 2019; Iwai et al., "Controlling Rate, Distortion, and
Realism", WACV 2024 (a higher rate as reference).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from codectk.errors import WeightsError
from codectk.perceptual.lpips import Lpips
from codectk_crdr.train_options import RateOptions, ScheduleOptions


def squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """Mean squared error (B,) of values in [0, 1].

    Args:
        x, x_hat: (B, 3, H, W) in [-1, 1].
    """
    return (x - x_hat).square().mean((1, 2, 3)) / 4


def make_lpips(file: str | None) -> Lpips:
    """LPIPS with AlexNet.

    Args:
        file: its weights; None for those of the folder that the environment names.

    Raises:
        WeightsError: they are not there.
    """
    try:
        return Lpips(file)
    except WeightsError as error:
        step = f"{error.next_step} Or train without it: --perceptual none."
        raise WeightsError(error.problem, step) from None


def factor(schedule: ScheduleOptions | None, step: int) -> float:
    """What a schedule says at an iteration; 1 without one."""
    if schedule is None:
        return 1.0
    return schedule.vals[sum(step >= start for start in schedule.steps)]


class RateLoss:
    """One weight for all."""

    def __init__(self, options: RateOptions, levels: int = 1) -> None:
        self.options, self.levels = options, levels

    def weight(self, q: Tensor | None, qbpp: Tensor, step: int) -> Tensor:
        """λ, (1,) or (B,), by which bpp is multiplied.

        Args:
            q: (1,) or (B,) qualities; None for models of one rate.
            qbpp: (1,) or (B,) bits per pixel of the rounded latents.
            step: iteration, for schedules.
        """
        return self.upper(q, step).to(qbpp)

    def upper(self, q: Tensor | None, step: int) -> Tensor:
        """λ_A, (1,) or (B,): the weight without regard to a target."""
        return torch.tensor([self.options.lambda_a[0] * factor(self.options.lambda_schedule, step)])


class HificRateLoss(RateLoss):
    """λ_A above the target, λ_B at or below it."""

    def weight(self, q: Tensor | None, qbpp: Tensor, step: int) -> Tensor:
        """λ; see `RateLoss.weight`."""
        upper, target = self.upper(q, step).to(qbpp), self.target(q, step).to(qbpp)
        lower = upper.new_tensor(self.options.lambda_b * factor(self.options.lambda_schedule, step))
        return torch.where(qbpp > target, upper, lower)

    def target(self, q: Tensor | None, step: int) -> Tensor:
        """(1,) or (B,) bits per pixel."""
        return torch.tensor([self.options.target[0] * factor(self.options.target_rate_schedule, step)])


class HificVariableRateLoss(HificRateLoss):
    """The same with λ_A and a target for each level; between levels λ_A goes on in log, the target linearly."""

    def upper(self, q: Tensor | None, step: int) -> Tensor:
        """λ_A; see `RateLoss.upper`."""
        return between(torch.tensor(self.options.lambda_a).log(), q).exp() * factor(self.options.lambda_schedule, step)

    def target(self, q: Tensor | None, step: int) -> Tensor:
        """(1,) or (B,) bits per pixel."""
        values = self.options.target
        table = torch.tensor(values * self.levels if len(values) == 1 else values)
        return between(table, q) * factor(self.options.target_rate_schedule, step)


def between(table: Tensor, q: Tensor | None) -> Tensor:
    """Linear interpolation (1,) or (B,) of a table (L,) at qualities; without a quality its first value."""
    if q is None:
        return table[:1]
    table = table.to(q.device)
    left = q.floor().long().clamp(max=len(table) - 1)
    right = (left + 1).clamp(max=len(table) - 1)
    return torch.lerp(table[left], table[right], (q - left).to(table.dtype))


RATE_LOSSES: dict[str, type[RateLoss]] = {
    "plain": RateLoss,
    "hific": HificRateLoss,
    "hific_variable": HificVariableRateLoss,
}


def adversarial(kind: str, fake: Tensor, real: Tensor | None) -> Tensor:
    """What the generator is to lower, (B,).

    Args:
        kind: `gan`, `rgan`, `ragan` or `hrrgan`.
        fake: logits (B, 1, h, w) of x_hat.
        real: logits of x, of the next higher rate for `hrrgan`; no gradient goes there. Not needed for `gan`.
    """
    if kind == "gan" or real is None:
        return _mean(F.softplus(-fake))
    real = real.detach()
    if kind == "ragan":
        return (_mean(F.softplus(real - fake.mean())) + _mean(F.softplus(real.mean() - fake))) / 2
    return _mean(F.softplus(real - fake))


@dataclass(frozen=True)
class Verdict:
    """Losses of the discriminator, scalars.

    Attributes:
        real, fake: the halves that move it at x and at x_hat, not yet halved.
    """

    real: Tensor
    fake: Tensor

    @property
    def total(self) -> Tensor:
        """What it is to lower."""
        return (self.real + self.fake) / 2


def discriminating(kind: str, fake: Tensor, real: Tensor) -> Verdict:
    """The discriminator's loss; both logits (B, 1, h, w) with gradient to its parameters.

    In the relativistic kinds each half moves one of the two alone, as published: the other stands still in it.
    """
    if kind == "gan":
        return Verdict(F.softplus(-real).mean(), F.softplus(fake).mean())
    still_fake, still_real = fake.detach(), real.detach()
    if kind == "ragan":
        return Verdict(F.softplus(still_fake.mean() - real).mean(), F.softplus(fake - still_real.mean()).mean())
    return Verdict(F.softplus(still_fake - real).mean(), F.softplus(fake - still_real).mean())


def _mean(logits: Tensor) -> Tensor:
    """Mean over positions, (B,)."""
    return logits.mean(tuple(range(1, logits.dim())))
