"""How classifiers are trained, whatever they read.

every step:  batch ─ prepared ─ mixed ─ network ─ cross entropy ─ optimizer ─ averaged weights
every epoch: evaluation ─ eval_result.csv, weights
"""

import copy
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codectk.checkpoint import Checkpoint
from codectk.runs import SO_FAR
from codectk.train import Run
from codectk_dct_backbones import statistics
from codectk_dct_backbones.classifier import checkpoint
from codectk_dct_backbones.data.batches import Batch, Batches, Finish, PixelReader, Reader
from codectk_dct_backbones.data.files import FileReader
from codectk_dct_backbones.data.generated import generated
from codectk_dct_backbones.data.mixing import cutmix, mixup, mosaic
from codectk_dct_backbones.data.preparation import Preparation
from codectk_dct_backbones.data.source import Source, open_folders
from codectk_dct_backbones.evaluation import Result, evaluate, scores
from codectk_dct_backbones.model import build
from codectk_dct_backbones.pipeline import Coefficients, from_pictures, trimmed, untrimmed
from codectk_dct_backbones.plan import Plan
from codectk_dct_backbones.profiling import StepTimes
from codectk_dct_backbones.start import check_same, start_from
from codectk_dct_backbones.train_options import CompressedOptions, RgbOptions

COLUMNS = ("epoch", "step", "lr", "train_loss", "train_top1", "train_top5", "loss", "top1", "top5", "pictures")
BEST = "model_best.safetensors"
SAMPLES = 128
"""Pictures that a stem is fitted to where it starts from an RGB network."""

UNUSED = (None, "none")
"""Statistics that nobody misses."""

PLACES = ("train_dirs", "val_dir", "pretrained", "dct_stats")
"""Options that are paths."""


class ClassifierTrainer:
    """Base of both trainers.

    Args:
        options: what is trained, on what, how.
        run: device, log and saved states.

    Raises:
        InputError: pictures are missing, or classes on one side.
        OptionsError: the batch cannot be divided among the processes.
        WeightsError: weights to start from do not fit.
    """

    def __init__(self, options: RgbOptions | CompressedOptions, run: Run) -> None:
        self.options, self.run, self.plan = options, run, options.plan()
        if (
            options.compressed
            and options.architecture(1).variant == "reconstruction"
            and options.dct_stats not in UNUSED
        ):
            run.message("reconstruction needs coefficients as they are: --dct-stats is of no use")
        train, val = open_sources(options, run)
        self.classes = train.classes
        self.architecture = options.architecture(len(self.classes))
        self.statistics = None
        if options.normalises:
            self.statistics = statistics.load(options.dct_stats or "imagenet", self.architecture.range_mode)
        keep_original = getattr(options, "compression_keep_original", False)
        self.preparation = Preparation(self.architecture, options.trim, self.statistics, keep_original)
        self.from_files = options.compressed and self._reads_files(train.jpeg and val.jpeg)
        self.batches = self._batches(train, val)
        self.model = build(self.architecture)
        if options.pretrained is not None and not run.finished("start"):
            run.message(self._start(options.pretrained))
        self.averaged: nn.Module | None = None
        self.tallies = {name: Tally(run) for name in ("window", "epoch")}
        self.best = Best()
        run.keep(model=self.model, batches=self.batches, best=self.best)

    def _start(self, path: Path) -> str:
        """Take over weights; see `start.start_from`."""
        architecture, trim = self.architecture, self.options.trim
        if self.options.eval_only:
            check_same(path, architecture, self.classes, self.statistics)

        def samples() -> list[Coefficients]:
            reader = PixelReader(self.plan.image_size, self.plan.resize, self.plan.augmentation)
            which = self.run.rng("samples").permutation(len(self.batches.train))[:SAMPLES]
            read = (self.batches.train.read(int(i), reader.middle) for i in which)
            pixels = [torch.from_numpy(arrays[0])[None] for arrays in read if arrays is not None]
            return [from_pictures(x, range_mode=architecture.range_mode) for x in pixels]

        def normalise(coefficients: Coefficients) -> Coefficients:
            budget = architecture.budget
            kept = trimmed(coefficients, budget) if trim else untrimmed(trimmed(coefficients, budget), budget)
            return kept if self.statistics is None else self.statistics.normalise(kept, budget, trim)

        return start_from(self.model, architecture, path, samples, normalise)

    def _reads_files(self, all_jpeg: bool) -> bool:
        """Whether coefficients are read out of files."""
        kind = self.options.input
        pixels = self.plan.augmentation.needs_pixels or self.preparation.keep_original or self.options.original
        return kind == "jpeg" or (kind == "auto" and all_jpeg and not pixels)

    def _batches(self, train: Source, val: Source) -> Batches:
        plan, options = self.plan, self.options
        reader: Reader = PixelReader(plan.image_size, plan.resize, plan.augmentation)
        if self.from_files:
            reader = FileReader(plan, self.architecture, options.trim, self.statistics)
        sides = plan.multi_scale or (plan.image_size,)
        most = (options.max_train_images, options.max_val_images)
        finish: Finish = self.preparation if options.compressed and options.dct_device == "cpu" else lambda x: x
        return Batches(train, val, self.run, reader, plan.batch_size, sides, most, finish)

    def describe(self) -> Iterator[str]:
        """What would be trained, for `--dry-run`."""
        architecture, plan, batches = self.architecture, self.plan, self.batches
        yield f"network: {architecture.model}, {architecture.variant}, {len(self.classes)} classes"
        yield f"parameters: {sum(p.numel() for p in self.model.parameters()):,}"
        if architecture.reads_coefficients:
            counts = " ".join(map(str, architecture.budget.counts))
            yield f"coefficients of Y, Cb and Cr: {counts}, {'read from files' if self.from_files else 'recomputed'}"
        yield f"pictures: {len(batches.train)} to train on, {len(batches.val)} to evaluate on, {plan.image_size} px"
        yield f"{plan.epochs} epochs of {batches.per_epoch} steps of {plan.batch_size} pictures"

    def train(self) -> None:
        """The plan."""
        before = torch.get_float32_matmul_precision()
        if self.options.matmul_precision is not None:
            torch.set_float32_matmul_precision(self.options.matmul_precision)
        try:
            self._train()
        finally:
            torch.set_float32_matmul_precision(before)

    def _train(self) -> None:
        run, plan, options, per_epoch = self.run, self.plan, self.options, self.batches.per_epoch
        if not run.finished("start"):
            run.finish("start")  # a run that goes on needs no weights to start from
        self.forward, self.times = run.setup(self.model), StepTimes(run.device, options.profile_steps)
        if options.eval_only:
            self._keep_results(0, self._evaluated())
            return
        if options.compile_model:
            self.forward = cast(nn.Module, torch.compile(self.forward, mode=options.compile_mode))
        self.optimizer = make_optimizer(self.model, plan)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False) if plan.ema else None
        self.table = run.table("eval_result.csv", COLUMNS)
        parts: dict[str, Any] = {"optimizer": self.optimizer, **self.tallies}
        parts |= {"averaged": self.averaged} if self.averaged is not None else {}
        self.model.train()
        end = time.monotonic() + 3600 * options.time_limit_hours if options.time_limit_hours else None
        self.times.restart()
        for step, batch in run.steps("train", plan.epochs * per_epoch, self.batches.load, **parts):
            if options.save_last and step and step % per_epoch == 0:
                run.save()  # before anything of the new epoch happens
            self.times.lap("waiting")
            self._step(step, batch)
            if (step + 1) % per_epoch == 0:
                self._end_epoch(step)
            if end is not None and time.monotonic() > end:
                run.message(f"the time limit of {options.time_limit_hours:g} h is reached")
                run.stop()
            self.times.restart()

    def export(self) -> Checkpoint:
        """The classifier, with all that is needed to use it."""
        return self._checkpoint(0 if self.options.eval_only else self.plan.epochs)

    def _step(self, step: int, batch: Batch) -> None:
        run, plan = self.run, self.plan
        rate = plan.rate(step, self.batches.per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        labels = batch.labels.to(run.device)
        x, targets = self._mixed(step, self._prepared(batch), labels)
        self.times.lap("preparation")
        with self._autocast():
            logits = self.forward(self.preparation.payload(x))
        logits = logits.float()
        bypassed = plan.original and plan.mixup > 0
        loss = F.cross_entropy(logits, targets, label_smoothing=0.0 if bypassed else plan.label_smoothing)
        if plan.original and run.world_size > 1:  # its unused layers must have gradients for processes to share
            loss = loss + sum(p.sum() for p in self.model.parameters()) * 0
        self.times.lap("forward")
        self.optimizer.zero_grad()
        run.backward(loss)
        self.times.lap("backward")
        self.optimizer.step()
        if self.averaged is not None:
            average(self.averaged, self.model, min(plan.ema, (1 + step) / (10 + step)))
        self.times.lap("update")
        found = scores(logits.detach(), labels)
        found[0] = loss.detach() * len(labels)
        for tally in self.tallies.values():
            tally.add(found)
        if run.wants_log:
            means = self.tallies["window"].take()
            run.log(loss=means.loss, top1=means.top1, top5=means.top5, lr=rate, **self.times.take())

    def _prepared(self, batch: Batch) -> tuple[Tensor, ...]:
        on_device = tuple(self.run.place(part) for part in batch.x)
        return tuple(self.run.place(part) for part in self.preparation(on_device))

    def _mixed(self, step: int, x: tuple[Tensor, ...], labels: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Inputs and targets: classes, or shares of classes where pictures are mixed."""
        plan = self.plan
        if not plan.mixup and not plan.mosaic:
            return x, labels
        rng = self.run.rng("mix", step, self.run.rank)
        targets = F.one_hot(labels, len(self.classes)).float()
        if plan.mosaic:
            pixels, targets = mosaic(x[0], targets, rng, plan.original)
            pixels, targets = cutmix(pixels, targets, rng, plan.original)
            x = (pixels,)
        return mixup(x, targets, plan.mixup, rng) if plan.mixup else (x, targets)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.plan.amp and self.run.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return self.run.autocast()

    def _evaluated(self) -> Result:
        def prepare(batch: Batch) -> Any:
            return self.preparation.payload(self._prepared(batch))

        return evaluate(self.averaged or self.model, self.batches.evaluation(), prepare, self.run)

    def _end_epoch(self, step: int) -> None:
        run, options, epoch = self.run, self.options, (step + 1) // self.batches.per_epoch
        learnt, result = self.tallies["epoch"].take(), self._evaluated()
        rate = self.plan.rate(step, self.batches.per_epoch)
        of_training = (learnt.loss, learnt.top1, learnt.top5)
        self.table.write(epoch, step + 1, rate, *of_training, result.loss, result.top1, result.top5, result.count)
        run.log(val_loss=result.loss, val_top1=result.top1, val_top5=result.top5)
        run.message(
            f"epoch {epoch} of {self.plan.epochs}: loss {learnt.loss:.4f}, "
            f"evaluation loss {result.loss:.4f}, top-1 {result.top1:.2%}, top-5 {result.top5:.2%}"
        )
        better = result.top1 > self.best.top1
        if better:
            self.best.top1, self.best.epoch = result.top1, epoch
        self._keep_results(epoch, result)
        names = [BEST] if better and options.save_best else []
        names += [SO_FAR] if options.save_last else []
        names += (
            [f"checkpoint_{epoch:04d}.safetensors"] if options.save_every and epoch % options.save_every == 0 else []
        )
        if names and run.is_main:
            made = self._checkpoint(epoch)
            for name in names:
                run.write_weights(name, made)

    def _keep_results(self, epoch: int, result: Result) -> None:
        skipped = self.batches.train.skipped + self.batches.val.skipped
        if skipped:
            self.run.message(f"{skipped} pictures could not be used so far")
        self.run.results = {"epoch": epoch, **asdict(result), "skipped": skipped}
        if self.best.epoch:
            self.run.results["best"] = {"epoch": self.best.epoch, "top1": self.best.top1}

    def _checkpoint(self, epoch: int) -> Checkpoint:
        changed = self.options.changed()
        for name in PLACES:
            if name in changed:  # weights go to others, whom paths do not concern
                value = changed[name]
                changed[name] = [Path(v).name for v in value] if isinstance(value, list) else Path(value).name
        return checkpoint(
            self.averaged or self.model,
            self.architecture,
            classes=self.classes,
            statistics=self.statistics,
            trim=self.options.trim,
            resize=self.plan.resize,
            training={"options": changed, "seed": self.run.options.seed, "epochs": epoch},
        )


def open_sources(options: RgbOptions | CompressedOptions, run: Run) -> tuple[Source, Source]:
    """Training and evaluation files.

    Raises:
        InputError: see `source.open_folders`.
    """
    if options.demo:
        run.message(
            "no --train-dirs: training on small generated pictures of eight patterns, to try things out; "
            "what is reached says nothing about photographs"
        )
        return generated("train"), generated("val")
    return open_folders(options.train_dirs, options.val_dir, run.message if options.show_progress else lambda _: None)


def make_optimizer(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """The plan's optimizer over all parameters of a network."""
    named = [p for p in model.parameters() if p.requires_grad]
    free = [p for p in named if p.dim() < 2] if plan.decay == "weights" else []
    held = [p for p in named if plan.decay == "all" or p.dim() >= 2]
    groups = [{"params": held, "weight_decay": plan.weight_decay}, {"params": free, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if plan.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, plan.lr, plan.alpha, momentum=plan.momentum)
    return torch.optim.SGD(groups, plan.lr, plan.momentum, nesterov=plan.nesterov)


@torch.no_grad()
def average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Move averaged weights and running statistics towards a network's."""
    for mine, theirs in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, 1 - decay)
        else:
            mine.copy_(theirs)


class Tally:
    """Sums of scores since they were last taken; they stay on the device, for fetching values makes a GPU wait.

    Args:
        run: whose processes share them.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.sums = run, torch.zeros(4, dtype=torch.float64)

    def add(self, found: Tensor) -> None:
        """Add what `evaluation.scores` gives."""
        self.sums = self.sums.to(found.device) + found

    def take(self) -> Result:
        """Means over all processes; begins anew."""
        loss, top1, top5, count = (self.run.all_reduce(self.sums.to(self.run.device)) * self.run.world_size).tolist()
        self.sums = torch.zeros(4, dtype=torch.float64)
        number = max(1, round(count))
        return Result(loss / number, top1 / number, top5 / number, round(count))

    def state_dict(self) -> dict[str, Any]:
        """For saving."""
        return {"sums": self.sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take on a state."""
        self.sums = state["sums"]


class Best:
    """The best evaluation so far.

    Attributes:
        top1: its accuracy; -1 before the first.
        epoch: when.
    """

    def __init__(self) -> None:
        self.top1, self.epoch = -1.0, 0

    def state_dict(self) -> dict[str, Any]:
        """For saving."""
        return {"top1": self.top1, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take on a state."""
        self.top1, self.epoch = state["top1"], state["epoch"]
