"""Weights of networks that measure: safetensors that the user gives, with the names under which they were published.

explicit path  ─┐
hf:owner/repo/… ┼─ find ──> file ── read ──> tensors of the wanted names and shapes, float32 and finite
$CODECTK_METRIC_WEIGHTS ─┘
"""

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from codectk.errors import InputError, WeightsError, one_line
from codectk.files import check_file

FOLDER = "CODECTK_METRIC_WEIGHTS"
"""Environment variable with the folder of weights of metrics, or `hf:owner/repo`."""

HUB = "hf:"
MAX_BYTES = 1 << 31
_FLOATS = ("F64", "F32", "F16", "BF16")

Shapes = Mapping[str, tuple[int, ...]]


class Pretrained(nn.Module):
    """A network that measures. Its weights are frozen; gradients go to its inputs alone.

    Args:
        weights: a safetensors file, or `hf:owner/repo/file` for one of the Hugging Face hub; by default `file` in the
            folder that the environment variable `CODECTK_METRIC_WEIGHTS` names. Tensors that the network does not
            have, such as a classifier's, are ignored.
        file: name of the file that is looked for.
        origin: what such a file is made from, for messages.

    Raises:
        WeightsError: there is no such file, it is damaged, or it lacks a tensor.
    """

    def __init__(self, weights: str | os.PathLike[str] | None, file: str, origin: str) -> None:
        super().__init__()
        with torch.device("meta"):  # no time for start values, and none of the process's random numbers
            self.build()
        wanted = {name: tuple(tensor.shape) for name, tensor in self.state_dict().items()}
        self.load_state_dict(read(find(weights, file, origin), wanted, origin), assign=True)
        self.requires_grad_(False)

    def build(self) -> None:
        """Make the layers, whose values come from the file."""
        raise NotImplementedError


def find(weights: str | os.PathLike[str] | None, file: str, origin: str) -> Path:
    """The file with weights.

    Args:
        weights: see `Pretrained`.
        file: its name in the folder of weights.
        origin: what it is made from.

    Raises:
        WeightsError: no place is given, or there is no readable file.
    """
    folder = os.environ.get(FOLDER, "")
    if weights is None and not folder:
        raise WeightsError(
            f"{file} is not here, and the environment variable {FOLDER} is not set.",
            f"Set it to a folder that holds {file}, made from {origin}.",
        )
    place = f"{folder}/{file}" if weights is None else os.fspath(weights)
    path = _fetched(place) if place.startswith(HUB) else Path(place)
    try:
        check_file(path, MAX_BYTES)
    except InputError as error:
        raise WeightsError(error.problem, f"Put {file} there, made from {origin}.") from None
    return path


def read(path: Path, wanted: Shapes, origin: str) -> dict[str, Tensor]:
    """The wanted tensors of a file, as float32.

    Args:
        path: a safetensors file.
        wanted: name → shape; other tensors are not read.
        origin: what such a file is made from.

    Raises:
        WeightsError: the file is damaged or something else, or a tensor is missing, of another shape, or not finite.
    """
    from safetensors import SafetensorError, safe_open

    again = f"Make it from {origin}."
    try:
        with safe_open(path, framework="pt") as stream:
            missing = sorted(set(wanted) - set(stream.keys()))
            if missing:
                raise WeightsError(f"{path} lacks {len(missing)} of {len(wanted)} tensors: {_some(missing)}.", again)
            for name, shape in wanted.items():
                stored = stream.get_slice(name)
                found = tuple(stored.get_shape())
                if found != shape or stored.get_dtype() not in _FLOATS:
                    what = f"{stored.get_dtype()} of shape {found}"
                    raise WeightsError(f"{path}: {name} is {what}, not floats of shape {shape}.", again)
            # Copied, because what safetensors returns lies in the file, which may change.
            tensors = {name: stream.get_tensor(name).to(torch.float32, copy=True) for name in wanted}
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{path} is no safetensors file, or damaged: {one_line(error)}.", again) from None
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise WeightsError(f"{path} is damaged: tensor {name} holds NaN or infinity.", again)
    return tensors


def _fetched(place: str) -> Path:
    """A file of the hub, from its cache if it is there."""
    parts = place.removeprefix(HUB).split("/", 2)
    if len(parts) < 3 or not all(parts):
        raise WeightsError(f"'{place}' names no file of the hub.", "Write hf:owner/repo/file.safetensors.")
    try:
        hub = import_module("huggingface_hub")
    except ImportError:
        raise WeightsError(
            f"{place} needs huggingface_hub, which is not here.", "Run `pip install huggingface_hub`, or name a file."
        ) from None
    try:
        return Path(hub.hf_hub_download(repo_id="/".join(parts[:2]), filename=parts[2]))
    except Exception as error:  # of the network, the hub, the cache, the disk: each has types of its own
        step = "Check the name and the network, or name a file of your own."
        raise WeightsError(f"{place} cannot be fetched: {one_line(error)}.", step) from None


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
