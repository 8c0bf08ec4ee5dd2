"""Arrays in files of any kind: pictures, and scientific fields."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codectk import fields, images
from codectk.arrays import Array, ArrayInfo
from codectk.errors import InputError
from codectk.fields.stores import is_store
from codectk.files import MAX_INPUT_BYTES, refuse_existing
from codectk.images import Picture


def read_array(
    path: Path, background: str | None = None, depth: int | None = None, max_bytes: int = MAX_INPUT_BYTES
) -> Picture:
    """Read a picture, or a field from a numpy, NetCDF, HDF5 or Zarr file.

    Args:
        path: input file, with the name of a field behind a colon where it holds several.
        background, depth: see `codectk.images.read_image`.
        max_bytes: refuse larger files, and fields that are larger when they are unpacked.

    Raises:
        InputError: the file is missing, damaged, or of a kind that cannot be kept whole.
    """
    if fields.is_field(path):
        return fields.read_field(path, max_bytes)
    return images.read_image(path, background, depth, max_bytes)


def write_array(
    path: Path, x: Array, info: ArrayInfo, force: bool = False, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write a picture or a field by its ending, or any array as `.npy`.

    Args:
        path: output file, or folder of a Zarr store.
        x, info: the array.
        force: replace what is there.
        metadata: `Header.metadata`, for formats that hold them.

    Raises:
        OutputError: see `codectk.images.write_image` and `codectk.fields.write_field`.
        ContainerError: the metadata make no sense.
    """
    if path.suffix.lower() in fields.SUFFIXES:
        fields.write_field(path, x, info, metadata or {}, force)
    else:
        images.write_image(path, x, info, force)


def refuse_output(path: Path, force: bool) -> None:
    """Stop before work is done whose result could not be stored.

    Raises:
        OutputError: see `codectk.files.refuse_existing`; with `force`, a Zarr store may be replaced too.
    """
    if path.suffix.lower() in fields.SUFFIXES:
        fields.refuse_output(path, force)
    else:
        refuse_existing(path, force)


def default_suffix(info: ArrayInfo, metadata: Mapping[str, Any] | None = None) -> str:
    """Ending of a decompressed file where the user names none."""
    return ".png" if info.is_image else fields.default_suffix(metadata or {})


def is_folder(path: Path) -> bool:
    """Whether a path is a folder of inputs; a Zarr store is an input itself."""
    return path.is_dir() and not is_store(path)


def plain_path(path: Path) -> Path:
    """The path of an input as a name for what is made of it: `climate.nc:sea/t2m` gives `climate.sea.t2m.nc`."""
    place, name = fields.split(path)
    return place.with_name(f"{place.stem}.{name.replace('/', '.')}{place.suffix}") if name else path


def find_inputs(place: Path) -> list[Path]:
    """All pictures and fields in a folder and its subfolders, in order of their paths; or those of one file or store.

    A file of several fields stands for each of them, by its name behind a colon.

    Raises:
        InputError: the folder is missing or holds none.
    """
    if not is_folder(place):
        if place.is_file() or fields.is_field(place):
            return fields.members(place)
        raise InputError(f"{place} is not a folder.", "Check the path.")
    endings = images.SUFFIXES | fields.SUFFIXES
    named = (p for p in place.rglob("*") if p.suffix.lower() in endings and not p.name.startswith("."))
    found = sorted(p for p in named if p.is_file() or is_store(p))
    if not found:
        raise InputError(f"{place} holds no pictures or fields.", "Check the path.")
    return [member for path in found for member in fields.members(path)]
