"""What a report looks at in a field and its decoded copy: a slice, errors, their histogram, power spectra.

x ─ Slice.of ─ plane ─ scaled ─> map
x, x_hat ─ histogram ─> counts            plane ─ Hann window ─ |FFT|² ─ mean over rings ─> spectrum
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor, isfinite, log10

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import Array, ArrayInfo, missing, parts

Floats = NDArray[np.float64]

PLANE_SIDE = 768
"""Planes are shown as a cut-out of at most this side in samples."""

LINE_LENGTH = 4096
"""Lines are shown as a cut-out of at most this length in samples."""

PART_VALUES = 1 << 20
"""Values that are held as float64 at a time."""

BINS = 101

MAX_RINGS = 256
"""Frequencies of a spectrum."""

EXPONENTS = range(-3, 5)
"""Powers of ten that numbers at an axis are written without."""


@dataclass(frozen=True)
class Slice:
    """The part of a field that is shown: a plane of its last two axes longer than 1, or a line if there is one alone.

    Attributes:
        index: of that part.
        says: which part it is.
    """

    index: tuple[slice | int, ...]
    says: str

    @classmethod
    def of(cls, info: ArrayInfo) -> "Slice":
        """The middle one of all such parts, its own middle if it is large."""
        long = [axis for axis, length in enumerate(info.shape) if length > 1][-2:] or [len(info.shape) - 1]
        most = PLANE_SIDE if len(long) == 2 else LINE_LENGTH
        index: list[slice | int] = [length // 2 for length in info.shape]
        says = [f"{info.axes[i]} = {n // 2} of {n}" for i, n in enumerate(info.shape) if i not in long and n > 1]
        for axis in long:
            length = info.shape[axis]
            start = max(0, (length - most) // 2)
            index[axis] = slice(start, min(length, start + most))
            if length > most:
                says.append(f"{info.axes[axis]} = {start} to {start + most - 1} of {length}")
        return cls(tuple(index), ", ".join(says))


@dataclass(frozen=True)
class View:
    """A slice of a field and of its decoded copy.

    Attributes:
        x, x_hat: (H, W) or (W,), NaN where the field has no sample.
        error: x_hat - x.
    """

    x: Floats
    x_hat: Floats
    error: Floats

    @classmethod
    def of(cls, x: Array, x_hat: Array, info: ArrayInfo, part: Slice) -> "View":
        """The slice as numbers for plots."""
        a, b = np.asarray(x[part.index]), np.asarray(x_hat[part.index])
        gaps = missing(a, info.fill_value)
        return cls(*(np.where(gaps, np.nan, _finite(v)) for v in (a, b, difference(a, b))))


def difference(x: Array, x_hat: Array) -> Floats:
    """x_hat - x; exact for integers, NaN where it is no number."""
    if x.dtype.kind in "iu" and x.dtype.itemsize == 8:
        # Doubles do not tell neighbours apart; modulo 2^64 all differences below 2^63 are right.
        return (x_hat.view(np.uint64) - x.view(np.uint64)).view(np.int64).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return _finite(np.subtract(x_hat, x, dtype=np.float64))


@dataclass(frozen=True)
class Histogram:
    """How many errors are how large.

    Attributes:
        edges: of the bins, one more than there are counts; from minus the largest error to plus the largest.
        counts: errors in each bin.
        largest: the largest absolute error.
    """

    edges: Floats
    counts: NDArray[np.int64]
    largest: float


def histogram(x: Array, x_hat: Array, info: ArrayInfo) -> Histogram:
    """Of all errors of a field, part by part; samples that are missing have none."""
    largest = max((float(np.abs(e).max(initial=0.0)) for e in _errors(x, x_hat, info)), default=0.0)
    unit = np.linspace(-1.0, 1.0, BINS + 1)
    counts = np.zeros(BINS, np.int64)
    for error in _errors(x, x_hat, info):
        counts += np.histogram(error / largest if largest else error, unit)[0]
    return Histogram(unit * largest, counts, largest)


@dataclass(frozen=True)
class Spectra:
    """Power by spatial frequency, as a part of the original's largest power.

    Attributes:
        frequency: cycles per sample, above 0 and up to 0.5.
        x, x_hat, error: mean power in each ring of frequencies.
    """

    frequency: Floats
    x: Floats
    x_hat: Floats
    error: Floats


def spectra(view: View) -> Spectra | None:
    """Radially averaged power spectra of a slice without its mean, under a Hann window; gaps are filled with the mean.

    None where the slice is too small or flat to have one.
    """
    known = view.x[np.isfinite(view.x)]
    peak = float(np.abs(known).max(initial=0.0))
    if not peak or min(view.x.shape) < 8:
        return None
    frequency, x = _spectrum(view.x / peak)
    largest = float(x.max())
    if not largest:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        x_hat, error = (_spectrum(_finite(values / peak))[1] for values in (view.x_hat, view.error))
        return Spectra(frequency, x / largest, x_hat / largest, error / largest)


def exponent(*values: float) -> int:
    """The power of ten to write numbers with, 0 where they can be read without."""
    largest = max((abs(v) for v in values if isfinite(v)), default=0.0)
    power = max(floor(log10(largest)), -307) if largest else 0
    return 0 if power in EXPONENTS else power


def _errors(x: Array, x_hat: Array, info: ArrayInfo) -> Iterator[Floats]:
    for part in parts(x.shape, PART_VALUES):
        a, b = np.asarray(x[part]), np.asarray(x_hat[part])
        error = difference(a, b)[~missing(a, info.fill_value)]
        yield error[np.isfinite(error)]


def _spectrum(values: Floats) -> tuple[Floats, Floats]:
    known = np.isfinite(values)
    filled = np.where(known, values, values[known].mean() if known.any() else 0.0)
    filled = filled - filled.mean()
    for axis, length in enumerate(filled.shape):
        window = np.hanning(length + 2)[1:-1]
        filled = filled * window.reshape([-1 if i == axis else 1 for i in range(filled.ndim)])
    power = np.abs(np.fft.fftn(filled)) ** 2
    grids = np.meshgrid(*(np.fft.fftfreq(length) for length in filled.shape), indexing="ij")
    radius = np.sqrt(sum(grid**2 for grid in grids))
    rings = min(min(filled.shape) // 2, MAX_RINGS)
    ring = np.ceil(radius * 2 * rings - 1e-9).astype(int)  # ring 0 is the mean; those behind 0.5 are in corners alone
    inside = (ring >= 1) & (ring <= rings)
    sums = np.bincount(ring[inside], power[inside], rings + 1)[1:]
    sizes = np.bincount(ring[inside], minlength=rings + 1)[1:]
    frequency: Floats = (np.arange(rings) + 0.5) / (2 * rings)
    return frequency, sums / np.maximum(sizes, 1)


def _finite(values: Array) -> Floats:
    made = np.asarray(values, np.float64)
    return np.where(np.isfinite(made), made, np.nan)
