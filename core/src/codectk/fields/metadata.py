"""What belongs to a field besides its values: name, dimensions, attributes and coordinates, as JSON and back.

    {"name": "t2m", "dims": ["time", "lat"], "source": ".nc", "attributes": {"units": "K", "scale_factor": TYPED},
     "coordinates": {"lat": {"values": TYPED, "attributes": {…}}}}

Text stays text. TYPED is one of `{"dtype": "<f4", "shape": [2], "data": BASE64}`, numbers or bytes of a numpy type,
little endian; `{"strings": […]}`, a list of texts; `{"json": …}`, what was JSON from the start.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from codectk.arrays import Array, ArrayInfo
from codectk.container import MAX_METADATA, canonical_json
from codectk.errors import CodectkError, ContainerError

MAX_NAME = 255
SOURCES = (".nc", ".h5", ".zarr", ".npz", ".npy")
"""Endings of the formats that a field can come from; the usual one of each."""

_DTYPE = re.compile(r"[<|](?:b1|[iu][1248]|f[248]|c8|c16|S[1-9][0-9]{0,6})")
_FILL_NAMES = ("_FillValue", "missing_value")


@dataclass(frozen=True)
class Coordinate:
    """Where the samples lie along one dimension.

    Attributes:
        values: array of that dimension's length, or what gives one when it is indexed.
        attributes: its own, by name.
    """

    values: Any
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Metadata:
    """What belongs to a field.

    Attributes:
        name: of the field, without its groups.
        dims: one name per axis.
        attributes: text, numpy scalars and arrays, lists of text, or JSON, by name.
        coordinates: by the name of their dimension, where it has any.
        source: ending of the format that the field came from, from `SOURCES`; empty where it came from none.
    """

    name: str
    dims: tuple[str, ...]
    attributes: Mapping[str, Any]
    coordinates: Mapping[str, Coordinate]
    source: str = ""

    def fill_attribute(self, info: ArrayInfo) -> Any:
        """The field's attribute `_FillValue`, of its own type, or None where it has none."""
        value = fill_candidate(self.attributes, _FILL_NAMES[:1])
        if value is None and _FILL_NAMES[1] not in self.attributes:
            value = info.fill_value
        try:
            return None if value is None else np.array(value).astype(info.dtype)[()]
        except (OverflowError, TypeError, ValueError):
            return None


def to_json(metadata: Metadata, notes: list[str]) -> dict[str, Any]:
    """Metadata as the JSON that `.ctk` files hold.

    Args:
        metadata: of a field that was read. What JSON cannot hold, and what is too long, is left out.
        notes: what was left out is added, one sentence each.
    """
    name = metadata.name if _is_name(metadata.name) else "data"
    found: dict[str, Any] = {"name": name, "attributes": _packed_attributes(metadata.attributes, "", notes)}
    if metadata.dims and all(map(_is_name, metadata.dims)):
        found["dims"] = list(metadata.dims)
    if metadata.source:
        found["source"] = metadata.source
    coordinates: dict[str, Any] = {}
    for dim in metadata.dims if "dims" in found else ():
        if dim in metadata.coordinates and dim != name and dim not in coordinates:
            packed = _packed_coordinate(dim, metadata.coordinates[dim], notes)
            coordinates |= {dim: packed} if packed else {}
    found["coordinates"] = coordinates
    _cut_to_size(found, notes)
    return {key: value for key, value in found.items() if value}


def from_json(found: Mapping[str, Any], info: ArrayInfo) -> Metadata:
    """Metadata from the JSON of a `.ctk` file, which may be hostile.

    Args:
        found: `Header.metadata`; what it lacks gets usual names.
        info: of the field.

    Raises:
        ContainerError: they make no sense, or do not fit the field.
    """
    try:
        dims = found.get("dims", [f"dim_{axis}" for axis in range(len(info.shape))])
        if len(dims) != len(info.shape) or not all(map(_is_name, dims)):
            raise ValueError("dimensions do not fit the shape")
        lengths = dict(zip(dims, info.shape, strict=True))
        if any(lengths[dim] != length for dim, length in zip(dims, info.shape, strict=True)):
            raise ValueError("a dimension has two lengths")
        name = found.get("name", "data")
        if not _is_name(name):
            raise ValueError("its name is none")
        coordinates = {}
        for dim, packed in found.get("coordinates", {}).items():
            values = unpack_value(packed["values"])
            if not isinstance(values, np.ndarray) or dim == name or values.shape != (lengths[dim],):
                raise ValueError("a coordinate does not fit")
            coordinates[dim] = Coordinate(values, _unpacked_attributes(packed.get("attributes", {})))
        attributes = _unpacked_attributes(found.get("attributes", {}))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ContainerError(
            f"The field's metadata make no sense ({error!s:.200}).", "Write a .npy file, which holds values alone."
        ) from None
    source = found.get("source")
    return Metadata(name, tuple(dims), attributes, coordinates, source if source in SOURCES else "")


def of_labelled(x: Any) -> Metadata | None:
    """The metadata of an array that brings its own, such as `xarray.DataArray`; None for any other."""
    if not all(hasattr(x, name) for name in ("dims", "coords", "attrs", "values")):
        return None
    coordinates = {}
    for dim in x.dims:
        if dim in x.coords:
            coordinates[str(dim)] = _dated(np.asarray(x.coords[dim].values), dict(x.coords[dim].attrs))
    return Metadata(str(x.name or "data"), tuple(map(str, x.dims)), dict(x.attrs), coordinates)


def fill_value(attributes: Mapping[str, Any], kind: str, shape: tuple[int, ...]) -> float | int | None:
    """The fill value that attributes name, where the field's type holds it: `_FillValue`, else `missing_value`.

    Args:
        attributes: of the field.
        kind, shape: of the field.
    """
    value = fill_candidate(attributes, _FILL_NAMES)
    try:
        return None if value is None else ArrayInfo(kind, shape, fill_value=value).fill_value
    except CodectkError:
        return None


def fill_candidate(attributes: Mapping[str, Any], names: Sequence[str]) -> float | int | None:
    """The first number that one of these attributes holds."""
    for name in names:
        values = np.asarray(attributes.get(name, "")).ravel()
        if values.dtype.kind in "iuf" and values.size:
            number = values[0].item()
            whole = isinstance(number, float) and number.is_integer() and abs(number) < 2**53
            found: float | int = int(number) if whole else number
            return found
    return None


def pack_value(value: Any) -> Any:
    """A value of an attribute as JSON, or None where it cannot be kept."""
    if isinstance(value, str):
        return value if _is_text(value) else None
    if isinstance(value, bytes | np.ndarray | np.generic):
        x = np.asarray(value)
        if x.dtype.kind in "UOT" and x.ndim <= 1:
            value = x.ravel().tolist()
        elif _DTYPE.fullmatch(x.dtype.newbyteorder("<").str):
            little = np.ascontiguousarray(x, x.dtype.newbyteorder("<"))
            data = base64.b64encode(little.tobytes()).decode()
            return {"dtype": little.dtype.str, "shape": list(x.shape), "data": data}
        else:
            return None
    if isinstance(value, list | tuple) and value and all(isinstance(item, str) for item in value):
        return {"strings": list(value)} if all(map(_is_text, value)) else None
    try:
        canonical_json(value).encode()
    except (TypeError, ValueError, RecursionError):
        return None
    return {"json": value}


def unpack_value(packed: Any) -> Any:
    """Undo `pack_value`.

    Raises:
        ValueError: that did not make it.
        KeyError, TypeError: the same.
    """
    if isinstance(packed, str):
        return packed
    if not isinstance(packed, dict):
        raise ValueError("a value is of no known form")
    if "json" in packed:
        return packed["json"]
    if "strings" in packed:
        strings = packed["strings"]
        if not isinstance(strings, list) or not all(isinstance(item, str) for item in strings):
            raise ValueError("a list of texts holds something else")
        return strings
    dtype, shape = packed["dtype"], packed["shape"]
    data = base64.b64decode(packed["data"], validate=True)
    if not _DTYPE.fullmatch(dtype) or not all(isinstance(n, int) and 0 <= n <= len(data) for n in shape):
        raise ValueError("a value has a type or shape that is none")
    if prod(shape) * np.dtype(dtype).itemsize != len(data):
        raise ValueError("a value is not of its shape")
    x = np.frombuffer(data, dtype).reshape(shape)
    return x.astype(x.dtype.newbyteorder("="))[()]


def as_text(value: Any) -> Any:
    """What no file but JSON holds, as its text; any other value of an attribute as it is."""
    if isinstance(value, list) and value and len({*map(type, value)}) == 1 and isinstance(value[0], str | int | float):
        return value
    return json.dumps(value) if value is None or isinstance(value, dict | list) else value


def _packed_attributes(attributes: Mapping[str, Any], owner: str, notes: list[str]) -> dict[str, Any]:
    packed = {}
    for name, value in attributes.items():
        made = pack_value(value) if _is_text(name) and name else None
        if made is None:
            notes.append(f"left out attribute {owner}{name!r:.80}, whose type is not kept")
        else:
            packed[name] = made
    return packed


def _unpacked_attributes(packed: Any) -> dict[str, Any]:
    return {str(name): unpack_value(value) for name, value in packed.items()}


def _packed_coordinate(dim: str, coordinate: Coordinate, notes: list[str]) -> dict[str, Any] | None:
    dtype: Any = getattr(coordinate.values, "dtype", None)
    shape: tuple[int, ...] = getattr(coordinate.values, "shape", ())
    if not isinstance(dtype, np.dtype) or dtype.kind not in "iuf" or dtype.itemsize > 8 or len(shape) != 1:
        notes.append(f"left out coordinate {dim}, which is no list of numbers")
        return None
    if shape[0] * dtype.itemsize > MAX_METADATA // 2:  # before it is read
        notes.append(f"left out coordinate {dim}, which is too long")
        return None
    values = pack_value(np.asarray(coordinate.values[:]))
    attributes = _packed_attributes(coordinate.attributes, f"{dim}.", notes)
    return {"values": values} | ({"attributes": attributes} if attributes else {})


def _cut_to_size(found: dict[str, Any], notes: list[str]) -> None:
    """Leave out the longest parts until the rest is no longer than files hold."""
    spare = MAX_METADATA - 256  # for the frame and the fill value
    while len(canonical_json(found).encode()) > spare:
        parts = [(key, name) for key in ("coordinates", "attributes") for name in found[key]]
        key, name = max(parts, key=lambda part: len(canonical_json(found[part[0]][part[1]])))
        del found[key][name]
        notes.append(f"left out {'coordinate' if key == 'coordinates' else 'attribute'} {name:.80}, which is too long")


def _dated(values: Array, attributes: dict[str, Any]) -> Coordinate:
    """Times as numbers with a unit, as files hold them."""
    units = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
    word = next((word for unit, word in units.items() if values.dtype == np.dtype(f"M8[{unit}]")), None)
    if word is None:
        return Coordinate(values, attributes)
    since = {"units": f"{word} since 1970-01-01", "calendar": "proleptic_gregorian"}
    return Coordinate(values.astype(np.int64), attributes | since)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _is_name(value: Any) -> bool:
    usual = isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable() and value.strip() == value
    return usual and "/" not in value and value not in (".", "..") and _is_text(value)
