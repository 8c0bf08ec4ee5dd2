"""How training looks on a terminal."""

import sys
from typing import Self

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from codectk.log import Watcher, window
from codectk_cli.shared import console


class TerminalWatcher(Watcher):
    """A live bar per phase on a terminal; messages alone where there is none.

    Args:
        debug: tell of every logged window, too.
    """

    def __init__(self, debug: bool = False) -> None:
        self.live, self.debug = sys.stderr.isatty(), debug
        values = TextColumn("{task.fields[values]}", style="dim")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), values)
        self.progress = Progress(*columns, console=console(stderr=True), transient=True)
        self.task: TaskID | None = None

    def __enter__(self) -> Self:
        if self.live:
            self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live:
            self.progress.stop()

    def phase(self, name: str, done: int, total: int) -> None:
        """A new bar takes the place of the old one."""
        if self.task is not None:
            self.progress.remove_task(self.task)
        self.task = self.progress.add_task(name, total=total, completed=done, values="")

    def step(self, done: int, values: dict[str, float]) -> None:
        """Move the bar."""
        if self.task is not None:
            text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
            self.progress.update(self.task, completed=done, values=text)

    def logged(self, phase: str, step: int, values: dict[str, float]) -> None:
        """A line for debugging."""
        if self.debug:
            self.message(window(phase, step, values))

    def message(self, text: str) -> None:
        """A line above the bar."""
        if self.live:
            self.progress.console.print(text, markup=False, soft_wrap=True)
        else:
            click.echo(text, err=True)
