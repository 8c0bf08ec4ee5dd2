"""Zarr stores in folders, of formats 2 and 3."""

import base64
import binascii
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from codectk.arrays import Array, ArrayInfo
from codectk.errors import InputError
from codectk.fields.metadata import Coordinate, Metadata
from codectk.fields.variable import Variable, chosen, copy_parts, fields_among, reading

_WHAT = "a Zarr store"
_MARKS = ("zarr.json", ".zgroup", ".zarray")
MAX_CHUNK_BYTES = 1 << 32
_DIMS = "_ARRAY_DIMENSIONS"
"""Where format 2 keeps the names of dimensions."""


def is_store(path: Path) -> bool:
    """Whether a folder is a Zarr store, or an array or group in one."""
    return path.is_dir() and any((path / mark).is_file() for mark in _MARKS)


def names(path: Path) -> list[str]:
    """Names of the fields in a store, those in groups as `GROUP/NAME`; of an array that is the whole store, none."""
    with reading(path, _WHAT):
        return _fields(_arrays(path))


@contextmanager
def opened(path: Path, name: str, _max_bytes: int) -> Iterator[Variable]:
    """One array of a store."""
    with reading(path, _WHAT):
        arrays = _arrays(path)
        key = "" if list(arrays) == [""] else chosen(path, name.strip("/"), arrays, _fields(arrays))
        found = arrays[key]
        _check(path, found)
        group, _, own = key.rpartition("/")
        coordinates = {}
        for dim in _dims(found):
            values = arrays.get(f"{group}/{dim}" if group else dim)
            if values is not None and values is not found and _dims(values) == (dim,):
                _check(path, values)
                coordinates[dim] = Coordinate(values, _attributes(values))
        dims = _dims(found) if all(_dims(found)) else ()
        yield Variable(found, own or path.stem, dims, _attributes(found), coordinates)


def write(path: Path, x: Array, info: ArrayInfo, metadata: Metadata) -> None:
    """Write the field and its coordinates as a store of format 3 into an empty folder."""
    import zarr

    group = zarr.open_group(zarr.storage.LocalStore(path), mode="a", zarr_format=3)
    attributes = {name: _plain(value) for name, value in metadata.attributes.items()}
    fill = metadata.fill_attribute(info)
    if fill is not None:
        attributes["_FillValue"] = _encoded_fill(fill)
    stored = group.create_array(
        metadata.name, shape=x.shape, dtype=x.dtype, dimension_names=metadata.dims, attributes=attributes
    )
    copy_parts(x, stored)
    for dim, coordinate in metadata.coordinates.items():
        own = {name: _plain(value) for name, value in coordinate.attributes.items()}
        group.create_array(dim, data=np.asarray(coordinate.values), dimension_names=(dim,), attributes=own)


def _arrays(path: Path) -> dict[str, Any]:
    import zarr

    root = zarr.open(zarr.storage.LocalStore(path, read_only=True), mode="r")
    if not isinstance(root, zarr.Group):
        return {"": root}
    return {name: thing for name, thing in root.members(max_depth=None) if not isinstance(thing, zarr.Group)}


def _fields(arrays: Mapping[str, Any]) -> list[str]:
    if list(arrays) == [""]:
        return [""]
    numeric = {name: array for name, array in arrays.items() if array.dtype.kind in "iuf"}
    dims = {name: _dims(array) for name, array in numeric.items()}
    return fields_among(dims, {name: _attributes(array) for name, array in numeric.items()})


def _check(path: Path, array: Any) -> None:
    """Refuse what would run code or take memory without a limit once a chunk is decoded.

    Raises:
        InputError: the store asks for that.
    """
    about = array.metadata.to_dict()
    codecs = json.dumps([about.get(key) for key in ("filters", "compressor", "codecs")], default=str)
    if "pickle" in codecs.lower():
        raise InputError(f"{path} holds pickled objects, which may run any program.", "Store numbers instead.")
    size = prod(getattr(array, "shards", None) or array.chunks) * array.dtype.itemsize
    if size > MAX_CHUNK_BYTES:
        raise InputError(f"{path} has chunks of {size} bytes.", f"Store it in chunks of at most {MAX_CHUNK_BYTES}.")


def _dims(array: Any) -> tuple[str, ...]:
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get(_DIMS)
    usable = isinstance(names, list | tuple) and len(names) == len(array.shape)
    return tuple(str(name or "") for name in names) if usable else ("",) * len(array.shape)


def _attributes(array: Any) -> dict[str, Any]:
    """With `_FillValue` of the array's own type, wherever it stands."""
    found = {name: value for name, value in array.attrs.items() if name != _DIMS}
    fill = found.get("_FillValue")
    if fill is None and array.metadata.zarr_format == 2:
        fill = array.fill_value or None  # 0 says nothing: it is what stands there when nobody chose
    if isinstance(fill, str):
        fill = _decoded_fill(fill)
    if fill is not None and array.dtype.kind in "iuf":
        try:
            found["_FillValue"] = np.array(fill).astype(array.dtype)[()]
        except (OverflowError, TypeError, ValueError):
            found.pop("_FillValue", None)
    return found


def _encoded_fill(fill: Any) -> Any:
    """As xarray writes it into the attributes of format 3, where floats may be NaN."""
    return base64.b64encode(struct.pack("<d", fill)).decode() if fill.dtype.kind == "f" else int(fill)


def _decoded_fill(text: str) -> float | None:
    try:
        number: float = struct.unpack("<d", base64.b64decode(text, validate=True))[0]
        return number
    except (binascii.Error, struct.error, ValueError):
        return None


def _plain(value: Any) -> Any:
    """A value as JSON holds it; numbers that are not finite by their names."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, complex):
        return [_plain(value.real), _plain(value.imag)]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value
