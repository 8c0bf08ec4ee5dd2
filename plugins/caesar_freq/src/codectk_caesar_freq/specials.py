"""Values that are no numbers to approximate: NaN, infinities, fill values, masked ones. They come back bit for bit.

    special ─ one number per distinct value, coded by contexts ─ the distinct values
            └ too many distinct values: all of them, by zlib

Most masks are the same at all times, a coast for example: then one plane [H, W] is stored.
"""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import missing
from codectk.container import Reader, varint
from codectk.errors import ContainerError
from codectk_caesar_freq import native
from codectk_caesar_freq.native import Array

Mask = NDArray[np.bool_]

ONE_PLANE, RAW = 1, 2
MOST_CLASSES = 254
STILL_SHARE, STILL_TIMES = 0.02, 4
"""Values that never change are kept exactly where they are so many of all, over so many times at least."""


@dataclass(frozen=True)
class Specials:
    """Special values of a block.

    Attributes:
        where: bool (T, H, W).
        values: of the block's type, in the order of the array.
    """

    where: Mask
    values: Array

    def restore(self, x: Array) -> None:
        """Put the values into a block, in place."""
        x[self.where] = self.values


def find(x: Array, fill_value: float | int | None, mask: Mask | None) -> Mask:
    """Which values of a block are special.

    Args:
        x: (T, H, W).
        fill_value: stands for missing values.
        mask: true where the user wants exact values.
    """
    if x.dtype.kind == "f" and fill_value is None and x.flags.c_contiguous and not native.survey(x).odd:
        special = np.zeros(x.shape, bool)
    else:
        special = missing(x, fill_value)
    return special if mask is None else special | mask


def ends(valid: Array) -> tuple[float, float]:
    """Smallest and largest of some valid values."""
    if valid.dtype.kind == "f" and valid.flags.c_contiguous:
        found = native.survey(valid)
        return found.low, found.high
    return float(valid.min()), float(valid.max())


def add_still(x: Array, special: Mask) -> Mask:
    """`special`, with places whose value never changes if those are many: land in a field of the sea."""
    if x.shape[0] < STILL_TIMES:
        return special
    still = (x[0] == x[-1]) & (x[0] == x[x.shape[0] // 2]) & ~special.any(axis=0)
    if still.sum() < STILL_SHARE * still.size:
        return special
    still[still] = (x[:, still] == x[0][still]).all(axis=0)
    few = len(np.unique(x[0][still])) <= max(1, still.sum() // 64)
    return special | still if still.sum() >= STILL_SHARE * still.size and few and not still.all() else special


def pack(x: Array, special: Mask) -> bytes:
    """The bytes of the special values of a block."""
    one_plane = x.shape[0] > 1 and _same(x, special)
    if one_plane:
        x, special = x[:1], special[:1]
    values = np.ascontiguousarray(x[special])
    distinct, number = np.unique(values.view(f"u{values.itemsize}"), return_inverse=True)
    raw = len(distinct) > MOST_CLASSES
    classes = special.astype(np.int32)
    if not raw:
        order = np.argsort(-np.bincount(number, minlength=len(distinct)), kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        classes[special], distinct = 1 + rank[number], distinct[order]
    shape = x.shape[0], x.shape[1], x.shape[2]
    stream = native.encode_planes(classes, boxes=[((0, 0, 0), shape, (-1, -1, -1))])
    kept = zlib.compress(shuffled(values), 6) if raw else bytes([len(distinct)]) + distinct.tobytes()
    return bytes([ONE_PLANE * one_plane | RAW * raw]) + varint(len(stream)) + stream + varint(len(kept)) + kept


def unpack(data: bytes, shape: native.Shape, dtype: np.dtype[np.generic], source: str) -> Specials:
    """What `pack` packed.

    Raises:
        ContainerError: the bytes do not hold that.
    """
    reader = Reader(data, 0, len(data), source)
    flags = reader.byte()
    if flags > ONE_PLANE | RAW:
        raise ContainerError(f"{source} holds special values of an unknown form.", "Copy or download the file again.")
    part = (1, shape[1], shape[2]) if flags & ONE_PLANE else shape
    stream = reader.bytes(reader.varint(len(data)))
    classes = native.decode_planes(stream, part, boxes=[((0, 0, 0), part, (-1, -1, -1))])
    kept = reader.bytes(reader.varint(len(data)))
    where = classes != 0
    count = int(np.count_nonzero(where))
    if flags & RAW:
        values = unshuffled(inflate(kept, count * dtype.itemsize, source), dtype)
    else:
        table = np.frombuffer(kept[1 : 1 + len(kept[1:]) // dtype.itemsize * dtype.itemsize], dtype)
        if not kept or len(table) != kept[0] or (count and not classes.min(initial=1, where=where) >= 1):
            raise ContainerError(f"{source} holds special values that are damaged.", "Copy or download the file again.")
        if count and classes.max() > len(table):
            raise ContainerError(f"{source} holds special values that are damaged.", "Copy or download the file again.")
        values = table[classes[where] - 1]
    if flags & ONE_PLANE:
        where = np.broadcast_to(where, shape)
        values = np.broadcast_to(values, (shape[0], count)).ravel()
    return Specials(where, values)


def _same(x: Array, special: Mask) -> bool:
    """Whether special places and values are the same at all times."""
    if not (special == special[0]).all():
        return False
    bits = np.ascontiguousarray(x[:, special[0]]).view(f"u{x.dtype.itemsize}")
    return bool((bits == bits[0]).all())


def shuffled(values: Array) -> bytes:
    """The first bytes of all values, then the second ones, and so on: alike bytes lie together."""
    return np.ascontiguousarray(values.reshape(-1).view(np.uint8).reshape(-1, values.itemsize).T).tobytes()


def unshuffled(data: bytes, dtype: np.dtype[np.generic]) -> Array:
    """Undo `shuffled`."""
    planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).reshape(-1).view(dtype)


def inflate(data: bytes, size: int, source: str) -> bytes:
    """Undo zlib, where the result is known to have `size` bytes.

    Raises:
        ContainerError: it has not.
    """
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(data, size) if size else b""
        rest = stream.decompress(stream.unconsumed_tail or (b"" if size else data), 1)
    except zlib.error as error:
        raise ContainerError(f"{source} is damaged ({error}).", "Copy or download the file again.") from None
    if len(raw) != size or rest:
        raise ContainerError(f"{source} holds {len(raw)} bytes of {size}.", "Copy or download the file again.")
    return raw
