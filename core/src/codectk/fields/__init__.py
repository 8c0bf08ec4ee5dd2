"""Scientific fields in files: numpy, NetCDF, HDF5 and Zarr, each behind the same three functions.

A field in a file of several is named behind a colon: `climate.nc:t2m`, `run.h5:/step/3/density`.
"""

import re
from contextlib import AbstractContextManager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import Array, ArrayInfo, missing, parts
from codectk.errors import CodectkError, InputError, OutputError
from codectk.fields.metadata import SOURCES, Metadata, fill_value, from_json, to_json
from codectk.fields.stores import is_store
from codectk.fields.variable import PART_VALUES, Variable, field_kind, reading, settled, writing
from codectk.files import MAX_INPUT_BYTES, atomic_folder, atomic_output, check_file, refuse_existing
from codectk.images import Picture

_FORMATS = {
    **dict.fromkeys((".npy", ".npz"), "npy"),
    **dict.fromkeys((".nc", ".nc4", ".cdf"), "netcdf"),
    **dict.fromkeys((".h5", ".hdf5", ".he5"), "hdf5"),
    ".zarr": "stores",
}
_PACKAGES = {".nc": ("netCDF4", "netcdf"), ".h5": ("h5py", "hdf5"), ".zarr": ("zarr", "zarr")}
"""What formats need: its package, and the extra of codectk-core that brings it."""

SUFFIXES = frozenset(_FORMATS)
"""Endings of files and stores of fields."""

_NAMED = re.compile(r"(?P<place>.*?\.(?:npz|nc|nc4|cdf|h5|hdf5|he5|zarr)):/*(?P<name>[^:]+?)/*", re.I | re.S)


class Format(Protocol):
    """What the module of a format holds."""

    def names(self, path: Path) -> list[str]:
        """Names of the fields in a file that are meant where none is named."""
        ...

    def opened(self, path: Path, name: str, max_bytes: int) -> AbstractContextManager[Variable]:
        """One field of a file, while the file is open; without a name the only one."""
        ...

    def write(self, path: Path, x: Array, info: ArrayInfo, metadata: Metadata) -> None:
        """Write a field into an empty file or folder."""
        ...


def split(path: Path) -> tuple[Path, str]:
    """The file or store that a path means, and the name behind its colon; a file of that whole name comes first."""
    match = None if path.exists() else _NAMED.fullmatch(str(path))
    return (Path(match["place"]), match["name"]) if match else (path, "")


def is_field(path: Path) -> bool:
    """Whether a path means a field: by its ending, by a name behind a colon, or as a Zarr store."""
    place, _ = split(path)
    return place.suffix.lower() in SUFFIXES or is_store(place)


def read_field(path: Path, max_bytes: int = MAX_INPUT_BYTES) -> Picture:
    """Read a field, with what belongs to it.

    Values are as they are stored: packed ones stay packed, with `scale_factor` and `add_offset` among the attributes.
    A field that does not fit into memory stays on disk; see `codectk.fields.variable.settled`.

    Args:
        path: file or Zarr store, with the field's name behind a colon where it has several.
        max_bytes: refuse larger files and arrays.

    Raises:
        InputError: it is missing, damaged, holds no such field or one that is none, or its package is not installed.
    """
    place, name = split(path)
    if not is_store(place):
        check_file(place, max_bytes)
    with _format(place).opened(place, name, max_bytes) as variable:
        kind = field_kind(path, variable.values.shape, variable.values.dtype, max_bytes)
        with reading(path, "readable"):
            x = settled(variable.values)
        notes: list[str] = []
        source = _source(place)
        dims, own = variable.dims, variable.attributes
        metadata = Metadata(variable.name, dims, own, variable.coordinates, source)
        found = to_json(metadata, notes) if source != ".npy" else {}
    fill = fill_value(own, kind, x.shape)
    return Picture(x, ArrayInfo(kind, x.shape, value_range(x, fill), fill), tuple(notes), found)


def read_mask(path: Path, max_bytes: int = MAX_INPUT_BYTES) -> NDArray[np.bool_]:
    """Read an array of truth values or numbers as a mask: true where it is not 0.

    Args:
        path, max_bytes: see `read_field`.

    Raises:
        InputError: see `read_field`.
    """
    place, name = split(path)
    if not is_store(place):
        check_file(place, max_bytes)
    with _format(place).opened(place, name, max_bytes) as variable:
        dtype = np.dtype(np.uint8) if variable.values.dtype == np.bool_ else variable.values.dtype
        field_kind(path, variable.values.shape, dtype, max_bytes)
        with reading(path, "readable"):
            mask: NDArray[np.bool_] = np.asarray(variable.values[...]) != 0
    return mask


def write_field(path: Path, x: Array, info: ArrayInfo, found: Any, force: bool = False) -> None:
    """Write a field in the format that the ending names.

    Args:
        path: file, or folder of a Zarr store, which is written whole or not at all.
        x, info: the field.
        found: `Header.metadata`.
        force: replace what is there: a file, or a Zarr store.

    Raises:
        OutputError: it cannot be written, or its package is not installed.
        ContainerError: the metadata make no sense.
    """
    bare = path.suffix.lower() == ".npy"
    if info.is_image and not bare:
        raise OutputError(f"{path}: {path.suffix} cannot hold {info.kind}.", "Choose .png.")
    metadata = from_json({} if bare else found, info)
    place = atomic_folder if path.suffix.lower() == ".zarr" else atomic_output
    refuse_output(path, force)
    form = _format(path, OutputError)
    with place(path, force) as temporary, writing(path):
        form.write(temporary, x, info, metadata)


def refuse_output(path: Path, force: bool) -> None:
    """Stop before work is done whose result could not be stored.

    Raises:
        OutputError: the path exists and `force` is false, or it is something else than the ending says.
    """
    if path.suffix.lower() == ".zarr" and is_store(path) and force:
        return
    if path.suffix.lower() == ".zarr" and is_store(path):
        raise OutputError(f"{path} exists already.", "Add --force to replace it, or -o for another place.")
    refuse_existing(path, force and path.suffix.lower() != ".zarr")


def default_suffix(found: Any) -> str:
    """Ending for a field whose user names none: that of its source where that can be written here, else `.npy`."""
    source = found.get("source")
    usable = source in SOURCES and (source not in _PACKAGES or find_spec(_PACKAGES[source][0]) is not None)
    return str(source) if usable else ".npy"


def members(path: Path) -> list[Path]:
    """A file or store as inputs: itself, or each of its fields by name where it has several.

    What cannot be looked into is itself: whoever reads it says why.
    """
    place, name = split(path)
    if name or not is_field(place):
        return [path]
    try:
        names = _format(place).names(place)
    except CodectkError:
        return [path]
    return [Path(f"{path}:{name}") for name in names] if len(names) > 1 else [path]


def value_range(x: Array, fill: float | int | None = None) -> tuple[float, float]:
    """Smallest and largest of the samples that are not missing; zeros where there is none."""
    lows, highs = [], []
    for part in parts(x.shape, PART_VALUES):
        values = x[part]
        if x.dtype.kind == "f" or fill is not None:
            values = values[~missing(values, fill)]
        if values.size:
            lows.append(values.min())
            highs.append(values.max())
    return (float(np.min(lows)), float(np.max(highs))) if lows else (0.0, 0.0)


def _format(path: Path, error: type[CodectkError] = InputError) -> Format:
    """The module of a file's format.

    Raises:
        CodectkError: its package is not installed; of the type `error`.
    """
    package, extra = _PACKAGES.get(_source(path), ("numpy", ""))
    if find_spec(package) is None:
        raise error(f"{path} needs {package}, which is not here.", f'Run `pip install "codectk-core[{extra}]"`.')
    name = "stores" if is_store(path) else _FORMATS[path.suffix.lower()]
    return cast(Format, import_module(f"codectk.fields.{name}"))


def _source(path: Path) -> str:
    suffix = path.suffix.lower()
    if is_store(path):
        return ".zarr"
    return {"netcdf": ".nc", "hdf5": ".h5"}.get(_FORMATS[suffix], suffix)
