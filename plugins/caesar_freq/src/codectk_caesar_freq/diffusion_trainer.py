"""Phase 2: the diffusion model of what linear interpolation in time leaves.

    window ─ keyframes ─ condition ─┐
           └ residual + noise ──────┴─ U-Net ─ squared error of its prediction at the missing frames

Validated by sampling, not by the loss: which weights sample best, the loss does not tell.
"""

import torch
from torch import Tensor, nn

from codectk.checkpoint import Checkpoint
from codectk.train import Run
from codectk_caesar_freq.architecture import DIFFUSION
from codectk_caesar_freq.learned.diffusion import Diffusion, missing_error
from codectk_caesar_freq.learned.latents import Latents, frequency_from
from codectk_caesar_freq.learned.parts import build, export_part
from codectk_caesar_freq.train_options import DiffusionOptions
from codectk_caesar_freq.training import Objective, Phase


class DiffusionTrainer(Phase):
    """Trainer of the diffusion model.

    Args:
        options: what is trained, on what, how.
        run: device, log and saved states.

    Raises:
        InputError: data or the weights of phase 1 are missing or damaged.
        WeightsError: those weights are something else.
        OptionsError: the options do not fit those weights, or the batch cannot be divided among the processes.
    """

    options: DiffusionOptions
    files = ("diffusion_best", "diffusion_final", "diffusion_epoch")

    def __init__(self, options: DiffusionOptions, run: Run) -> None:
        self.frequency = frequency_from(options)
        self.latents = Latents(self.frequency, options.interpo_rate, options.keyframe_error)
        network = build(options.architecture(), self.frequency.latent_channels)
        super().__init__(options, run, network, self.latents.transform.cell, options.ema_decay)

    def objective(self, network: nn.Module) -> Objective:
        """See `Phase`."""
        if not isinstance(network, Diffusion):
            raise TypeError(f"{type(network).__name__} is no diffusion model")
        return Denoising(self.run, network, self.latents, self.options.val_steps)

    def weights(self, network: nn.Module, epoch: int) -> Checkpoint:
        """See `Phase`."""
        options = self.options
        return export_part(
            DIFFUSION, network, options.architecture(), self.frequency, options.window(), self.record(epoch)
        )


class Denoising(Objective):
    """The loss of phase 2.

    Args:
        run: precision.
        network: the diffusion model.
        latents: of windows.
        val_steps: of sampling.
    """

    def __init__(self, run: Run, network: Diffusion, latents: Latents, val_steps: int) -> None:
        super().__init__(run.autocast)
        self.network, self.latents, self.val_steps = network, latents, val_steps

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Losses of windows (B, T, H, W)."""
        known, residual = self.latents.training(x)
        with self.autocast():
            return {"loss": self.network.loss(residual, known)}

    def measure(self, x: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Squared error of a sample, and of linear interpolation, in steps."""
        known, residual = self.latents.validation(x, noise)
        sample = self.network.sample(known, lambda step: torch.randn_like(residual), self.val_steps)
        error = missing_error(sample, residual, known.mask)
        return {"loss": error, "linear": missing_error(torch.zeros_like(residual), residual, known.mask)}
