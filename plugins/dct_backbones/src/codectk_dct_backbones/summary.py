"""`codectk dct-backbones summary`: what networks cost, counted on networks without memory."""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any, get_args

import torch

from codectk.errors import OptionsError
from codectk.files import refuse_existing, write_bytes
from codectk_dct_backbones.architecture import STEMS, Architecture, Variant
from codectk_dct_backbones.budget import Budget
from codectk_dct_backbones.model import build
from codectk_dct_backbones.networks.cost import macs, parameters
from codectk_dct_backbones.pipeline import Coefficients
from codectk_dct_backbones.tool_options import SummaryOptions

VARIANTS: tuple[Variant, ...] = get_args(Variant)


def summary(options: SummaryOptions) -> dict[str, Any]:
    """Count parameters and multiplications.

    Args:
        options: of which networks.

    Returns:
        What was counted for, and a row for each network.

    Raises:
        OptionsError: no combination makes sense.
        OutputError: the file exists already, or cannot be written.
    """
    if options.output is not None:
        refuse_existing(options.output, options.force)
    rows = [row_of(architecture, options.image_size) for architecture in architectures(options)]
    if not rows:
        raise OptionsError(
            f"{options.model} has no variant {options.variant} that can be built so.",
            "Its variants are rgb and reconstruction; full-grid has no compat original; some coefficient must be kept.",
        )
    pixels = {row["channel scale"]: row["GMAC"] for row in rows if row["variant"] == "rgb"}
    for row in rows:
        if row["channel scale"] in pixels:
            row["of RGB's"] = round(row["GMAC"] / pixels[row["channel scale"]], 3)
    said = {
        "model": options.model,
        "pixels": f"{options.image_size} x {options.image_size}",
        "classes": options.classes,
        "networks": rows,
    }
    if options.output is not None:
        write_bytes(options.output, json.dumps(said, indent=1).encode(), options.force)
    return said


def architectures(options: SummaryOptions) -> Iterator[Architecture]:
    """The combinations that can be built."""
    others = {"model": options.model, "classes": options.classes, "image_size": options.image_size}
    for scale, variant in product(options.channel_scale, VARIANTS):
        if options.variant not in ("all", variant) or not _exists(variant, options):
            continue
        for budget in [Budget()] if variant == "rgb" else budgets(options):
            yield Architecture.parse(
                {**others, "variant": variant, "budget": budget, "channel_scale": scale, "compat": options.compat}
            )


def budgets(options: SummaryOptions) -> list[Budget]:
    """All pairs of counts; those of chroma follow luma's where there are none."""
    pairs = product(options.coeff_count, options.coeff_count_chroma or (None,))
    counts = [(luma, luma if chroma is None else chroma) for luma, chroma in pairs]
    return [Budget(luma, chroma, chroma) for luma, chroma in counts if luma or chroma]


def row_of(architecture: Architecture, side: int) -> dict[str, Any]:
    """Cost of one network."""
    with torch.device("meta"):
        network = build(architecture)
        if architecture.reads_coefficients:
            y, cb, cr = architecture.budget.counts
            x: Any = Coefficients(
                torch.empty(1, y, side // 8, side // 8),
                torch.empty(1, cb, side // 16, side // 16),
                torch.empty(1, cr, side // 16, side // 16),
            )
        else:
            x = torch.empty(1, 3, side, side)
        gmac = macs(network, x) / 1e9
    budget = architecture.budget
    coded = architecture.reads_coefficients
    return {
        "variant": architecture.variant,
        "channel scale": architecture.channel_scale,
        "Y": budget.luma if coded else None,
        "Cb, Cr": budget.cb if coded else None,
        "share of values": round(budget.fraction, 4) if coded else None,
        "parameters": parameters(network),
        "GMAC": round(gmac, 4),
    }


def _exists(variant: Variant, options: SummaryOptions) -> bool:
    if variant in STEMS and options.model != "resnet34":
        return False
    return variant != "full-grid" or options.compat == "none"
