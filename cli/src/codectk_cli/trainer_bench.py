"""`codectk bench -t TRAINER`: what the trainer's plugin measures, shown and stored."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codectk.errors import OptionsError, PluginError
from codectk.registry import get_registry
from codectk.specs import TrainerSpec
from codectk_cli.plugin_commands import show
from codectk_cli.shared import console, load_registry

if TYPE_CHECKING:
    from codectk.bench import Conditions
    from codectk.options import Options
    from codectk.registry import Registered


def complete_trainer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of trainers that measure, for shell completion."""
    return [name for name in _able() if name.startswith(incomplete)]


def find(name: str) -> Registered:
    """The trainer of that name.

    Raises:
        UnknownName: there is none.
        OptionsError: it measures nothing.
    """
    registered = load_registry().find(TrainerSpec, name)
    if registered.spec.bench is None:
        able = ", ".join(_able()) or "none"
        raise OptionsError(f"Trainer {registered.spec.name} measures no speed.", f"What does here: {able}.")
    return registered


def measure(registered: Registered, options: Options, conditions: Conditions) -> Mapping[str, Any]:
    """What the plugin says.

    Raises:
        PluginError: nothing of the kind.
        CodectkError: whatever it raises on purpose.
    """
    function = registered.load(registered.spec.bench)
    with console(stderr=True).status("measuring") if sys.stderr.isatty() else nullcontext() as status:
        telling = conditions if status is None else replace(conditions, tell=status.update)
        said: Mapping[str, Any] = function(options, telling)
    if not isinstance(said, Mapping):
        raise PluginError(
            f"The benchmark of trainer {registered.spec.name} returned {type(said).__name__}, not a mapping.",
            f"Report this to the makers of {registered.distribution}.",
        )
    return said


def run(registered: Registered, options: Options, conditions: Conditions, out: Path | None, force: bool) -> int:
    """Measure, show and store.

    Args:
        registered: the trainer.
        options: its bench options.
        conditions: see `codectk.bench`.
        out: file for the result; None writes none.
        force: whether it is replaced.
    """
    from codectk.files import refuse_existing, write_bytes
    from codectk.testbed import describe
    from codectk_cli.commands.bench import show_testbed

    if out is not None:
        refuse_existing(out, force)
    said = measure(registered, options, conditions)
    testbed = describe(["codectk", registered.distribution])
    if out is not None:
        about = {"trainer": registered.spec.name, "data": str(conditions.data), "options": options.changed()}
        about |= {name: getattr(conditions, name) for name in ("device", "threads", "warmup", "repeats")}
        result = {"testbed": testbed, "run": about, "results": said}
        write_bytes(out, json.dumps(result, indent=1, default=str).encode(), force)
    show(said)
    show_testbed(testbed)
    return 0


def _able() -> list[str]:
    return [r.spec.name for r in get_registry().trainers() if r.spec.bench is not None]
