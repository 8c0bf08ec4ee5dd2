"""What a training run tells: log files, and whoever watches."""

import csv
import os
from pathlib import Path
from typing import Any

from torch.utils.tensorboard.writer import SummaryWriter


class Watcher:
    """What is told about a run's progress; the command line shows it. Does nothing by itself."""

    def phase(self, name: str, done: int, total: int) -> None:
        """A phase of `total` steps begins, or continues at step `done`."""

    def step(self, done: int, values: dict[str, float]) -> None:
        """A step is done; `values` are the latest logged ones."""

    def message(self, text: str) -> None:
        """Something the user should read."""


class TrainingLog:
    """`log.csv` (phase, step, seconds, name, value) and TensorBoard, both cut back to the saved state on resume.

    Args:
        folder: where both are written.
        keep_bytes: length of the `log.csv` that belongs to the saved state; what follows is from a lost future.
        keep_steps: the same for TensorBoard, in steps over all phases.
        active: False on processes that write nothing.
    """

    def __init__(self, folder: Path, keep_bytes: int, keep_steps: int, active: bool) -> None:
        self.stream: Any = None
        self.board: Any = None
        if not active:
            return
        path = folder / "log.csv"
        if path.exists():
            os.truncate(path, min(keep_bytes, path.stat().st_size))
        self.stream = path.open("a", newline="", encoding="utf-8")
        self.csv = csv.writer(self.stream)
        if self.stream.tell() == 0:
            self.csv.writerow(["phase", "step", "seconds", "name", "value"])
        self.board = SummaryWriter(str(folder), purge_step=keep_steps)

    def write(self, phase: str, step: int, total_steps: int, seconds: float, values: dict[str, float]) -> None:
        """Add a row per value; `total_steps` counts over all phases."""
        if self.stream is None:
            return
        for name, value in values.items():
            self.csv.writerow([phase, step, f"{seconds:.1f}", name, repr(float(value))])
            self.board.add_scalar(name, value, total_steps)

    def flush(self) -> int:
        """Length of `log.csv` in bytes, all of it on disk."""
        self.stream.flush()
        self.board.flush()
        return int(self.stream.tell())

    def close(self) -> None:
        """Write out what is left."""
        if self.stream is not None:
            self.stream.close()
            self.board.close()
