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
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from codectk.errors import CodectkError, InputError, WeightsError
from codectk.files import check_file
from codectk.options import NoOptions
from codectk_crdr.names import is_buffer, plain_name
from codectk_crdr.options import ModelOptions

if TYPE_CHECKING:
    from torch import Tensor

    from codectk.checkpoint import Checkpoint

STATE, ITERATION = "comp_model", "iter"
"""Keys of a published checkpoint."""

AGAIN = "Download it again."
OTHER = "Name weights of one of the six published architectures, as their authors' training writes them."
_ZIP = b"PK\x03\x04"


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
    check_file(path)
    with path.open("rb") as stream:
        is_zip = stream.read(len(_ZIP)) == _ZIP
    state, record = _read_checkpoint(path) if is_zip else (_read_safetensors(path), {})
    tensors = _named(path, state)
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
            raise WeightsError(f"{path}: tensor {_shown(name)} has no place in published crdr weights.", OTHER)


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


def _named(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of a state under plain names.

    Raises:
        WeightsError: two have the same, or one is not plain numbers, all of which lie in the file.
    """
    import torch

    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        plain = plain_name(name)
        if is_buffer(plain):
            continue
        if plain in tensors:
            raise WeightsError(f"{path}: tensor {_shown(plain)} is there twice.", AGAIN)
        tensors[plain] = tensor
        kinds = (torch.float32, torch.float16, torch.bfloat16)
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.dtype not in kinds:
            raise WeightsError(
                f"{path}: tensor {_shown(plain)} is {str(tensor.dtype).removeprefix('torch.')}, not float32, float16 "
                "or bfloat16 in a plain layout.",
                OTHER,
            )
    # A few bytes can stand for tensors of any size: repeated values within one, or one in the place of many.
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > path.stat().st_size:
        raise WeightsError(f"{path} holds tensors of more bytes than the file has.", AGAIN)
    return tensors


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
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
                "Take the checkpoint from its authors.",
            ) from None
        raise _damaged(path) from None
    if not isinstance(content, dict) or set(content) != {ITERATION, STATE} or type(content[ITERATION]) is not int:
        found = ", ".join(map(_shown, list(content)[:4])) if isinstance(content, dict) else type(content).__name__
        raise WeightsError(f"{path} holds {found or 'nothing'}, not {ITERATION} and {STATE}.", OTHER)
    state = content[STATE]
    if not isinstance(state, dict) or not all(isinstance(k, str) and type(v) is torch.Tensor for k, v in state.items()):
        raise WeightsError(f"{path}: {STATE} is not names and tensors.", OTHER)
    return state, {"iterations": content[ITERATION]}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            if "codectk" in (stream.metadata() or {}):
                raise WeightsError(f"{path} is a weights file of codectk already.", "Use it as it is, with -w.")
            return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError):
        raise _damaged(path) from None


def _damaged(path: Path) -> WeightsError:
    return WeightsError(f"{path} is damaged, or neither a checkpoint of torch.save nor safetensors.", AGAIN)


def _shown(value: Any) -> str:
    """A value from a file, readable and short."""
    text = "".join(c if c.isprintable() else "?" for c in str(value)[:61])
    return f"'{text}'" if len(text) <= 60 else f"'{text[:60]}…'"
