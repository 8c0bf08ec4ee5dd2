"""The stream of one block [T, H, W]: special values, a method's bytes, and exact values where it missed the bound.

    head    u8 method, u8 flags, u32 CRC-32 of the decoded values
            special values   varint length, bytes    (flag 1)
            signs            varint length, bytes    (flag 2: the method codes log2 |x|)
            correction       varint length, bytes    (flag 4: see `gae`)
            exact values     varint length, bytes    (flag 8)
            base             varint length, u8 kind, bytes    (flag 16; the method codes what it leaves)
                             0: see `background`, 1: see `learned.latents_coder`
            the method's own bytes
    groups  streams of the levels of the fitted wavelet, coarse to fine; other methods have none

A block is encoded, decoded from its bytes and checked before it is taken; see `encoding`.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np

from codectk.container import Reader, varint
from codectk.errors import ContainerError, DesyncError
from codectk_caesar_freq import bands, fitted, gae, loglaw, native, windows
from codectk_caesar_freq.architecture import COMPRESSOR
from codectk_caesar_freq.background import Place
from codectk_caesar_freq.native import Array
from codectk_caesar_freq.specials import Mask, inflate, shuffled, unpack, unshuffled
from codectk_caesar_freq.weights import Learned

BACKGROUND_BASE, LATENTS = 0, 1
HEAD = "<BBI"
HEAD_BYTES = struct.calcsize(HEAD)
OPTIONAL = ("specials", "signs", "correction", "exact", "base")
"""Parts of the head in their order; bit i of the flags says whether part i is there."""


class Method(IntEnum):
    """How the valid values of a block are coded."""

    NOTHING = 0
    CONSTANT = 1
    RAW = 2
    FITTED = 3
    BANDS = 4
    WINDOWS = 5


@dataclass(frozen=True)
class Block:
    """A coded block.

    Attributes:
        method: see there.
        body: the method's own bytes.
        groups: streams of the groups of levels.
        specials, signs, correction, exact, base: parts of the head, empty where there are none.
        check: CRC-32 of the decoded values.
    """

    method: Method
    body: bytes
    groups: tuple[bytes, ...] = (b"",) * native.GROUPS
    specials: bytes = b""
    signs: bytes = b""
    correction: bytes = b""
    exact: bytes = b""
    base: bytes = b""
    check: int = 0

    def pack(self) -> list[bytes]:
        """Head and groups; the head is in front of the first group."""
        optional = [getattr(self, name) for name in OPTIONAL]
        flags = sum(1 << i for i, part in enumerate(optional) if part)
        head = struct.pack(HEAD, self.method, flags, self.check) + b"".join(
            varint(len(part)) + part for part in optional if part
        )
        head += varint(len(self.body)) + self.body
        return [head + self.groups[0], *self.groups[1:]]

    @classmethod
    def unpack(cls, parts: Sequence[bytes | None], source: str) -> "Block":
        """The block of a head and those groups that are there.

        Raises:
            ContainerError: the bytes do not hold that.
        """
        head = parts[0] or b""
        reader = Reader(head, 0, len(head), source)
        method, flags, check = struct.unpack(HEAD, reader.bytes(HEAD_BYTES))
        if method not in list(Method) or flags >> len(OPTIONAL):
            raise ContainerError(f"{source} holds a block of an unknown form.", "Update codectk-caesar-freq.")
        optional = [reader.bytes(reader.varint(len(head))) if flags >> i & 1 else b"" for i in range(len(OPTIONAL))]
        body = reader.bytes(reader.varint(len(head)))
        groups = (head[reader.at :], *(part or b"" for part in parts[1:]))
        named = dict(zip(OPTIONAL, optional, strict=True))
        return cls(Method(method), body, groups, **named, check=check)


@dataclass(frozen=True)
class Context:
    """What decoding a block needs besides its bytes.

    Attributes:
        shape: (T, H, W).
        dtype: of the values.
        threads: how many may work on it.
        source: name of the file, for messages.
        groups: how many groups of levels are there.
        special: places that nothing is coded for, of a block inside another; its own bytes do not say.
        place: where the block lies in its field.
        learned: weights, if there are any.
    """

    shape: native.Shape
    dtype: np.dtype[np.generic]
    threads: int = 1
    source: str = field(default="the file")
    groups: int = native.GROUPS
    special: Mask | None = None
    place: Place = (0, 0, 0, 0)
    learned: Learned | None = None


def decode(block: Block, context: Context) -> Array:
    """The values of a block, in its own type, compared with those that were encoded if all groups are there.

    Raises:
        ContainerError: the bytes do not make sense.
        DesyncError: the values are others.
    """
    x = decoded(block, context)
    if context.groups == native.GROUPS and check_of(x) != block.check:
        raise DesyncError(
            f"{context.source} holds a block whose decoded values are not those that were encoded.",
            "Copy or download the file again; if it is whole, decode it where it was made.",
        )
    return x


def check_of(x: Array) -> int:
    """CRC-32 of values, little endian."""
    return zlib.crc32(np.ascontiguousarray(x.astype(x.dtype.newbyteorder("<"), copy=False)).data)


def decoded(block: Block, context: Context) -> Array:
    """The values of a block, in its own type.

    Raises:
        ContainerError: the bytes do not make sense.
    """
    specials = unpack(block.specials, context.shape, context.dtype, context.source) if block.specials else None
    special = specials.where if specials else context.special
    if block.method == Method.RAW:
        x = _raw(block.body, context, special)
    elif (
        block.method == Method.FITTED
        and context.dtype.kind == "f"
        and not (block.signs or block.base or block.correction)
    ):
        x = _fitted(block, context, special, context.dtype)
    else:
        values = _values(block, context, special)
        if block.signs:
            values = loglaw.powers(values) * _signs(block.signs, context)
        if block.base:
            values = values + _base(block.base, context)
        if block.correction:
            gae.unpack(block.correction, context.shape, context.source).apply(values)
        x = cast(values, context.dtype)
    if specials:
        specials.restore(x)
    if block.exact:
        _put_exact(x, block.exact, context.source)
    return x


def _values(block: Block, context: Context, special: Mask | None) -> native.Doubles:
    body = Reader(block.body, 0, len(block.body), context.source)
    if block.method == Method.NOTHING:
        return np.zeros(context.shape)
    if block.method == Method.CONSTANT:
        return np.full(context.shape, struct.unpack("<d", body.bytes(8))[0])
    if block.method == Method.BANDS:
        return bands.decode(body, context.shape, context.source)
    if block.method == Method.WINDOWS:
        return _windows(block.body, context, special)
    return _fitted(block, context, special, np.dtype(np.float64))


def _fitted(block: Block, context: Context, special: Mask | None, dtype: np.dtype[np.generic]) -> Array:
    body = Reader(block.body, 0, len(block.body), context.source)
    streams = [stream if i < context.groups else None for i, stream in enumerate(block.groups)]
    contexts = context.learned.contexts if context.learned else None
    return fitted.decode(body, streams, context.shape, special, context.threads, context.source, dtype, contexts)


def _base(data: bytes, context: Context) -> native.Doubles:
    learned, kind, rest = context.learned, data[0], data[1:]
    if learned is None or kind > LATENTS or (kind == LATENTS and COMPRESSOR not in learned.parts):
        raise ContainerError(f"{context.source} needs other weights.", "Name the weights it was made with.")
    if kind == LATENTS:
        return learned.latents.decode(rest, context.shape, context.source)
    return learned.backgrounds.decode(rest, context.shape, context.place, context.source)


def _windows(data: bytes, context: Context, special: Mask | None) -> native.Doubles:
    def inner(parts: Sequence[bytes], shape: native.Shape, where: Mask | None, correction: bool) -> Array:
        block = Block.unpack(parts, context.source)
        if block.method == Method.WINDOWS or block.specials:  # so that blocks in blocks end
            raise ContainerError(f"{context.source} holds windows in windows.", "Copy or download the file again.")
        dtype = np.dtype(np.float64) if correction else context.dtype
        return decoded(block, replace(context, shape=shape, dtype=dtype, special=where, groups=native.GROUPS))

    body = windows.Body.unpack(data, context.shape[0], context.source)
    return windows.decode(body, context.shape, special, context.learned, inner)


def cast(values: native.Doubles, dtype: np.dtype[np.generic]) -> Array:
    """Values in a type, the nearest that it has."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    limits = np.iinfo(dtype.name)
    rounded = np.rint(np.nan_to_num(values, posinf=float(limits.max), neginf=float(limits.min)))
    # The largest integers of 64 bits have no neighbour in float64: what would round beyond them is set apart.
    low, high = rounded <= float(limits.min), rounded >= float(limits.max)
    x = np.where(low | high, 0, rounded).astype(dtype)
    x[low], x[high] = limits.min, limits.max
    return x


def pack_raw(x: Array, special: Mask | None) -> bytes:
    """Valid values without loss."""
    return zlib.compress(shuffled(np.ascontiguousarray(x if special is None else x[~special])), 6)


def _raw(body: bytes, context: Context, special: Mask | None) -> Array:
    x = np.zeros(context.shape, context.dtype)
    valid = np.ones(context.shape, bool) if special is None else ~special
    size = int(np.count_nonzero(valid)) * context.dtype.itemsize
    x[valid] = unshuffled(inflate(body, size, context.source), context.dtype)
    return x


def pack_signs(x: Array) -> bytes:
    """Which values are negative."""
    negative = (x < 0).astype(np.int32)
    return native.encode_planes(negative, boxes=[_whole(negative)])


def _signs(data: bytes, context: Context) -> native.Doubles:
    negative = native.decode_planes(data, context.shape, boxes=[((0, 0, 0), context.shape, (-1, -1, -1))])
    return np.where(negative != 0, -1.0, 1.0)


def pack_exact(x: Array, where: Mask) -> bytes:
    """Values of some places, and the places."""
    places = np.flatnonzero(where)
    gaps = np.diff(places, prepend=0).astype("<u4")
    return varint(len(places)) + zlib.compress(shuffled(gaps) + shuffled(np.ascontiguousarray(x[where])), 6)


def _put_exact(x: Array, data: bytes, source: str) -> None:
    reader = Reader(data, 0, len(data), source)
    count = reader.varint(x.size)
    raw = inflate(data[reader.at :], count * (4 + x.itemsize), source)
    places = np.cumsum(unshuffled(raw[: 4 * count], np.dtype("<u4")).astype(np.int64))
    if count and places[-1] >= x.size:
        raise ContainerError(f"{source} corrects values that it has not.", "Copy or download the file again.")
    x.reshape(-1)[places] = unshuffled(raw[4 * count :], x.dtype)


def _whole(x: Array) -> native.Box:
    return (0, 0, 0), (x.shape[0], x.shape[1], x.shape[2]), (-1, -1, -1)
