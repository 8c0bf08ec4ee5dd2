"""What a metric is, and the built-in ones. The value range is passed in, never guessed.

Samples that the original lacks (not finite, or of the fill value) are left out. That they came back as they were is a
matter of the largest error, which is infinite where one did not.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import Array, ArrayInfo, missing, tiles

Floats = NDArray[np.float64]

CHUNK_VALUES = 1 << 18
"""Values that are held as float64 at a time, so that memory does not grow with the array."""

TILE_SIDE = 512
"""Side of the parts of a picture whose SSIM is computed at a time."""


class Metric(Protocol):
    """A measure of how a decoded array differs from the original.

    One protocol serves per-file metrics (update once, compute) and corpus metrics (update often, compute).
    """

    def update(self, x: Array, x_hat: Array, info: ArrayInfo) -> None:
        """Take in one pair.

        Args:
            x: original, of shape `info.shape`.
            x_hat: decoded, of the same shape and type.
            info: gives the value range.
        """
        ...

    def compute(self) -> dict[str, float]:
        """The value over all pairs since `reset`, by name."""
        ...

    def reset(self) -> None:
        """Forget all pairs."""
        ...


class Mean:
    """Base of metrics that average one number per array."""

    name = ""

    def __init__(self) -> None:
        self.values: list[float] = []

    def measure(self, x: Array, x_hat: Array, info: ArrayInfo) -> float:
        """The number for one pair."""
        raise NotImplementedError

    def update(self, x: Array, x_hat: Array, info: ArrayInfo) -> None:
        """Take in one pair; see `Metric.update`."""
        self.values.append(self.measure(x, x_hat, info))

    def compute(self) -> dict[str, float]:
        """The mean over all pairs; NaN without any."""
        return {self.name: float(np.mean(self.values)) if self.values else float("nan")}

    def reset(self) -> None:
        """Forget all pairs."""
        self.values.clear()


class PSNR(Mean):
    """Peak signal-to-noise ratio in dB over all channels; infinite for equal arrays. Corpus value: mean over arrays."""

    name = "psnr"

    def measure(self, x: Array, x_hat: Array, info: ArrayInfo) -> float:
        """10 log10(range² / mean squared error)."""
        mse = _mean_square(x, x_hat, info)
        peak = _peak(info)
        return float("inf") if mse == 0 else float(10 * np.log10(peak * peak / mse)) if peak else float("-inf")


class SSIM(Mean):
    """Structural similarity, mean over channels and windows.

    Wang, Bovik, Sheikh and Simoncelli 2004: Gaussian window of 11 samples, standard deviation 1.5, K1 = 0.01,
    K2 = 0.03, windows that lie wholly inside the picture. Sides below 11 use the largest odd window that fits.
    """

    name = "ssim"

    def measure(self, x: Array, x_hat: Array, info: ArrayInfo) -> float:
        """Mean of the SSIM map over H, W and channels."""
        peak = _peak(info)
        c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
        return float(np.mean([_ssim_plane(x[..., c], x_hat[..., c], c1, c2) for c in range(x.shape[-1])]))


class MaxError(Mean):
    """Largest absolute difference, in the unit of the values. Corpus value: the largest of all."""

    name = "max_error"

    def measure(self, x: Array, x_hat: Array, info: ArrayInfo) -> float:
        """max |x - x_hat|; infinite where a missing sample did not come back as it was, or a number became none."""
        largest = 0.0
        for distance, kept in _distances(x, x_hat, info):
            if not kept:
                return float("inf")
            largest = max(largest, float(distance.max(initial=0.0)))
        return largest

    def compute(self) -> dict[str, float]:
        """The largest over all pairs; NaN without any."""
        return {self.name: max(self.values) if self.values else float("nan")}


class NRMSE(Mean):
    """Root mean squared error over the value range."""

    name = "nrmse"

    def measure(self, x: Array, x_hat: Array, info: ArrayInfo) -> float:
        """sqrt(mean (x - x_hat)²) / range; 0 for equal arrays, infinite for unequal ones of range 0."""
        rmse = float(np.sqrt(_mean_square(x, x_hat, info)))
        return rmse / _peak(info) if _peak(info) else (0.0 if rmse == 0 else float("inf"))


def _distances(x: Array, x_hat: Array, info: ArrayInfo) -> Iterator[tuple[Floats, bool]]:
    """Chunk by chunk, |x - x_hat| of the samples that the original has, and whether the others came back as they were.

    A number that became none is infinitely far.
    """
    # Doubles do not tell neighbours of 64-bit integers apart.
    wide = x.dtype.kind in "iu" and x.dtype.itemsize == 8
    complete = x.dtype.kind != "f" and info.fill_value is None
    with np.nditer(
        [x, x_hat],
        flags=["buffered", "external_loop"],
        op_dtypes=[x.dtype.newbyteorder("=") if wide else np.dtype(np.float64)] * 2,
        buffersize=CHUNK_VALUES,
    ) as pairs:
        for a, b in pairs:
            gaps = None if complete else missing(a, info.fill_value)
            if gaps is None or not gaps.any():
                yield _distance(a, b), True
            else:
                yield _distance(a[~gaps], b[~gaps]), np.array_equal(a[gaps], b[gaps], equal_nan=not wide)


def _distance(x: Array, y: Array) -> Floats:
    if x.dtype.kind in "iu":
        # Modulo 2^64 the difference of the larger and the smaller is exact, whether they are signed or not.
        larger, smaller = np.maximum(x, y).astype(np.uint64), np.minimum(x, y).astype(np.uint64)
        exact: Floats = (larger - smaller).astype(np.float64)
        return exact
    with np.errstate(over="ignore"):
        distance: Floats = np.abs(np.subtract(x, y, dtype=np.float64))
    distance[np.isnan(distance)] = np.inf
    return distance


def _mean_square(x: Array, x_hat: Array, info: ArrayInfo) -> float:
    """Over the samples that the original has; 0 without any."""
    total, count = 0.0, 0
    with np.errstate(over="ignore"):
        for distance, _ in _distances(x, x_hat, info):
            total += float(np.sum(np.square(distance)))
            count += distance.size
    return total / max(count, 1)


def _peak(info: ArrayInfo) -> float:
    low, high = info.value_range or (0.0, 0.0)
    return high - low


def _ssim_plane(x: Array, y: Array, c1: float, c2: float) -> float:
    """Mean of the SSIM map of one channel (H, W), tile by tile of the map."""
    size = min(11, *(side - 1 + side % 2 for side in x.shape))
    offsets = np.arange(size) - size // 2
    window = np.exp(-0.5 * (offsets / 1.5) ** 2)
    window /= window.sum()
    height, width = x.shape[0] - size + 1, x.shape[1] - size + 1
    total = 0.0
    for tile in tiles(height, width, TILE_SIDE, 0):
        rows, columns = (slice(start, stop + size - 1) for start, stop in (tile.rows, tile.columns))
        part_x, part_y = (plane[rows, columns].astype(np.float64) for plane in (x, y))
        total += float(np.sum(_ssim_map(part_x, part_y, window, c1, c2)))
    mean: float = total / (height * width)
    return mean


def _ssim_map(x: Floats, y: Floats, window: Floats, c1: float, c2: float) -> Floats:
    """SSIM of every window that lies inside (H, W)."""
    from scipy.ndimage import correlate1d

    half = len(window) // 2
    inside = tuple(slice(half, side - half) for side in x.shape)

    def blur(plane: Floats) -> Floats:
        for axis in (0, 1):
            plane = correlate1d(plane, window, axis=axis, mode="nearest")
        return plane[inside]

    mean_x, mean_y = blur(x), blur(y)
    variance_x = blur(x * x) - mean_x**2
    variance_y = blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    ssim: Floats = luminance * (2 * covariance + c2) / (variance_x + variance_y + c2)
    return ssim
