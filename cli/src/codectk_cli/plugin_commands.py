"""Commands of plugins, `codectk WORD COMMAND`: a group for each plugin's word, known from specs alone."""

import json
from collections.abc import Mapping
from typing import Any

import click

from codectk.errors import CodectkError, PluginError
from codectk.options import Options
from codectk.registry import Registered, Registry
from codectk.specs import BUILT_IN_COMMANDS, CommandSpec, normalise
from codectk_cli.bridge import OptionsCommand, gather, given
from codectk_cli.details import is_table, tables
from codectk_cli.shared import console, load_registry


class PluginGroup(click.Group):
    """The commands behind one word; `distribution/word` are those of one distribution, whoever shares the word.

    Args:
        word: what follows `codectk`.
        members: the commands behind it.
    """

    def __init__(self, word: str, members: list[Registered]) -> None:
        makers = ", ".join(sorted({r.distribution for r in members}))
        super().__init__(word, help=f"Commands of {makers}.")
        self.members = {_second(r): r for r in members}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The second words."""
        return list(self.members)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command with its flags; imports its options, not its code.

        Raises:
            UnknownName: no such command, with the nearest name, or two plugins claim it.
            PluginError: its options cannot be loaded.
        """
        try:
            return _command(load_registry().find(CommandSpec, f"{self.name}.{cmd_name}"))
        except CodectkError:
            if ctx.resilient_parsing:  # completion of a shell: there is nothing to complete
                return None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(word, r.spec.summary) for word, r in self.members.items()])


def find_group(word: str, registry: Registry) -> PluginGroup | None:
    """The commands behind a word, or behind `distribution/word`."""
    wanted = normalise(word)
    members = [r for r in registry.commands() if wanted in (normalise(r.spec.word), _own_word(r))]
    return PluginGroup(word, members) if members else None


def groups(registry: Registry) -> dict[str, str]:
    """Each plugin's word, unless a built-in command has it, and what is behind it."""
    found: dict[str, list[Registered]] = {}
    for registered in registry.commands():
        found.setdefault(_dashes(registered.spec.word), []).append(registered)
    return {
        word: f"{', '.join(dict.fromkeys(map(_second, members)))}: {PluginGroup(word, members).help}"
        for word, members in found.items()
        if word not in BUILT_IN_COMMANDS
    }


def _own_word(registered: Registered) -> str:
    return normalise(f"{registered.distribution}/{registered.spec.word}")


def _second(registered: Registered) -> str:
    return _dashes(registered.spec.name.partition(".")[2])


def _dashes(word: str) -> str:
    return word.replace("_", "-")


def _command(registered: Registered) -> click.Command:
    spec: CommandSpec = registered.spec
    model: type[Options] = registered.load(spec.options)

    @click.pass_context
    def callback(ctx: click.Context, /, **_: Any) -> None:
        said = _done(registered, gather(model, given(ctx, model)))
        if ctx.params["as_json"]:
            click.echo(json.dumps(dict(said), indent=1, default=str))
        else:
            show(said)

    help_text = f"{spec.summary[:1].upper()}{spec.summary[1:]}."
    own = [click.Option(["--json", "as_json"], is_flag=True, help="What was done as JSON, for programs.")]
    return OptionsCommand(_second(registered), callback=callback, params=own, models=[model], help=help_text)


def show(said: Mapping[str, Any]) -> None:
    """Single values as lines; mappings and lists of mappings as tables below a title."""
    for name, value in said.items():
        if not is_table(value):
            click.echo(f"{name}: {value:.6g}" if isinstance(value, float) else f"{name}: {value}")
    for title, shown in tables({name: value for name, value in said.items() if is_table(value)}):
        click.echo(title)
        console().print(shown, markup=False)


def _done(registered: Registered, options: Options) -> Mapping[str, Any]:
    """What the command says that it did.

    Raises:
        PluginError: it cannot be loaded, or says nothing of the kind.
        CodectkError: whatever the command raises on purpose.
    """
    said: Mapping[str, Any] = registered.load(registered.spec.target)(options)
    if not isinstance(said, Mapping):
        raise PluginError(
            f"Command {registered.spec.name} returned {type(said).__name__}, not a mapping.",
            f"Report this to the makers of {registered.distribution}.",
        )
    return said
