"""What a run folder holds besides what every run's does.

log_loss.csv        means of the losses over the iterations since the row before
eval_result.csv     bpp, PSNR and MS-SSIM of every validation
model/comp_model_iter980K.safetensors       weights of the newest saved iteration, and of those that are kept
model/discriminator_iter980K.safetensors    its discriminator
"""

from collections.abc import Container, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from codectk.checkpoint import Checkpoint
from codectk.run_state import iteration_name
from codectk.train import Run
from codectk_crdr.discriminators import Discriminator
from codectk_crdr.evaluation import Result
from codectk_crdr.export import DISTRIBUTION, checkpoint
from codectk_crdr.model import CompressionModel
from codectk_crdr.train_options import TrainOptions

VERDICT = ("d_real", "d_fake", "d_total", "out_d_real", "out_d_fake")
LOSSES = ("iter", "qbpp", "distortion", "rate", "perceptual", "aux")
LOSSES_GAN = ("iter", "qbpp", "aux", "distortion", "rate", "perceptual", "adv", *VERDICT)
PLACES = ("data", "val_data", "pretrained", "perceptual_file", "ckpt_root")
"""Options that may be paths."""
MEASURES = ("bpp", "psnr", "ms_ssim")


class RunFolder:
    """Writes these files.

    Args:
        options: of the training.
        run: whose folder it is; the tables are opened now.
    """

    def __init__(self, options: TrainOptions, run: Run) -> None:
        self.options, self.run = options, run
        self.kept = kept_iterations(options)
        run.keep_iterations(self.kept)
        self.columns = LOSSES if options.gan.type == "none" else LOSSES_GAN
        self.losses = run.table("log_loss.csv", self.columns)
        marks = [f"_{level}" for level in range(1, options.levels + 1)] if options.levels > 1 else [""]
        self.results = run.table("eval_result.csv", ["iter", *(f"{name}{mark}" for mark in marks for name in MEASURES)])

    def add_losses(self, iteration: int, means: Mapping[str, float]) -> None:
        """A row; terms that the run does not have stay empty."""
        self.losses.write(iteration, *(means.get(name, "") for name in self.columns[1:]))

    def add_results(self, iteration: int, results: list[Result]) -> None:
        """A row."""
        self.results.write(iteration, *(value for r in results for value in (r.bpp, r.psnr, r.ms_ssim)))

    def add_models(self, iteration: int, model: CompressionModel, discriminator: Discriminator | None) -> None:
        """Write both if this iteration is one to save or to keep, and drop those saved last if they need not stay."""
        every = self.run.options.save_step
        saved = bool(every) and iteration % every == 0
        if not saved and iteration not in self.kept and iteration != self.options.total_iter:
            return
        record = training_record(self.options, self.run, iteration)
        self.run.write_weights(model_name("comp_model", iteration), checkpoint(model, record))
        if discriminator is not None:
            self.run.write_weights(model_name("discriminator", iteration), of_discriminator(discriminator, record))
        before = (iteration - 1) // every * every if every else 0
        if before and before not in self.kept and self.run.is_main:
            for kind in ("comp_model", "discriminator"):
                (self.run.folder / model_name(kind, before)).unlink(missing_ok=True)


def model_name(kind: str, iteration: int) -> str:
    """Path in the run folder."""
    return f"model/{kind}_iter{iteration_name(iteration)}.safetensors"


def kept_iterations(options: TrainOptions) -> Container[int]:
    """Iterations that stay: those that are listed, or all multiples of one number."""
    keep = options.keep_step
    return keep if isinstance(keep, tuple) else range(keep, options.total_iter + 1, keep)


def training_record(options: TrainOptions, run: Run, iteration: int) -> dict[str, Any]:
    """How weights came about; of paths the last name alone, since weights go to others."""
    changed = options.changed()
    names = {name: Path(changed[name]).name for name in PLACES if isinstance(changed.get(name), str)}
    return {"options": {**changed, **names}, "seed": run.options.seed, "iterations": iteration}


@torch.no_grad()
def of_discriminator(discriminator: Discriminator, record: Mapping[str, Any]) -> Checkpoint:
    """Its weights; nothing but training reads them."""
    tensors = {name: value.detach().float().cpu().numpy() for name, value in discriminator.state_dict().items()}
    return Checkpoint(
        tensors=tensors,
        codec="crdr-discriminator",
        distribution=DISTRIBUTION,
        version=version(DISTRIBUTION),
        bitstream_version=0,
        config=discriminator.options.changed(),
        training=dict(record),
        licence="that of the training data",
    )
