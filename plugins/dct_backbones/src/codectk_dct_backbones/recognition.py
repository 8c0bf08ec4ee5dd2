"""Which network the tensors of a published checkpoint are of, from their names and shapes.

What these leave open is taken from options, else from what the trainer noted, which is passed over where it does not
fit. The architectures have `compat: original`, the layers and the preparation of input that the networks were trained
with.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, get_args

from codectk.errors import CodectkError, WeightsError
from codectk.options import Options, option
from codectk.published import shown
from codectk_dct_backbones.architecture import Architecture, ModelName, Variant
from codectk_dct_backbones.budget import COEFFICIENTS, Budget, resolve
from codectk_dct_backbones.ranges import RangeMode

OTHER = "Name a checkpoint of the public trainers, or the state of its network alone."
STEM_KEYS = ("luma_proj", "luma_down", "chroma_proj", "fusion", "refine")
SCALES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Channel scales that the public trainers offer."""

Shapes = Mapping[str, tuple[int, ...]]

_COUNTS = [f"coeff_{kind}{plane}" for kind in ("window", "count") for plane in ("", "_luma", "_chroma", "_cb", "_cr")]


class ImportOptions(Options):
    """What a checkpoint may not say."""

    variant: Variant | None = option(None, help="What the network is, where chroma alone leaves two variants open.")
    range_mode: RangeMode | None = option(None, help="Range of the values it was trained on; studio if nobody knows.")
    image_size: int | None = option(
        None, ge=16, le=8192, unit="px", help="Side of its pictures; 224 of pixels, 256 of coefficients."
    )
    dct_stats: Literal["auto", "imagenet", "none"] = option(
        "auto", help="What coefficients are normalised by; auto: imagenet for stems in studio range, else none."
    )
    class_names: Path | None = option(None, help="Text file with the classes' names, one a line, in order.")
    classes: int | None = option(
        None, ge=1, le=1 << 20, help="Give a network without a head one of zeros, to be trained, with so many classes."
    )


def infer(path: Path, shapes: Shapes, record: Mapping[str, Any], options: ImportOptions) -> Architecture:
    """The architecture that has tensors of these names and shapes, all of which are checked.

    Args:
        path: the file, for messages.
        shapes: names as of `model.build` → shapes.
        record: what the trainer noted; values of other types are passed over.
        options: win over the record where shapes say nothing.

    Raises:
        WeightsError: there is none.
    """
    inside = {name.removeprefix("backbone.") for name in shapes if name.startswith("backbone.")}
    variant = _variant(path, inside, options.variant or _choice(record, "variant", Variant))
    model = _model(path, inside)
    pixels = variant == "rgb"
    try:
        values = {
            "model": model,
            "variant": variant,
            "budget": Budget() if pixels else _budget(path, variant, shapes, record),
            "range_mode": options.range_mode or _choice(record, "range_mode", RangeMode) or "studio",
            "classes": size(path, shapes, "head.weight"),
            "image_size": options.image_size or whole(record, "image_size") or (224 if pixels else 256),
            "compat": "none" if pixels else "original",
        }
        fixed = Architecture.parse(values, "what it holds")
    except CodectkError as error:
        raise WeightsError(f"{path}: {error.problem}", OTHER) from None
    nearest: tuple[int, Shapes] = (-1, {})
    for scale in dict.fromkeys((_number(record, "channel_scale"), *SCALES)):
        if scale is None or not 0 < scale <= 1:
            continue
        scaled = fixed.model_copy(update={"channel_scale": scale})
        wanted = _shapes(scaled)
        if wanted == shapes:
            return scaled
        nearest = max(nearest, (len(wanted.items() & shapes.items()), wanted), key=itemgetter(0))
    raise _misfit(path, nearest[1], shapes)


def _variant(path: Path, inside: set[str], told: Variant | None) -> Variant:
    first = {name.partition(".")[0] for name in inside}
    if not first & set(STEM_KEYS):
        return "rgb"
    if "refine" in first:
        return "reconstruction"
    if "luma_proj" in first:
        return "block-stem"
    if "backbone.conv1.conv1_1.conv.weight" not in inside:
        return "luma-fusion-pruned"
    if "luma_down" in first:
        return "luma-fusion"
    if told in ("block-stem", "luma-fusion"):
        return told
    raise WeightsError(
        f"{path} reads chroma alone, as block-stem and luma-fusion may; it does not say which it is.",
        "Give --variant block-stem or --variant luma-fusion.",
    )


def _model(path: Path, inside: set[str]) -> ModelName:
    names = {name.removeprefix("backbone.").partition(".")[0] for name in inside}
    known: tuple[tuple[str, ModelName], ...] = (
        ("res_layers", "resnet34"),
        ("layers", "cspdarknet53"),
        ("patch_embed", "efficientvit_m4"),
    )
    for name, model in known:
        if name in names:
            return model
    found = ", ".join(shown(name) for name in sorted(names)[:4]) or "nothing"
    raise WeightsError(f"{path} holds {found}, and no backbone.", OTHER)


def _budget(path: Path, variant: Variant, shapes: Shapes, record: Mapping[str, Any]) -> Budget:
    """Counts from the widths of projections; what is noted tells how Cb and Cr share, which else do so equally."""
    noted = {name: value for name in _COUNTS if (value := whole(record, name)) is not None}
    budget = resolve(**noted)
    if variant == "reconstruction":
        return budget
    luma, chroma = (
        next((size(path, shapes, name, 1) for name in names if name in shapes), 0)
        for names in (
            ("backbone.luma_proj.0.weight", "backbone.luma_down.0.weight"),
            ("backbone.chroma_proj.0.weight",),
        )
    )
    if (budget.luma, budget.cb + budget.cr) == (luma, chroma):
        return budget
    if chroma > 2 * COEFFICIENTS or chroma % 2:
        raise WeightsError(f"{path} reads {chroma} coefficients of chroma, and does not say of which plane.", OTHER)
    return Budget(luma, chroma // 2, chroma // 2)


def _shapes(architecture: Architecture) -> Shapes:
    import torch

    from codectk_dct_backbones.model import build

    with torch.device("meta"):
        state = build(architecture).state_dict()
    return {name: tuple(value.shape) for name, value in state.items() if not is_counter(name)}


def _misfit(path: Path, wanted: Shapes, found: Shapes) -> WeightsError:
    """The first difference between the names and shapes of an architecture and those of a file."""
    for name, shape in wanted.items():
        if name not in found:
            return WeightsError(f"{path}: tensor {name} is missing.", OTHER)
        if found[name] != shape:
            return WeightsError(f"{path}: tensor {name} has shape {found[name]}, not {shape}.", OTHER)
    more = next(name for name in found if name not in wanted)
    return WeightsError(f"{path}: tensor {shown(more)} has no place in this network.", OTHER)


def size(path: Path, shapes: Shapes, name: str, axis: int = 0) -> int:
    """One side of a tensor.

    Raises:
        WeightsError: it has fewer.
    """
    if len(shapes[name]) <= axis:
        raise WeightsError(f"{path}: tensor {name} has shape {shapes[name]}.", OTHER)
    return shapes[name][axis]


def _choice(record: Mapping[str, Any], name: str, choices: Any) -> Any:
    """What is noted, if it is one of these."""
    value = record.get(name)
    return value if isinstance(value, str) and value in get_args(choices) else None


def whole(record: Mapping[str, Any], name: str) -> int | None:
    """What is noted, if it is a whole number."""
    value = record.get(name)
    return value if type(value) is int else None


def _number(record: Mapping[str, Any], name: str) -> float | None:
    value = record.get(name)
    return float(value) if isinstance(value, int | float) else None


def is_counter(name: str) -> bool:
    """Whether it says how many batches a norm has seen, which nothing depends on; or an index that is computed."""
    return name.endswith((".num_batches_tracked", ".attention_bias_idxs"))
