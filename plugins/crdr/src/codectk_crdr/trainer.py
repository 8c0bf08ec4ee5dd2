"""The trainer of all stages: what is drawn, computed, stepped, validated and kept.

every iteration: draw q and β ─ model ─ skip? ─ clip, step ─ quantiles ─ discriminator ─ log
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from codectk.checkpoint import Checkpoint
from codectk.train import Run
from codectk_crdr.data import Pictures
from codectk_crdr.evaluation import validate
from codectk_crdr.export import checkpoint
from codectk_crdr.knobs import Knobs, draw_knobs
from codectk_crdr.model import CompressionModel
from codectk_crdr.pretrained import find_pretrained, take
from codectk_crdr.run_folder import RunFolder, training_record
from codectk_crdr.start import linear_start, zero_condition
from codectk_crdr.train_options import TrainOptions
from codectk_crdr.training import QUANTILES, Judge, Losses, Objective, Window, make_optimizer, rate_factor, set_rate

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
        OptionsError: the batch cannot be divided among the processes.
        WeightsError: earlier weights do not fit, or the perceptual loss lacks its own.
    """

    def __init__(self, options: TrainOptions, run: Run) -> None:
        self.options, self.run = options, run
        self.share = run.share(options.batch_size)
        self.model = CompressionModel(options.architecture())
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

    def describe(self) -> Iterator[str]:
        """What would be trained, for `--dry-run`."""
        for name, part in self.model.named_children():
            frozen = " (frozen)" if name in self.options.freeze else ""
            yield f"{name}: {_count(part):,} parameters{frozen}"
        yield f"model: {_count(self.model):,} parameters"
        if self.objective.discriminator is not None:
            yield f"discriminator: {_count(self.objective.discriminator):,} parameters"
        yield f"pictures: {len(self.pictures.train)} to train on, {len(self.pictures.val)} to validate on"

    def train(self) -> None:
        """The plan."""
        run, options = self.run, self.options
        folder = RunFolder(options, run)
        if not run.finished("start"):
            if options.start == "linear":
                load = self.pictures.batches("start", options)
                crops = torch.cat([load(i) for i in range(START_BATCHES)])
                linear_start(self.model, crops, options.rate.lambda_a)
            run.finish("start")
        self._prepare()
        load = self.pictures.batches("train", options)
        for step, batch in run.steps("train", options.total_iter, load, **self._parts()):
            self._iterate(step, run.place(batch))
            done = step + 1
            if done % run.options.log_every == 0:
                means = self.window.means(run)
                run.log(**means)
                folder.add_losses(done, means)
            if options.eval_pictures and (done % options.eval_step == 0 or done == options.total_iter):
                self._validate(done, folder)
            folder.add_models(done, self.model, self.objective.discriminator)

    def export(self) -> Checkpoint:
        """Weights that files can be made with."""
        return checkpoint(self.model, training_record(self.options, self.run, self.options.total_iter))

    def _prepare(self) -> None:
        """Modules on their device, what is trained, and its optimizers."""
        run, optim = self.run, self.options.optim
        for name, parameter in self.model.named_parameters():
            trained = name.partition(".")[0] not in self.options.freeze
            # The quantiles' loss is the same in all processes, which therefore need not share its gradient.
            parameter.requires_grad_(trained and not name.endswith(QUANTILES))
        self.forward = run.setup(self.model)
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
            self.judge = run.setup(Judge(discriminator, self.options.gan, run))
            self.adversary = make_optimizer(optim.d_optimizer, discriminator.named_parameters())
        self.model.train()

    def _parts(self) -> dict[str, Any]:
        """What is saved besides the model."""
        parts: dict[str, Any] = {"optimizer": self.optimizer, "auxiliary": self.auxiliary, "window": self.window}
        parts |= {"discriminator": self.objective.discriminator, "adversary": self.adversary}
        return {name: part for name, part in parts.items() if part is not None}

    def _iterate(self, step: int, x: Tensor) -> None:
        """One step of everything."""
        options, run, optim = self.options, self.run, self.options.optim
        drawn = draw_knobs(options, run.rng("q", step), self.share)
        knobs = Knobs(*(None if v is None else v.to(run.device) for v in (drawn.q, drawn.beta)))
        if self.objective.discriminator is not None:
            self.objective.discriminator.requires_grad_(False)
        losses = self.objective.of_model(self.forward, x, knobs, step)
        if run.skip(losses.loss, LARGEST_LOSS):
            return
        set_rate(self.optimizer, optim.g_optimizer.lr * rate_factor(optim.g_scheduler, *self._progress(step)))
        self.optimizer.zero_grad()
        run.backward(losses.loss)
        run.clip_gradients(self.trained, optim.clip_max_norm)
        self.optimizer.step()
        if self.auxiliary is not None:
            self.auxiliary.zero_grad()
            aux = self.model.aux_loss()
            aux.backward()  # type: ignore[no-untyped-call]
            set_rate(self.auxiliary, optim.aux_optimizer.lr)
            self.auxiliary.step()
            self.window.add("aux", aux)
        self._record(losses, knobs)
        if self.adversary is not None:
            self._step_discriminator(step, x, losses, knobs)

    def _progress(self, step: int) -> tuple[int, int]:
        """Where in its schedule the learning rate is: as published, skipped steps do not count."""
        skipped = self.run.skips if self.options.compat == "original" else 0
        return step - skipped, self.options.total_iter

    def _step_discriminator(self, step: int, x: Tensor, losses: Losses, knobs: Knobs) -> None:
        discriminator, adversary = self.objective.discriminator, self.adversary
        assert discriminator is not None and adversary is not None
        optim, output = self.options.optim, losses.output
        set_rate(adversary, optim.d_optimizer.lr * rate_factor(optim.d_scheduler, *self._progress(step)))
        discriminator.requires_grad_(True)
        adversary.zero_grad()
        loss, shown = self.judge(x, output.x_hat.detach(), output.y_hat.detach(), knobs.q)
        loss.backward()
        adversary.step()
        for name, value in shown.items():
            self.window.add(name, value)

    def _record(self, losses: Losses, knobs: Knobs) -> None:
        """Take the step into the window of the log: means, and rate and PSNR of the crops nearest to each level."""
        window = self.window
        for name, value in {"loss": losses.loss, "qbpp": losses.qbpp.mean(), **losses.terms}.items():
            window.add(name, value)
        if knobs.q is None:
            return
        psnr = -10 * losses.mse.log10()
        for level in range(self.options.levels):
            near = ((knobs.q - level).abs() <= 0.5).expand(len(psnr))
            count = near.sum()
            window.add(f"bpp_{level + 1}", (losses.qbpp * near).sum(), count)
            window.add(f"psnr_{level + 1}", (psnr * near).sum(), count)

    def _validate(self, done: int, folder: RunFolder) -> None:
        truncate = self.options.compat == "original"
        results = validate(self.model, self.pictures.val, self.run, self.options.eval_pictures, truncate)
        folder.add_results(done, results)
        for level, result in enumerate(results, 1):
            mark = f"_{level}" if len(results) > 1 else ""
            values = {"bpp": result.bpp, "psnr": result.psnr, "ms_ssim": result.ms_ssim}
            self.run.log(**{f"val_{name}{mark}": value for name, value in values.items()})
            place = f"iteration {done}, level {level}" if mark else f"iteration {done}"
            self.run.message(f"{place}: {result.psnr:.2f} dB at {result.bpp:.4f} bpp, MS-SSIM {result.ms_ssim:.4f}")


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
