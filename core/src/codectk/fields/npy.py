"""Numpy's own files: `.npy`, which stays mapped, and `.npz`, a zip file of such."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Literal
from zipfile import ZipFile

import numpy as np
from numpy.lib import format as npy

from codectk.arrays import Array, ArrayInfo
from codectk.errors import InputError
from codectk.fields.metadata import Metadata
from codectk.fields.variable import KEPT_BYTES, Variable, chosen, field_kind, no_room, reading

_READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_USUAL = "data"
BLOCK_BYTES = 1 << 22


def names(path: Path) -> list[str]:
    """Names of the fields in a file; an `.npy` file has one, without a name."""
    if path.suffix.lower() == ".npy":
        return [""]
    with reading(path, "a .npz file"), ZipFile(path) as archive:
        return _fields(_members(archive))


@contextmanager
def opened(path: Path, name: str, max_bytes: int) -> Iterator[Variable]:
    """The array of an `.npy` file, or one of an `.npz` file: the named one, `data`, or the only one."""
    if path.suffix.lower() == ".npy":
        with reading(path, "a numpy array file"):
            # Mapping checks the claimed shape against the file's length before anything is allocated.
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        yield Variable(mapped)
        return
    with reading(path, "a .npz file"), ZipFile(path) as archive:
        found = _members(archive)
        key = chosen(path, name, found, _fields(found))
        with archive.open(found[key]) as stream:
            yield Variable(_member(path, stream, max_bytes), key)


def write(path: Path, x: Array, info: ArrayInfo, metadata: Metadata) -> None:
    """Write the values; an `.npz` file also gets the coordinates, each under the name of its dimension."""
    with path.open("wb") as stream:
        if path.suffix.lower() == ".npy":
            np.save(stream, x, allow_pickle=False)
            return
        coordinates = {dim: c.values for dim, c in metadata.coordinates.items() if dim not in (_USUAL, "file")}
        np.savez(stream, allow_pickle=False, **{_USUAL: x}, **coordinates)


def _members(archive: ZipFile) -> dict[str, str]:
    return {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}


def _fields(found: dict[str, str]) -> list[str]:
    return [_USUAL] if _USUAL in found else list(found)


def _member(path: Path, stream: IO[bytes], max_bytes: int) -> Array:
    """The array of one member; its bytes are counted as they come, since a zip file may lie about their number."""
    version = npy.read_magic(stream)
    if version not in _READ_HEADER:
        raise InputError(f"{path} holds an array of named parts.", "Save a plain array.")
    shape, fortran_order, dtype = _READ_HEADER[version](stream)
    # Truth values are no field, but may be a mask.
    checked = np.dtype(np.uint8) if dtype == np.bool_ else dtype
    field_kind(path, shape, checked, max_bytes)
    size = prod(shape) * dtype.itemsize
    order: Literal["C", "F"] = "F" if fortran_order else "C"
    if size <= KEPT_BYTES:
        data = stream.read(size)
        if len(data) != size:
            raise _cut(path)
        return np.frombuffer(data, dtype).reshape(shape, order=order)
    with no_room(), tempfile.TemporaryFile() as copy:
        while size:
            data = stream.read(min(size, BLOCK_BYTES))
            if not data:
                raise _cut(path)
            copy.write(data)
            size -= len(data)
        copy.flush()
        return np.memmap(copy, dtype, "r", shape=shape, order=order)


def _cut(path: Path) -> InputError:
    return InputError(f"{path} holds an array that is cut.", "Copy or download it again.")
