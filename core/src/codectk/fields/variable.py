"""What readers of all formats share: a variable in a file, the choice of one, and its values in bounded memory."""

import errno
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from codectk.arrays import FIELD_KINDS, Array, parts
from codectk.errors import CodectkError, InputError, OutputError, one_line
from codectk.fields.metadata import Coordinate

KEPT_BYTES = 1 << 28
"""Arrays above this size stay on disk: mapped where they lie, or copied part by part to a temporary file."""

PART_VALUES = 1 << 23
"""Values that are copied at once."""

SHOWN_NAMES = 20

_ADVICE = {
    "float16": "Convert it with .astype('float32'), which keeps every value.",
    "bool": "Convert it with .astype('uint8').",
    "f": "Convert it with .astype('float64') if that is precise enough.",
    "c": "Store its real and imaginary parts as two fields.",
    "M": "Store the times as numbers, with .astype('int64').",
    "m": "Store the durations as numbers, with .astype('int64').",
}


@dataclass(frozen=True)
class Variable:
    """An array in an open file.

    Attributes:
        values: with `shape`, `dtype` and parts by slices; stored values, neither masked nor scaled.
        name, dims, attributes, coordinates: see `codectk.fields.metadata.Metadata`; no dims where they have no names.
    """

    values: Any
    name: str = ""
    dims: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    coordinates: Mapping[str, Coordinate] = field(default_factory=dict)


def field_kind(path: Path, shape: tuple[int, ...], dtype: Any, max_bytes: int) -> str:
    """The kind of field that an array is, before anything of it is read.

    Args:
        path: the file, for messages.
        shape, dtype: what it announces.
        max_bytes: refuse larger arrays.

    Raises:
        InputError: fields are not of this type or rank, the array is empty, or it is larger than the limit.
    """
    dtype = np.dtype(dtype) if isinstance(dtype, np.dtype | type) else np.dtype(object)
    holds = f"{path} holds {dtype} of shape {tuple(shape)}."
    if dtype.name not in FIELD_KINDS:
        advice = _ADVICE.get(dtype.name, _ADVICE.get(dtype.kind, "Fields hold numbers."))
        raise InputError(holds, advice)
    if not 1 <= len(shape) <= 5:
        raise InputError(holds, "Fields have 1 to 5 axes: take a part of it, or join axes with numpy.reshape.")
    if not all(shape):
        raise InputError(holds, "An empty array cannot be compressed.")
    size = prod(map(int, shape)) * dtype.itemsize
    if size > max_bytes:
        raise InputError(
            f"{path} announces an array of {size} bytes; the limit is {max_bytes}.",
            "If you trust the file, raise the limit with --max-bytes.",
        )
    return FIELD_KINDS[dtype.name]


def settled(values: Any) -> Array:
    """The values as an array in C order and of native byte order.

    Small ones are copied into memory. Large ones stay mapped where they can; others go to a temporary file, which
    disappears with the array.

    Args:
        values: see `Variable`; of a type that was checked.

    Raises:
        OutputError: there is no room for the temporary file.
    """
    dtype = values.dtype.newbyteorder("=")
    if prod(values.shape) * dtype.itemsize <= KEPT_BYTES:
        return np.array(values[...], dtype, order="C")
    if isinstance(values, np.ndarray) and values.flags.c_contiguous and values.dtype.isnative:
        return values.view(np.ndarray)
    with no_room(), tempfile.TemporaryFile() as stream:
        # Written, not mapped for writing: a full disk is then an error, not the end of the process.
        for part in parts(values.shape, PART_VALUES, _rows(values)):
            stream.write(np.ascontiguousarray(values[part], dtype).data)
        stream.flush()
        return np.memmap(stream, dtype, "r", shape=values.shape).view(np.ndarray)


@contextmanager
def no_room() -> Iterator[None]:
    """Say in which folder a temporary file found no room."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise OutputError(
            f"{tempfile.gettempdir()} has no room for a temporary copy.",
            "Free space, or name another folder in the environment variable TMPDIR.",
        ) from error


def copy_parts(x: Array, target: Any) -> None:
    """Assign an array to one in a file, part by part."""
    for part in parts(x.shape, PART_VALUES, _rows(target)):
        target[part] = x[part]


def chosen(path: Path, name: str, everything: Collection[str], fields: Collection[str]) -> str:
    """The variable that is meant.

    Args:
        path: the file, for messages.
        name: what the user named, or nothing.
        everything: names of all arrays.
        fields: names of those that are meant where none is named; see `is_coordinate`.

    Raises:
        InputError: there is no such variable, or none or several could be meant.
    """
    if name and name in everything:
        return name
    if not name and len(fields) == 1:
        return next(iter(fields))
    names = sorted(fields if not name and fields else everything)
    listed = ", ".join(names[:SHOWN_NAMES]) + (", …" if len(names) > SHOWN_NAMES else "")
    if not names:
        raise InputError(f"{path} holds no array.", "Check the path.")
    if name:
        raise InputError(f"{path} holds no array '{name}'.", f"It holds {listed}.")
    problem = "several fields" if fields else "no field besides coordinates"
    raise InputError(f"{path} holds {problem}.", f"Name one, as in {path}:{names[0]}. There are {listed}.")


def fields_among(dims: Mapping[str, tuple[str, ...]], attributes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of arrays that are not there to describe others: coordinates, and what attributes name as such.

    Args:
        dims: by the name of an array of numbers, with its groups, the names of its dimensions.
        attributes: those of each array.
    """
    described = set()
    for own in attributes.values():
        for key in ("bounds", "climatology", "coordinates"):
            described |= set(str(own.get(key, "")).split())
    bare = {name: name.rpartition("/")[2] for name in dims}
    return [name for name in dims if dims[name] and dims[name] != (bare[name],) and bare[name] not in described]


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a library raises on hostile bytes into one kind of error."""
    try:
        yield
    except (CodectkError, MemoryError):
        raise
    except Exception as error:  # libraries raise OSError, RuntimeError, KeyError, ValueError, … on damaged files
        reason = str(error).strip().rstrip(".").splitlines()
        raise InputError(
            f"{path} is not {what}, or damaged: {(reason or [type(error).__name__])[0]}.", "Copy or download it again."
        ) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn whatever a library raises besides `OSError` into one kind of error."""
    try:
        yield
    except (CodectkError, MemoryError, OSError):
        raise
    except Exception as error:
        raise OutputError(
            f"{path} cannot be written ({one_line(error)}).", "Choose another ending, such as .npy."
        ) from error


def _rows(values: Any) -> int:
    """How many rows a chunk of the file holds: chunks that are read in pieces are decoded once for each."""
    chunking = getattr(values, "chunking", None)  # of NetCDF; others have an attribute
    chunks = chunking() if callable(chunking) else getattr(values, "chunks", None)
    return chunks[0] if isinstance(chunks, list | tuple) and isinstance(chunks[0], int) else 1
