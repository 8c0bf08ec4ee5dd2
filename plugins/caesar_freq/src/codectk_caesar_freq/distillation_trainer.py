"""Phase 3: the single-step network.

    window ─ keyframes ─ condition ─ network ─ residual ─ losses against the true residual      target truth
                                   └ teacher ─ sample ──────────────────────────┘               target teacher

For a squared error the mean of what is possible is best, and that is what the truth teaches; a sample has about twice
its error. So truth is the default, and needs no teacher. Errors count relative to those of interpolation in the same
plane of the same window, as bits do: half the error saves one bit a coefficient, whether it was large or small.

With `progressive`, copies of the teacher first learn to take two of its steps in one, down to a single step (Salimans
and Ho, 2022).
"""

import copy
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codectk.checkpoint import Checkpoint
from codectk.errors import OptionsError, WeightsError
from codectk.train import Run
from codectk_caesar_freq.architecture import DIFFUSION, STUDENT, FrequencyConfig, frequency_of, parts_of
from codectk_caesar_freq.learned.diffusion import Diffusion, ladder, missing_error
from codectk_caesar_freq.learned.latents import Latents, frequency_from
from codectk_caesar_freq.learned.parts import build, export_part, load_part
from codectk_caesar_freq.learned.windows import Condition
from codectk_caesar_freq.train_options import DistillationOptions
from codectk_caesar_freq.training import Objective, Phase

WEIGHT = 0.1
"""Of the two additional losses."""
SMALL = 0.1
"""Squared errors of interpolation, in steps, below which a plane counts less: much lower, and what is hardest to
predict learns nothing; much higher, and what is easiest gets worse."""
SIZES = (1, 2, 4)
"""The multi-resolution loss compares at full, half and quarter size."""


class DistillationTrainer(Phase):
    """Trainer of the single-step network.

    Args:
        options: what is trained, on what, how.
        run: device, log and saved states.

    Raises:
        InputError: data or weights of earlier phases are missing or damaged.
        WeightsError: those weights are something else.
        OptionsError: the options do not fit those weights, or the batch cannot be divided among the processes.
    """

    options: DistillationOptions
    files = ("student_best", "student_final", "student_epoch")

    def __init__(self, options: DistillationOptions, run: Run) -> None:
        self.frequency = frequency_from(options)
        self.latents = Latents(self.frequency, options.interpo_rate, options.keyframe_error)
        self.teacher = _teacher(options, self.frequency) if options.target == "teacher" else None
        self.teacher_steps = options.teacher_steps
        network = build(options.architecture(), self.frequency.latent_channels)
        super().__init__(options, run, network, self.latents.transform.cell, options.ema_decay)

    def objective(self, network: nn.Module) -> Objective:
        """See `Phase`."""
        return Distillation(self.run, network, self.latents, self.options, self.teacher, self.teacher_steps)

    def weights(self, network: nn.Module, epoch: int) -> Checkpoint:
        """See `Phase`."""
        options = self.options
        return export_part(
            STUDENT, network, options.architecture(), self.frequency, options.window(), self.record(epoch)
        )

    def train(self) -> None:
        """The plan."""
        if self.teacher is not None:
            self.teacher.to(self.run.device)
            if self.options.progressive:
                self._halve(self.teacher)
        super().train()

    def _halve(self, teacher: Diffusion) -> None:
        """Make the teacher's steps fewer, down to one."""
        run, options = self.run, self.options
        kept = Halved(copy.deepcopy(teacher))
        run.keep(halved=kept)
        count = options.teacher_steps or teacher.steps
        while count > 1:
            below = count // 2
            name = f"halve_{below}"
            if not run.finished(name):
                pupil = copy.deepcopy(kept.network).requires_grad_(True)
                objective = Halving(pupil, kept.network, self.latents, count)
                total = options.progressive_epochs * self.per_epoch
                for _ in self.steps(name, objective, pupil, total, options.lr):
                    pass
                kept.network.load_state_dict(pupil.state_dict())
                run.finish(name)
            count = below
        self.teacher, self.teacher_steps = kept.network, 1


class Halved(nn.Module):
    """The newest copy of the teacher.

    Args:
        network: it.
    """

    def __init__(self, network: Diffusion) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)


class Distillation(Objective):
    """The loss of phase 3.

    Args:
        run: precision.
        network: the single-step network.
        latents: of windows.
        options: which losses.
        teacher: whose samples are the target; None for the truth.
        teacher_steps: of sampling; None takes all, with noise between them.
    """

    def __init__(
        self,
        run: Run,
        network: nn.Module,
        latents: Latents,
        options: DistillationOptions,
        teacher: Diffusion | None,
        teacher_steps: int | None,
    ) -> None:
        super().__init__(run.autocast)
        self.network, self.latents, self.options = network, latents, options
        self._teacher = [] if teacher is None else [teacher]  # in a list, for it is no part of what is trained
        self.teacher_steps = teacher_steps

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Losses of windows (B, T, H, W)."""
        known, residual = self.latents.training(x)
        return self._losses(known, self._target(known, residual), self._scale(residual, known))

    def measure(self, x: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Squared errors against the truth, whatever the target: as in training, in steps, and of interpolation."""
        known, residual = self.latents.validation(x, noise)
        made, scale = self.network(known.condition, known.mask), self._scale(residual, known)
        figures = {"loss": missing_error(made * scale, residual * scale, known.mask)}
        figures["mse"] = missing_error(made, residual, known.mask)
        return figures | {"linear": missing_error(torch.zeros_like(residual), residual, known.mask)}

    def _scale(self, residual: Tensor, known: Condition) -> Tensor:
        """(B, C, 1, 1, 1) or 1: what errors are multiplied with, so that those of interpolation are nearer to 1."""
        if not self.options.balance:
            return torch.ones_like(residual[:1, :1, :1, :1, :1])
        linear = residual.square().mean((2, 3, 4), keepdim=True) / (1 - known.mask.mean())
        return (linear + SMALL).rsqrt()

    def _target(self, known: Condition, residual: Tensor) -> Tensor:
        if not self._teacher:
            return residual
        with torch.no_grad(), self.autocast():
            return self._teacher[0].sample(known, lambda step: torch.randn_like(residual), self.teacher_steps)

    def _losses(self, known: Condition, target: Tensor, scale: Tensor) -> dict[str, Tensor]:
        with self.autocast():
            made = self.network(known.condition, known.mask)
        made, target = made.float() * scale, target * scale
        losses = {"mse": missing_error(made, target, known.mask)}
        loss = losses["mse"]
        if self.options.use_perceptual_loss:
            losses["perceptual"] = multi_resolution_error(made, target)
            loss = loss + WEIGHT * losses["perceptual"]
        if self.options.use_frequency_loss:
            losses["frequency"] = spectral_error(made, target)
            loss = loss + WEIGHT * losses["frequency"]
        return {"loss": loss, **losses}


class Halving(nn.Module):
    """The loss of one halving: two steps of the teacher are one of the pupil.

    Args:
        network: the pupil.
        teacher: it stands still.
        latents: of windows.
        count: steps that the teacher takes.
    """

    def __init__(self, network: Diffusion, teacher: Diffusion, latents: Latents, count: int) -> None:
        super().__init__()
        self.network, self.latents = network, latents
        self._teacher = [teacher]
        self.steps = ladder(teacher.steps, count)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The loss of windows (B, T, H, W), all at one random pair of steps."""
        known, residual = self.latents.training(x)
        (teacher,) = self._teacher
        first = 2 * int(torch.randint(len(self.steps) // 2, ()))
        start, middle, end = [*self.steps, -1][first : first + 3]
        now, then = teacher.rates(start), teacher.rates(end)
        with torch.no_grad():
            state = teacher.noisy(residual, torch.randn_like(residual), start, known)
            between = teacher.descend(state, teacher.clean(state, known, start), start, middle)
            below = teacher.descend(between, teacher.clean(between, known, middle), middle, end)
            # The clean residual from which one step down would lead to where the teacher's two lead.
            ratio = then.noise / now.noise
            target = (below - state * ratio) / (then.signal - now.signal * ratio)
        return {"loss": missing_error(self.network.clean(state, known, start), target, known.mask)}


def multi_resolution_error(made: Tensor, target: Tensor) -> Tensor:
    """Mean of the squared errors at full, half and quarter size, by averages.

    Args:
        made, target: (B, C, T, h, w).
    """
    difference = (made - target).flatten(1, 2)
    sizes = [size for size in SIZES if size <= min(difference.shape[-2:])]
    return torch.stack([F.avg_pool2d(difference, size).square().mean() for size in sizes]).mean()


def spectral_error(made: Tensor, target: Tensor) -> Tensor:
    """Squared error of the magnitudes of orthonormal spectra in space, at most about the squared error itself.

    Args:
        made, target: (B, C, T, h, w).
    """
    magnitudes = [torch.fft.rfft2(v.float(), norm="ortho").abs() for v in (made, target)]
    return F.mse_loss(*magnitudes)


def _teacher(options: DistillationOptions, frequency: FrequencyConfig) -> Diffusion:
    """The teacher, checked against the options and phase 1."""
    path = Path(options.teacher_path or "")
    checkpoint = Checkpoint.open(path)
    if frequency_of(checkpoint) != frequency:
        raise WeightsError(f"{path} and {options.freq_compressor_path} have other transforms.", "Train phase 2 again.")
    teacher = load_part(checkpoint, DIFFUSION)
    config = parts_of(checkpoint)[DIFFUSION].model_dump()
    given = {"dim": options.unet_dim, "dim_mults": options.dim_mults or None}
    for name, value in given.items():
        if value is not None and config[name] != value:
            raise OptionsError(f"{path} was trained with {name} {config[name]}, not {value}.", "Leave that out.")
    if not isinstance(teacher, Diffusion):
        raise TypeError(f"{type(teacher).__name__} is no diffusion model")
    count = options.teacher_steps or teacher.steps
    if count > teacher.steps or (options.progressive and (teacher.steps % count or count & (count - 1))):
        rule = "a power of two that divides them" if options.progressive else "at most as many"
        raise OptionsError(
            f"{path} has {teacher.steps} steps; teacher_steps must be {rule}, not {count}.", "Change --teacher-steps."
        )
    return teacher
