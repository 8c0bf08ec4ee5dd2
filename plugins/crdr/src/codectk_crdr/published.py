"""Weights in the layout in which the method's authors publish them, made into weights of codectk.

    {iter, comp_model: state} ─ plain names ─┬─ shapes ─ ModelOptions ─ names and shapes that must be ─┐
                                             └─ tensors ───────────────── compared, then read ─────────┴─> Checkpoint

Everything about a file is known from names and shapes before a value is read. Tensors stay in the file until then.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codectk.errors import CodectkError, InputError, WeightsError
from codectk.options import NoOptions
from codectk.published import AGAIN, is_pickled, plain_tensors, read_pickled, read_safetensors, shown
from codectk_crdr.names import is_buffer, plain_name
from codectk_crdr.options import ModelOptions

if TYPE_CHECKING:
    from torch import Tensor

    from codectk.checkpoint import Checkpoint

STATE, ITERATION = "comp_model", "iter"
"""Keys of a published checkpoint."""

OTHER = "Name weights of one of the six published architectures, as their authors' training writes them."


def import_weights(files: Sequence[Path], options: NoOptions) -> Checkpoint:
    """Published weights as a checkpoint with float networks and frozen tables.

    Args:
        files: one checkpoint of the authors' training (.pth.tar), or its state alone as safetensors; of float32, or of
            float16 or bfloat16, which become float32. The architecture follows from names and shapes.
        options: none.

    Raises:
        InputError: not one file, or it is missing or unreadable.
        WeightsError: it is damaged, something else, or of no published architecture.
    """
    if len(files) != 1:
        raise InputError(f"crdr is imported from one file, not {len(files)}.", "Name CHECKPOINT.pth.tar.")
    (path,) = files
    state, record = _state_of(path) if is_pickled(path) else (read_safetensors(path), {})
    tensors = plain_tensors(path, state, _plain_name, OTHER)
    model_options = infer_options(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    return _made(path, model_options, tensors, record)


def infer_options(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> ModelOptions:
    """The architecture that has parameters of these names and shapes, all of which are checked.

    Args:
        path: the file, for messages.
        shapes: plain names → shapes.

    Raises:
        WeightsError: there is none.
    """

    def size(name: str, axis: int = 0) -> int:
        if name not in shapes:
            raise WeightsError(f"{path}: tensor {name} is missing.", OTHER)
        if len(shapes[name]) <= axis:
            raise WeightsError(f"{path}: tensor {name} has shape {shapes[name]}.", OTHER)
        return shapes[name][axis]

    def middle(part: str, block: int) -> int:
        return size(f"{part}.block{block}.block0.conv.0.weight")

    latent, first = size("encoder.conv4.weight"), size("hyperencoder.conv1.weight")
    values: dict[str, Any] = {
        "context": "none",
        "latent_channels": latent,
        "hyper_channels": size("entropy_model_z.quantiles"),
        "levels": size("encoder.interp_ca_list.0.weight") if "encoder.interp_ca_list.0.weight" in shapes else 1,
        "realism": "decoder.mlp.0.weight" in shapes,
        "encoder_width": _short([size(f"encoder.conv{i}.weight") for i in (1, 2, 3)]),
        "encoder_middle": _short([middle("encoder", i) for i in (1, 2, 3)]),
        # Transposed convolutions hold their outputs second, and the decoder's first works at the lowest resolution.
        "decoder_width": _short([size(f"decoder.conv{i}.weight", 1) for i in (3, 2, 1)]),
        "decoder_middle": _short([middle("decoder", i) for i in (3, 2, 1)]),
    }
    if values["realism"]:
        values["condition_channels"] = size("decoder.mlp.0.weight")
    slices = len({name.split(".")[2] for name in shapes if name.startswith("context_model.mean_slice_transforms.")})
    if slices:
        last = size(f"context_model.mean_slice_transforms.{slices - 1}.model.0.weight", 1)
        values |= {
            "context": "channel",
            "hyper_width": size("hyperencoder.conv2.weight"),
            "hyper_first": None if first == latent else first,
            "slices": slices,
            "support_slices": max(1, (last - latent) // max(1, latent // slices)),
        }
    try:
        options = ModelOptions.parse(values, str(path))
    except CodectkError as error:
        raise WeightsError(error.problem, OTHER) from None
    _compare(path, options, shapes)
    return options


def _short(values: list[int]) -> tuple[int, ...]:
    """One value for three that are the same, as options have it."""
    return tuple(values[:1] if len(set(values)) == 1 else values)


def _compare(path: Path, options: ModelOptions, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse other names and shapes than those of the architecture."""
    import torch

    from codectk_crdr.model import CompressionModel

    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in CompressionModel(options).state_dict().items()}
    for name, shape in wanted.items():
        if name not in shapes:
            raise WeightsError(f"{path}: tensor {name} is missing.", OTHER)
        if shapes[name] != shape:
            raise WeightsError(f"{path}: tensor {name} has shape {shapes[name]}, not {shape}.", OTHER)
    for name in shapes:
        if name not in wanted:
            raise WeightsError(f"{path}: tensor {shown(name)} has no place in published crdr weights.", OTHER)


def _made(path: Path, options: ModelOptions, tensors: Mapping[str, Tensor], record: dict[str, Any]) -> Checkpoint:
    """The checkpoint, after a check of every value."""
    import torch

    from codectk_crdr.export import checkpoint
    from codectk_crdr.model import CompressionModel

    floats: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        floats[name] = tensor.detach().to(torch.float32).contiguous()
        if not floats[name].isfinite().all():
            raise WeightsError(f"{path}: tensor {name} holds NaN or infinity.", AGAIN)
    with torch.device("meta"):  # neither allocates nor draws random numbers
        model = CompressionModel(options)
    model.load_state_dict(floats, assign=True)
    imported = os.fsencode(path.name).decode(errors="replace")
    try:
        return checkpoint(model.eval(), {"imported": [imported], **record}, licence="as published")
    except ValueError as error:  # from the tables: probabilities that are none
        raise WeightsError(f"{path}: no tables can be made of entropy_model_z: {error}.", AGAIN) from None


def _plain_name(name: str) -> str | None:
    plain = plain_name(name)
    return None if is_buffer(plain) else plain


def _state_of(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State and record of a checkpoint of the authors' training."""
    import torch

    content = read_pickled(path, "Take the checkpoint from its authors.")
    if not isinstance(content, dict) or set(content) != {ITERATION, STATE} or type(content[ITERATION]) is not int:
        found = ", ".join(map(shown, list(content)[:4])) if isinstance(content, dict) else type(content).__name__
        raise WeightsError(f"{path} holds {found or 'nothing'}, not {ITERATION} and {STATE}.", OTHER)
    state = content[STATE]
    if not isinstance(state, dict) or not all(isinstance(k, str) and type(v) is torch.Tensor for k, v in state.items()):
        raise WeightsError(f"{path}: {STATE} is not names and tensors.", OTHER)
    return state, {"iterations": content[ITERATION]}
