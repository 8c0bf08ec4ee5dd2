"""One training step: the model, then its quantiles, then the discriminator, on the same batch.

x ─ model(q, β) ─ x_hat ─┬─ squared error
                         ├─ λ(q)·bpp                                  total, divided by λ^balance
                         ├─ LPIPS ······ times β                      with realism
                         └─ adversary ·· times β, relative to x, or to the model at q + 1
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from codectk.train import Run
from codectk_crdr.context import Part
from codectk_crdr.discriminators import Discriminator, make_discriminator
from codectk_crdr.entropy import straight_through
from codectk_crdr.knobs import Knobs
from codectk_crdr.losses import RATE_LOSSES, adversarial, discriminating, make_lpips, squared_error
from codectk_crdr.model import CompressionModel, Output
from codectk_crdr.train_options import GanOptions, OptimizerOptions, SchedulerOptions, TrainOptions

QUANTILES = "quantiles"
"""How the names of the parameters end that the auxiliary loss alone moves."""


@dataclass(frozen=True)
class Losses:
    """Of the model in one step.

    Attributes:
        loss: what it is to lower, a scalar.
        output: of the forward pass.
        terms: means of the terms by name, with their weights, without realism and balance; no gradient.
        mse, qbpp: (B,) squared error in [0, 1] and bits per pixel of rounded latents; no gradient.
    """

    loss: Tensor
    output: Output
    terms: dict[str, Tensor]
    mse: Tensor
    qbpp: Tensor


class Objective:
    """The losses of model and discriminator.

    Args:
        options: which losses, with which weights.
        run: precision and processes.
        model: as it is trained.

    Raises:
        WeightsError: the perceptual loss lacks its weights.
    """

    def __init__(self, options: TrainOptions, run: Run, model: CompressionModel) -> None:
        self.options, self.run, self.model = options, run, model
        self.rate = RATE_LOSSES[options.rate.type](options.rate, options.levels)
        self.lpips = make_lpips(options.perceptual_file) if options.perceptual == "lpips" else None
        self.discriminator: Discriminator | None = None
        if options.gan.type != "none":
            kind = options.discriminator
            self.discriminator = make_discriminator(kind, options.levels, options.latent_channels)

    def of_model(self, forward: nn.Module, x: Tensor, knobs: Knobs, step: int) -> Losses:
        """The model's losses.

        Args:
            forward: the model, wrapped for several processes.
            x: (B, 3, H, W) in [-1, 1].
            knobs: what is asked of it.
            step: iteration, for schedules.
        """
        options, run = self.options, self.run
        with run.autocast():
            output: Output = forward(x, knobs.q, knobs.beta)
        pixels = x.shape[2] * x.shape[3]
        bpp, qbpp = output.bits / pixels, output.rounded_bits / pixels
        seen = qbpp if options.sampling == "sample" else run.all_reduce(qbpp.mean())[None]
        weight = self.rate.weight(knobs.q, seen, step)
        mse = squared_error(x, output.x_hat)
        terms = {"distortion": options.mse_weight * mse, "rate": weight * bpp}
        apart = {}
        if self.lpips is not None:
            with run.autocast():
                apart["perceptual"] = options.perceptual_weight * self.lpips(x, output.x_hat)
        if self.discriminator is not None:
            apart["adv"] = options.gan.weight * self._adversarial(x, output, knobs)
        weighted = options.beta_weighting and knobs.beta is not None
        realism = knobs.beta if weighted else 1.0
        whole = sum([*terms.values(), *(realism * term for term in apart.values())], x.new_zeros(len(x)))
        loss = (whole / weight**options.balance).mean()
        means = {name: term.detach().mean() for name, term in (terms | apart).items()}
        return Losses(loss, output, means, mse.detach(), qbpp.detach())

    def _adversarial(self, x: Tensor, output: Output, knobs: Knobs) -> Tensor:
        """(B,); the discriminator, which stands still, scores x_hat beside its reference."""
        assert self.discriminator is not None
        kind = self.options.gan.type
        y_hat = output.y_hat.detach()
        real = None
        if kind != "gan":
            reference = self.reference(x, knobs) if kind == "hrrgan" else x
            with torch.no_grad(), self.run.autocast():
                real = self.discriminator(reference, y_hat, knobs.q).float()
        with self.run.autocast():
            fake = self.discriminator(output.x_hat, y_hat, knobs.q)
        return adversarial(kind, fake.float(), real)

    @torch.no_grad()
    def reference(self, x: Tensor, knobs: Knobs) -> Tensor:
        """Each picture as the model decodes it one level higher; as it is where there is no higher level."""
        assert knobs.q is not None
        higher = knobs.q + self.options.gan.relative_score_rate_delta
        has_one = (higher <= self.options.levels - 1).expand(len(x))
        if not has_one.any():
            return x
        rows = has_one.nonzero().flatten()
        q, beta = (v if v is None or len(v) == 1 else v[rows] for v in (higher, knobs.beta))
        with self.run.autocast():
            decoded = reconstruct(self.model, x[rows], q, beta)
        return decoded if len(rows) == len(x) else x.index_copy(0, rows, decoded)


def reconstruct(model: CompressionModel, x: Tensor, q: Tensor | None, beta: Tensor | None) -> Tensor:
    """x_hat alone: a forward pass without likelihoods."""
    y = model.encoder(x, q)
    z_hat = straight_through(model.hyperencoder(y).float(), model.entropy_model_z.medians)

    def quantise(part: Part, means: Tensor, scales: Tensor) -> Tensor:
        return straight_through(part.take(y), means.float())

    return model.decoder(model.context_model(model.hyperdecoder(z_hat), quantise), q, beta).float()  # type: ignore[no-any-return]


class Judge(nn.Module):
    """The discriminator and its loss in one module, so that several processes share all gradients."""

    def __init__(self, discriminator: Discriminator, options: GanOptions, run: Run) -> None:
        super().__init__()
        self.discriminator, self.options, self._run = discriminator, options, run

    def forward(self, x: Tensor, x_hat: Tensor, y_hat: Tensor, q: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and means by name for the log."""
        with self._run.autocast():
            fake, real = (self.discriminator(v, y_hat, q).float() for v in (x_hat, x))
        verdict = discriminating(self.options.type, fake, real)
        drift = self.options.drift * (fake.square().mean() + real.square().mean()) / 2
        # Parts of levels that were not drawn get zeros, as several processes must agree on what has a gradient.
        nothing = torch.stack([p.sum() for p in self.discriminator.parameters()]).sum() * 0
        shown = {"d_real": verdict.real, "d_fake": verdict.fake, "d_total": verdict.total}
        shown |= {"out_d_real": real.mean(), "out_d_fake": fake.mean()}
        return verdict.total + drift + nothing, {name: value.detach() for name, value in shown.items()}


def make_optimizer(options: OptimizerOptions, named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    """An optimizer whose groups have a `factor` for their learning rate."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named:
        factors = [part.lr_mult for part in options.paramwise_opt if any(key in name for key in part.keys)]
        groups.setdefault(factors[0] if factors else 1.0, []).append(parameter)
    made = [{"params": parameters, "factor": factor} for factor, parameters in groups.items()]
    if options.type == "SGD":
        return torch.optim.SGD(made, options.lr, options.momentum, weight_decay=options.weight_decay)
    betas = (options.betas[0], options.betas[1])
    return torch.optim.Adam(made, options.lr, betas, weight_decay=options.weight_decay, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def rate_factor(options: SchedulerOptions, step: int, total: int) -> float:
    """The learning rate at an iteration, counted from 0, over that of the optimizer."""
    up = min(1.0, (step + 1) / (options.warmup + 1))
    if options.type == "MultiStepLR":
        return up * float(options.gamma ** sum(step >= milestone for milestone in options.milestones))
    if options.type == "cosine":
        falling = (1 + math.cos(math.pi * step / total)) / 2
        return up * (options.floor + (1 - options.floor) * falling)
    return up


class Window:
    """Sums of what is logged since the last row; they stay on the device, for fetching values makes a GPU wait."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, name: str, total: Tensor, count: Tensor | int = 1) -> None:
        """The sum of some values, and how many they are, which may be none."""
        total = total.detach().float()
        pair = torch.stack([total, torch.as_tensor(count, dtype=torch.float32, device=total.device)])
        # Sums of a resumed run come from a file, and so are on the CPU.
        self.sums[name] = self.sums[name].to(pair) + pair if name in self.sums else pair

    def means(self, run: Run) -> dict[str, float]:
        """Means since the last call, over all processes; names without any value are left out."""
        found = {name: run.all_reduce(pair).tolist() for name, pair in self.sums.items()}
        self.sums = {}
        return {name: total / count for name, (total, count) in found.items() if count}

    def state_dict(self) -> dict[str, Any]:
        """For saving."""
        return dict(self.sums)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take on a state."""
        self.sums = dict(state)
