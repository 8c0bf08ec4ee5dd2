"""Weights in the layouts of others: tensors out of their files, without running anything that is in them.

For importers of `codectk import-weights`. Everything that a file says is hostile until it is checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from codectk.errors import WeightsError
from codectk.files import check_file

if TYPE_CHECKING:
    from torch import Tensor

AGAIN = "Download it again."
_ZIP = b"PK\x03\x04"


def is_pickled(path: Path) -> bool:
    """Whether a file is one of torch.save; if not, it may be safetensors.

    Raises:
        InputError: it is missing or unreadable.
    """
    check_file(path)
    with path.open("rb") as stream:
        return stream.read(len(_ZIP)) == _ZIP


def read_pickled(path: Path, instead: str) -> Any:
    """What a file of torch.save holds: tensors, which stay in the file until they are used, and plain values.

    Args:
        path: the file.
        instead: what to do where it holds more than that.

    Raises:
        WeightsError: it is damaged, or holds something that would have to be run.
    """
    import torch

    try:
        with ZipFile(path) as archive:  # torch writes no compressed entries, which could be of any size
            plain = all(entry.compress_type == ZIP_STORED for entry in archive.infolist())
        if not plain:
            raise ValueError("compressed")
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (BadZipFile, OSError, ValueError):
        raise _damaged(path) from None
    except Exception as error:  # a pickle by others can fail in any way
        if "weights_only" in str(error).lower() or "weights only" in str(error).lower():
            raise WeightsError(
                f"{path} holds more than tensors and plain values, and could run any program; it was not opened.",
                instead,
            ) from None
        raise _damaged(path) from None


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        WeightsError: it is damaged, or one of codectk's own.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            if "codectk" in (stream.metadata() or {}):
                raise WeightsError(f"{path} is a weights file of codectk already.", "Use it as it is, with -w.")
            return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError):
        raise _damaged(path) from None


def plain_tensors(
    path: Path, state: Mapping[str, Tensor], plain_name: Callable[[str], str | None], other: str
) -> dict[str, Tensor]:
    """The parameters of a state under plain names.

    Args:
        path: the file that they lie in.
        state: names and tensors.
        plain_name: the name that one shall have, or None for what is left out.
        other: what to do where one is of another kind.

    Raises:
        WeightsError: two have the same name, or one is not plain numbers, all of which lie in the file.
    """
    import torch

    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        plain = plain_name(name)
        if plain is None:
            continue
        if plain in tensors:
            raise WeightsError(f"{path}: tensor {shown(plain)} is there twice.", AGAIN)
        tensors[plain] = tensor
        kinds = (torch.float32, torch.float16, torch.bfloat16)
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.dtype not in kinds:
            raise WeightsError(
                f"{path}: tensor {shown(plain)} is {str(tensor.dtype).removeprefix('torch.')}, not float32, float16 "
                "or bfloat16 in a plain layout.",
                other,
            )
    # A few bytes can stand for tensors of any size: repeated values within one, or one in the place of many.
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > path.stat().st_size:
        raise WeightsError(f"{path} holds tensors of more bytes than the file has.", AGAIN)
    return tensors


def shown(value: Any) -> str:
    """A value from a file, readable and short."""
    text = "".join(c if c.isprintable() else "?" for c in str(value)[:61])
    return f"'{text}'" if len(text) <= 60 else f"'{text[:60]}…'"


def _damaged(path: Path) -> WeightsError:
    return WeightsError(f"{path} is damaged, or neither a checkpoint of torch.save nor safetensors.", AGAIN)
