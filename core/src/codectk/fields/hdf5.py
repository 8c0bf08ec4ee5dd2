"""HDF5 files, with the dimension scales that NetCDF-4 and others attach."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from codectk.arrays import Array, ArrayInfo
from codectk.errors import InputError
from codectk.fields.metadata import Coordinate, Metadata, as_text
from codectk.fields.variable import Variable, chosen, copy_parts, fields_among, reading

_WHAT = "a HDF5 file"
_OF_THE_FORMAT = frozenset({"CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST", "DIMENSION_LABELS"}) | frozenset(
    {"_Netcdf4Dimid", "_Netcdf4Coordinates", "_nc3_strict", "_NCProperties"}
)
_NO_COORDINATE = b"This is a netCDF dimension but not a netCDF variable"


def names(path: Path) -> list[str]:
    """Names of the fields in a file, those in groups as `GROUP/NAME`."""
    with _file(path) as file:
        return _fields(_arrays(file))


@contextmanager
def opened(path: Path, name: str, _max_bytes: int) -> Iterator[Variable]:
    """One array of a file."""
    with _file(path) as file:
        arrays = _arrays(file)
        found = arrays[chosen(path, name.strip("/"), arrays, _fields(arrays))]
        if found.external:
            raise InputError(f"{path} keeps the values of {found.name} in other files.", "Copy them into one first.")
        labels = tuple(_label(dim) for dim in found.dims)
        coordinates = {}
        for label, dim in zip(labels, found.dims, strict=True):
            scale = dim[0] if label and len(dim) else None
            if scale is None or scale.external:
                continue
            if not bytes(scale.attrs.get("NAME", b"")).startswith(_NO_COORDINATE):
                coordinates[label] = Coordinate(scale, _attributes(scale))
        dims = labels if all(labels) else ()
        yield Variable(found, found.name.rpartition("/")[2], dims, _attributes(found), coordinates)


def write(path: Path, x: Array, info: ArrayInfo, metadata: Metadata) -> None:
    """Write the field, with its coordinates as dimension scales."""
    with h5py.File(path, "w") as file:
        stored = file.create_dataset(metadata.name, x.shape, x.dtype)
        copy_parts(x, stored)
        fill = metadata.fill_attribute(info)
        _set(stored, {**metadata.attributes, **({} if fill is None else {"_FillValue": fill})})
        for axis, dim in enumerate(metadata.dims):
            stored.dims[axis].label = dim
            if dim not in metadata.coordinates:
                continue
            if dim not in file:
                scale = file.create_dataset(dim, data=metadata.coordinates[dim].values)
                _set(scale, metadata.coordinates[dim].attributes)
                scale.make_scale(dim)
            stored.dims[axis].attach_scale(file[dim])


def _set(stored: Any, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        if name not in _OF_THE_FORMAT:
            stored.attrs[name] = as_text(value)


@contextmanager
def _file(path: Path) -> Iterator[Any]:
    with reading(path, _WHAT), h5py.File(path, "r") as file:
        yield file


def _arrays(file: Any) -> dict[str, Any]:
    found = {}

    def visit(name: str, thing: Any) -> None:
        # Groups have no shape; arrays without any values have None.
        if getattr(thing, "shape", None) is not None:
            found[name] = thing

    file.visititems(visit)
    return found


def _fields(arrays: Mapping[str, Any]) -> list[str]:
    numeric = {name: array for name, array in arrays.items() if array.dtype.kind in "iuf" and array.ndim}
    scales = {name for name, array in numeric.items() if array.is_scale}
    # Whatever the dimensions are called, only a scale is a coordinate.
    dims = {name: ("",) * array.ndim for name, array in numeric.items() if name not in scales}
    return fields_among(dims, {name: _attributes(array) for name, array in numeric.items()})


def _label(dim: Any) -> str:
    return str(dim.label) or (dim[0].name.rpartition("/")[2] if len(dim) else "")


def _attributes(array: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in array.attrs:
        if name not in _OF_THE_FORMAT:
            try:
                found[name] = array.attrs[name]
            except (OSError, TypeError, ValueError):  # a type that numpy lacks
                found[name] = None
    return found
