"""Trainings of seconds, and who watches them."""

import csv
import os
from pathlib import Path
from typing import Any

from codectk.checkpoint import Checkpoint
from codectk.log import Watcher
from codectk.options import RunOptions
from codectk.registry import get_registry
from codectk.runs import train
from codectk.specs import TrainerSpec
from codectk_crdr.train_options import TrainOptions

SMALL: dict[str, Any] = {
    "context": "space_channel",
    "levels": 3,
    "latent_channels": 6,
    "groups": "2,4",
    "hyper_channels": 4,
    "hyper_width": 4,
    "encoder_width": "4",
    "encoder_middle": "2",
    "decoder_width": "4",
    "decoder_middle": "2",
    "blocks": "1",
    "attention": False,
    "condition_channels": 4,
    "context_width": "4,4",
    "aggregation_width": "4,4",
    "rate.lambda_a": "3.6,0.4,0.1",
}
"""An architecture of a few thousand parameters."""

TINY: dict[str, Any] = {**SMALL, "image_size": 64, "batch_size": 2, "total_iter": 4, "eval_pictures": 1}

REALISM: dict[str, Any] = {
    "realism": True,
    "gan.type": "hrrgan",
    "gan.weight": 0.01,
    "discriminator.main_ch": "2",
    "discriminator.num_downscale": "2",
}


def options(pictures: Path, **changes: Any) -> TrainOptions:
    return TrainOptions.parse({**TINY, "data": str(pictures), **{k.replace("__", "."): v for k, v in changes.items()}})


def run(
    folder: Path,
    chosen: TrainOptions,
    resume: bool = False,
    watcher: Watcher | None = None,
    **run_changes: Any,
) -> Checkpoint:
    registered = get_registry().find(TrainerSpec, "crdr")
    settings = {"device": "cpu", "workers": 0, "log_every": 2, "save_every": 1e9, **run_changes}
    return train(registered, chosen, folder, RunOptions(**settings), resume, watcher)


class StopAfter(Watcher):
    """Sends a signal to this process after some steps."""

    def __init__(self, steps: int, number: int) -> None:
        self.left, self.number = steps, number

    def step(self, done: int, values: dict[str, float]) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


class Listen(Watcher):
    """Keeps all messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))
