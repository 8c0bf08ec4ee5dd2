"""NetCDF files, of versions 3 and 4."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from codectk.arrays import Array, ArrayInfo
from codectk.fields.metadata import Coordinate, Metadata, as_text
from codectk.fields.variable import Variable, chosen, copy_parts, fields_among, reading

_WHAT = "a NetCDF file"


def names(path: Path) -> list[str]:
    """Names of the fields in a file, those in groups as `GROUP/NAME`."""
    with _dataset(path) as dataset:
        return _fields(_variables(dataset))


@contextmanager
def opened(path: Path, name: str, _max_bytes: int) -> Iterator[Variable]:
    """One variable of a file, as it is stored: neither masked nor unpacked."""
    with _dataset(path) as dataset:
        variables = _variables(dataset)
        found = variables[chosen(path, name.strip("/"), variables, _fields(variables))]
        dims: tuple[str, ...] = found.dimensions
        coordinates = {
            dim: Coordinate(values, _attributes(values))
            for dim in dims
            if (values := _coordinate(found, dim)) is not None
        }
        yield Variable(found, found.name, dims, _attributes(found), coordinates)


def write(path: Path, x: Array, info: ArrayInfo, metadata: Metadata) -> None:
    """Write the field and its coordinates as a NetCDF-4 file."""
    with netCDF4.Dataset(path, "w") as dataset:
        for dim, length in dict(zip(metadata.dims, info.shape, strict=True)).items():
            dataset.createDimension(dim, length)
        for dim, coordinate in metadata.coordinates.items():
            _write_variable(dataset, dim, (dim,), coordinate.values, coordinate.attributes, None)
        fill = metadata.fill_attribute(info)
        _write_variable(dataset, metadata.name, metadata.dims, x, metadata.attributes, fill)


def _write_variable(
    dataset: Any, name: str, dims: tuple[str, ...], x: Array, attributes: Mapping[str, Any], fill: Any
) -> None:
    # Without a fill value of its own, nothing is filled in before the values come.
    variable = dataset.createVariable(name, x.dtype, dims, fill_value=False if fill is None else fill)
    variable.set_auto_maskandscale(False)
    for key, value in attributes.items():
        if key != "_FillValue":
            variable.setncattr(key, _settable(value))
    copy_parts(x, variable)


def _settable(value: Any) -> Any:
    """The nearest that NetCDF has a type for."""
    value = as_text(value)
    kind = np.asarray(value).dtype.kind
    if kind == "b":
        return np.asarray(value).astype(np.int8)
    if kind == "S":
        return np.char.decode(value, errors="replace").tolist()
    return str(value) if kind == "c" else value


@contextmanager
def _dataset(path: Path) -> Iterator[Any]:
    with reading(path, _WHAT), netCDF4.Dataset(path, "r") as dataset:
        dataset.set_auto_maskandscale(False)
        dataset.set_auto_chartostring(False)
        yield dataset


def _variables(group: Any, prefix: str = "") -> dict[str, Any]:
    found = {prefix + name: variable for name, variable in group.variables.items()}
    for name, inner in group.groups.items():
        found |= _variables(inner, f"{prefix}{name}/")
    return found


def _fields(variables: Mapping[str, Any]) -> list[str]:
    dims = {name: v.dimensions for name, v in variables.items() if _is_numeric(v)}
    return fields_among(dims, {name: _attributes(v) for name, v in variables.items()})


def _is_numeric(variable: Any) -> bool:
    return isinstance(variable.datatype, np.dtype) and variable.datatype.kind in "iuf"


def _attributes(variable: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in variable.ncattrs():
        try:
            found[name] = variable.getncattr(name)
        except (KeyError, OSError, RuntimeError, ValueError):  # a type that numpy lacks, or text that is none
            found[name] = None
    return found


def _coordinate(variable: Any, dim: str) -> Any:
    """The variable of a dimension's name in the nearest group, or None."""
    group = variable.group()
    while group is not None:
        if dim in group.variables and group.variables[dim].dimensions == (dim,):
            return group.variables[dim] if group.variables[dim].name != variable.name else None
        group = group.parent
    return None
