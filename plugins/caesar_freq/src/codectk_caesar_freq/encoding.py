"""How a block is encoded within a bound: candidates, each decoded from its bytes and checked, and the smallest of them.

    point-wise bounds     constant, lattice or fitted wavelet (or the transform that was asked for, with corrections)
    mean square bounds    constant, fitted wavelet, cosine blocks of 8, 16 or 32 values (or what was asked for)
    patch bounds          the same, for several mean squares, each with the correction that it needs

What nothing else can hold is stored without loss.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import frexp, ldexp

import numpy as np

from codectk.errors import CodectkError
from codectk_caesar_freq import bands, bounds, fitted, gae, lattice, loglaw, native, specials
from codectk_caesar_freq.background import Place
from codectk_caesar_freq.bands import Transform
from codectk_caesar_freq.blocks import Block, Context, Method, cast, check_of, decoded, pack_exact, pack_raw, pack_signs
from codectk_caesar_freq.bounds import Bound, Reached
from codectk_caesar_freq.native import Array
from codectk_caesar_freq.specials import Mask, pack
from codectk_caesar_freq.weights import Learned

COSINES = (8, 16, 32)
STEPS_PER_RMSE = 3.8
"""Step over target of cosine blocks, for choosing their size before the step is known."""

LATTICE_WORTH = 0.9
"""A lattice is used where its step is at least this part of the step without it."""

STEP_OF_POINTWISE = 1.9
"""Step over bound of transforms that corrections follow."""

MOST_EXACT = 1 / 16
RETRIES = 4
SHARES = (0.8, 0.92)
"""Mean squares to try below a bound on patches, over it."""


@dataclass(frozen=True)
class Plan:
    """What the user wants blocks to be coded by.

    Attributes:
        transform: a transform, or None for the best of all.
        only_fitted: nothing but the fitted wavelet.
        threads: for one block.
    """

    transform: Transform | None = None
    only_fitted: bool = False
    threads: int = 1


@dataclass(frozen=True)
class Work:
    """A block to encode.

    Attributes:
        x: (T, H, W), contiguous.
        special: values that are kept exactly, or None.
        bound: what all others must keep to.
        plan: see there.
        place: where the block lies in its field.
        learned: weights, if there are any.
    """

    x: Array
    special: Mask | None
    bound: Bound
    plan: Plan
    place: Place = (0, 0, 0, 0)
    learned: Learned | None = None

    @property
    def shape(self) -> native.Shape:
        """(T, H, W)."""
        return self.x.shape[0], self.x.shape[1], self.x.shape[2]

    def context(self, dtype: np.dtype[np.generic]) -> Context:
        """For decoding a block of these values."""
        return Context(self.shape, dtype, self.plan.threads, place=self.place, learned=self.learned)

    @property
    def valid(self) -> Array:
        """The values that are not special, (N,)."""
        return self.x.reshape(-1) if self.special is None else self.x[~self.special]

    def checked(self, block: Block) -> tuple[Block, Reached] | None:
        """The block with its special values, and exact ones where it misses a bound on values or patches; None if it
        misses that of the mean square, or so often that this is no way to code it.
        """
        block = replace(block, specials=b"" if self.special is None else pack(self.x, self.special))
        x_hat = decoded(Block.unpack(block.pack(), "the block"), self.context(self.x.dtype))
        if reached := self._plainly_within(x_hat):
            return replace(block, check=check_of(x_hat)), reached
        gaps = bounds.distances(self.x, x_hat)
        if self.bound.meaning == "mean_square":
            if not bounds.holds(self.bound, gaps, self.special):
                return None
        elif (wrong := bounds.outside(self.bound, self.x, x_hat, gaps, self.special)).any():
            if np.count_nonzero(wrong) > MOST_EXACT * self.x.size:
                return None
            block = replace(block, exact=pack_exact(self.x, wrong))
            x_hat[wrong] = self.x[wrong]
            gaps[wrong] = 0
        return replace(block, check=check_of(x_hat)), bounds.measure(gaps, self.special)

    def _plainly_within(self, x_hat: Array) -> Reached | None:
        """What was reached, where one fast pass shows that every value is nearer than an absolute bound."""
        if self.bound.meaning != "absolute" or self.x.dtype.kind != "f":
            return None
        mask = None if self.special is None else self.special.view(np.uint8)
        found = native.errors(self.x, x_hat, mask, self.bound.value)
        count = self.x.size if self.special is None else self.x.size - int(np.count_nonzero(self.special))
        usual = found.largest == 0 or bounds.LEAST_SQUARED < found.largest < bounds.MOST_SQUARED
        if found.outside or not found.largest < self.bound.value or not usual or not count:
            return None
        return Reached(found.largest, float(np.sqrt(found.squares / count)), count)


@np.errstate(invalid="ignore")  # NaN among the special values may be signalling ones
def encode(work: Work) -> tuple[Block, Reached]:
    """The smallest block that keeps to the bound."""
    if work.bound.meaning == "relative" and (zero := work.x == 0).any():  # nothing but zero is near to it
        work = replace(work, special=zero if work.special is None else work.special | zero)
    best: tuple[Block, Reached] | None = None
    for candidate in _candidates(work):
        try:
            found = work.checked(candidate())
        except CodectkError:  # a stream larger than its values
            continue
        if found and (best is None or size_of(found[0]) < size_of(best[0])):
            best = found
        if best and best[0].method == Method.CONSTANT:
            break
    raw_size = work.valid.nbytes
    if best is None or size_of(best[0]) > raw_size // 2:
        raw = Block(Method.RAW, pack_raw(work.x, work.special))
        found = work.checked(raw)
        if found and (best is None or size_of(found[0]) < size_of(best[0])):
            best = found
    if best is None:
        raise CodectkError(
            "A block came back other than it went in.", "Report this to the makers of codectk-caesar-freq."
        )
    return best


def size_of(block: Block) -> int:
    """Bytes of a block."""
    return sum(map(len, block.pack()))


def _candidates(work: Work) -> Iterator[Callable[[], Block]]:
    valid = work.valid
    if not valid.size:
        yield lambda: Block(Method.NOTHING, b"")
        return
    if work.bound.meaning == "relative":
        yield lambda: _relative(work)
        return
    # Halves are taken apart: the sum of two huge values would be infinite.
    low, high = specials.ends(valid)
    if _half_spread(low, high) <= work.bound.value or low == high:
        yield lambda: Block(Method.CONSTANT, struct.pack("<d", low / 2 + high / 2))
    if work.bound.meaning == "absolute":
        yield from _pointwise(work, low, high)
    elif work.bound.value > bounds.LEAST_SQUARED and _has_coefficients(low, high, work.bound.value):
        yield from _lossless_lattice(work)
        yield from (_mean_square if work.bound.meaning == "mean_square" else _patches)(work)


def _half_spread(low: float, high: float) -> float:
    return high / 2 - low / 2


def _has_coefficients(low: float, high: float, step: float) -> bool:
    """Whether values can be transformed and quantised in such steps, squares and all."""
    return max(abs(low), abs(high)) < bounds.MOST_SQUARED and _half_spread(low, high) / step <= fitted.MOST_DOUBLE / 4


def _pointwise(work: Work, low: float, high: float) -> Iterator[Callable[[], Block]]:
    bound, half = work.bound.value, inner_half(work, low, high)
    if work.plan.transform is not None:
        if half and _has_coefficients(low, high, half):
            yield lambda: _corrected(work, half)
        return
    found = lattice.detect(work.valid, bound)
    rounding = unit_of(work, max(abs(low), abs(high))) if work.x.dtype.kind == "f" else 0.0
    radii = found.radii(bound, rounding) if found else []
    if found and (not half or (2 * radii[0] + 1) * found.distance >= LATTICE_WORTH * 2 * bound):
        for radius in radii:
            yield partial(_fitted, work, fitted.Quantiser.of(found, radius))
    elif half and _half_spread(low, high) / half <= fitted.MOST_DOUBLE:
        yield lambda: _fitted(work, fitted.Quantiser.within(low, high, half))


def _lossless_lattice(work: Work) -> Iterator[Callable[[], Block]]:
    """The multiples of a step as they are, where the bound leaves nothing to quantise them by."""
    found = lattice.detect(work.valid, work.bound.value)
    if found and found.distance > 2 * work.bound.value and work.plan.transform is None:
        yield lambda: _fitted(work, fitted.Quantiser.of(found, 0))


def inner_half(work: Work, low: float, high: float) -> float:
    """Half a step such that a value in the block's type keeps to the bound in spite of all rounding; 0 if none does."""
    half = work.bound.value - unit_of(work, max(abs(low), abs(high))) / 2
    if not half > work.bound.value / 4:
        return 0.0
    reach = _half_spread(low, high) / (2 * half)
    precision = 2.0**-52 if reach > fitted.MOST_SINGLE else 2.0**-24
    return half / (1 + 8 * reach * precision)


def unit_of(work: Work, greatest: float) -> float:
    """Distance of neighbours in the block's type, at the greatest of its values."""
    kind = work.x.dtype
    if kind.kind != "f":
        return max(1.0, float(np.spacing(greatest)))
    type_ = np.finfo(kind.name)
    return max(ldexp(1.0, frexp(greatest)[1] - type_.nmant - 1), float(type_.smallest_subnormal))


def _fitted(work: Work, quantiser: fitted.Quantiser) -> Block:
    z = quantiser.scaled(work.x, work.special)
    found, contexts = fitted.fit(quantiser, z, work.special), work.learned.contexts if work.learned else None
    body, groups = fitted.encode(found, z, work.special, work.plan.threads, contexts)
    return Block(Method.FITTED, body, tuple(groups))


def _corrected(work: Work, half: float) -> Block:
    """Coefficients of the transform, then corrections of the values that they leave outside the bound."""
    transform = work.plan.transform or Transform()
    x = work.x.astype(np.float64)
    whole = fitted.filled(x, work.special)
    mean = float(whole.mean())
    coefficients = transform.forward(whole - mean)
    coded = bands.as_pointwise(bands.quantise(coefficients, mean, STEP_OF_POINTWISE * half, 0.5, transform))
    left = whole - coded.values()
    q = np.where(np.abs(left) > half, np.rint(left / (2 * half)), 0)
    if work.special is not None:
        q[work.special] = 0
    corrections = np.clip(q, -bands.MOST_Q, bands.MOST_Q).astype(np.int32)
    return Block(Method.BANDS, bands.encode(coded, corrections, 2 * half))


def _relative(work: Work) -> Block:
    """log2 |x| within an absolute bound; zeros are special already."""
    logs = loglaw.logarithms(work.x)
    inner = Bound("absolute", loglaw.half_width(work.bound.value) * (1 - 1e-9) - 2.0**-40)
    rounding = float(np.finfo(work.x.dtype.name).eps) if work.x.dtype.kind == "f" else 0.0
    inner = replace(inner, value=inner.value - 2 * rounding)
    if inner.value <= 0:
        return Block(Method.RAW, pack_raw(work.x, work.special))
    block, _ = encode(Work(logs, work.special, inner, work.plan, learned=work.learned))
    if block.method == Method.RAW or block.exact:
        return Block(Method.RAW, pack_raw(work.x, work.special))
    return replace(block, signs=pack_signs(work.x), specials=b"")


def _mean_square(work: Work) -> Iterator[Callable[[], Block]]:
    target = work.bound.value
    if work.plan.transform is not None:
        transform = work.plan.transform
        yield lambda: _bands_within(work, transform, target)
        return
    yield lambda: _fitted_within(work, target)
    if not work.plan.only_fitted:
        yield lambda: _bands_within(work, _best_cosines(work, target), target)


def _best_cosines(work: Work, target: float) -> Transform:
    x = work.x.astype(np.float64)
    transforms = [Transform(dct=size) for size in COSINES if size == COSINES[0] or size < 2 * max(x.shape)]
    return min(transforms, key=lambda t: bands.cost(x, work.special, t, STEPS_PER_RMSE * target))


def _bands_within(work: Work, transform: Transform, target: float) -> Block:
    x = work.x.astype(np.float64)
    for _ in range(RETRIES):
        coded = bands.for_mean_square(x, work.special, transform, target)
        found = _rmse(work, coded.values())
        if found <= work.bound.value * (1 - 1e-9) or work.bound.meaning == "patch":
            break
        target *= max(0.01, 0.999 * work.bound.value / found)
    return Block(Method.BANDS, bands.encode(coded, None, 0.0))


def _fitted_within(work: Work, target: float) -> Block:
    """The fitted wavelet with the largest step that keeps to the mean square, by a few trials."""
    valid = work.valid
    low, high = float(valid.min()), float(valid.max())
    unit = target * np.sqrt(12)
    first = fitted.Quantiser.within(low, high, unit / 2)
    chosen = fitted.fit(first, first.scaled(work.x, work.special), work.special)
    best, step = 0.0, unit
    for trial in range(5):
        chosen = chosen.at(step, fitted.Quantiser.within(low, high, step / 2).double)
        x_hat = fitted.quantised(chosen, work.x, work.special)
        rmse = _rmse(work, x_hat)
        if rmse <= target * (1 - 1e-6):
            best = max(best, step)
            if rmse > 0.995 * target or trial == 4:
                break
        step *= min(4.0, max(0.01, 0.998 * target / max(rmse, 1e-3 * target)))
    quantiser = fitted.Quantiser.within(low, high, (best or 0.9 * min(step, unit)) / 2)
    return _fitted(work, quantiser)


def _rmse(work: Work, x_hat: native.Doubles) -> float:
    """Root mean square error of values in the block's type."""
    return bounds.measure(bounds.distances(work.x, cast(x_hat, work.x.dtype)), work.special).rmse


def _patches(work: Work) -> Iterator[Callable[[], Block]]:
    for share in SHARES:
        target = share * work.bound.value
        inner = replace(work, bound=Bound("mean_square", target))
        for candidate in _mean_square(inner):
            yield partial(_corrected_patches, work, candidate)


def _corrected_patches(work: Work, candidate: Callable[[], Block]) -> Block:
    """The block with the correction that brings every patch within the bound, in the precision of its type."""
    block = candidate()
    if block.method == Method.RAW:
        return block
    # Decoded in float64, where only the places of special values matter.
    special = b"" if work.special is None else pack(np.zeros(work.x.shape), work.special)
    x_hat = decoded(replace(block, specials=special), work.context(np.dtype(np.float64)))
    # Rounding to the block's type moves each value, and so the root mean square error, by half a unit at most.
    greatest = max(abs(float(work.valid.min())), abs(float(work.valid.max())))
    within = work.bound.value * (1 - 1e-6) - unit_of(work, greatest) / 2
    if within <= 0:
        return block
    found = gae.correct(work.x, x_hat, work.special, within)
    return block if found is None else replace(block, correction=gae.pack(found))
