"""How fast a step of the first published stage is, beside the same networks trained plainly, in one run.

Plainly: float32, channels first, every loss fetched in every step, Adam as torch runs it by default; networks and
likelihoods are the same module. `CODECTK_BATCH` and `CODECTK_CROP` make it smaller than 8 crops of 256 pixels, of which
a step takes a minute on two cores.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from codectk.options import RunOptions
from codectk.recipes import combine, read_recipe
from codectk.train import Run
from codectk_crdr.losses import squared_error
from codectk_crdr.model import CompressionModel
from codectk_crdr.train_options import TrainOptions
from codectk_crdr.trainer import CrdrTrainer

BATCH, CROP = int(os.environ.get("CODECTK_BATCH", "8")), int(os.environ.get("CODECTK_CROP", "256"))
STEPS = 3


def options(folder: Path) -> TrainOptions:
    """The first stage without LPIPS, whose weights are not at hand."""
    rng = np.random.default_rng(0)
    for i in range(BATCH + 1):
        Image.fromarray(rng.integers(0, 256, (CROP, CROP, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    made = combine([TrainOptions, RunOptions], read_recipe("codectk_crdr:recipes", "crdr_stage_1"))[0]
    here = {"data": str(folder), "layout": "folder", "perceptual": "none", "batch_size": BATCH, "image_size": CROP}
    return TrainOptions.parse({**made.changed(), **here})


def seconds(step: Callable[[], object]) -> list[float]:
    """Of some steps, after one to warm up."""
    times = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times[1:]


def plain(chosen: TrainOptions, x: Tensor) -> Callable[[], object]:
    """One step of the reference."""
    model = CompressionModel(chosen.architecture()).train()
    named = dict(model.named_parameters())
    quantiles = named.pop("entropy_model_z.quantiles")
    optimizer, auxiliary = torch.optim.Adam(named.values(), 1e-4), torch.optim.Adam([quantiles], 1e-3)

    def step() -> list[float]:
        out = model(x)
        bpp = out.bits / x[0, 0].numel()
        terms = [150 * squared_error(x, out.x_hat).mean(), (0.05 * bpp).mean()]
        fetched = [float(term.detach()) for term in (*terms, out.rounded_bits.mean())]
        optimizer.zero_grad()
        sum(terms).backward()
        torch.nn.utils.clip_grad_norm_(list(named.values()), 1.0)
        optimizer.step()
        auxiliary.zero_grad()
        model.aux_loss().backward()
        auxiliary.step()
        return fetched

    return step


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_step_beside_plain_torch(
    tmp_path: Path, precision: Literal["float32", "bfloat16"], ratio: Callable[..., float]
) -> None:
    torch.manual_seed(0)
    chosen = options(tmp_path)
    run_options = RunOptions(device="cpu", precision=precision, channels_last=True, workers=0)
    with Run(tmp_path / "run", run_options) as run:
        trainer = CrdrTrainer(chosen, run)
        x = trainer.pictures.batches("train", chosen)(0)
        reference = seconds(plain(chosen, x))
        trainer._prepare()
        ours = seconds(lambda: trainer._iterate(0, run.place(x)))
    ratio(
        f"training step, plain torch in float32, {BATCH} crops of {CROP}", reference, f"this one in {precision}", ours
    )
