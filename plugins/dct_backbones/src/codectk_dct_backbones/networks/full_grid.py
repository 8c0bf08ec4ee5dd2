"""full-grid: every luma block is read where it is, and the network begins at its second stage.

    y [n, H/8]       ─ 3x3 over blocks → 2t ───────────┐
    cb, cr [H/16]    ─ 1x1 → 2t ─ shuffle to [t/2, H/8] ┴ 1x1 → 4t ─ shuffle to [t, H/4] ─ stages 2, 3, 4

Stem and first stage of ResNet-34-d turn 8x8 pixels into 2x2 places of t = 64 channels. So does this stem, from the
block's coefficients and its neighbours', in two layers on the grid of blocks; the cost of the first stage is saved.
Its 4t numbers a block are laid out as those 2x2 places, which is free, so that stages 2 to 4 are those of the network
for pixels, with the same weights (see `start`): their 3x3 convolution with stride 2 over places is one of 2x2 over
blocks. A chroma block spans 2x2 luma blocks; each of these gets channels of its own from it, not a copy.

After Gueguen et al., Faster Neural Networks Straight from JPEG (NeurIPS 2018), whose coefficients enter there too.
"""

import torch
import torch.nn.functional as F  # noqa: N812, torch's own name for it
from torch import Tensor, nn

from codectk_dct_backbones.budget import Budget
from codectk_dct_backbones.networks.adapters import Adapter
from codectk_dct_backbones.networks.resnet import ResNet
from codectk_dct_backbones.pipeline import Coefficients


class FullGrid(Adapter):
    """The stages from the second on, behind two layers on the grid of luma blocks.

    Args:
        backbone: without its stem and its first stage.
        budget: which coefficients it reads; either luma or chroma may be absent.
    """

    def __init__(self, backbone: ResNet, budget: Budget) -> None:
        super().__init__(backbone, budget)
        self.backbone: ResNet
        width, chroma = backbone.widths[0], budget.cb + budget.cr
        luma_width, chroma_width = 2 * width if budget.luma else 0, (width + 1) // 2 if chroma else 0
        self.luma = _layer(budget.luma, luma_width, 3) if budget.luma else None
        self.chroma = _layer(chroma, 4 * chroma_width, 1) if chroma else None
        self.join = _layer(luma_width + chroma_width, 4 * width, 1)

    def readers(self) -> tuple[nn.Sequential | None, nn.Sequential | None]:
        """See `Adapter`."""
        return self.luma, self.chroma

    def hidden(self, coefficients: Coefficients) -> Tensor:
        """What the second layer gets, `[B, c, H / 8, W / 8]`."""
        parts = []
        if self.luma is not None:
            parts.append(F.relu(self.luma(coefficients.y)))
        if self.chroma is not None:
            parts.append(F.pixel_shuffle(F.relu(self.chroma(torch.cat(coefficients[1:], 1))), 2))
        return torch.cat(parts, 1)

    def places(self, coefficients: Coefficients) -> Tensor:
        """What stage 2 gets, before its ReLU: `[B, t, H / 4, W / 4]`."""
        return F.pixel_shuffle(self.join(self.hidden(coefficients)), 2)

    def features(self, coefficients: Coefficients) -> Tensor:
        """See `Adapter`."""
        return self.backbone.stages(F.relu(self.places(coefficients)), first=1)


def _layer(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))
