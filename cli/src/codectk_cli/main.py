"""Entry point: the command group, whose members load on use, and plain words for every failure."""

import os
import sys
import traceback
import warnings
from importlib import import_module
from io import TextIOWrapper
from typing import Any, NoReturn

import click

from codectk.errors import CodectkError, TrainingStopped, one_line
from codectk.registry import STRICT_VARIABLE, get_registry
from codectk.specs import normalise
from codectk_cli.shared import fail, load_registry

COMMANDS = {
    "list": "What is installed: codecs, trainers, datasets, metrics, commands.",
    "info": "What a name, a .ctk file or a weights file is about.",
    "train": "Train a method; --resume continues a run.",
    "compress": "Files to .ctk files.",
    "decompress": ".ctk files back to pictures and arrays.",
    "truncate": "Make files of progressive codecs smaller, without decoding.",
    "evaluate": "Compare codecs on a folder: rate, distortion, report.html.",
    "bench": "Speed of codecs, stages apart, beside a peer in the same run; or of a trainer's networks.",
    "demo": "Train small, compress a photo, show the result; no download.",
    "import-weights": "Weights that a method's authors published, as a weights file.",
    "export": "Trained weights as weights whose files open on every machine.",
    "plugins": "Installed plugins, and why one did not load.",
    "doctor": "Check this installation.",
    "new-plugin": "Write a new plugin that works, with tests.",
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is used; plugins add groups of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a first use, then the words of plugins."""
        from codectk_cli.plugin_commands import groups

        return [*COMMANDS, *groups(get_registry())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; plugins are asked only for words that are not built in."""
        if dashes(cmd_name) not in COMMANDS:
            from codectk_cli.plugin_commands import find_group

            return find_group(cmd_name, get_registry())
        module = import_module(f"codectk_cli.commands.{normalise(cmd_name)}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        from codectk_cli.plugin_commands import groups

        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        added = groups(load_registry())
        if added:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(list(added.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; where nothing has that name, plugins that did not load are told, which may have held it."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            load_registry()
            raise


def dashes(token: str) -> str:
    """The one spelling of flags and names on the command line."""
    return token.replace("_", "-")


def _set_strict(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Before a command is looked for, because plugins have commands."""
    if value:
        os.environ[STRICT_VARIABLE] = "1"


@click.group(cls=LazyGroup, context_settings={"token_normalize_func": dashes, "help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error; `train` tells more.")
@click.option(
    "--strict-plugins",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_set_strict,
    help="Stop at the first plugin that does not load.",
)
@click.version_option(package_name="codectk", prog_name="codectk")
def cli(debug: bool) -> None:
    """Train, compress, decompress, evaluate and compare learned codecs."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Exit codes: 0 done, 1 a mistake or a damaged file, 2 wrong usage, 128 + n stopped by signal n.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    _mend_streams()
    # Read by torch when it is loaded. Threads that wait actively for each other are many times slower than one thread
    # as soon as another program wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Pillow warns of pictures above 89 megapixels, which are ordinary here, and refuses those above twice that.
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
    try:
        code = _run(arguments)
    except BrokenPipeError:  # the reader, such as `head`, has gone
        code = 0
    try:
        sys.stdout.flush()
    except OSError:  # what could not be written must not be tried again when the interpreter ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    try:
        result: Any = cli.main(args=arguments, prog_name="codectk", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        return _tell(_words(error), debug, 128 + error.signal_number if isinstance(error, TrainingStopped) else 1)
    return result if isinstance(result, int) else 0


def _words(error: Exception) -> str:
    """What went wrong, for a user."""
    if isinstance(error, CodectkError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory for this. Use smaller files, or a machine with more."
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror or error}. Check the path, its permissions and the space on the disk."
    return f"Unexpected: {one_line(error)}. `codectk --debug …` shows where; please report it."


def _mend_streams() -> None:
    """Output that is closed goes nowhere; a character that the terminal has not becomes a question mark."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def _tell(message: str, debug: bool, code: int) -> int:
    if debug:
        traceback.print_exc()
    fail(message)
    return code
