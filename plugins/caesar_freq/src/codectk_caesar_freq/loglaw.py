"""Logarithms and powers of two for bounds relative to each value. The power is made of additions and products alone, so
that every machine decodes the same values; the C library's differs in the last bits."""

from itertools import accumulate

import numpy as np

from codectk_caesar_freq.native import Array, Doubles

LOG_2 = 0.6931471805599453
TERMS = list(accumulate(range(1, 18), lambda term, k: term * LOG_2 / k, initial=1.0))
LARGEST = 1100.0


def logarithms(x: Array) -> Doubles:
    """log2 |x| in float64; 0 where x is 0."""
    magnitude = np.abs(x.astype(np.float64))
    return np.log2(np.where(magnitude > 0, magnitude, 1.0))


def powers(y: Doubles) -> Doubles:
    """2^y in float64."""
    bounded = np.clip(np.nan_to_num(y), -LARGEST, LARGEST)
    whole = np.rint(bounded)
    part = bounded - whole
    sum_ = np.full(part.shape, TERMS[-1])
    for term in reversed(TERMS[:-1]):
        sum_ *= part
        sum_ += term
    with np.errstate(over="ignore"):
        result: Doubles = np.ldexp(sum_, whole.astype(np.int32))
    return result


def half_width(bound: float) -> float:
    """How far log2 |x| may be off for |x - x_hat| <= bound |x|."""
    return float(np.log2(1 + bound))
