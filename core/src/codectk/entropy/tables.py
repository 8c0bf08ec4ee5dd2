"""Probability tables: built from floats once, when weights are exported, and integers ever after.

A table gives each integer from `offset` on a frequency in 1/65536, and its last frequency to all others, the escapes.
Where an escape is met, the value itself follows in bits of even probability, so every int32 can be coded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import Array
from codectk.errors import WeightsError

PRECISION = 16
TOTAL = 1 << PRECISION
"""Sum of a table's frequencies."""
CELL = 8
"""A hint for every 2^8 of the 2^16."""
MAX_TABLES = 1 << 14
KEEP = 0.5 / TOTAL
"""A value at either end of a table is left to the escapes if it is less probable. Far less, and frequencies of at least
1 take from the rest; far more, and escapes are frequent. Between 0.25 and 1 the bits differ by less than 0.1 %."""
MAX_REACH = 8.0
"""Standard deviations beyond which no value of a Gaussian has a probability above `KEEP`."""
_FIELDS = {"frequencies": np.uint16, "lengths": np.int32, "offsets": np.int32, "skippable": np.uint8}


@dataclass(frozen=True, eq=False)
class Tables:
    """Frozen tables of T distributions of integers.

    Attributes:
        frequencies: uint16 (sum of lengths), table after table: of the values from the table's offset on in 1/65536,
            each at least 1, and last the frequency of all other values.
        lengths: int32 (T), frequencies per table, 2 to 65536.
        offsets: int32 (T), first value of each table.
        skippable: uint8 (T), 1 for tables whose symbols are left out where all of a call are 0, which they must hold.

    Raises:
        WeightsError: the arrays are not such tables.
    """

    frequencies: NDArray[np.uint16]
    lengths: NDArray[np.int32]
    offsets: NDArray[np.int32]
    skippable: NDArray[np.uint8]

    def __post_init__(self) -> None:
        # Copies that nobody can change: the compiled coder relies on what is checked here.
        for name, dtype in _FIELDS.items():
            given = getattr(self, name)
            if not isinstance(given, np.ndarray) or given.dtype != dtype or given.ndim != 1:
                raise _damaged(f"{name} is not a row of {np.dtype(dtype)}")
            own = np.array(given, order="C")
            own.flags.writeable = False
            object.__setattr__(self, name, own)
        self._check()

    def _check(self) -> None:
        count, lengths = len(self.lengths), self.lengths.astype(np.int64)
        if not 1 <= count <= MAX_TABLES or len(self.offsets) != count or len(self.skippable) != count:
            raise _damaged(f"there are {count} tables, {len(self.offsets)} offsets and {len(self.skippable)} flags")
        if lengths.min() < 2 or lengths.max() > TOTAL or lengths.sum() != len(self.frequencies):
            raise _damaged(f"the lengths do not divide {len(self.frequencies)} frequencies")
        sums = np.add.reduceat(self.frequencies.astype(np.int64), lengths.cumsum() - lengths)
        if self.frequencies.min() < 1 or (sums != TOTAL).any():
            raise _damaged(f"frequencies are not 1 or more, with a sum of {TOTAL} per table")
        offsets = self.offsets.astype(np.int64)
        if (offsets + lengths - 2).max() > np.iinfo(np.int32).max:
            raise _damaged("values are beyond int32")
        holds_zero = (offsets <= 0) & (offsets + lengths - 2 >= 0)
        if self.skippable.max() > 1 or not holds_zero[self.skippable > 0].all():
            raise _damaged("a table without 0 is marked as skippable")

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def cumulative(self) -> NDArray[np.uint32]:
        """uint32 (sum of lengths + T), per table 0, then the sum of the frequencies up to each, the last 65536."""
        sums = np.zeros(len(self.frequencies) + len(self), np.uint32)
        ends = np.cumsum(self.frequencies, dtype=np.int64)  # of all tables before, and of this: both whole 65536ths
        within = np.ones(len(sums), bool)
        within[self.first] = False
        sums[within] = (ends - 1) % TOTAL + 1
        return sums

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """int64 (T), where in `cumulative` each table starts."""
        lengths = self.lengths.astype(np.int64)
        return lengths.cumsum() - lengths + np.arange(len(self))

    @cached_property
    def hints(self) -> NDArray[np.uint16]:
        """uint16 (T, 256), the place in its table of the frequency that contains 0, 256, 512 and so on."""
        starts = range(0, TOTAL, 1 << CELL)
        rows = zip(self.first.tolist(), self.lengths.tolist(), strict=True)
        found = [np.searchsorted(self.cumulative[at : at + n + 1], starts, side="right") - 1 for at, n in rows]
        return np.array(found, np.uint16)

    def tensors(self, prefix: str) -> dict[str, Array]:
        """What a checkpoint stores, named `prefix.frequencies` and so on."""
        return {f"{prefix}.{name}": getattr(self, name) for name in _FIELDS}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array], prefix: str) -> "Tables":
        """Undo `tensors`.

        Raises:
            WeightsError: one is missing, or they are not tables.
        """
        missing = [f"{prefix}.{name}" for name in _FIELDS if f"{prefix}.{name}" not in tensors]
        if missing:
            raise _damaged(f"tensor {missing[0]} is missing")
        parts: dict[str, Any] = {name: tensors[f"{prefix}.{name}"] for name in _FIELDS}
        try:
            return cls(**parts)
        except WeightsError as error:
            raise WeightsError(f"{prefix}: {error.problem}", error.next_step) from None


def _damaged(reason: str) -> WeightsError:
    return WeightsError(f"The probability tables are damaged: {reason}.", "Copy or download the weights again.")


def scale_levels(count: int = 64, lowest: float = 0.11, highest: float = 256.0) -> NDArray[np.float64]:
    """float64 (count), standard deviations with a constant ratio; the default are those that CompressAI uses.

    Raises:
        ValueError: there are not 2 or more, rising and above 0.
    """
    if not (count >= 2 and 0 < lowest < highest < float("inf")):
        raise ValueError(f"{count} levels from {lowest} to {highest} are not 2 or more, rising and above 0")
    return np.geomspace(lowest, highest, count)


def scale_thresholds(levels: Array, bits: int) -> NDArray[np.int32]:
    """Thresholds that `table_indexes` takes: the geometric means of neighbouring levels, in units of 2^-bits.

    Rounding to the nearest level of the logarithm costs 0.09 % of the bits; rounding up costs 0.37 %.

    Args:
        levels: float64 (T), rising, as `scale_levels` gives them.
        bits: of the fraction of the scales.

    Returns:
        int32 (T - 1). A plugin stores them beside the tables.

    Raises:
        ValueError: so fine a unit takes scales beyond int32, or the levels do not rise.
    """
    scales = np.asarray(levels, np.float64)
    if scales.ndim != 1 or len(scales) < 2 or not scales[0] > 0 or not (np.diff(scales) > 0).all():
        raise ValueError("levels must rise and be above 0")
    thresholds = np.ceil(np.sqrt(scales[1:] * scales[:-1]) * 2.0 ** min(bits, 64))
    if bits < 0 or thresholds[-1] > np.iinfo(np.int32).max:
        raise ValueError(f"scales up to {scales[-1]} in units of 2^-{bits} do not fit int32")
    return thresholds.astype(np.int32)


def table_indexes(scales: Array, thresholds: Array) -> NDArray[np.uint16]:
    """The table of each scale: how many thresholds are not above it. On a GPU, `torch.bucketize(…, right=True)`.

    Args:
        scales: integers of any shape, in the unit of the thresholds.
        thresholds: int32 (T - 1), see `scale_thresholds`.

    Returns:
        uint16 in the shape of the scales.

    Raises:
        ValueError: the scales are not integers, or the thresholds not a rising row of them.
    """
    if scales.dtype.kind not in "iu" or thresholds.dtype.kind not in "iu":
        raise ValueError(f"scales and thresholds must be integers, not {scales.dtype} and {thresholds.dtype}")
    if thresholds.ndim != 1 or len(thresholds) >= MAX_TABLES or (np.diff(thresholds.astype(np.int64)) < 0).any():
        raise ValueError("thresholds must be a rising row")
    return np.searchsorted(thresholds, scales, side="right").astype(np.uint16)


def gaussian_tables(levels: Array) -> Tables:
    """Tables of integers with zero mean: normal variables of the given standard deviations, rounded.

    Args:
        levels: float64 (T), above 0.

    Raises:
        ValueError: a level is not above 0 or too large for a table.
    """
    from scipy.special import ndtr

    scales = [float(scale) for scale in levels]
    if not scales or not all(0 < scale * MAX_REACH < TOTAL for scale in scales):
        raise ValueError(f"standard deviations must be above 0 and below {TOTAL / MAX_REACH:.0f}")
    pmfs, offsets = [], []
    for scale in scales:
        reach = int(MAX_REACH * scale) + 1
        distance = np.abs(np.arange(-reach, reach + 1))
        # From the lower tail, where differences of small probabilities are exact.
        pmfs.append(ndtr((0.5 - distance) / scale) - ndtr((-0.5 - distance) / scale))
        offsets.append(-reach)
    return pmf_tables(pmfs, offsets)


def pmf_tables(pmfs: Sequence[Array], offsets: Sequence[int]) -> Tables:
    """Tables from probabilities, for example one per channel of a factorised prior.

    Improbable values at both ends go to the escapes, with what the sum lacks of 1. A table is skippable if a symbol
    other than 0 is less probable than 2^-16.

    Args:
        pmfs: per table the probabilities of `offset`, `offset + 1`, and so on; sums up to 1.
        offsets: per table.

    Raises:
        ValueError: probabilities are negative, not finite, all 0 or above 1 together, or there are too many of them.
    """
    frequencies, starts, skippable = [], [], []
    for given, offset in zip(pmfs, offsets, strict=True):
        pmf = np.asarray(given, np.float64)
        total = float(pmf.sum()) if pmf.ndim == 1 and len(pmf) and (pmf >= 0).all() else 0.0
        if not 0 < total < 1.001:  # sums of float32 probabilities may be a little above 1
            raise ValueError("a table's probabilities must be 0 or more, with a sum above 0 and up to 1")
        kept = np.flatnonzero(pmf >= min(KEEP, pmf.max()))
        start, stop = int(kept[0]), int(kept[-1]) + 1
        if stop - start >= TOTAL:
            raise ValueError(f"{stop - start} values are too many for a table of {TOTAL}")
        tail = max(0.0, 1.0 - pmf[start:stop].sum())
        frequencies.append(_frequencies(np.append(pmf[start:stop], tail)))
        starts.append(offset + start)
        zero = -offset
        skippable.append(start <= zero < stop and 1.0 - pmf[zero] < 1 / TOTAL)
    return Tables(
        np.concatenate(frequencies) if frequencies else np.zeros(0, np.uint16),
        np.array([len(row) for row in frequencies], np.int32),
        np.array(starts, np.int32),
        np.array(skippable, np.uint8),
    )


def _frequencies(pmf: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Integers of at least 1 with a sum of 65536, in proportion to the probabilities as far as that goes."""
    low, high = 0.0, 2.0 * TOTAL / float(pmf.sum())
    while (factor := (low + high) / 2) not in (low, high):
        if np.maximum(1, np.rint(pmf * factor)).sum() <= TOTAL:
            low = factor
        else:
            high = factor
    counts = np.maximum(1, np.rint(pmf * low)).astype(np.int64)
    counts[np.argsort(-pmf, kind="stable")[: TOTAL - counts.sum()]] += 1
    return counts.astype(np.uint16)
