"""Large pictures: transforms window by window, entropy coding tile by tile.

Transforms read so much more on every side that the result is that of the whole picture, to rounding. Tiles are coded
on their own, so that their networks' memory is bounded and each is a segment of the file.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from codectk.arrays import tiles
from codectk_crdr.options import ModelOptions

STRIDE = 16
"""Pixels per position of y."""
TILE = 1024
"""Side in pixels of what is coded on its own. Part of the file format."""
WINDOW = 64
"""Side of windows in positions of y."""


@dataclass(frozen=True)
class Area:
    """Positions of y, as half-open ranges."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    def of(self, y: Tensor) -> Tensor:
        """View of (1, M, h, w)."""
        return y[:, :, slice(*self.rows), slice(*self.columns)]


def coded_tiles(height: int, width: int) -> list[Area]:
    """The tiles of a padded picture (in pixels), in order."""
    side = TILE // STRIDE
    return [Area(tile.rows, tile.columns) for tile in tiles(height // STRIDE, width // STRIDE, side, 0)]


def margin(options: ModelOptions) -> int:
    """Positions of y around a window that its pixels depend on, in g_a and g_s alike, rounded up.

    A convolution of side 5 between scales reaches 2 finer steps, each bottleneck 1 of its scale, attention 3 of its.
    """
    reach = 0.0
    for scale, count in zip((2, 4, 8), options.block_counts, strict=True):
        reach += count * scale
    reach += 2 * (1 + 2 + 4 + 8) + 2 * 16
    if options.attention:
        reach += 3 * 4 + 3 * 16
    return int(-(-reach // STRIDE)) + 1


def analyse(x: Tensor, options: ModelOptions, g_a: Callable[[Tensor], Tensor], device: torch.device) -> Tensor:
    """y (1, M, H/16, W/16) on the CPU, of a picture (1, 3, H, W) in uint8."""
    height, width = x.shape[2] // STRIDE, x.shape[3] // STRIDE
    y = torch.empty(1, options.latent_channels, height, width)
    size, edge = _size(height, width, options)
    for tile in tiles(height, width, size, edge):
        rows, columns = (slice(a * STRIDE, b * STRIDE) for a, b in (tile.read_rows, tile.read_columns))
        part = g_a(x[:, :, rows, columns].to(device).float() * (2 / 255) - 1)
        top, left = tile.rows[0] - tile.read_rows[0], tile.columns[0] - tile.read_columns[0]
        target = y[:, :, slice(*tile.rows), slice(*tile.columns)]
        target.copy_(part[:, :, top : top + target.shape[2], left : left + target.shape[3]])
    return y


def synthesise(y_hat: Tensor, options: ModelOptions, g_s: Callable[[Tensor], Tensor], device: torch.device) -> Tensor:
    """Picture (3, H, W) in uint8, rounded, of y_hat (1, M, H/16, W/16)."""
    _, _, height, width = y_hat.shape
    x_hat = torch.empty(3, height * STRIDE, width * STRIDE, dtype=torch.uint8)
    size, edge = _size(height, width, options)
    for tile in tiles(height, width, size, edge):
        part = g_s(y_hat[:, :, slice(*tile.read_rows), slice(*tile.read_columns)].to(device))[0]
        levels = (part * 127.5 + 127.5).round_().clamp_(0, 255).to(torch.uint8)
        rows, columns = (slice(a * STRIDE, b * STRIDE) for a, b in (tile.rows, tile.columns))
        top, left = STRIDE * (tile.rows[0] - tile.read_rows[0]), STRIDE * (tile.columns[0] - tile.read_columns[0])
        target = x_hat[:, rows, columns]
        target.copy_(levels[:, top : top + target.shape[1], left : left + target.shape[2]])
    return x_hat


def _size(height: int, width: int, options: ModelOptions) -> tuple[int, int]:
    """Side and margin of windows; one window for all of a picture that is not much larger."""
    edge = margin(options)
    longest = max(height, width)
    return (longest, 0) if longest <= WINDOW + 2 * edge else (WINDOW, edge)
