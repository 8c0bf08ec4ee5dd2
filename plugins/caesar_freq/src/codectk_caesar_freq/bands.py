"""Blocks by orthonormal transforms: wavelets along time, height and width, then cosine blocks of the low band.

    x ─ wavelet levels ─ low band ─ DCT of nearly equal blocks ─┐
                       └ detail bands ──────────────────────────┴ q = sign(c) floor(|c| / step + rounding) ─ contexts
    x - x_hat where a point-wise bound is missed ─ q in steps of twice the bound ─ contexts ─> corrections

Orthonormal transforms keep sums of squares (CDF 9/7 nearly), so they serve bounds on the root mean square best.
"""

import struct
from dataclasses import dataclass, replace
from itertools import pairwise
from math import gcd
from typing import Any

import numpy as np

from codectk.container import Reader, varint
from codectk.errors import ContainerError
from codectk_caesar_freq import native
from codectk_caesar_freq.fitted import filled
from codectk_caesar_freq.native import Array, Doubles, Integers
from codectk_caesar_freq.specials import Mask

WAVELETS = ("none", "haar", "cdf97")
NOWHERE = (-1, -1, -1)
ROUNDING = 0.42
"""Below a half, small coefficients become 0 more often: fewer bits for the same error."""

MOST_LEVELS = 8
MOST_Q = float(1 << 30)
POINTS = 256.0
CENTRES = 2
"""Magnitudes whose reconstruction lies where their coefficients do on average."""

CORRECTED = 1
SAMPLE = 200_000
"""Coefficients by which a step is chosen first."""

TRIALS = 4
HEAD = "<BBBBdd2b"
HEAD_BYTES = struct.calcsize(HEAD)


@dataclass(frozen=True)
class Transform:
    """Which transforms, and how often.

    Attributes:
        wavelet: a name from WAVELETS.
        levels: of the wavelet.
        temporal: also along time.
        dct: longest side of cosine blocks; 0 for none.
    """

    wavelet: str = "none"
    levels: int = 0
    temporal: bool = True
    dct: int = 16

    def parts(self, shape: native.Shape) -> list[native.Shape]:
        """The low band before each level, and after the last."""
        parts = [shape]
        for _ in range(self.levels if self.wavelet != "none" else 0):
            t, h, w = parts[-1]
            parts.append(((t + 1) // 2 if self.temporal else t, (h + 1) // 2, (w + 1) // 2))
        return parts

    def blocks(self, low: native.Shape) -> native.Shape:
        """Cosine blocks along each axis of the low band."""
        t, h, w = (-(-length // self.dct) for length in low)
        return (t if self.temporal else low[0]), h, w

    def boxes(self, shape: native.Shape) -> list[native.Box]:
        """The detail bands, coarse ones first."""
        parts, boxes = self.parts(shape), []
        coarser: dict[int, tuple[int, ...]] = {}
        for whole, low in reversed(list(pairwise(parts))):
            bands = {}
            for number in range(1, 8):
                high = [number >> 2 & 1, number >> 1 & 1, number & 1]
                begin = tuple(low[i] * high[i] for i in range(native.AXES))
                size = tuple(whole[i] - low[i] if high[i] else low[i] for i in range(native.AXES))
                if min(size):
                    boxes.append((begin, size, coarser.get(number, NOWHERE)))
                    bands[number] = begin
            coarser = bands
        return boxes  # type: ignore[return-value]

    def forward(self, x: Doubles) -> Doubles:
        """Coefficients of a block (T, H, W)."""
        c = np.array(x, np.float64, order="C")
        parts = self.parts(_shape(c))
        for part in parts[:-1]:
            self._level(c, part, inverse=False)
        self._cosines(c, parts[-1], inverse=False)
        return c

    def inverse(self, c: Doubles) -> Doubles:
        """Undo `forward`."""
        x = np.array(c, np.float64, order="C")
        parts = self.parts(_shape(x))
        self._cosines(x, parts[-1], inverse=True)
        for part in reversed(parts[:-1]):
            self._level(x, part, inverse=True)
        return x

    def _level(self, x: Doubles, part: native.Shape, inverse: bool) -> None:
        low = _low(x, part)
        for axis in range(0 if self.temporal else 1, native.AXES):
            native.wavelet(low, axis, part[axis], WAVELETS.index(self.wavelet) - 1, inverse)
        x[: part[0], : part[1], : part[2]] = low

    def _cosines(self, x: Doubles, part: native.Shape, inverse: bool) -> None:
        if not self.dct:
            return
        low, blocks = _low(x, part), self.blocks(part)
        for axis in range(0 if self.temporal else 1, native.AXES):
            native.dct(low, axis, blocks[axis], inverse)
        x[: part[0], : part[1], : part[2]] = low


@dataclass(frozen=True)
class Bands:
    """Quantised coefficients and how to read them.

    Attributes:
        transform: see there.
        mean: taken off the values before.
        step: distance of reconstruction values.
        centres: how far the first magnitudes' values lie below them, in 1/256 of a step.
        q: int32 (T, H, W).
    """

    transform: Transform
    mean: float
    step: float
    centres: tuple[int, ...]
    q: Integers

    def coefficients(self) -> Doubles:
        """The reconstruction values."""
        below = np.zeros(CENTRES + 2)
        below[1 : CENTRES + 1] = np.array(self.centres) / POINTS
        magnitude = np.abs(self.q)
        c: Doubles = magnitude - below[np.clip(magnitude, 0, CENTRES + 1)]  # |-2^31| is negative
        c *= np.sign(self.q)
        c *= self.step
        return c

    def values(self) -> Doubles:
        """The values that a decoder gives, before corrections."""
        x = self.transform.inverse(self.coefficients())
        x += self.mean
        return x


def quantise(c: Doubles, mean: float, step: float, rounding: float, transform: Transform) -> Bands:
    """Quantise coefficients."""
    magnitude = np.minimum(np.floor(np.abs(c) / step + rounding), MOST_Q)
    q = np.copysign(magnitude, c).astype(np.int32)
    centres = []
    for number in range(1, CENTRES + 1):
        here = magnitude == number
        below = (number - float(np.abs(c[here]).mean()) / step) if here.any() else 0.0
        centres.append(int(np.clip(round(below * POINTS), -127, 127)))
    return Bands(transform, mean, step, tuple(centres), q)


def for_mean_square(x: Doubles, special: Mask | None, transform: Transform, target: float) -> Bands:
    """The coarsest quantisation whose root mean square error over the valid values is at most `target`, as far as the
    transform keeps sums of squares; the caller checks.

    Args:
        x: float64 (T, H, W).
        special: values that do not count.
        transform: what to use.
        target: in the unit of the values.
    """
    valid = x if special is None else x[~special]
    mean = float(valid.mean())
    whole = filled(x, special)
    c = transform.forward(whole - mean)
    every = c.size // SAMPLE + 1
    while gcd(every, c.size) > 1:  # else some frequencies would not be in it
        every += 1
    sample = c.reshape(-1)[::every].reshape(1, 1, -1)
    low, high = target, target * 40
    for _ in range(12):
        step = float(np.sqrt(low * high))
        if _rmse(sample, quantise(sample, mean, step, ROUNDING, transform)) > target:
            high = step
        else:
            low = step
    step = low
    for _ in range(TRIALS):
        found = quantise(c, mean, step, ROUNDING, transform)
        if (rmse := _rmse(c, found)) <= target:
            break
        step *= 0.999 * target / rmse
    return found


def _rmse(c: Doubles, bands: Bands) -> float:
    return float(np.sqrt(np.mean(np.square(c - bands.coefficients()))))


def cost(x: Doubles, special: Mask | None, transform: Transform, step: float) -> float:
    """About how many bits the coefficients take at a step; for choosing a transform."""
    whole = filled(x, special)
    c = transform.forward(whole - whole.mean())
    return float(np.log2(1 + np.abs(c) / step).sum())


def encode(bands: Bands, corrections: Integers | None, unit: float) -> bytes:
    """The bytes of a block.

    Args:
        bands: its coefficients.
        corrections: int32 (T, H, W), to be added in steps of `unit`, or None.
        unit: see there.
    """
    t = bands.transform
    head = struct.pack(
        HEAD,
        CORRECTED * (corrections is not None),
        WAVELETS.index(t.wavelet) << 1 | t.temporal,
        t.levels,
        t.dct,
        bands.mean,
        bands.step,
        *bands.centres,
    )
    shape = _shape(bands.q)
    parts, boxes = t.parts(shape), t.boxes(shape)
    low = np.ascontiguousarray(bands.q[tuple(slice(length) for length in parts[-1])])
    streams = [native.encode_planes(low, **_low_plan(t, parts[-1]))]
    if boxes:
        streams.append(native.encode_planes(np.ascontiguousarray(bands.q), boxes=boxes))
    if corrections is not None:
        head += struct.pack("<d", unit)
        streams.append(native.encode_planes(corrections, boxes=[((0, 0, 0), shape, NOWHERE)]))
    return head + b"".join(varint(len(stream)) + stream for stream in streams)


def decode(reader: Reader, shape: native.Shape, source: str) -> Array:
    """The values of a block, float64 (T, H, W).

    Raises:
        ContainerError: the bytes do not make sense.
    """
    flags, kind, levels, dct, mean, step, *centres = struct.unpack(HEAD, reader.bytes(HEAD_BYTES))
    if kind >> 1 >= len(WAVELETS) or levels > MOST_LEVELS or dct > native.MOST_BLOCK or flags > CORRECTED:
        raise ContainerError(f"{source} holds bands of an unknown form.", "Copy or download the file again.")
    if not np.isfinite([mean, step]).all():
        raise ContainerError(f"{source} holds steps that are no numbers.", "Copy or download the file again.")
    transform = Transform(WAVELETS[kind >> 1], levels, bool(kind & 1), dct)
    unit = struct.unpack("<d", reader.bytes(8))[0] if flags else 0.0
    parts, boxes = transform.parts(shape), transform.boxes(shape)
    low = native.decode_planes(_next(reader), parts[-1], **_low_plan(transform, parts[-1]))
    q = native.decode_planes(_next(reader), shape, boxes=boxes) if boxes else np.zeros(shape, np.int32)
    q[tuple(slice(length) for length in parts[-1])] = low
    with np.errstate(over="ignore", invalid="ignore"):  # of hostile streams alone
        x = Bands(transform, mean, step, tuple(centres), q).values()
        if flags:
            x += native.decode_planes(_next(reader), shape, boxes=[((0, 0, 0), shape, NOWHERE)]) * unit
    return x


def sizes(body: bytes, source: str) -> tuple[int, int, int]:
    """Bytes of the low band, of all detail bands and of the corrections in the bytes of a block.

    Raises:
        ContainerError: the bytes do not make sense.
    """
    reader = Reader(body, 0, len(body), source)
    corrected = reader.byte() & CORRECTED
    reader.bytes(HEAD_BYTES - 1 + 8 * corrected)
    low = len(_next(reader))
    rest = []
    while reader.at < len(body):
        rest.append(len(_next(reader)))
    corrections = rest.pop() if corrected and rest else 0
    return low, sum(rest), corrections


def as_pointwise(bands: Bands) -> Bands:
    """The same without shifted reconstruction values, which would make large errors larger."""
    return replace(bands, centres=(0,) * CENTRES)


def _low_plan(transform: Transform, low: native.Shape) -> dict[str, Any]:
    if transform.dct:
        return {"blocks": transform.blocks(low)}
    return {"boxes": [((0, 0, 0), low, NOWHERE)]}


def _next(reader: Reader) -> bytes:
    return reader.bytes(reader.varint(len(reader.data)))


def _low(x: Doubles, part: native.Shape) -> Doubles:
    return np.ascontiguousarray(x[: part[0], : part[1], : part[2]])


def _shape(x: Array) -> native.Shape:
    return x.shape[0], x.shape[1], x.shape[2]
