"""The filters of weights as one picture, for the eye. No torch.

Each scale group has a near-square grid of its own, side by side in the order of the channels. A filter is shown with
its bias spread evenly over its weights; grey is 0, and black and white are 4 standard deviations of the group away.
"""

from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import Array
from codectk.checkpoint import Checkpoint
from codectk_frappe.codec import FrappeCodec

Rgba = NDArray[np.uint8]

CELL = 32
"""Smaller filters are enlarged by a whole factor to about this size, in pixels; larger ones are shown as they are."""

RANGE = 8
"""Standard deviations from black to white."""

GAP, GROUP_GAP = 1, 8
"""Transparent pixels around each filter, and between scale groups."""


def picture(checkpoint: Checkpoint) -> Rgba:
    """The filters of frappe weights of either mode.

    Returns:
        (height, width, 4) uint8: red, green, blue and alpha, which is 0 in the gaps.

    Raises:
        WeightsError: the weights do not fit their own description.
    """
    options = FrappeCodec.load(checkpoint, "cpu").options
    tensors = checkpoint.tensors
    grids = [
        grid_of(colours(tensors[f"encoders.{s}.0.weight"], tensors[f"encoders.{s}.0.bias"]))
        for s in range(len(options.groups(len(options.ps))))
    ]
    height = max(len(grid) for grid in grids)
    width = sum(grid.shape[1] + GROUP_GAP for grid in grids) - GROUP_GAP
    canvas = np.zeros((height, width, 4), np.uint8)
    left = 0
    for grid in grids:
        canvas[: len(grid), left : left + grid.shape[1]] = grid
        left += grid.shape[1] + GROUP_GAP
    return canvas


def colours(weight: Array, bias: Array) -> Rgba:
    """Filters of one scale group as colours.

    Args:
        weight: (n, 3, p, p) float.
        bias: (n,) float.

    Returns:
        (n, p, p, 3) uint8.
    """
    filters = weight.astype(np.float64) + (bias.astype(np.float64) / weight[0].size)[:, None, None, None]
    spread = float(filters.std(ddof=1))
    levels = filters / (RANGE * spread) + 0.5 if spread > 0 else np.full_like(filters, 0.5)
    pixels: Rgba = np.round(levels.clip(0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return pixels


def grid_of(filters: Rgba) -> Rgba:
    """Tile filters (n, p, p, 3), row by row, with gaps around each: (height, width, 4)."""
    count, ps = filters.shape[:2]
    factor = max(1, CELL // ps)
    columns = ceil(sqrt(count))
    pitch = ps * factor + GAP
    canvas = np.zeros((ceil(count / columns) * pitch + GAP, columns * pitch + GAP, 4), np.uint8)
    for number, one in enumerate(filters):
        row, column = divmod(number, columns)
        top, left = row * pitch + GAP, column * pitch + GAP
        cell = canvas[top : top + ps * factor, left : left + ps * factor]
        cell[..., :3] = one.repeat(factor, axis=0).repeat(factor, axis=1)
        cell[..., 3] = 255
    return canvas
