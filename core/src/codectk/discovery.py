"""Which plugins are installed, which of them the user wants, and how long one may take."""

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions, entry_points
from threading import Thread
from typing import Any

from codectk.errors import OptionsError
from codectk.hookspecs import PROJECT
from codectk.specs import normalise

CHOICE_VARIABLE = "CODECTK_PLUGINS"
BLOCK_VARIABLE = "CODECTK_BLOCK"
TIMEOUT_VARIABLE = "CODECTK_PLUGIN_TIMEOUT"
TIMEOUT = 10.0
"""Seconds that a plugin's import, or one of its hooks, may take before the others go on without it."""

CORE = "codectk-core"


@dataclass(frozen=True)
class Choice:
    """The plugins that a user wants: `CODECTK_PLUGINS=a,b` takes these alone, `CODECTK_BLOCK=c` all others.

    A plugin is named by its entry point (`frappe`) or its distribution (`codectk-frappe`). Core's own is always taken.

    Attributes:
        only: names to take; empty for all.
        block: names to leave out, also of those in `only`.
    """

    only: tuple[str, ...] = ()
    block: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Choice":
        """What the two variables say."""
        variables = os.environ if environment is None else environment
        return cls(_names(variables.get(CHOICE_VARIABLE, "")), _names(variables.get(BLOCK_VARIABLE, "")))

    def left_out_by(self, point: EntryPoint) -> str:
        """The variable that leaves a plugin out, or nothing."""
        names = _names_of(point)
        if CORE in (name.replace("_", "-") for name in names):
            return ""
        if names & set(self.block):
            return BLOCK_VARIABLE
        return CHOICE_VARIABLE if self.only and not names & set(self.only) else ""

    def unknown(self, points: Sequence[EntryPoint]) -> list[tuple[str, str]]:
        """(variable, name) for each name that no installed plugin has: probably a slip."""
        known = {name for point in points for name in _names_of(point)}
        named = [(CHOICE_VARIABLE, name) for name in self.only] + [(BLOCK_VARIABLE, name) for name in self.block]
        return [(variable, name) for variable, name in named if name not in known]


class Hang(Exception):
    """A plugin took too long."""


def in_time(call: Callable[[], Any], seconds: float) -> Any:
    """The result of `call`, which runs in a thread of its own so that it can be left behind.

    Args:
        seconds: how long to wait; 0 waits for ever, without a thread.

    Raises:
        Hang: the time is over. A note on the error shows where the call is; it goes on in the background, unheard.
        Exception: whatever `call` raises.
    """
    if not seconds:
        return call()
    outcome: list[tuple[Any, BaseException | None]] = []

    def work() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:  # a plugin may even raise SystemExit
            outcome.append((None, error))

    thread = Thread(target=work, name="codectk plugin", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        hang = Hang(f"still not done after {seconds:g} s")
        frame = sys._current_frames().get(thread.ident or 0)
        if frame is not None:
            hang.add_note("It is here:\n" + "".join(traceback.format_stack(frame)))
        raise hang
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def timeout(environment: Mapping[str, str] | None = None) -> float:
    """Seconds that a plugin may take: `CODECTK_PLUGIN_TIMEOUT`, or the usual.

    Raises:
        OptionsError: the variable is not a number of 0 or more.
    """
    text = (os.environ if environment is None else environment).get(TIMEOUT_VARIABLE) or str(TIMEOUT)
    with suppress(ValueError):
        if 0 <= float(text) < 1e9:
            return float(text)
    raise OptionsError(
        f"{TIMEOUT_VARIABLE} is '{text}', which is no number of seconds.", "Unset it, or set 0 to wait for ever."
    )


def installed() -> tuple[list[EntryPoint], list[tuple[str, Exception]]]:
    """Entry points of this environment, and distributions whose file of them is damaged, with the error."""
    try:
        return list(entry_points(group=PROJECT)), []
    except Exception:
        points: list[EntryPoint] = []
        damaged: list[tuple[str, Exception]] = []
        for distribution in distributions():
            try:
                points += distribution.entry_points.select(group=PROJECT)
            except Exception as error:
                if f"[{PROJECT}]" in (distribution.read_text("entry_points.txt") or ""):
                    damaged.append((distribution.name, error))
        return points, damaged


def distribution_of(point: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that an entry point belongs to."""
    name = version = None
    if point.dist is not None:
        with suppress(Exception):  # a left-over .dist-info without METADATA has neither; some Pythons raise
            name, version = point.dist.name, point.dist.version
    return name or point.value.partition(".")[0].replace("_", "-"), version or "unknown"


def _names_of(point: EntryPoint) -> set[str]:
    return {normalise(point.name), normalise(distribution_of(point)[0])}


def _names(text: str) -> tuple[str, ...]:
    return tuple(normalise(name) for name in text.replace(",", " ").split())
