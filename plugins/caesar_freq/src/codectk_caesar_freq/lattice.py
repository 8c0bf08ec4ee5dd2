"""Fields whose values are multiples of a step: packed observations, integers. They are coded as those multiples."""

from dataclasses import dataclass

import numpy as np

from codectk_caesar_freq.native import Array

SAMPLE = 4096
TOLERANCE = 0.1
"""How far gaps may be from multiples of the least, which the type rounds as it does the values."""

DIGITS = 5
MOST_STEPS = 1 << 22
"""Above this a lattice is no gain: the multiples fill the mantissa."""


@dataclass(frozen=True)
class Lattice:
    """x = origin + distance · n, n integer, exactly in the arithmetic of `values`."""

    origin: float
    distance: float

    def numbers(self, x: Array) -> Array:
        """The integers n of values, as float64."""
        numbers: Array = np.rint((x.astype(np.float64) - self.origin) / self.distance)
        return numbers

    def values(self, n: Array) -> Array:
        """The values of integers, as float64."""
        values: Array = self.origin + self.distance * n
        return values

    def radii(self, bound: float, rounding: float) -> list[int]:
        """How many steps away a value may be within a bound: if values are rounded luckily, and in any case."""
        lucky, sure = bound * (1 + 1e-12), max(0.0, bound - rounding)
        return sorted({int(lucky / self.distance), int(sure / self.distance)}, reverse=True)


def detect(valid: Array, bound: float) -> Lattice | None:
    """The lattice of a block's valid values (N,), if there is one that a bound can use."""
    if valid.dtype.kind in "iu":
        least, most = int(valid.min()), int(valid.max())
        wide = most - least > MOST_STEPS or max(abs(least), abs(most)) > 1 << 52
        return None if wide else Lattice(float(least), 1.0)
    sample = np.unique(valid[:: len(valid) // SAMPLE + 1]).astype(np.float64)
    if len(sample) < 2:
        return None
    with np.errstate(over="ignore"):
        gaps = np.diff(sample)
    gap = float(gaps.min())
    low, high = float(valid.min()), float(valid.max())
    if gap < bound / 2 or not 1 <= (high - low) / gap <= MOST_STEPS:
        return None
    counts = np.rint(gaps / gap)
    if np.abs(gaps / gap - counts).max() > TOLERANCE:
        return None
    steps = (high - low) / (float(sample[-1] - sample[0]) / float(counts.sum()))
    distance = (high - low) / round(steps)
    # Packed values are decimals that the type rounds: the lowest and the step as they were written hold more digits.
    for lattice in (Lattice(float(str(valid.min())), float(f"{distance:.{DIGITS}g}")), Lattice(low, distance)):
        again = lattice.values(lattice.numbers(valid)).astype(valid.dtype)
        if np.array_equal(again, valid):
            return lattice
    return None
