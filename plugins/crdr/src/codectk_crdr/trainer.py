"""The trainer of all stages: what is drawn, computed, stepped, validated and kept.

every iteration: draw q and β ─ model ─ skip? ─ clip, step ─ quantiles ─ discriminator ─ log
"""

from importlib.metadata import version
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from codectk.checkpoint import Checkpoint
from codectk.train import Run
from codectk_crdr.data import Pictures
from codectk_crdr.evaluation import validate
from codectk_crdr.knobs import Knobs, draw_knobs
from codectk_crdr.model import CompressionModel
from codectk_crdr.pretrained import find_pretrained, take
from codectk_crdr.start import linear_start, zero_condition
from codectk_crdr.train_options import TrainOptions
from codectk_crdr.training import (
    QUANTILES,
    Judge,
    Losses,
    Objective,
    Window,
    make_optimizer,
    rate_factor,
    set_rate,
)

Net = TypeVar("Net", bound=nn.Module)

DISTRIBUTION = "codectk-crdr"

PHASE = "train"

LARGEST_LOSS = 10_000.0
"""Steps of a larger loss are skipped."""

START_BATCHES = 16
"""Whose crops the linear start is made of."""


class CrdrTrainer:
    """Trainer of all stages.

    Args:
        options: what is trained, on what, how.
        run: device, log and saved states.

    Raises:
        InputError: pictures or earlier weights are missing.
        WeightsError: earlier weights do not fit, or the perceptual loss lacks its own.
    """

    def __init__(self, options: TrainOptions, run: Run) -> None:
        self.options, self.run = options, run
        run.share(options.batch_size)
        self.model_options = options.architecture()
        self.model = CompressionModel(self.model_options)
        self.objective = Objective(options, run, self.model)
        if not run.finished("start"):
            if options.condition_start == "zero":
                zero_condition(self.model)
            if options.pretrained is not None:
                path = find_pretrained(options.pretrained, run, options.ckpt_root)
                run.message(f"{path}: {take(self.model, path)}")
        self.pictures = Pictures(options, run)
        self.window = Window()
        run.keep(model=self.model, pictures=self.pictures)

    def train(self) -> None:
        """The plan."""
        run, options = self.run, self.options
        if not run.finished("start"):
            if options.start == "linear":
                load = self.pictures.batches("start", options)
                crops = torch.cat([load(i) for i in range(START_BATCHES)])
                linear_start(self.model, crops, options.rate.lambda_a)
            run.finish("start")
        self._prepare()
        load = self.pictures.batches("train", options)
        for step, batch in run.steps(PHASE, options.total_iter, load, **self._parts()):
            self._iterate(step, batch.to(run.device, memory_format=torch.channels_last))
            done = step + 1
            if done % run.options.log_every == 0:
                run.log(**self.window.means(run))
            if options.eval_pictures and (done % options.eval_step == 0 or done == options.total_iter):
                self._validate(done)

    def _prepare(self) -> None:
        """Modules on their device, what is trained, and its optimizers."""
        run, optim = self.run, self.options.optim
        for name, parameter in self.model.named_parameters():
            trained = name.partition(".")[0] not in self.options.freeze
            # The quantiles' loss is the same in all processes, which therefore need not share its gradient.
            parameter.requires_grad_(trained and not name.endswith(QUANTILES))
        self.forward = run.setup(_channels_last(self.model))
        named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.trained = list(named.values())
        self.optimizer = make_optimizer(optim.g_optimizer, named.items())
        self.auxiliary: torch.optim.Optimizer | None = None
        if "entropy_model_z" not in self.options.freeze:
            self.model.entropy_model_z.quantiles.requires_grad_()
            self.auxiliary = make_optimizer(optim.aux_optimizer, [(QUANTILES, self.model.entropy_model_z.quantiles)])
        if self.objective.lpips is not None:
            self.objective.lpips.to(run.device)
        self.adversary: torch.optim.Optimizer | None = None
        discriminator = self.objective.discriminator
        if discriminator is not None:
            self.judge = run.setup(Judge(_channels_last(discriminator), self.options.gan.type, run))
            self.adversary = make_optimizer(optim.d_optimizer, discriminator.named_parameters())
        self.model.train()

    def _parts(self) -> dict[str, Any]:
        """What is saved besides the model."""
        parts: dict[str, Any] = {"optimizer": self.optimizer, "auxiliary": self.auxiliary, "window": self.window}
        parts |= {"discriminator": self.objective.discriminator, "adversary": self.adversary}
        return {name: part for name, part in parts.items() if part is not None}

    def _iterate(self, step: int, x: Tensor) -> None:
        options, run = self.options, self.run
        drawn = draw_knobs(options, run.rng("q", step), run.share(options.batch_size))
        knobs = Knobs(*(None if v is None else v.to(run.device) for v in (drawn.q, drawn.beta)))
        optim = options.optim
        set_rate(self.optimizer, optim.g_optimizer.lr * rate_factor(optim.g_scheduler, step, options.total_iter))
        if self.objective.discriminator is not None:
            self.objective.discriminator.requires_grad_(False)
        losses = self.objective.of_model(self.forward, x, knobs, step)
        self.optimizer.zero_grad()
        run.backward(losses.loss)
        run.clip_gradients(self.trained, optim.clip_max_norm)
        self.optimizer.step()
        if self.auxiliary is not None:
            self.auxiliary.zero_grad()
            aux = self.model.aux_loss()
            aux.backward()  # type: ignore[no-untyped-call]
            self.auxiliary.step()
            self.window.add("aux", aux)
        self._record(losses, knobs)
        if self.adversary is not None:
            self._step_discriminator(step, x, losses, knobs)

    def _step_discriminator(self, step: int, x: Tensor, losses: Losses, knobs: Knobs) -> None:
        discriminator, adversary = self.objective.discriminator, self.adversary
        assert discriminator is not None and adversary is not None
        options = self.options.optim
        factor = rate_factor(options.d_scheduler, step, self.options.total_iter)
        set_rate(adversary, options.d_optimizer.lr * factor)
        discriminator.requires_grad_(True)
        adversary.zero_grad()
        output = losses.output
        loss, shown = self.judge(x, output.x_hat.detach(), output.y_hat.detach(), knobs.q)
        loss.backward()
        adversary.step()
        for name, value in shown.items():
            self.window.add(name, value)

    def _record(self, losses: Losses, knobs: Knobs) -> None:
        """Take the step into the window of the log: means, and rate and PSNR of the crops nearest to each level."""
        window = self.window
        window.add("qbpp", losses.qbpp.mean())
        for name, value in losses.terms.items():
            window.add(name, value)
        window.add("loss", losses.loss)
        if knobs.q is None:
            return
        psnr = -10 * losses.mse.log10()
        for level in range(self.options.levels):
            near = ((knobs.q - level).abs() <= 0.5).expand(len(psnr))
            count = near.sum()
            window.add(f"bpp_{level + 1}", (losses.qbpp * near).sum(), count)
            window.add(f"psnr_{level + 1}", (psnr * near).sum(), count)

    def _validate(self, done: int) -> None:
        options = self.options
        truncate = options.compat == "original"
        results = validate(self.model, self.pictures.val, self.run, options.eval_pictures, truncate)
        for level, result in enumerate(results, 1):
            mark = f"_{level}" if len(results) > 1 else ""
            values = {"bpp": result.bpp, "psnr": result.psnr, "ms_ssim": result.ms_ssim}
            self.run.log(**{f"val_{name}{mark}": value for name, value in values.items()})
            place = f"iteration {done}, level {level}" if mark else f"iteration {done}"
            self.run.message(f"{place}: {result.psnr:.2f} dB at {result.bpp:.4f} bpp, MS-SSIM {result.ms_ssim:.4f}")

    @torch.no_grad()
    def export(self) -> Checkpoint:
        """Weights."""
        tensors = {name: value.detach().cpu().float().numpy() for name, value in self.model.state_dict().items()}
        training: dict[str, Any] = {"options": self.options.changed(), "seed": self.run.options.seed}
        return Checkpoint(
            tensors=tensors,
            codec="crdr",
            distribution=DISTRIBUTION,
            version=version(DISTRIBUTION),
            bitstream_version=1,
            config=self.model_options.changed(),
            training=training,
            licence="that of the training data",
        )


def _channels_last(module: Net) -> Net:
    """Convolutions in the layout that is faster; gains, of five dimensions, do not have it."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module
