"""What several commands share: the registry with its warnings, tables, progress, file names."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from codectk.errors import CodectkError
from codectk.registry import Registry, get_registry

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Command = TypeVar("Command", bound=Callable[..., Any])

SLOW = 2.0
"""Seconds after which work gets a progress bar."""


class ByteSize(click.ParamType[int]):
    """A number of bytes, also as `512M` or `64G`, of 1024 each."""

    name = "size"
    _WORD = re.compile(r"(\d{1,18})\s*([kmgt]?)(?:i?b)?", re.I)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        match = self._WORD.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a size, such as 500000, 512M or 64G.", param, ctx)
        return int(match[1]) << 10 * " kmgt".index(match[2].lower() or " ")


def load_registry() -> Registry:
    """The registry; a plugin that did not load is one line on stderr."""
    registry = get_registry()
    for problem in registry.problems:
        warn(f"{problem.line}. `codectk plugins` shows details.")
    return registry


def warn(message: str) -> None:
    """One line on stderr that is not an error."""
    click.echo(f"{click.style('warning:', fg='yellow')} {message}", err=True)


def fail(message: str) -> None:
    """One line on stderr for an error after which work goes on."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)


def console(stderr: bool = False) -> Console:
    """A rich console as wide as the terminal, or 120 columns in a pipe."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 120, highlight=False, soft_wrap=False)


def table(*columns: str, title: str = "", right: Iterable[str] = ()) -> Table:
    """An empty table with those columns; numbers go to the right."""
    from rich import box
    from rich.table import Table

    made = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


@contextmanager
def progress(description: str, total: int) -> Iterator[Any]:
    """A function to call after each step; the bar appears after two seconds, and only on a terminal."""
    from threading import Timer

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console(stderr=True), transient=True)
    task = bar.add_task(description, total=total)
    timer = Timer(SLOW, bar.start)  # a thread of its own, since one step may take minutes
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield lambda: bar.advance(task)
    finally:
        timer.cancel()
        if timer.is_alive():
            timer.join()
        if bar.live.is_started:
            bar.stop()


def plan_outputs(inputs: Iterable[Path], out: str | None, suffix: str) -> list[tuple[Path, Path]]:
    """Where the result of each input file goes.

    Args:
        inputs: files and folders; a folder stands for all files in it that the command takes.
        out: a file (for one input), or a folder, which keeps the inputs' tree; None puts results beside the inputs.
            With a separator at its end it is a folder, whether it is there yet or not.
        suffix: ending of the results; with an empty one the caller decides by content.

    Raises:
        CodectkError: two inputs would have the same result, or an input is missing or an empty folder.
    """
    from codectk.errors import InputError, OutputError
    from codectk.inputs import find_inputs, is_folder, plain_path

    inputs = list(inputs)
    found: list[tuple[Path, Path]] = []
    for given in inputs:
        if is_folder(given):
            files = find_inputs(given) if suffix else sorted(given.rglob("*.ctk"))
            if not files:
                raise InputError(f"{given} holds no .ctk files.", "Check the path.")
            found += [(file, plain_path(file).relative_to(given)) for file in files]
        else:
            found.append((given, Path(plain_path(given).name)))
    if out is not None and len(inputs) == 1 and not is_folder(inputs[0]) and not _means_folder(out):
        return [(found[0][0], Path(out))]
    places = [(file, Path(out) / inside if out else plain_path(file)) for file, inside in found]
    plan = [(file, place.with_suffix(suffix or place.suffix)) for file, place in places]
    taken: dict[Path, Path] = {}
    for file, target in plan:
        if target in taken:
            raise OutputError(
                f"{taken[target]} and {file} would both become {target}.", "Compress them one by one, with -o."
            )
        taken[target] = file
    return plan


def each(plan: list[tuple[Path, Path]], description: str, work: Any) -> int:
    """Do the work for each (input, output), tell of failures, and go on; returns the exit code."""
    failures = 0
    with progress(description, len(plan)) as advance:
        for source, target in plan:
            try:
                work(source, target)
            except CodectkError as error:
                fail(str(error))
                failures += 1
            advance()
    return 1 if failures else 0


def _means_folder(out: str) -> bool:
    from codectk.inputs import is_folder

    return out.endswith(("/", os.sep)) or is_folder(Path(out))


def codec_of(weights: Path) -> str:
    """Name of the codec that a weights file belongs to.

    Raises:
        CodectkError: it is missing or not a weights file.
    """
    from codectk.checkpoint import read_about

    return str(read_about(weights)["codec"])


def complete_codec(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Codec names for shell completion."""
    return [r.spec.name for r in get_registry().codecs() if r.spec.name.startswith(incomplete)]


def candidate_options(command: Command) -> Command:
    """The flags of commands that compare: which codecs, with which weights, on what."""
    path = click.Path(path_type=Path)
    for option in (
        click.option("--data", required=True, type=path, help="Folder of pictures or arrays, or a file."),
        click.option("-w", "--weights", multiple=True, type=path, help="Weights; may be repeated."),
        click.option(
            "-c",
            "--codec",
            "codecs",
            multiple=True,
            metavar="CODEC",
            shell_complete=complete_codec,
            help="NAME[@WEIGHTS][:OPTION=VALUE,…]; may be repeated. Without any: all that need no weights of yours.",
        ),
    ):
        command = option(command)
    return command
