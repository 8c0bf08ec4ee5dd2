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
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from codectk.errors import InputError, WeightsError
from codectk.files import check_file
from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.recognition import OTHER, ImportOptions, Shapes, infer, is_counter, shown, whole

if TYPE_CHECKING:
    from torch import Tensor

    from codectk.checkpoint import Checkpoint

AGAIN = "Download it again."
STATES = ("model", "state_dict")
"""Keys under which trainers store the network."""

WRAPPERS = ("module.", "_orig_mod.")
"""What distributed training and compilation put before names."""

HEADS = ("head", "fc", "classifier")
_ZIP = b"PK\x03\x04"


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
    check_file(path)
    with path.open("rb") as stream:
        is_zip = stream.read(len(_ZIP)) == _ZIP
    state, record = _read_checkpoint(path) if is_zip else (_read_safetensors(path), {})
    named = _State(path, _with_head(path, _named(path, state), options), record)
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
    from codectk.files import read_bytes

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
    ends = sorted(name.rpartition(".")[2] for name in heads)
    if ends == ["bias", "weight"]:
        return body | {f"head.{name.rpartition('.')[2]}": value for name, value in heads.items()}
    if heads:
        raise WeightsError(f"{path}: {', '.join(map(shown, sorted(heads)[:4]))} is no head of one layer.", OTHER)
    if options.classes is None:
        raise WeightsError(
            f"{path} holds no head, so it classifies nothing.", "Give --classes N for one that is still to be trained."
        )
    width = max((len(value) for name, value in body.items() if value.ndim == 1 and ".res_layers." in name), default=0)
    return body | {"head.weight": torch.zeros(options.classes, width), "head.bias": torch.zeros(options.classes)}


def _named(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state under plain names, without counters of batches.

    Raises:
        WeightsError: two have the same, or one is not plain numbers, all of which lie in the file.
    """
    import torch

    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        plain = name
        while any(plain.startswith(wrapper) for wrapper in WRAPPERS):
            plain = plain.partition(".")[2]
        if is_counter(plain):
            continue
        if plain in tensors:
            raise WeightsError(f"{path}: tensor {shown(plain)} is there twice.", AGAIN)
        tensors[plain] = tensor
        kinds = (torch.float32, torch.float16, torch.bfloat16)
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.dtype not in kinds:
            raise WeightsError(
                f"{path}: tensor {shown(plain)} is {str(tensor.dtype).removeprefix('torch.')}, not float32, float16 "
                "or bfloat16 in a plain layout.",
                OTHER,
            )
    # A few bytes can stand for tensors of any size: repeated values within one, or one in the place of many.
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > path.stat().st_size:
        raise WeightsError(f"{path} holds tensors of more bytes than the file has.", AGAIN)
    return tensors


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """State and record of a file of torch.save; only tensors and plain values are unpickled, nothing is run."""
    import torch

    try:
        with ZipFile(path) as archive:  # torch writes no compressed entries, which could be of any size
            plain = all(entry.compress_type == ZIP_STORED for entry in archive.infolist())
        if not plain:
            raise ValueError("compressed")
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (BadZipFile, OSError, ValueError):
        raise _damaged(path) from None
    except Exception as error:  # a pickle by others can fail in any way
        if "weights_only" in str(error).lower() or "weights only" in str(error).lower():
            raise WeightsError(
                f"{path} holds more than tensors and plain values, and could run any program; it was not opened.",
                "Save its network alone where it was made: torch.save({'model': model.state_dict()}, PATH).",
            ) from None
        raise _damaged(path) from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds {type(content).__name__}, not names and tensors.", OTHER)
    key = next((key for key in STATES if isinstance(content.get(key), dict)), None)
    state, record = (content, {}) if key is None else (content[key], content)
    if not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()):
        found = ", ".join(map(shown, list(state)[:4]))
        raise WeightsError(f"{path} holds {found}, not names and tensors.", OTHER)
    return dict(state), record


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            if "codectk" in (stream.metadata() or {}):
                raise WeightsError(f"{path} is a weights file of codectk already.", "Use it as it is.")
            return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError):
        raise _damaged(path) from None


def _damaged(path: Path) -> WeightsError:
    return WeightsError(f"{path} is damaged, or neither a checkpoint of torch.save nor safetensors.", AGAIN)
