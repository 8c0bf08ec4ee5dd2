"""What a training run tells: tables, log files, and whoever watches."""

import csv
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from torch.utils.tensorboard.writer import SummaryWriter

from codectk.errors import InputError, OptionsError
from codectk.options import RunOptions

LOG = "log.csv"


class Watcher:
    """What is told about a run's progress; the command line shows it. Does nothing by itself."""

    def phase(self, name: str, done: int, total: int) -> None:
        """A phase of `total` steps begins, or continues at step `done`."""

    def step(self, done: int, values: dict[str, float]) -> None:
        """A step is done; `values` are the latest logged ones."""

    def logged(self, phase: str, step: int, values: dict[str, float]) -> None:
        """Values were logged."""

    def message(self, text: str) -> None:
        """Something the user should read."""


class Table:
    """A CSV file that only grows, each row on its way to the disk at once; cut back to the saved state on resume.

    Args:
        path: the file.
        columns: its first line.
        keep_bytes: length that belongs to the saved state; what follows is from a lost future.
        active: False on processes that write nothing.

    Raises:
        InputError: what is kept of the file has other columns.
    """

    def __init__(self, path: Path, columns: Sequence[str], keep_bytes: int, active: bool = True) -> None:
        self.columns = tuple(columns)
        self.stream: Any = None
        if not active:
            return
        if path.exists():
            os.truncate(path, min(keep_bytes, path.stat().st_size))
        self.stream = path.open("a+", newline="", encoding="utf-8")
        self.csv = csv.writer(self.stream)
        self.stream.seek(0)
        first = self.stream.readline()
        self.stream.seek(0, os.SEEK_END)
        if not first:
            self.csv.writerow(self.columns)
        elif tuple(next(csv.reader([first]))) != self.columns:
            self.stream.close()
            raise InputError(f"{path} has other columns than this run writes.", "Start a new run.")

    def write(self, *values: Any) -> None:
        """Add a row.

        Raises:
            ValueError: there are more or fewer values than columns.
        """
        if len(values) != len(self.columns):
            raise ValueError(f"{len(values)} values for {len(self.columns)} columns")
        if self.stream is not None:
            self.csv.writerow(values)
            self.stream.flush()

    def size(self) -> int:
        """Length in bytes, all of it handed to the operating system."""
        if self.stream is None:
            return 0
        self.stream.flush()
        return int(self.stream.tell())

    def close(self) -> None:
        """Write out what is left."""
        if self.stream is not None:
            self.stream.close()


class Boards:
    """The same values as in `log.csv` for TensorBoard and, where it is asked for, Weights & Biases.

    Args:
        folder: of the run.
        keep_steps: steps over all phases that belong to the saved state.
        options: under which project, name and tags Weights & Biases gets them, and whether they leave this machine.
        wandb: module of Weights & Biases; None leaves it out.
    """

    def __init__(self, folder: Path, keep_steps: int, options: RunOptions, wandb: Any = None) -> None:
        self.tensorboard: Any = SummaryWriter(str(folder), purge_step=keep_steps)
        self.wandb: Any = None
        if wandb is not None:
            name = folder.resolve().name
            self.wandb = wandb.init(
                project=options.wandb_project,
                entity=options.wandb_entity,
                name=options.wandb_run_name or name,
                tags=list(options.wandb_tags) or None,
                id=name,
                dir=str(folder),
                mode="offline" if options.wandb_dryrun else "online",
                resume="allow",
            )

    def write(self, total_steps: int, values: Mapping[str, float]) -> None:
        """Show values at a step, counted over all phases."""
        for name, value in values.items():
            self.tensorboard.add_scalar(name, value, total_steps)
        if self.wandb is not None:
            self.wandb.log(dict(values), step=total_steps)

    def flush(self) -> None:
        """Hand all that was written to the operating system."""
        self.tensorboard.flush()

    def close(self) -> None:
        """Write out what is left."""
        self.tensorboard.close()
        if self.wandb is not None:
            self.wandb.finish()


class LogFile(Watcher):
    """`train_{YYYYmmdd_HHMMSS}.log`: messages, phases and all logged values of one start, in words.

    Lines wait in memory until the run folder is made.
    """

    def __init__(self) -> None:
        self.started = datetime.now()
        self.waiting: list[str] = []
        self.stream: Any = None

    def open(self, folder: Path) -> None:
        """Write into this folder from now on."""
        self.stream = (folder / f"train_{self.started:%Y%m%d_%H%M%S}.log").open("a", encoding="utf-8")
        for line in self.waiting:
            self.stream.write(line)
        self.waiting = []

    def phase(self, name: str, done: int, total: int) -> None:
        """A line of its own."""
        self.message(f"phase {name}: {done} of {total} steps are done")

    def logged(self, phase: str, step: int, values: dict[str, float]) -> None:
        """All values in one line."""
        self.message(window(phase, step, values))

    def message(self, text: str) -> None:
        """A line with the time of day."""
        line = f"{datetime.now():%H:%M:%S} {text}\n"
        if self.stream is None:
            self.waiting.append(line)
        else:
            self.stream.write(line)
            self.stream.flush()

    def close(self) -> None:
        """Write out what is left."""
        if self.stream is not None:
            self.stream.close()


def window(phase: str, step: int, values: Mapping[str, float]) -> str:
    """Logged values in one line."""
    return "  ".join([f"{phase} step {step}:", *(f"{name} {float(value):.6g}" for name, value in values.items())])


class RunLog:
    """All that a run writes and tells: tables, boards, the log file, and the watcher. Silent but on the main process.

    Args:
        folder: of the run; made when there is something to write.
        options: whether Weights & Biases is asked for.
        sizes: bytes of each table that belong to the saved state.
        keep_steps: steps over all phases that belong to it.
        watcher: told about progress.
        active: whether this is the main process.

    Raises:
        OptionsError: Weights & Biases is asked for and not installed.
    """

    def __init__(
        self, folder: Path, options: RunOptions, sizes: dict[str, int], keep_steps: int, watcher: Watcher, active: bool
    ) -> None:
        self.folder, self.options, self.keep_steps, self.active = folder, options, keep_steps, active
        self.tables: dict[str, Table] = {}
        self.boards: Boards | None = None
        self.file = LogFile()
        self.watchers = (watcher, self.file)
        self._sizes = dict(sizes)
        asked = options.use_wandb or options.wandb_dryrun
        self._wandb = find_wandb() if active and asked else None
        unused = sorted(name for name in options.changed() if name.startswith("wandb_"))
        if unused and not asked:
            self.message(f"--{unused[0].replace('_', '-')} has no effect without --use-wandb")

    def table(self, name: str, columns: Sequence[str]) -> Table:
        """See `Run.table`."""
        if name not in self.tables:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.tables[name] = Table(self.folder / name, columns, self._sizes.get(name, 0), self.active)
        return self.tables[name]

    def write(self, phase: str, step: int, total_steps: int, seconds: float, values: dict[str, float]) -> None:
        """Add values; `total_steps` counts over all phases."""
        self._open()
        for name, value in values.items():
            self.tables[LOG].write(phase, step, f"{seconds:.1f}", name, repr(float(value)))
        if self.boards is not None:
            self.boards.write(total_steps, values)
        if self.active:
            for watcher in self.watchers:
                watcher.logged(phase, step, values)

    def phase(self, name: str, done: int, total: int) -> None:
        """A phase begins."""
        self._open()
        for watcher in self.watchers:
            watcher.phase(name, done, total)

    def message(self, text: str) -> None:
        """Tell the user something, once."""
        if self.active:
            for watcher in self.watchers:
                watcher.message(text)

    def sizes(self) -> dict[str, int]:
        """Length in bytes of each table, also of those that were not opened since the run was resumed."""
        self._open()
        if self.boards is not None:
            self.boards.flush()
        return self._sizes | {name: table.size() for name, table in self.tables.items()}

    def close(self) -> None:
        """Write out what is left."""
        for table in self.tables.values():
            table.close()
        if self.boards is not None:
            self.boards.close()
        self.file.close()

    def _open(self) -> None:
        if LOG in self.tables:
            return
        self.table(LOG, ["phase", "step", "seconds", "name", "value"])
        if self.active:
            self.boards = Boards(self.folder, self.keep_steps, self.options, self._wandb)
            self.file.open(self.folder)


def find_wandb() -> Any:
    """The module of Weights & Biases.

    Raises:
        OptionsError: it is not installed.
    """
    try:
        import wandb
    except ImportError:
        raise OptionsError("wandb is not installed.", "Run `pip install wandb`, or leave --use-wandb out.") from None
    return wandb
