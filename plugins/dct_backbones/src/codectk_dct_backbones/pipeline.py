"""From pictures to the tensors that networks read: planes, their coefficients, those of the budget, normalised.

    rgb [B, 3, H, W] -> Y, Cb, Cr -> DCT -> [B, n, H / 8, W / 8], 2 x [B, n, H / 16, W / 16]

The same functions run on every device. Coefficients of a JPEG file come out of `jpeg.tensors` in the same layout.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from codectk_dct_backbones import dct, planes
from codectk_dct_backbones.budget import COEFFICIENTS, Budget, channels
from codectk_dct_backbones.ranges import FROM_FULL, NEUTRAL, Compat, RangeMode
from codectk_dct_backbones.statistics import Statistics, check_range

WHOLE = Budget()


class Coefficients(NamedTuple):
    """Blocks of a batch, float32, without JPEG's shift of 128: the first coefficient is 8 times the block's mean.

    Trimmed tensors hold the budget's channels in its order, others all 64 with zeros where nothing is kept.

    Attributes:
        y: `[B, n, H / 8, W / 8]`.
        cb: `[B, n, H / 16, W / 16]`.
        cr: `[B, n, H / 16, W / 16]`.
    """

    y: Tensor
    cb: Tensor
    cr: Tensor


def from_pictures(
    rgb: Tensor,
    budget: Budget = WHOLE,
    range_mode: RangeMode = "studio",
    *,
    trim: bool = True,
    statistics: Statistics | None = None,
    compat: Compat = "none",
) -> Coefficients:
    """Coefficients of pictures.

    Args:
        rgb: `[B, 3, H, W]`, uint8; edges are repeated up to multiples of 16.
        budget: which coefficients are kept; others are not even computed.
        range_mode: see `ranges`.
        trim: whether channels that are not kept are left out or zero.
        statistics: of the same range; what is kept is normalised by them.
        compat: "original" has the range depend on the picture, see `planes`, and trimmed channels normalised by
            position, see `Statistics.constants`.

    Raises:
        InputError: these are no 8-bit RGB pictures.
        OptionsError: the statistics are of the other range.
    """
    if statistics is not None:
        check_range(statistics, range_mode)
    parts = zip(planes.from_pictures(rgb, range_mode, compat), budget.counts, strict=True)
    coefficients = Coefficients(*(dct.forward(plane, channels(count)) for plane, count in parts))
    if not trim:
        coefficients = untrimmed(coefficients, budget)
    return coefficients if statistics is None else statistics.normalise(coefficients, budget, trim, compat)


def to_pictures(coefficients: Coefficients, budget: Budget = WHOLE, range_mode: RangeMode = "studio") -> Tensor:
    """The pictures that trimmed coefficients, not normalised, are of.

    Returns:
        `[B, 3, H, W]`, float, 255 for white; neither rounded nor clipped, and as large as the blocks.
    """
    return planes.to_pictures(*to_planes(coefficients, budget, range_mode), range_mode)


def to_planes(
    coefficients: Coefficients, budget: Budget = WHOLE, range_mode: RangeMode = "studio"
) -> tuple[Tensor, Tensor, Tensor]:
    """Y `[B, H, W]`, Cb and Cr `[B, H / 2, W / 2]` of trimmed coefficients, in their range.

    A plane of which nothing is kept is grey.
    """
    found = []
    for x, count, linear in zip(coefficients, budget.counts, FROM_FULL[range_mode], strict=True):
        plane = dct.inverse(x, channels(count))
        found.append(plane if count else plane + linear.values(NEUTRAL))
    y, cb, cr = found
    return y, cb, cr


def untrimmed(coefficients: Coefficients, budget: Budget) -> Coefficients:
    """Trimmed coefficients as 64 channels in natural order, zeros where nothing is kept."""
    return Coefficients(*(_spread(x, channels(n)) for x, n in zip(coefficients, budget.counts, strict=True)))


def trimmed(coefficients: Coefficients, budget: Budget) -> Coefficients:
    """Of 64 channels those of the budget, in its order."""
    return Coefficients(*(x[:, list(channels(n))] for x, n in zip(coefficients, budget.counts, strict=True)))


def _spread(x: Tensor, kept: tuple[int, ...]) -> Tensor:
    if len(kept) == COEFFICIENTS:
        return x
    whole = x.new_zeros(len(x), COEFFICIENTS, *x.shape[2:])
    return whole.index_copy_(1, torch.tensor(kept, dtype=torch.int64, device=x.device), x)
