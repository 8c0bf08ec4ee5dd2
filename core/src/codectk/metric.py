"""What a metric is, and the built-in ones. The value range is passed in, never guessed."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import Array, ArrayInfo, tiles

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
        mse = _mean_square(x, x_hat)
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
        """max |x - x_hat|."""
        return float(np.max([np.max(np.abs(difference)) for difference in _differences(x, x_hat)]))

    def compute(self) -> dict[str, float]:
        """The largest over all pairs; NaN without any."""
        return {self.name: max(self.values) if self.values else float("nan")}


class NRMSE(Mean):
    """Root mean squared error over the value range."""

    name = "nrmse"

    def measure(self, x: Array, x_hat: Array, info: ArrayInfo) -> float:
        """sqrt(mean (x - x_hat)²) / range; 0 for equal arrays, infinite for unequal ones of range 0."""
        rmse = float(np.sqrt(_mean_square(x, x_hat)))
        return rmse / _peak(info) if _peak(info) else (0.0 if rmse == 0 else float("inf"))


def _differences(x: Array, x_hat: Array) -> Iterator[Floats]:
    """All differences, chunk by chunk."""
    with np.nditer(
        [x, x_hat],
        flags=["buffered", "external_loop"],
        op_dtypes=[np.float64, np.float64],
        buffersize=CHUNK_VALUES,
    ) as pairs:
        for a, b in pairs:
            yield a - b


def _mean_square(x: Array, x_hat: Array) -> float:
    return float(np.sum([np.sum(np.square(difference)) for difference in _differences(x, x_hat)])) / x.size


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
