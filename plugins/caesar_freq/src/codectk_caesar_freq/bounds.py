"""Bounds on errors: what a user may ask for, what it means in the unit of a variable, and whether a block keeps to it.

    option           promise for each variable                                  becomes
    abs_error e      |x - x_hat| <= e                                           absolute e
    rel_error e      |x - x_hat| <= e (max - min)                               absolute e (max - min)
    pointwise_rel e  |x - x_hat| <= e |x|                                       relative e
    nrmse e          root mean square error <= e (max - min)                    mean_square e (max - min)
    psnr p           20 log10((max - min) / root mean square error) >= p dB     mean_square (max - min) 10^(-p / 20)
    eb e             root mean square error of each 8×8 patch <= e (max - min)  patch e (max - min of all variables)

max and min are those of a variable's valid values. All bounds hold for valid values of the decoded file,
in its own type. A bound that is a product is meant as float64 has it.
"""

import sys
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from codectk_caesar_freq import gae
from codectk_caesar_freq.native import Array
from codectk_caesar_freq.specials import Mask

Meaning = Literal["absolute", "relative", "mean_square", "patch"]
OPTIONS: dict[str, Meaning] = {
    "abs_error": "absolute",
    "rel_error": "absolute",
    "pointwise_rel": "relative",
    "nrmse": "mean_square",
    "psnr": "mean_square",
    "eb": "patch",
}

LEAST_SQUARED, MOST_SQUARED = 1e-140, 1e140
"""Between these, squares neither vanish nor overflow in float64, nor do sums of as many as a block has."""

ROUNDING = 1e-12
"""What sums of squares may be off by, relative."""


@dataclass(frozen=True)
class Bound:
    """A bound in the unit of a variable's values (relative: without a unit)."""

    meaning: Meaning
    value: float

    @classmethod
    def of(cls, option: str, value: float, spread: Fraction) -> "Bound":
        """What an option of this module's table means for values that spread so far.

        The spread is exact: that of integers of 64 bits, or of the largest floats, is no float64.
        """
        if option in ("abs_error", "pointwise_rel"):
            return cls(OPTIONS[option], value)
        part = 10 ** (-value / 20) * (1 - ROUNDING) if option == "psnr" else value
        return cls(OPTIONS[option], float(min(Fraction(part) * spread, Fraction(sys.float_info.max))))


@dataclass
class Reached:
    """Errors of valid values, gathered block by block.

    Attributes:
        largest: absolute error.
        rmse: root mean square error.
        count: valid values.
    """

    largest: float = 0.0
    rmse: float = 0.0
    count: int = 0

    def add(self, other: "Reached") -> None:
        """Take in another block."""
        count, unit = self.count + other.count, max(self.rmse, other.rmse)
        if unit:
            squares = self.count * (self.rmse / unit) ** 2 + other.count * (other.rmse / unit) ** 2
            self.rmse = unit * float(np.sqrt(squares / count))
        self.largest, self.count = max(self.largest, other.largest), count


def distances(x: Array, x_hat: Array) -> Array:
    """|x - x_hat| as float64, rounded to nearest."""
    if x.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            gaps: Array = np.abs(x.astype(np.float64) - x_hat.astype(np.float64))
        return gaps
    larger, smaller = np.maximum(x, x_hat), np.minimum(x, x_hat)
    # The difference of two integers of 64 bits fits 64 bits without a sign.
    return (larger.astype(np.uint64) - smaller.astype(np.uint64)).astype(np.float64)


def measure(gaps: Array, special: Mask | None) -> Reached:
    """The errors of a block from its distances."""
    valid = gaps if special is None else gaps[~special]
    if not valid.size:
        return Reached()
    largest = float(valid.max())
    if LEAST_SQUARED < largest < MOST_SQUARED or not 0 < largest < np.inf:
        return Reached(largest, float(np.sqrt(np.square(valid).mean())), int(valid.size))
    return Reached(largest, largest * float(np.sqrt(np.square(valid / largest).mean())), int(valid.size))


def outside(bound: Bound, x: Array, x_hat: Array, gaps: Array, special: Mask | None) -> Mask:
    """Valid values that are farther away than a bound allows, or in patches that are; NaN is far away.

    Args:
        bound: any but one on the mean square of a whole variable.
        x, x_hat: original and decoded (T, H, W).
        gaps: their distances.
        special: values that do not count.
    """
    if bound.meaning == "patch" and bound.value:
        with np.errstate(over="ignore", invalid="ignore"):
            squares, counts = gae.errors(gaps / bound.value, special)
        wrong = gae.members(~(squares <= counts * (1 - ROUNDING)), x.shape)
    elif bound.meaning == "relative":
        wrong = ~(gaps <= bound.value * (1 - ROUNDING) * np.abs(x.astype(np.float64)))
    else:
        wrong = ~(gaps <= bound.value)
        at = gaps == bound.value
        if at.any():
            wrong[at] = _rounded_down(x[at], x_hat[at], gaps[at])
    return wrong if special is None else wrong & ~special


def _rounded_down(x: Array, x_hat: Array, gaps: Array) -> Mask:
    """Where distances are larger than their float64 (Knuth's TwoSum), or may be, of integers."""
    if x.dtype.kind != "f":
        large: Mask = gaps > 1 << 53
        return large
    a, b = x.astype(np.float64), x_hat.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        difference = a - b
        virtual = difference - a
        lost = (a - (difference - virtual)) - (b + virtual)
        larger: Mask = lost * np.sign(difference) > 0
    return larger


def holds(bound: Bound, gaps: Array, special: Mask | None) -> bool:
    """Whether a block with such distances keeps to a bound on the mean square."""
    return measure(gaps, special).rmse <= bound.value * (1 - ROUNDING)
