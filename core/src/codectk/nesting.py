"""Nested mappings of settings: dotted names, and what one file changes of another."""

from collections.abc import Mapping
from reprlib import Repr
from typing import Any

from codectk.errors import OptionsError
from codectk.specs import normalise

DELETE = "_delete_"
"""`_delete_: true` in a mapping drops what weaker sources had under it; see `merge`."""

MAX_NESTING = 16
"""Mappings and dotted names deeper than this are refused."""


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"optim": {"lr": 1}}` → `{"optim.lr": 1}`."""
    made: dict[str, Any] = {}
    for name, value in values.items():
        inner = flat(value) if isinstance(value, Mapping) and value else None
        made |= {name: value} if inner is None else {f"{name}.{key}": v for key, v in inner.items()}
    return made


def expand(values: Mapping[str, Any], source: str, place: str = "") -> dict[str, Any]:
    """Nested mappings in place of dotted names, every name in one spelling: `{"optim.lr": 1}` → `{"optim": {"lr": 1}}`.

    Args:
        values: name → value.
        source: where they come from, for the error message.
        place: dotted name of the mapping, with a dot at its end; empty at the top.

    Raises:
        OptionsError: a name stands twice, or the nesting is deeper than `MAX_NESTING`.
    """
    if place.count(".") > MAX_NESTING:
        raise OptionsError(
            f"'{cut(place)}' in {source} is nested too deep.", f"At most {MAX_NESTING} levels are taken."
        )
    made: dict[str, Any] = {}
    for key, value in values.items():
        first, dot, rest = normalise(str(key)).partition(".")
        inner = {rest: value} if dot else value
        inner = expand(inner, source, f"{place}{first}.") if isinstance(inner, Mapping) else inner
        made[first] = _together(made[first], inner, source, place + first) if first in made else inner
    return made


def merge(base: Mapping[str, Any], child: Mapping[str, Any], source: str, place: str = "") -> dict[str, Any]:
    """A child's values over those it builds on: mappings key by key, everything else, lists too, as a whole.

    `_delete_: true` in a mapping of the child drops what the base had under it. A base's null is like nothing.

    Args:
        base: nested values.
        child: nested values that are stronger.
        source: where the child's come from, for the error message.
        place: as in `expand`.

    Raises:
        OptionsError: a mapping stands over something else, or `_delete_` is not true or false.
    """
    merged = dict(base)
    for name, value in child.items():
        if name == DELETE:
            continue
        if not isinstance(value, Mapping):
            merged[name] = value
            continue
        dropped = value.get(DELETE, False)
        if not isinstance(dropped, bool):
            raise OptionsError(f"'{place}{name}.{DELETE}' in {source} is {shown(dropped)}.", "Write true or false.")
        before = {} if dropped or merged.get(name) is None else merged[name]
        if not isinstance(before, Mapping):
            raise OptionsError(
                f"'{place}{name}' is a mapping in {source}, but the value that it changes is {shown(before)}.",
                f"Give a plain value, or add `{DELETE}: true` to the mapping to replace that value.",
            )
        merged[name] = merge(before, value, source, f"{place}{name}.")
    return merged


def _together(one: Any, other: Any, source: str, place: str) -> dict[str, Any]:
    """Two mappings of one name in one source; whatever stands in both is one too many."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        raise twice(place, source)
    both = {name: _together(one[name], other[name], source, f"{place}.{name}") for name in one if name in other}
    return one | other | both


def twice(name: str, source: str) -> OptionsError:
    """The error for a name that one source has two times."""
    return OptionsError(f"Option '{cut(name)}' stands twice in {source}.", "Keep one of the two.")


def shown(value: Any) -> str:
    """A value as a message shows it; of a large one only the start is ever turned into text."""
    short = Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 80, 80
    return cut(short.repr(value))


def cut(text: str, length: int = 80) -> str:
    """The start of a text that may be long."""
    return text if len(text) <= length else f"{text[:length]}…"
