"""Arrays in files of any kind: pictures, and numpy arrays as scientific fields."""

from pathlib import Path

import numpy as np

from codectk import images
from codectk.arrays import Array, ArrayInfo
from codectk.errors import InputError
from codectk.files import atomic_output, check_file
from codectk.images import Picture

_FIELD_KINDS = {"float32": "field/f32", "float64": "field/f64"}


def read_array(path: Path, background: str | None = None, depth: int | None = None) -> Picture:
    """Read a picture, or a `.npy` array as a scientific field.

    Args:
        path: input file.
        background, depth: see `codectk.images.read_image`.

    Raises:
        InputError: the file is missing, damaged, or of a kind that cannot be kept whole.
    """
    if path.suffix.lower() != ".npy":
        return images.read_image(path, background, depth)
    check_file(path)
    try:
        # Mapping checks the claimed shape against the file's length before anything is allocated.
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        x = np.array(mapped, order="C")
    except Exception as error:  # numpy raises ValueError, OSError, EOFError, SyntaxError, … on damaged headers
        raise InputError(f"{path} is not a numpy array file: {error}.", "Save it with numpy.save.") from None
    x = x.astype(x.dtype.newbyteorder("="))
    if x.dtype.name not in _FIELD_KINDS or not 1 <= x.ndim <= 5 or x.size == 0:
        raise InputError(
            f"{path} holds {x.dtype} of shape {x.shape}.", "Fields are float32 or float64, rank 1 to 5, not empty."
        )
    return Picture(x, ArrayInfo(_FIELD_KINDS[x.dtype.name], x.shape, value_range(x)))


def value_range(x: Array) -> tuple[float, float]:
    """Smallest and largest finite value; zeros where there is none."""
    finite = x[np.isfinite(x)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def write_array(path: Path, x: Array, info: ArrayInfo, force: bool = False) -> None:
    """Write a picture by its ending, or any array as `.npy`.

    Raises:
        OutputError: see `codectk.images.write_image`.
    """
    if path.suffix.lower() != ".npy":
        images.write_image(path, x, info, force)
        return
    with atomic_output(path, force) as temporary:
        np.save(temporary, x, allow_pickle=False)


def default_suffix(info: ArrayInfo) -> str:
    """Ending of a decompressed file where the user names none."""
    return ".png" if info.is_image else ".npy"


def find_inputs(folder: Path) -> list[Path]:
    """All pictures and arrays in a folder and its subfolders, in order of their paths.

    Raises:
        InputError: the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", "Check the path.")
    endings = images.SUFFIXES | {".npy"}
    named = (p for p in folder.rglob("*") if p.suffix.lower() in endings and not p.name.startswith("."))
    found = sorted(p for p in named if p.is_file())
    if not found:
        raise InputError(f"{folder} holds no pictures or .npy arrays.", "Check the path.")
    return found
