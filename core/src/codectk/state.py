"""The state of a training run in one safetensors file: tensors as they are, everything else as JSON. No pickle."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from codectk.errors import InputError
from codectk.files import atomic_output, check_file

KEY = "codectk_state"


def save_state(path: Path, state: Any) -> None:
    """Write nested dicts, lists and tuples of tensors, numbers, strings and None, whole or not at all.

    Raises:
        TypeError: the state holds something else.
        OutputError: the file system refuses.
    """
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(_flatten(state, tensors))
    with atomic_output(path, force=True) as temporary:
        try:
            save_file(tensors, temporary, metadata={KEY: text})
        except SafetensorError as error:  # so it reports a full disk
            raise OSError(str(error)) from error


def load_state(path: Path) -> Any:
    """Read what `save_state` wrote; tensors are on the CPU.

    Raises:
        InputError: the file is missing or damaged.
    """
    check_file(path)
    try:
        with safe_open(path, framework="pt") as stream:
            tree = json.loads(stream.metadata()[KEY])
            return _unflatten(tree, {name: stream.get_tensor(name) for name in stream.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{path} is not a state of a training run: {error}.", "Start the run again.") from None


def _flatten(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        # A copy, because safetensors refuses tensors that share memory.
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_flatten(k, tensors), _flatten(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_flatten(item, tensors) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a training state cannot hold {type(value).__name__}")


def _unflatten(tree: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_unflatten(k, tensors): _unflatten(v, tensors) for k, v in content}
    items = [_unflatten(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
