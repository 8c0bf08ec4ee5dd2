"""Array kinds, and the shape work that no codec should have to do: padding, cropping, tiles."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from codectk.errors import InputError

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Kind:
    """A family of arrays that codecs can name.

    Attributes:
        name: for example `"image/rgb8"`.
        dtype: numpy type name.
        axes: one letter per axis. Images are H, W, C; fields are the last letters of V, S, T, H, W.
        channels: length of axis C, or None without that axis.
        value_range: smallest and largest possible value, or None where the type alone does not say.
    """

    name: str
    dtype: str
    axes: str
    channels: int | None
    value_range: tuple[float, float] | None


# The position of a kind is its code in `.ctk` files: append, never reorder.
_KINDS = (
    Kind("image/gray8", "uint8", "HWC", 1, (0.0, 255.0)),
    Kind("image/rgb8", "uint8", "HWC", 3, (0.0, 255.0)),
    Kind("image/rgba8", "uint8", "HWC", 4, (0.0, 255.0)),
    Kind("image/gray16", "uint16", "HWC", 1, (0.0, 65535.0)),
    Kind("field/f32", "float32", "VSTHW", None, None),
    Kind("field/f64", "float64", "VSTHW", None, None),
    Kind("field/i8", "int8", "VSTHW", None, None),
    Kind("field/u8", "uint8", "VSTHW", None, None),
    Kind("field/i16", "int16", "VSTHW", None, None),
    Kind("field/u16", "uint16", "VSTHW", None, None),
    Kind("field/i32", "int32", "VSTHW", None, None),
    Kind("field/u32", "uint32", "VSTHW", None, None),
    Kind("field/i64", "int64", "VSTHW", None, None),
    Kind("field/u64", "uint64", "VSTHW", None, None),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _KINDS}
FIELD_KINDS: dict[str, str] = {kind.dtype: kind.name for kind in _KINDS if not kind.channels}
"""Kind of a field by its numpy type name."""


@dataclass(frozen=True)
class ArrayInfo:
    """What an array is, without its values.

    Attributes:
        kind: a name from `KINDS`.
        shape: for images (H, W, C), also with one channel; for fields 1 to 5 lengths, last letters of V, S, T, H, W.
        value_range: smallest and largest value that metrics shall assume; given by the kind for images.
        fill_value: the value that stands for missing samples of a field, as its type holds it. Samples that are not
            finite are missing whatever it is, so that one that is not finite becomes None.

    Raises:
        InputError: the kind is unknown, or the shape or the fill value does not fit it.
    """

    kind: str
    shape: tuple[int, ...]
    value_range: tuple[float, float] | None = None
    fill_value: float | int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"There is no array kind '{self.kind}'.", f"Kinds: {', '.join(KINDS)}.")
        kind = KINDS[self.kind]
        ranks = range(3, 4) if kind.channels else range(1, 6)
        fits = len(self.shape) in ranks and all(n >= 1 for n in self.shape)
        if not fits or (kind.channels and self.shape[-1] != kind.channels):
            raise InputError(f"Shape {self.shape} is not one of kind {self.kind}.", "Every length must be 1 or more.")
        if self.value_range is None:
            object.__setattr__(self, "value_range", kind.value_range)
        if self.fill_value is not None:
            object.__setattr__(self, "fill_value", _fill_value(self.fill_value, kind))

    @property
    def dtype(self) -> str:
        """numpy type name."""
        return KINDS[self.kind].dtype

    @property
    def axes(self) -> str:
        """One letter per axis of `shape`."""
        axes = KINDS[self.kind].axes
        return axes[len(axes) - len(self.shape) :]

    @property
    def pixels(self) -> int:
        """H times W; for fields the number of values."""
        return self.shape[0] * self.shape[1] if self.is_image else prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the uncompressed array in bytes."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def is_image(self) -> bool:
        """Whether the axes are H, W, C."""
        return self.kind.startswith("image/")


def kind_code(kind: str) -> int:
    """Number of a kind in `.ctk` files."""
    return [known.name for known in _KINDS].index(kind)


def kind_from_code(code: int) -> Kind | None:
    """The kind with that number, or None if this release does not know it."""
    return _KINDS[code] if 0 <= code < len(_KINDS) else None


def pad(x: Array, info: ArrayInfo, multiple_of: int, min_size: int = 1) -> tuple[Array, ArrayInfo]:
    """Extend axes H and W at their ends by repeating the last row and column.

    Args:
        x: array of shape `info.shape`.
        multiple_of: what H and W shall be divisible by.
        min_size: what H and W shall at least be, rounded up to `multiple_of`.

    Returns:
        The padded array (`x` itself if nothing was missing) and its info.
    """
    target = padded_info(info, multiple_of, min_size)
    if target.shape == info.shape:
        return x, info
    widths = [(0, after - before) for before, after in zip(info.shape, target.shape, strict=True)]
    return np.pad(x, widths, mode="edge"), target


def padded_info(info: ArrayInfo, multiple_of: int, min_size: int = 1) -> ArrayInfo:
    """The info that `pad` returns, without making an array."""
    shape = tuple(
        -(-max(length, min_size) // multiple_of) * multiple_of if axis in "HW" else length
        for axis, length in zip(info.axes, info.shape, strict=True)
    )
    return replace(info, shape=shape)


def missing(x: Array, fill_value: float | int | None) -> NDArray[np.bool_]:
    """Where samples are missing: those that are not finite, and those of the fill value."""
    mask: NDArray[np.bool_] = ~np.isfinite(x)
    return mask if fill_value is None else mask | (x == x.dtype.type(fill_value))


def parts(shape: tuple[int, ...], most: int, rows: int = 1) -> Iterator[tuple[slice, ...]]:
    """Cut an array into parts that follow each other in C order.

    Args:
        shape: of the array.
        most: values that a part holds at most.
        rows: parts begin at multiples of this along the first axis, where so many rows fit into one.
    """
    inner = prod(shape[1:])
    if len(shape) > 1 and inner > most:
        for i in range(shape[0]):
            yield from ((slice(i, i + 1), *rest) for rest in parts(shape[1:], most))
        return
    step = max(1, most // inner)
    step -= step % rows if step >= rows else 0
    for start in range(0, shape[0], step):
        yield (slice(start, min(start + step, shape[0])),)


def crop(x: Array, shape: tuple[int, ...]) -> Array:
    """The leading part of `x` that has that shape."""
    return x[tuple(slice(0, length) for length in shape)]


def to_kind(x: Array, info: ArrayInfo, kinds: tuple[str, ...]) -> tuple[Array, ArrayInfo]:
    """The array in a kind that a codec takes, if that loses nothing.

    A grey picture goes through a colour codec as three equal channels; nothing else is converted.

    Args:
        x: array of shape `info.shape`.
        kinds: what the codec takes.

    Raises:
        InputError: the codec takes neither this kind nor one that holds it.
    """
    if info.kind in kinds:
        return x, info
    if info.kind == "image/gray8" and "image/rgb8" in kinds:
        return np.repeat(x, 3, axis=2), ArrayInfo("image/rgb8", (*info.shape[:2], 3))
    raise InputError(f"This codec does not take {info.kind}; it takes {', '.join(kinds)}.", _conversion(info.kind))


def carrier_info(info: ArrayInfo, kinds: tuple[str, ...]) -> ArrayInfo:
    """The info that `to_kind` returns, without making an array."""
    if info.kind in kinds or info.kind != "image/gray8":
        return info
    return ArrayInfo("image/rgb8", (*info.shape[:2], 3))


def from_kind(x: Array, info: ArrayInfo) -> Array:
    """Undo `to_kind`: the mean of three channels where the original was grey."""
    if info.kind == "image/gray8" and x.shape[-1] == 3:
        total = x.astype(np.uint16).sum(axis=2, keepdims=True)
        mean: Array = ((total + 1) // 3).astype(np.uint8)
        return mean
    return x


@dataclass(frozen=True)
class Tile:
    """A part of a plane to compute, and the larger part that must be read for it.

    Attributes:
        rows, columns: the part to keep, as (start, stop) in the plane.
        read_rows, read_columns: that part with its margin, cut at the borders.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    read_rows: tuple[int, int]
    read_columns: tuple[int, int]


def tiles(height: int, width: int, size: int, margin: int) -> Iterator[Tile]:
    """Cut a plane into tiles of at most `size` by `size`, each read with `margin` more on every side."""
    for top in range(0, height, size):
        bottom = min(top + size, height)
        for left in range(0, width, size):
            right = min(left + size, width)
            yield Tile(
                rows=(top, bottom),
                columns=(left, right),
                read_rows=(max(top - margin, 0), min(bottom + margin, height)),
                read_columns=(max(left - margin, 0), min(right + margin, width)),
            )


def _fill_value(value: float | int, kind: Kind) -> float | int | None:
    """The fill value as the type of the kind holds it, or None where it is not finite."""
    refusal = InputError(f"{value!r:.40} cannot be the fill value of {kind.name}.", "Leave it out.")
    if kind.channels or isinstance(value, bool) or not isinstance(value, int | float):
        raise refusal
    try:
        if isinstance(value, float) and not np.isfinite(value):
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            held = np.array(value).astype(kind.dtype)[()]
        # The nearest float is meant by a fill value of many digits; an integer is meant as it is.
        exact = bool(np.isfinite(held)) if kind.dtype.startswith("float") else int(held) == value
    except (OverflowError, TypeError, ValueError):
        raise refusal from None
    if not exact:
        raise refusal
    found: float | int = held.item()
    return found


def _conversion(kind: str) -> str:
    advice = {
        "image/rgba8": "Flatten the transparency first, for example with --background white.",
        "image/gray16": "Reduce it to 8 bits first, with --depth 8.",
    }
    return advice.get(kind, "Choose a codec for this kind of data: `codectk list codecs` shows what each takes.")
