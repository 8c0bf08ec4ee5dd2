"""The context network while it learns: in floating point, with the ideal code length of what its levels lead to.

    features in octaves (N, 26) ─ 16 units, max(0, ·) ─ level ─ between two levels of the table ─ bits (N,)

A level's chances of every decision (see `native/symbols.h`) are learned along with the network. Weights of the kinds of
passes are deviations from common ones, so that rare kinds profit from frequent ones.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codectk_caesar_freq.contexts import (
    HIDDEN,
    KINDS,
    LEVELS,
    MODEL_OF_KIND,
    MODELS,
    SHIFTS,
    UNARY,
    Network,
    as_integers,
)
from codectk_caesar_freq.native import FEATURES

DEVIATION = 1e-4
"""Weight of squared deviations in the loss."""


@dataclass(frozen=True)
class Batch:
    """Examples in the order of their kinds.

    Attributes:
        features: float32 (N, FEATURES), in octaves.
        magnitudes: int64 (N,).
        kinds: int64 (N,), rising.
    """

    features: Tensor
    magnitudes: Tensor
    kinds: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(self.features.to(device), self.magnitudes.to(device), self.kinds.to(device))


class ContextNetwork(nn.Module):
    """See the module."""

    models: Tensor
    shifts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Parameter(torch.randn(HIDDEN, FEATURES) * 0.05 + 1 / FEATURES)
        self.bias = nn.Parameter(torch.randn(HIDDEN))
        self.outer = nn.Parameter(torch.randn(HIDDEN) * 0.1 + 3 / HIDDEN)
        self.offset = nn.Parameter(torch.tensor(2.0))
        self.of_inner = nn.Parameter(torch.zeros(KINDS, HIDDEN, FEATURES))
        self.of_bias = nn.Parameter(torch.zeros(KINDS, HIDDEN))
        self.of_outer = nn.Parameter(torch.zeros(KINDS, HIDDEN))
        self.of_offset = nn.Parameter(torch.zeros(KINDS))
        self.register_buffer("models", torch.tensor(MODEL_OF_KIND))
        self.register_buffer("shifts", torch.tensor(SHIFTS))
        # At the start the chances of a geometric distribution, whose mean is (2^(level / 3) - 1) / 8.
        means = ((2 ** (torch.arange(LEVELS) / 3) - 1) / 8 + 0.02) / 2.0**self.shifts
        self.logits = nn.Parameter(means.log()[None, :, None].repeat(MODELS, 1, UNARY))

    def groups(self) -> list[dict[str, Any]]:
        """Parameters, and their shares of the learning rate: common weights, deviations, tables."""
        deviations = [self.of_inner, self.of_bias, self.of_outer, self.of_offset]
        return [
            {"params": [self.inner, self.bias, self.outer, self.offset], "share": 1.0},
            {"params": deviations, "share": 0.2},
            {"params": [self.logits], "share": 4.0},
        ]

    def levels(self, batch: Batch) -> Tensor:
        """Levels (N,), not rounded."""
        counts = torch.bincount(batch.kinds, minlength=KINDS).tolist()
        parts = []
        for kind, x in enumerate(torch.split(batch.features, counts)):
            if len(x):
                hidden = torch.addmm(self.bias + self.of_bias[kind], x, (self.inner + self.of_inner[kind]).T).relu()
                parts.append(hidden @ (self.outer + self.of_outer[kind]) + self.offset + self.of_offset[kind])
        return torch.cat(parts)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What training lowers, and the mean bits of a magnitude."""
        level = self.levels(batch).clamp(0, LEVELS - 1.001)
        below = level.detach().floor().long()
        above_share = level - below
        models = self.models[batch.kinds]
        bits = (1 - above_share) * self._bits(below, batch.magnitudes, models)
        bits = (bits + above_share * self._bits(below + 1, batch.magnitudes, models)).mean()
        deviation = self.of_inner.square().sum() + self.of_outer.square().sum()
        return bits + DEVIATION * deviation, bits

    def _bits(self, level: Tensor, magnitudes: Tensor, models: Tensor) -> Tensor:
        """Ideal code lengths: decisions of the unary part, low bits, and what is beyond."""
        yes, no = (F.softplus(sign * self.logits) / math.log(2) for sign in (-1, 1))
        nothing = yes.new_zeros(MODELS, LEVELS, 1)
        table = torch.cat([nothing, yes.cumsum(2)], 2) + torch.cat([no, nothing], 2)
        shift = self.shifts[level]
        high = magnitudes >> shift
        beyond = (high >= UNARY) * (2 * torch.log2((high - UNARY).clamp(min=0) + 1.0) + 1)
        place = (models * LEVELS + level) * (UNARY + 1) + high.clamp(max=UNARY)
        return table.flatten()[place] + shift + beyond

    @torch.no_grad()
    def integers(self) -> Network:
        """The network as the compiled part computes it."""
        pairs = ((self.inner, self.of_inner), (self.bias, self.of_bias), (self.outer, self.of_outer))
        inner, bias, outer = ((common + own).double().cpu().numpy() for common, own in pairs)
        return as_integers(inner, bias, outer, (self.offset + self.of_offset).double().cpu().numpy())
