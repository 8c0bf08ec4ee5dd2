"""Bounds on errors: what a user may ask for, what it means in the unit of a variable, and whether a block keeps to it.

    option           promise for each variable                                  becomes
    abs_error e      |x - x_hat| <= e                                           absolute e
    rel_error e      |x - x_hat| <= e (max - min)                               absolute e (max - min)
    pointwise_rel e  |x - x_hat| <= e |x|                                       relative e
    nrmse e          root mean square error <= e (max - min)                    mean_square e (max - min)
    psnr p           20 log10((max - min) / root mean square error) >= p dB     mean_square (max - min) 10^(-p / 20)
    eb e             root mean square error of each 8×8 patch <= e (max - min)  patch e (max - min of all variables)

max and min are those of a variable's valid values. All bounds hold for valid values of the decoded file, in its own type.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from codectk.arrays import Array
from codectk_caesar_freq import gae
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


@dataclass(frozen=True)
class Bound:
    """A bound in the unit of a variable's values (relative: without a unit)."""

    meaning: Meaning
    value: float

    @classmethod
    def of(cls, option: str, value: float, spread: float) -> "Bound":
        """What an option of this module's table means for values that spread so far."""
        factor = {"abs_error": 1.0, "pointwise_rel": 1.0}.get(option, spread)
        number = 10 ** (-value / 20) if option == "psnr" else value
        return cls(OPTIONS[option], number * factor)


@dataclass
class Reached:
    """Errors of valid values, gathered block by block.

    Attributes:
        largest: absolute error.
        squares: sum of squared errors.
        count: valid values.
    """

    largest: float = 0.0
    squares: float = 0.0
    count: int = 0

    def add(self, other: "Reached") -> None:
        """Take in another block."""
        self.largest = max(self.largest, other.largest)
        self.squares += other.squares
        self.count += other.count

    @property
    def rmse(self) -> float:
        """Root mean square error."""
        return float(np.sqrt(self.squares / self.count)) if self.count else 0.0


def distances(x: Array, x_hat: Array) -> Array:
    """|x - x_hat| as float64, exact where the types are."""
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
    with np.errstate(over="ignore"):
        return Reached(float(valid.max()), float(np.square(valid).sum()), int(valid.size))


def outside(bound: Bound, x: Array, gaps: Array, special: Mask | None) -> Mask:
    """Valid values that are farther away than a point-wise bound allows; NaN is far away."""
    allowed = bound.value * np.abs(x.astype(np.float64)) if bound.meaning == "relative" else bound.value
    wrong: Mask = ~(gaps <= allowed)
    return wrong if special is None else wrong & ~special


def holds(bound: Bound, x: Array, x_hat: Array, gaps: Array, special: Mask | None) -> bool:
    """Whether a block keeps to a bound."""
    if bound.meaning in ("absolute", "relative"):
        return not outside(bound, x, gaps, special).any()
    if bound.meaning == "mean_square":
        return measure(gaps, special).rmse <= bound.value
    squares, counts = gae.errors(x, x_hat, special)
    return bool((squares <= counts * bound.value**2).all())
