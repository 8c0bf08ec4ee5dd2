"""What a codec's plugin says that a file of it holds, for `codectk info` and reports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from codectk.errors import CodectkError, UnknownName, one_line
from codectk.registry import Registered, get_registry
from codectk.specs import CodecSpec
from codectk_cli.shared import table

if TYPE_CHECKING:
    from rich.table import Table

    from codectk.container import Header

MAX_ROWS = 200
"""Rows of one table on the screen; JSON has all."""


def details_of(header: Header, segments: tuple[bytes, ...]) -> tuple[dict[str, Any], str]:
    """What the plugin says, and one line on what is left out, of which one is empty.

    Args:
        header, segments: of a file that was checked.

    Both are empty where the codec has nothing to say.
    """
    try:
        registered = _codec(header)
    except UnknownName as error:
        return {}, f"what the segments hold: {error}"
    if registered.spec.details is None:
        return {}, ""
    try:
        if header.bitstream_version not in registered.spec.reads:
            raise ValueError(f"version {header.bitstream_version} is not read by {registered.distribution} here")
        said = registered.load(registered.spec.details)(header, segments)
        return _plain(said), ""
    except CodectkError as error:
        return {}, f"what the segments hold: {error}"
    except Exception as error:  # the bytes may be hostile, and the header alone says enough
        return {}, f"what the segments hold: {registered.distribution} cannot tell ({one_line(error)})"


def tables(details: Mapping[str, Any]) -> Iterator[tuple[str, Table]]:
    """(Title, table) of all entries that are single values, then of each that is a mapping or a list of mappings."""
    single = {name: v for name, v in details.items() if not is_table(v)}
    if single:
        yield "details", _pairs(single)
    for title, value in details.items():
        if _is_rows(value):
            yield _printable(title), _rows(value)
        elif isinstance(value, Mapping):
            yield _printable(title), _pairs(value)


def is_table(value: Any) -> bool:
    """Whether a value is shown as a table: a mapping, or a list of mappings."""
    return isinstance(value, Mapping) or _is_rows(value)


def _pairs(values: Mapping[str, Any]) -> Table:
    shown = table("", "")
    shown.show_header = False
    for name, value in values.items():
        shown.add_row(_printable(name), _cell(value))
    return shown


def _rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    numbers = [_printable(c) for c in columns if all(isinstance(row.get(c), int | float | None) for row in rows)]
    shown = table(*map(_printable, columns), right=numbers)
    for row in rows[:MAX_ROWS]:
        shown.add_row(*(_cell(row.get(column)) for column in columns))
    if len(rows) > MAX_ROWS:
        shown.add_row(f"… {len(rows) - MAX_ROWS} more; --json shows all")
    return shown


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict | list | bool):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else _printable(str(value))


def _printable(text: str) -> str:
    """Text of a file that may be hostile, without what a terminal would take for a command."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _codec(header: Header) -> Registered:
    """The installed codec that wrote a file.

    Raises:
        UnknownName: it is not installed.
    """
    from codectk.compression import codec_name

    return get_registry().find(CodecSpec, codec_name(header))


def _is_rows(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _plain(said: Any) -> dict[str, Any]:
    """The plugin's answer as what JSON holds.

    Raises:
        TypeError, ValueError: it is no mapping, or JSON cannot hold it.
    """
    if not isinstance(said, Mapping):
        raise TypeError(f"it returned {type(said).__name__}, not a mapping")
    plain: dict[str, Any] = json.loads(json.dumps(dict(said), allow_nan=False))
    return plain
