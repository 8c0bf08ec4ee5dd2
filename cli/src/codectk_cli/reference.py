"""The command line as a page of Markdown: `python -m codectk_cli.reference > docs/command_line.md`."""

import sys
from collections.abc import Iterator
from typing import Any

import click

from codectk.options import RunOptions
from codectk_cli.bridge import OptionsCommand
from codectk_cli.commands.train import own_parameters
from codectk_cli.main import COMMANDS, cli

HEAD = """# Command line

This page is written by the program itself (`python -m codectk_cli.reference`). `-` and `_` are the same in every flag.
`codectk train NAME --help` and `codectk compress -c CODEC --help` show the options of a method.
"""


def page() -> str:
    """The whole page: all commands of this distribution, without what plugins add."""
    context = click.Context(cli, info_name="codectk")
    parts = [HEAD, _section("codectk", cli, context)]
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if command is None:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        parts.append(_section(f"codectk {name}", command, inner))
    training = OptionsCommand("run", params=own_parameters("see `--help`"), models=[RunOptions])
    parts.append("## Options of every training run\n\n" + _table(training, context))
    return "\n".join(parts)


def _section(title: str, command: click.Command, context: click.Context) -> str:
    usage = " ".join([title, *command.collect_usage_pieces(context)])
    text = "\n\n".join(" ".join(block.split()) for block in (command.help or "").split("\n\n"))
    return f"## {title}\n\n    {usage}\n\n{text}\n\n{_table(command, context)}"


def _table(command: click.Command, context: click.Context) -> str:
    context.meta["codectk.models"] = getattr(command, "models", [])
    rows = [*_rows(command.get_params(click.Context(command, parent=context)))]
    if not rows:
        return ""
    return "\n".join(["| option | meaning |", "|---|---|", *rows, ""])


def _rows(parameters: list[click.Parameter]) -> Iterator[str]:
    for parameter in parameters:
        if isinstance(parameter, click.Option) and not parameter.hidden and "--help" not in parameter.opts:
            flags = ", ".join(f"`{flag}`" for flag in [*parameter.opts, *parameter.secondary_opts])
            value = "" if parameter.is_flag else f" `{_metavar(parameter)}`"
            yield f"| {flags}{value} | {_cell(parameter)} |"


def _metavar(option: click.Option) -> str:
    if option.metavar:
        return option.metavar.replace("|", " or ")
    return " or ".join(option.type.choices) if isinstance(option.type, click.Choice) else option.type.name.upper()


def _cell(option: click.Option) -> str:
    default: Any = option.default
    shown = f" [default: {default}]" if option.show_default and default is not None else ""
    return ((option.help or "") + shown).replace("|", "\\|").replace("[", "\\[")


if __name__ == "__main__":
    sys.stdout.write(page())
