"""Blocks that tests of networks share."""

import torch

from codectk_dct_backbones.budget import Budget
from codectk_dct_backbones.pipeline import Coefficients


def blocks_of(side: int, budget: Budget | None = None, batch: int = 1, device: str = "cpu") -> Coefficients:
    """Zeros for a picture of side x side pixels."""
    counts = zip((budget or Budget()).counts, (8, 16, 16), strict=True)
    return Coefficients(*(torch.zeros(batch, n, side // step, side // step, device=device) for n, step in counts))


def random_blocks(batch: int, side: int, budget: Budget) -> Coefficients:
    """Noise, always the same."""
    generator = torch.Generator().manual_seed(2)
    return Coefficients(*(torch.randn(x.shape, generator=generator) for x in blocks_of(side, budget, batch)))
