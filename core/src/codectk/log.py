"""The log of a training run."""

import csv
import os
from pathlib import Path
from typing import Any

from torch.utils.tensorboard.writer import SummaryWriter


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
            os.truncate(path, keep_bytes)
        self.stream = path.open("a", newline="", encoding="utf-8")
        self.csv = csv.writer(self.stream)
        if self.stream.tell() == 0:
            self.csv.writerow(["phase", "step", "seconds", "name", "value"])
        self.board = SummaryWriter(str(folder), purge_step=keep_steps or None)

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
