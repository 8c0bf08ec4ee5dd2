"""The way from coefficients to pixels as one transposed convolution for luma and one for chroma.

    y [B, n, H/8, W/8]       ─ 64 → 3, 8x8 s8 ───────────────┐
    cb, cr [B, n, H/16, …]   ─ 128 → 3, 8x8 s8 ─ bilinear x2 ─ + ─> R, G, B, less the mean, over the deviation

Inverse transform, range, colours and normalisation are all linear, so they are folded into kernels and one bias. With
fewer coefficients, kernels have fewer columns.
"""

import torch
import torch.nn.functional as F  # noqa: N812, torch's own name for it
from torch import Tensor, nn

from codectk_dct_backbones.budget import Budget
from codectk_dct_backbones.dct import basis, exact
from codectk_dct_backbones.networks.inputs import as_coefficients, select
from codectk_dct_backbones.pipeline import Coefficients
from codectk_dct_backbones.ranges import FROM_FULL, NEUTRAL, RangeMode

MEAN = (0.485, 0.456, 0.406)
"""Of ImageNet's red, green and blue, with white as 1."""

DEVIATION = (0.229, 0.224, 0.225)
"""See `MEAN`."""

COLOURS = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
"""Red, green and blue from full-range Y, Cb - 128 and Cr - 128."""


class ToPixels(nn.Module):
    """Normalised pixels from coefficients, exactly those of the long way.

    Args:
        budget: which coefficients there are; the others are 0, and a plane of none is grey.
        range_mode: of the planes that were transformed.
    """

    luma: Tensor
    chroma: Tensor
    bias: Tensor

    def __init__(self, budget: Budget, range_mode: RangeMode) -> None:
        super().__init__()
        self.budget = budget
        kernels, bias = _kernels(budget, range_mode)
        device = torch.get_default_device()
        for name, value in (("luma", kernels[0]), ("chroma", torch.cat(kernels[1:])), ("bias", bias)):
            self.register_buffer(name, value.to(device, torch.float32), persistent=False)

    def forward(self, coefficients: Coefficients) -> Tensor:
        """Coefficients of the budget, not normalised → `[B, 3, H, W]`, ImageNet's mean 0 and deviation 1.

        It computes in float32 whatever the precision around is: means of blocks are hundreds of times what matters.
        """
        y, chroma = coefficients.y, torch.cat(coefficients[1:], 1)
        batch, rows, columns = len(y), y.shape[2], y.shape[3]
        with exact(y):
            x = y.new_zeros(batch, 3, 8 * rows, 8 * columns) + self.bias[:, None, None]
            if y.shape[1]:
                x = F.conv_transpose2d(y, self.luma, self.bias, stride=8)
            if chroma.shape[1]:
                colours = F.conv_transpose2d(chroma, self.chroma, stride=8)
                x = x + F.interpolate(colours, scale_factor=2.0, mode="bilinear", align_corners=False)
            return x


def _kernels(budget: Budget, range_mode: RangeMode) -> tuple[list[Tensor], Tensor]:
    """Kernels `[n, 3, 8, 8]` of Y, Cb and Cr, and the bias `[3]`, in float64."""
    mean, deviation, colours = (
        torch.tensor(values, dtype=torch.float64, device="cpu") for values in (MEAN, DEVIATION, COLOURS)
    )
    gains, bias = colours / (255 * deviation[:, None]), -mean / deviation
    kept = (budget.luma_channels, budget.cb_channels, budget.cr_channels)
    kernels = []
    for plane, linear in enumerate(FROM_FULL[range_mode]):
        gain = gains[:, plane] * linear.back.scale
        kernels.append(basis(torch.float64)[list(kept[plane])] * gain[:, None, None])
        level = linear.back.values(0.0) if kept[plane] else NEUTRAL  # of what the bias alone stands for
        bias = bias + gains[:, plane] * (level - (NEUTRAL if plane else 0))
    return kernels, bias


class FromCoefficients(nn.Module):
    """A network for pixels that reads coefficients.

    Args:
        network: takes `[B, 3, H, W]`, normalised with ImageNet's figures.
        budget: which coefficients it gets.
        range_mode: of the planes that were transformed.
    """

    def __init__(self, network: nn.Module, budget: Budget, range_mode: RangeMode) -> None:
        super().__init__()
        self.to_pixels, self.network = ToPixels(budget, range_mode), network

    def forward(self, payload: object) -> Tensor:
        """What the network makes of the pixels that the coefficients are of.

        Args:
            payload: see `as_coefficients`; not normalised, trimmed or not.

        Raises:
            InputError: it is no coefficients.
        """
        coefficients = select(as_coefficients(payload, self.to_pixels.bias.device), self.to_pixels.budget)
        out: Tensor = self.network(self.to_pixels(coefficients))
        return out


def from_rgb(network: nn.Module, budget: Budget, range_mode: RangeMode = "studio") -> FromCoefficients:
    """Have any network for pixels read coefficients, without training: what it computes stays the same.

    So long as all coefficients are there; without the last ones it sees a smoother picture.

    Args:
        network: takes `[B, 3, H, W]`, normalised with ImageNet's figures; its parameters are shared.
        budget: which coefficients it gets.
        range_mode: of the planes that were transformed.
    """
    return FromCoefficients(network, budget, range_mode)
