"""What a classifier is: all that is needed to build its networks. Stored with its weights; no torch here."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from codectk.options import Options, option
from codectk_dct_backbones.budget import Budget
from codectk_dct_backbones.ranges import Compat, RangeMode

ModelName = Literal["resnet34", "cspdarknet53", "efficientvit_m4"]
Variant = Literal["rgb", "reconstruction", "block-stem", "luma-fusion", "luma-fusion-pruned", "full-grid"]

STEMS: tuple[Variant, ...] = ("block-stem", "luma-fusion", "luma-fusion-pruned", "full-grid")
"""Variants that replace the first layers of ResNet-34 instead of going through pixels."""

MULTIPLE_OF = 16
"""Sides of the pictures that EfficientViT is built for are multiples of this."""


class Architecture(Options):
    """A backbone, how it reads its input, and its classes. Defaults are those of the published RGB network."""

    model: ModelName = option("resnet34", help="Backbone.")
    variant: Variant = option("rgb", help="What the network takes: pixels, or coefficients by one of five ways.")
    budget: Budget = option(Budget(), help="Coefficients kept of Y, Cb and Cr; without meaning for pixels.")
    range_mode: RangeMode = option("studio", help="Range of the values that were transformed.")
    classes: int = option(1000, ge=1, le=1 << 20, help="Outputs of the head.")
    channel_scale: float = option(1.0, gt=0, le=1, help="Factor of all widths.")
    image_size: int = option(
        224, ge=16, le=8192, unit="px", help="Side of the pictures; efficientvit_m4 takes no other."
    )
    compat: Compat = option(
        "none",
        help="original has the public code's layers: luma blocks left out, refinement without shortcut, unused stems.",
    )

    @property
    def reads_coefficients(self) -> bool:
        """Whether it takes coefficients, not pixels."""
        return self.variant != "rgb"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.variant in STEMS and self.model != "resnet34":
            raise ValueError(f"variant {self.variant} replaces the stem of resnet34; {self.model} has another")
        if self.variant == "full-grid" and self.compat == "original":
            raise ValueError("the public code has no variant full-grid; compat none alone builds it")
        if self.model == "efficientvit_m4" and self.image_size % MULTIPLE_OF:
            raise ValueError(f"efficientvit_m4 is built for sides that are multiples of {MULTIPLE_OF}")
        return self
