"""Pictures as planes: RGB to Y, Cb and Cr, chroma at half size, values in the range that is asked for."""

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812, torch's own name for it
from torch import Tensor

from codectk.errors import InputError
from codectk_dct_backbones.ranges import FROM_FULL, Compat, RangeMode

MULTIPLE_OF = 16
"""Sides are padded to multiples of this: one block of chroma."""

_UNIT = 1 << 14
_HALF = 1 << 13


def to_ycc(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Full-range BT.601 in OpenCV's 8-bit fixed-point arithmetic.

    Args:
        rgb: `[B, 3, H, W]`, uint8.

    Returns:
        Y, Cb and Cr, `[B, H, W]`, whole numbers of 0 to 255 as float32.
    """
    red, green, blue = rgb.float().unbind(1)  # products and sums below are whole numbers under 2^24, so exact
    y = (4899 * red).add_(green, alpha=9617).add_(blue, alpha=1868).add_(_HALF).div_(_UNIT).floor_()
    cb, cr = (
        (colour - y).mul_(scale).add_(128 * _UNIT + _HALF).div_(_UNIT).floor_().clamp_(0, 255)
        for colour, scale in ((blue, 9241), (red, 11682))
    )
    return y, cb, cr


def from_pictures(
    rgb: Tensor, range_mode: RangeMode = "studio", compat: Compat = "none"
) -> tuple[Tensor, Tensor, Tensor]:
    """The planes whose coefficients the networks read.

    Args:
        rgb: `[B, 3, H, W]`, uint8; its right and lower edge are repeated up to multiples of 16.
        range_mode: see `ranges`.
        compat: "original" decides for every plane of every picture, from its content, whether it is mapped.

    Returns:
        Y `[B, H, W]`; Cb and Cr `[B, H / 2, W / 2]`, means of 2 x 2 pixels; float32.

    Raises:
        InputError: these are no 8-bit RGB pictures.
    """
    if rgb.dtype != torch.uint8 or rgb.ndim != 4 or rgb.shape[1] != 3:
        raise InputError(
            f"A {rgb.dtype} tensor of shape {tuple(rgb.shape)} holds no 8-bit RGB pictures.",
            "Give uint8 of shape [B, 3, H, W].",
        )
    height, width = rgb.shape[-2:]
    y, cb, cr = (plane[:, None] for plane in to_ycc(rgb))
    edges = (0, -width % MULTIPLE_OF, 0, -height % MULTIPLE_OF)
    if any(edges):
        y, cb, cr = (F.pad(plane, edges, mode="replicate") for plane in (y, cb, cr))
    y, cb, cr = y[:, 0], _halved(cb[:, 0]), _halved(cr[:, 0])
    if compat == "original":
        return (
            _content_dependent(y, range_mode, 219),
            _content_dependent(cb, range_mode, 224),
            _content_dependent(cr, range_mode, 224),
        )
    if range_mode == "full":
        return y, cb, cr
    of_y, of_cb, of_cr = FROM_FULL[range_mode]
    return of_y.values(y), of_cb.values(cb), of_cr.values(cr)


def to_pictures(y: Tensor, cb: Tensor, cr: Tensor, range_mode: RangeMode = "studio") -> Tensor:
    """RGB from planes; the inverse of `from_pictures` but for the losses of 4:2:0 and of rounding.

    Args:
        y: `[B, H, W]`, float.
        cb: `[B, H / 2, W / 2]`, enlarged bilinearly.
        cr: see `cb`.
        range_mode: the one that the planes are in.

    Returns:
        `[B, 3, H, W]`, float, 255 for white; neither rounded nor clipped.
    """
    of_y, of_cb, of_cr = (linear.back for linear in FROM_FULL[range_mode])
    chroma = torch.stack((of_cb.values(cb), of_cr.values(cr)), dim=1) - 128
    cb, cr = F.interpolate(chroma, size=y.shape[-2:], mode="bilinear", align_corners=False).unbind(1)
    y = of_y.values(y)
    return torch.stack((y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb), dim=1)


def _halved(plane: Tensor) -> Tensor:
    """Means of 2 x 2 pixels; five times as fast as torch's pooling, and exact for whole numbers."""
    rows = plane[:, ::2] + plane[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]).mul_(0.25)


def _content_dependent(plane: Tensor, range_mode: RangeMode, span: Literal[219, 224]) -> Tensor:
    """What the original does: a plane that happens to lie in the studio range is taken for one that is in it already.

    "studio" leaves such planes as they are, "full" stretches them; neither keeps neutral chroma where it was.
    """
    high = 16 + span
    inside = (plane.amin((1, 2), keepdim=True) >= 16) & (plane.amax((1, 2), keepdim=True) <= high)
    if range_mode == "studio":
        return torch.where(inside, plane, (plane * (span / 255) + 16).clamp(16, high))
    return torch.where(inside, ((plane - 16) * (255 / span)).clamp(0, 255), plane)
