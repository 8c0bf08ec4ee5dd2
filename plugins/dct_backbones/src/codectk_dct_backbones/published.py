"""Checkpoints in the layout of the method's public trainers, made into weights of codectk.

    {model: state, variant, channel_scale, …} ─ plain names ─ backbone and head ─ shapes ─ Architecture ─┐
                                                     └──────── names and shapes that must be ── compared ─┴─> Checkpoint

Everything is known from names and shapes, see `recognition`, before a value is read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codectk.errors import InputError, WeightsError
from codectk.files import read_bytes
from codectk.published import AGAIN, is_pickled, plain_tensors, read_pickled, read_safetensors, shown
from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.recognition import OTHER, ImportOptions, Shapes, infer, is_counter, whole

if TYPE_CHECKING:
    from torch import Tensor

    from codectk.checkpoint import Checkpoint

ALONE = "Save its network alone where it was made: the file of {'model': model.state_dict()}."
STATES = ("model", "state_dict")
"""Keys under which trainers store the network."""

WRAPPERS = ("module.", "_orig_mod.")
"""What distributed training and compilation put before names."""

HEADS = ("head", "fc", "classifier")

NORM_AND_LINEAR = (
    *("head.bn.weight", "head.bn.bias", "head.bn.running_mean", "head.bn.running_var"),
    *("head.l.weight", "head.l.bias"),
)
"""The head of EfficientViT's authors."""

LAST_NORMS = (".norm.weight", ".cv2.bn.weight", ".pw2.bn.weight")
"""Ends of names of norms, the widest of which is the last one of its backbone."""


@dataclass(frozen=True)
class _State:
    """Tensors of a file under the names of `model.build`, and what else it says."""

    path: Path
    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]

    @property
    def shapes(self) -> Shapes:
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}


def import_weights(files: Sequence[Path], options: ImportOptions) -> Checkpoint:
    """A published checkpoint as weights of codectk.

    Args:
        files: one checkpoint (.pth) of the public trainers, or the state of its network as .pth or safetensors; of
            float32, or of float16 or bfloat16, which become float32.
        options: what it may not say.

    Raises:
        InputError: not one file, or it is missing or unreadable.
        WeightsError: it is damaged, something else, or of no published network.
    """
    if len(files) != 1:
        raise InputError(f"Weights are imported from one file, not {len(files)}.", "Name CHECKPOINT.pth.")
    (path,) = files
    state, record = _state_of(path) if is_pickled(path) else (read_safetensors(path), {})
    tensors = plain_tensors(path, state, _plain_name, OTHER)
    named = _State(path, _with_head(path, tensors, options), record)
    return _made(named, infer(path, named.shapes, record, options), options)


def _made(state: _State, architecture: Architecture, options: ImportOptions) -> Checkpoint:
    """The checkpoint, after a check of every value."""
    import torch

    from codectk_dct_backbones.classifier import checkpoint
    from codectk_dct_backbones.model import build
    from codectk_dct_backbones.statistics import load

    floats: dict[str, Tensor] = {}
    for name, tensor in state.tensors.items():
        floats[name] = tensor.detach().to(torch.float32).contiguous()
        if not floats[name].isfinite().all():
            raise WeightsError(f"{state.path}: tensor {shown(name)} holds NaN or infinity.", AGAIN)
    network = build(architecture)
    network.load_state_dict(floats, strict=False)  # counters of batches are not stored; names were compared
    stem = architecture.variant not in ("rgb", "reconstruction")
    normalises = options.dct_stats == "imagenet" or (
        options.dct_stats == "auto" and architecture.range_mode == "studio"
    )
    names = () if options.class_names is None else _class_names(options.class_names, architecture.classes)
    trim = next((state.record[n] for n in ("trim", "trim_coefficients") if type(state.record.get(n)) is bool), True)
    training = {"imported": [os.fsencode(state.path.name).decode(errors="replace")]}
    epoch = whole(state.record, "epoch")
    return checkpoint(
        network,
        architecture,
        classes=names,
        statistics=load("imagenet", architecture.range_mode) if stem and normalises else None,
        trim=trim and stem,
        training=training if epoch is None else {**training, "epoch": epoch},
        licence="as published",
    )


def _class_names(path: Path, count: int) -> tuple[str, ...]:
    try:
        names = tuple(read_bytes(path, 1 << 26).decode().splitlines())
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text.", "Name a file with one class a line.") from None
    if len(names) != count or len(set(names)) != count or not all(names):
        raise InputError(f"{path} has {len(names)} lines, not {count} different names.", "Give one class a line.")
    return names


def _with_head(path: Path, tensors: Mapping[str, Tensor], options: ImportOptions) -> dict[str, Tensor]:
    """Under the names of `model.build`: the backbone's behind `backbone.`, and `head.weight` and `head.bias`."""
    import torch

    heads = {name: value for name, value in tensors.items() if name.partition(".")[0] in HEADS}
    body = {name: value for name, value in tensors.items() if name not in heads}
    if not all(name.startswith("backbone.") for name in body):
        body = {f"backbone.{name}": value for name, value in body.items()}  # of the backbone alone
    wrapped = "backbone.model."
    if body and all(name.startswith(wrapped) for name in body):
        body = {f"backbone.{name.removeprefix(wrapped)}": value for name, value in body.items()}
    heads = _folded(heads)
    ends = sorted(name.rpartition(".")[2] for name in heads)
    if ends == ["bias", "weight"]:
        return body | {f"head.{name.rpartition('.')[2]}": value for name, value in heads.items()}
    if heads:
        raise WeightsError(f"{path}: {', '.join(map(shown, sorted(heads)[:4]))} is no head of one layer.", OTHER)
    if options.classes is None:
        raise WeightsError(
            f"{path} holds no head, so it classifies nothing.", "Give --classes N for one that is still to be trained."
        )
    width = max(
        (len(value) for name, value in body.items() if value.ndim == 1 and name.endswith(LAST_NORMS)), default=0
    )
    return body | {"head.weight": torch.zeros(options.classes, width), "head.bias": torch.zeros(options.classes)}


def _folded(heads: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch norm before a linear layer as the one layer that they are; other heads as they are."""
    if heads.keys() != {*NORM_AND_LINEAR}:
        return heads
    gain, shift, mean, variance, weight, bias = (heads[name].double() for name in NORM_AND_LINEAR)
    if weight.ndim != 2 or any(x.shape != weight.shape[1:] for x in (gain, shift, mean, variance)):
        return heads
    scale = gain / (variance + 1e-5).sqrt()
    return {"head.weight": (weight * scale).float(), "head.bias": (bias + weight @ (shift - mean * scale)).float()}


def _plain_name(name: str) -> str | None:
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return None if is_counter(name) else name


def _state_of(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """The network's state, and the rest as record."""
    import torch

    content = read_pickled(path, ALONE)
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds {type(content).__name__}, not names and tensors.", OTHER)
    key = next((key for key in STATES if isinstance(content.get(key), dict)), None)
    state, record = (content, {}) if key is None else (content[key], content)
    if not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()):
        found = ", ".join(map(shown, list(state)[:4]))
        raise WeightsError(f"{path} holds {found}, not names and tensors.", OTHER)
    return dict(state), record
