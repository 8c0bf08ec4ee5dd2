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
from codectk_frappe.options import TrainOptions

TINY = {
    "ps": "8,4",
    "decoder_dim": 6,
    "decoder_arch": "C",
    "epochs_single": 2,
    "epochs_merged": 2,
    "batch_size": 2,
    "min_size": 16,
    "max_size": 24,
    "sc_max_lr": "1e-2",
    "md_max_lr": "1e-2",
}


def run(
    folder: Path, pictures: Path, resume: bool = False, watcher: Watcher | None = None, **changes: Any
) -> Checkpoint:
    named = changes.pop("save_checkpoint_name", None)
    options = TrainOptions.parse({**TINY, "data": str(pictures), **changes})
    registered = get_registry().find(TrainerSpec, "frappe")
    run_options = RunOptions(device="cpu", workers=0, log_every=1, save_every=1e9, save_checkpoint_name=named)
    return train(registered, options, folder, run_options, resume, watcher)


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


def log(folder: Path) -> list[list[str]]:
    with (folder / "log.csv").open() as stream:
        return [[row[0], row[1], row[3], row[4]] for row in csv.reader(stream)]
