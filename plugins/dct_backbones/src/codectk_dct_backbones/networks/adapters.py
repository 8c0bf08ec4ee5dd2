"""What lets the stages of ResNet-34-d read coefficients: the four public variants.

    reconstruction   y, cb, cr ─ pixels ─ refine ─ whole network
    block-stem       y ─ luma_proj ──────────────┐
                     cb, cr ─ x2 ─ chroma_proj ─ fusion ─ x2 ─ stages         (blocks of luma, H / 8)
    luma-fusion      y ─ luma_down (2x2 s2) ─────┐
                     cb, cr ─ chroma_proj ────── fusion ─ x4 ─ stages         (blocks of chroma, H / 16)

All stems give the stages what these expect, at a quarter of the resolution. luma-fusion-pruned is luma-fusion with
widths by the number of luma coefficients.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812, torch's own name for it
from torch import Tensor, nn

from codectk_dct_backbones import planes
from codectk_dct_backbones.budget import Budget
from codectk_dct_backbones.dct import inverse
from codectk_dct_backbones.networks.folding import DEVIATION, MEAN, ToPixels
from codectk_dct_backbones.networks.inputs import as_coefficients, select
from codectk_dct_backbones.networks.layers import projection
from codectk_dct_backbones.networks.resnet import ResNet, scaled
from codectk_dct_backbones.pipeline import Coefficients
from codectk_dct_backbones.ranges import RangeMode

LUMA = 64
"""Channels that luma is projected to, at least."""


class Adapter(nn.Module):
    """A backbone behind what makes features of coefficients.

    Args:
        backbone: for the features.
        budget: which coefficients it reads.

    Attributes:
        out_channels: of the features.
    """

    def __init__(self, backbone: nn.Module, budget: Budget) -> None:
        super().__init__()
        self.backbone, self.budget = backbone, budget
        self.out_channels = int(backbone.out_channels)  # type: ignore[arg-type]

    def features(self, coefficients: Coefficients) -> Tensor:
        """Of the budget's coefficients."""
        raise NotImplementedError

    def readers(self) -> tuple[nn.Sequential | None, nn.Sequential | None]:
        """Layers, convolution first, that take normalised coefficients of luma and of chroma, where there are such."""
        return None, None

    def favour_low(self) -> None:
        """Scale the fresh weights of what reads coefficients by frequency, see `emphasis`."""
        budget = self.budget
        kept = (budget.luma_channels, (*budget.cb_channels, *budget.cr_channels))
        for layer, channels in zip(self.readers(), kept, strict=True):
            if layer is not None:
                weight = cast(Tensor, layer[0].weight).data
                weight *= emphasis(channels).to(weight).view(1, -1, 1, 1)

    def forward(self, payload: Any) -> Tensor:
        """Coefficients, see `as_coefficients` → features `[B, out_channels, H / 32, W / 32]`.

        Raises:
            InputError: they are something else, or have other numbers of channels than the budget or 64.
        """
        device = next(self.parameters()).device
        return self.features(select(as_coefficients(payload, device), self.budget))


def emphasis(channels: Sequence[int]) -> Tensor:
    """What weights of frequencies begin in proportion to, of mean square 1: 1 / (1 + u + v)^2.

    Normalised coefficients have all the same deviation. With equal weights, sums of them would be mostly of high
    frequencies, which are many, and tell little. This follows how deviations of photographs fall with frequency, so
    that a network begins as if it took pixels.

    Args:
        channels: 8 u + v of each.
    """
    relative = torch.tensor([1 / (1 + channel // 8 + channel % 8) ** 2 for channel in channels])
    return relative / relative.square().mean().sqrt()


class Reconstruction(Adapter):
    """Pixels, corrected by two convolutions, then the whole network.

    The correction is added and starts as nothing, so that a network trained on pixels sees at first what it knows.

    Args:
        backbone: takes normalised pixels.
        budget: which coefficients it reads, not normalised.
        range_mode: of the planes that were transformed.
    """

    def __init__(self, backbone: nn.Module, budget: Budget, range_mode: RangeMode) -> None:
        super().__init__(backbone, budget)
        self.to_pixels = ToPixels(budget, range_mode)
        self.refine = _refinement()

    def start_without(self) -> None:
        """Have the correction be nothing."""
        nn.init.zeros_(self.refine[-1].weight)  # type: ignore[arg-type]

    def features(self, coefficients: Coefficients) -> Tensor:
        """See `Adapter`."""
        pixels = self.to_pixels(coefficients)
        out: Tensor = self.backbone(pixels + self.refine(pixels))
        return out


class OriginalReconstruction(Adapter):
    """What the public code has: the two convolutions stand in the way, and Y below black is cut off.

    See `Reconstruction` for the arguments.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: nn.Module, budget: Budget, range_mode: RangeMode) -> None:
        super().__init__(backbone, budget)
        self.range_mode: RangeMode = range_mode
        self.refine = _refinement()
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)

    def features(self, coefficients: Coefficients) -> Tensor:
        """See `Adapter`."""
        kept = (self.budget.luma_channels, self.budget.cb_channels, self.budget.cr_channels)
        y, cb, cr = (inverse(blocks, channels) for blocks, channels in zip(coefficients, kept, strict=True))
        if self.range_mode == "studio":
            y = y.clamp(min=16)
        pixels = self.refine(planes.to_pictures(y, cb, cr, self.range_mode) / 255)
        out: Tensor = self.backbone((pixels - self.mean) / self.deviation)
        return out


def _refinement() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.SiLU(inplace=True),
        nn.Conv2d(32, 3, 3, padding=1, bias=False),
    )


class Fusion(Adapter):
    """What block-stem and luma-fusion share: projections of luma and of chroma, joined and enlarged.

    Args:
        backbone: its stages are used.
        budget: which coefficients it reads; either luma or chroma may be absent.
        luma: channels of luma's projection.
        chroma: channels of chroma's.
    """

    def __init__(self, backbone: ResNet, budget: Budget, luma: int, chroma: int) -> None:
        super().__init__(backbone, budget)
        self.backbone: ResNet
        joined = (luma if budget.luma else 0) + (chroma if budget.cb + budget.cr else 0)
        same = joined == backbone.initial
        self.fusion = nn.Identity() if same else projection(joined, backbone.initial)

    def _enlarged(self, parts: list[Tensor], factor: float) -> Tensor:
        x = self.fusion(torch.cat(parts, 1))
        return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


class BlockStem(Fusion):
    """Projections on the grid of luma blocks."""

    def __init__(self, backbone: ResNet, budget: Budget) -> None:
        width = max(backbone.initial, LUMA)
        super().__init__(backbone, budget, width, width // 2)
        self.luma_proj = projection(budget.luma, width) if budget.luma else None
        chroma = budget.cb + budget.cr
        self.chroma_proj = projection(chroma, width // 2) if chroma else None

    def readers(self) -> tuple[nn.Sequential | None, nn.Sequential | None]:
        """See `Adapter`."""
        return self.luma_proj, self.chroma_proj

    def features(self, coefficients: Coefficients) -> Tensor:
        """See `Adapter`."""
        parts = []
        if self.luma_proj is not None:
            parts.append(self.luma_proj(coefficients.y))
        if self.chroma_proj is not None:
            chroma = torch.cat(coefficients[1:], 1)
            parts.append(self.chroma_proj(F.interpolate(chroma, scale_factor=2.0, mode="nearest")))
        return self.backbone.stages(self._enlarged(parts, 2.0))


class LumaFusion(Fusion):
    """Projections on the grid of chroma blocks.

    Args:
        backbone: its stages are used.
        budget: which coefficients it reads.
        all_blocks: whether a chroma block meets its four luma blocks, or, as in the public code, the first alone.
        luma: channels of luma's projection.
        chroma: channels of chroma's.
    """

    def __init__(self, backbone: ResNet, budget: Budget, all_blocks: bool, luma: int, chroma: int) -> None:
        super().__init__(backbone, budget, luma, chroma)
        self.luma_down = projection(budget.luma, luma, 2 if all_blocks else 1, 2) if budget.luma else None
        self.chroma_proj = projection(budget.cb + budget.cr, chroma) if budget.cb + budget.cr else None

    def readers(self) -> tuple[nn.Sequential | None, nn.Sequential | None]:
        """See `Adapter`."""
        return self.luma_down, self.chroma_proj

    def features(self, coefficients: Coefficients) -> Tensor:
        """See `Adapter`."""
        parts = []
        if self.luma_down is not None:
            parts.append(self.luma_down(coefficients.y))
        if self.chroma_proj is not None:
            parts.append(self.chroma_proj(torch.cat(coefficients[1:], 1)))
        return self.backbone.stages(self._enlarged(parts, 4.0))


def luma_fusion(backbone: ResNet, budget: Budget, all_blocks: bool) -> LumaFusion:
    """luma-fusion."""
    width = max(backbone.initial, LUMA)
    return LumaFusion(backbone, budget, all_blocks, width, width // 2)


def luma_fusion_pruned(widths: tuple[int, ...], budget: Budget, all_blocks: bool) -> LumaFusion:
    """luma-fusion with all widths times the root of the share of luma coefficients, an eighth at least.

    Args:
        widths: of the stages before.
        budget: which coefficients it reads.
        all_blocks: see `LumaFusion`.
    """
    factor = max(sqrt(budget.luma) / 8, 1 / 8)
    (initial,) = scaled((64,), factor, fewest=8)
    backbone = ResNet(scaled(widths, factor, fewest=8), initial, stem=False)
    return LumaFusion(backbone, budget, all_blocks, initial, max(initial // 2, 4))
