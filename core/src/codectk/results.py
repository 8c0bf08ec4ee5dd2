"""Results of `codectk evaluate` as a pandas table: one row for each codec, setting and file."""

import json
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codectk.errors import InputError
from codectk.evaluate import Row
from codectk.files import read_bytes

if TYPE_CHECKING:
    import pandas

ROWS = "rows.jsonl"
_TEXT = ("codec", "setting", "file", "path", "error")


def read(place: str | PathLike[str]) -> "pandas.DataFrame":
    """The table of an evaluation.

    Args:
        place: the folder that `codectk evaluate --out` made, or its `rows.jsonl`.

    Returns:
        One row for each codec, setting and file: text columns, whole numbers (`number`, `pixels`, `bytes`), and floats
        (`bpp`, metrics, seconds, notes), NaN where there is no value.

    Raises:
        InputError: there are no results, or they are damaged.
    """
    path = Path(place) / ROWS if Path(place).is_dir() else Path(place)
    try:
        lines = [json.loads(line) for line in read_bytes(path).decode(errors="surrogateescape").splitlines()]
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}.", "Evaluate again.") from None
    fields = set(Row("", {}, "").flat())
    if not all(isinstance(line, dict) and fields <= set(line) for line in lines):
        raise InputError(f"{path} holds no results of codectk.", "Name the folder that `codectk evaluate` made.")
    return _table(lines)


def table(rows: Iterable[Row]) -> "pandas.DataFrame":
    """The same of rows in memory, as `codectk.evaluate.evaluate` returns them."""
    return _table([row.flat() for row in rows])


def _table(lines: list[dict[str, Any]]) -> "pandas.DataFrame":
    try:
        import pandas
    except ImportError:
        raise InputError(
            "Tables need pandas, which is not here.", 'Run `pip install "codectk-core[pandas]"`.'
        ) from None
    columns = list(dict.fromkeys(name for line in [Row("", {}, "").flat(), *lines] for name in line))
    made = pandas.DataFrame(lines, columns=columns)
    whole = ("number", "pixels", "bytes")
    numbers = [name for name in columns if name not in (*_TEXT, *whole)]
    return made.astype(dict.fromkeys(numbers, "float64") | dict.fromkeys(whole, "int64"))
