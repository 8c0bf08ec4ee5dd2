"""Blocks by an interpolating wavelet whose filters are fitted to them, with the quantiser inside the lifting steps.

    x ─ scale ─> z ─ per pass: prediction from decoded neighbours ─ q = round(z - prediction) ─ contexts ─> streams
                     └ weights: least squares, 25 taps, in the stream

See `native/lifting.c` for the steps and `native/grid.h` for their order. The error of each value is that of its own
quantisation, so that a bound on it needs no corrections.
"""

import struct
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np

from codectk.container import Reader, varint
from codectk.errors import ContainerError
from codectk_caesar_freq import native
from codectk_caesar_freq.contexts import Contexts
from codectk_caesar_freq.lattice import Lattice
from codectk_caesar_freq.native import Array
from codectk_caesar_freq.specials import Mask

ORDERS = tuple(permutations(range(native.AXES)))
SAMPLE = 24_000
"""Values of each pass that weights are fitted to."""

MOST_SINGLE = float(1 << 14)
"""Quantised values up to this are computed in float32."""

MOST_DOUBLE = float(1 << 29)
"""Larger ones are not coded here."""

IS_LATTICE, IS_DOUBLE, HAS_CONTEXTS = 1, 2, 32


@dataclass(frozen=True)
class Quantiser:
    """x = offset + unit · z; z is quantised in steps of `step`.

    Attributes:
        offset, unit: as above.
        step: 1, or with a lattice an odd number.
        lattice: all z are integers, and so are predictions.
        double: z is float64.
    """

    offset: float
    unit: float
    step: int = 1
    lattice: bool = False
    double: bool = False

    @classmethod
    def within(cls, low: float, high: float, half: float) -> "Quantiser":
        """For values from low to high, each to be off by `half` at most (besides rounding)."""
        reach = (high / 2 - low / 2) / (2 * half)
        return cls(low / 2 + high / 2, 2 * half, double=reach > MOST_SINGLE)

    @classmethod
    def of(cls, lattice: Lattice, radius: int) -> "Quantiser":
        """For a lattice whose values may be so many steps away."""
        return cls(lattice.origin, lattice.distance, 2 * radius + 1, True)

    def scaled(self, x: Array, special: Mask | None) -> Array:
        """z of values; 0 where they are special."""
        if special is None and not self.lattice and not self.double and x.dtype.kind == "f":
            return native.to_single(np.ascontiguousarray(x), self.offset, self.unit)
        numbers = x.astype(np.float64)
        if special is not None:
            numbers[special] = self.offset
        numbers -= self.offset
        numbers /= self.unit
        if self.lattice:
            np.rint(numbers, out=numbers)
        return numbers if self.double else numbers.astype(np.float32)

    def values(self, z_hat: Array, dtype: Any = np.float64) -> Array:
        """x of z, float64 or float32."""
        return native.from_work(z_hat, self.offset, self.unit, dtype)


@dataclass(frozen=True)
class Fitted:
    """A quantiser with what a block was found to need.

    Attributes:
        quantiser: see there.
        order: axes in the order of the passes.
        weights: int16 (passes, TAPS).
    """

    quantiser: Quantiser
    order: tuple[int, ...]
    weights: native.Weights

    def at(self, unit: float, double: bool) -> "Fitted":
        """The same with other steps."""
        return replace(self, quantiser=replace(self.quantiser, unit=unit, double=double))


def fit(quantiser: Quantiser, z: Array, special: Mask | None) -> Fitted:
    """Choose the order of the axes and fit the weights of a block z (T, H, W)."""
    single = filled(z.astype(np.float32, copy=False), special)
    order = _order(single)
    noise = (quantiser.step**2 - 1 if quantiser.lattice else 1) / 12
    grid = native.Grid.of(_shape(z), order)
    weights, _ = native.fit(grid, np.ascontiguousarray(single), _bytes(special), noise, SAMPLE)
    return Fitted(quantiser, order, weights)


def encode(
    fitted: Fitted, z: Array, special: Mask | None, threads: int, contexts: Contexts | None = None
) -> tuple[bytes, list[bytes]]:
    """Head and streams of a block, whose chances a context network chooses if there is one."""
    q, grid = fitted.quantiser, native.Grid.of(_shape(z), fitted.order)
    used, learned = threads if z.size > 1 << 14 else 1, contexts.native if contexts else None
    streams, _ = native.lift_encode(grid, z, _bytes(special), fitted.weights, float(q.step), q.lattice, used, learned)
    flags = IS_LATTICE * q.lattice | IS_DOUBLE * q.double | ORDERS.index(fitted.order) << 2
    flags |= HAS_CONTEXTS * (contexts is not None)
    weights = _pack_weights(fitted.weights)
    step = varint(q.step // 2) if q.lattice else b""
    return struct.pack("<Bdd", flags, q.offset, q.unit) + step + varint(len(weights)) + weights, streams


def quantised(fitted: Fitted, x: Array, special: Mask | None) -> Array:
    """The values that a decoder would give, float64, without coding."""
    z = fitted.quantiser.scaled(x, special)
    grid = native.Grid.of(_shape(z), fitted.order)
    return fitted.quantiser.values(native.lift_quantise(grid, z, _bytes(special), fitted.weights, 1.0))


def decode(
    reader: Reader,
    streams: list[bytes | None],
    shape: native.Shape,
    special: Mask | None,
    threads: int,
    source: str,
    dtype: Any = np.float64,
    contexts: Contexts | None = None,
) -> Array:
    """The values of a block (T, H, W), of a floating type.

    Raises:
        ContainerError: the head does not make sense, or needs a context network that is not there.
    """
    flags, offset, unit = struct.unpack("<Bdd", reader.bytes(17))
    learned = _contexts_of(flags, contexts, source)
    order = (flags & ~HAS_CONTEXTS) >> 2
    if order >= len(ORDERS) or not np.isfinite(offset) or not np.isfinite(unit):
        raise _damaged(source)
    lattice, double = bool(flags & IS_LATTICE), bool(flags & IS_DOUBLE)
    step = 2 * reader.varint(1 << 22) + 1 if lattice else 1
    grid = native.Grid.of(shape, ORDERS[order])
    passes = _passes(shape, ORDERS[order])
    packed = reader.bytes(reader.varint(4 * native.MAX_PASSES * native.TAPS + native.SLACK))
    weights = _unpack_weights(packed, passes, source)
    real = np.float64 if double else np.float32
    used = threads if np.prod(shape) > 1 << 14 else 1
    with np.errstate(over="ignore", invalid="ignore"):  # of hostile streams alone
        z_hat = native.lift_decode(grid, real, _bytes(special), weights, float(step), lattice, streams, used, learned)
        return Quantiser(offset, unit, step, lattice, double).values(z_hat, dtype)


def has_contexts(body: bytes) -> bool:
    """Whether a head says that a context network chose the chances."""
    return bool(body and body[0] & HAS_CONTEXTS)


def _contexts_of(flags: int, contexts: Contexts | None, source: str) -> native.ContextWeights | None:
    if not flags & HAS_CONTEXTS:
        return None
    if contexts is None:
        raise ContainerError(f"{source} needs a context network.", "Name the weights it was made with.")
    return contexts.native


def filled(z: Array, special: Mask | None) -> Array:
    """z with the last value before it in place of each special one, so that no filter sees a cliff."""
    if special is None:
        return z
    flat, bad = z.reshape(-1).copy(), special.reshape(-1)
    place = np.where(bad, 0, np.arange(flat.size))
    np.maximum.accumulate(place, out=place)
    if bad[0] and not bad.all():
        place[: np.argmin(bad)] = np.argmin(bad)
    filled: Array = flat[place].reshape(z.shape)
    return filled


def _order(z: Array) -> tuple[int, ...]:
    """Axes from the roughest to the smoothest: the last pass of a level holds half of all values."""
    roughness = []
    for axis, length in enumerate(z.shape):
        if length < 3:
            roughness.append(np.inf)
            continue
        lines = np.moveaxis(z, axis, 0)
        lines = lines[:, :: lines.shape[1] // 48 + 1, :: lines.shape[2] // 48 + 1]
        roughness.append(float(np.mean(np.abs(lines[1:-1] - (lines[:-2] + lines[2:]) / 2))))
    return tuple(sorted(range(native.AXES), key=lambda axis: -roughness[axis]))


def _passes(shape: native.Shape, order: tuple[int, ...]) -> int:
    """How many passes hold values."""
    count = 0
    for level in range(native.Grid.of(shape, order).levels):
        count += sum(shape[axis] > 1 << level for axis in order)
    return count


def _pack_weights(weights: native.Weights) -> bytes:
    if not len(weights):
        return b""
    rows = weights.astype(np.int32).reshape(1, len(weights), native.TAPS)
    return native.encode_planes(rows, boxes=[_box(len(weights))])


def _unpack_weights(data: bytes, passes: int, source: str) -> native.Weights:
    if not passes:
        return np.zeros((1, native.TAPS), np.int16)
    weights = native.decode_planes(data, (1, passes, native.TAPS), boxes=[_box(passes)]).reshape(passes, native.TAPS)
    if np.abs(weights.astype(np.int64)).max() > np.iinfo(np.int16).max:
        raise _damaged(source)
    return weights.astype(np.int16)


def _box(passes: int) -> native.Box:
    return (0, 0, 0), (1, passes, native.TAPS), (-1, -1, -1)


def _shape(z: Array) -> native.Shape:
    return z.shape[0], z.shape[1], z.shape[2]


def _bytes(special: Mask | None) -> Array | None:
    return None if special is None else np.ascontiguousarray(special).view(np.uint8)


def _damaged(source: str) -> ContainerError:
    return ContainerError(f"{source} holds a block that makes no sense.", "Copy or download the file again.")
