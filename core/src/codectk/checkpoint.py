"""Weights: one `.safetensors` file with one metadata key, `codectk`, that holds canonical JSON.

    {"format": 1, "codec": …, "distribution": …, "version": …, "bitstream_version": …,
     "config": {…}, "training": {…}, "licence": …, "digest": …}

One key because safetensors writes several keys in random order. The digest covers codec, config and every tensor, so
two files have the same digest exactly when they decode alike.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from codectk.arrays import Array
from codectk.container import canonical_json
from codectk.errors import WeightsError
from codectk.files import atomic_output, check_file, read_bytes

KEY = "codectk"
FORMAT = 1
_FIELDS = {
    "format": int,
    "codec": str,
    "distribution": str,
    "version": str,
    "bitstream_version": int,
    "config": dict,
    "training": dict,
    "licence": str,
    "digest": str,
}


@dataclass(frozen=True)
class Checkpoint:
    """Trained weights and all that is needed to use them.

    Attributes:
        tensors: name → array.
        codec, distribution, version: whose weights these are, and the release that wrote them.
        bitstream_version: of the files that these weights read and write.
        config: what the model must be built with.
        training: how they came about (options, data, steps), for the record.
        licence: terms of the weights.
    """

    tensors: Mapping[str, Array]
    codec: str
    distribution: str
    version: str
    bitstream_version: int
    config: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = ""

    @cached_property  # of up to gigabytes, and asked for when reading, storing and naming weights
    def digest(self) -> str:
        """SHA-256 over codec, config and, in order of names, each tensor's name, type, shape and bytes."""
        sha = hashlib.sha256(canonical_json({"codec": self.codec, "config": self.config}).encode())
        for name in sorted(self.tensors):
            tensor = _stored_form(self.tensors[name])
            sha.update(canonical_json([name, tensor.dtype.str, list(tensor.shape)]).encode())
            sha.update(tensor.tobytes())
        return sha.hexdigest()

    def save(self, path: Path, force: bool = False) -> None:
        """Write the weights whole or not at all.

        Raises:
            WeightsError: a tensor holds NaN or infinity.
            OutputError: the file exists and `force` is false, or cannot be written.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        name = _first_not_finite(self.tensors)
        if name is not None:
            raise WeightsError(f"Tensor {name} holds NaN or infinity.", "Train again from an earlier checkpoint.")
        about = {**self.about(), "digest": self.digest}
        whole = {name: _stored_form(tensor) for name, tensor in self.tensors.items()}
        with atomic_output(path, force) as temporary:
            try:
                save_file(whole, temporary, metadata={KEY: canonical_json(about)})
            except SafetensorError as error:  # so it reports a full disk
                raise OSError(str(error)) from error

    def about(self) -> dict[str, Any]:
        """All but the tensors and the digest, ready for JSON."""
        return {
            "format": FORMAT,
            "codec": self.codec,
            "distribution": self.distribution,
            "version": self.version,
            "bitstream_version": self.bitstream_version,
            "config": self.config,
            "training": self.training,
            "licence": self.licence,
        }

    @classmethod
    def open(cls, path: Path) -> "Checkpoint":
        """Read weights and check them against their digest.

        Raises:
            WeightsError: not a weights file of codectk, damaged, with NaN or infinity, or newer than this program.
            InputError: the file is missing or unreadable.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        about = read_about(path)
        try:
            tensors = load(read_bytes(path))
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise _damaged(path, str(error)) from None
        values = {name: about[name] for name in _FIELDS if name not in ("format", "digest")}
        checkpoint = cls(tensors=tensors, **values)
        try:
            fits = checkpoint.digest == about["digest"]
        except ValueError:  # its description holds NaN or half a character, which canonical JSON does not
            fits = False
        if not fits:
            raise _damaged(path, "its tensors do not match its digest")
        name = _first_not_finite(tensors)
        if name is not None:
            raise _damaged(path, f"tensor {name[:64]!r} holds NaN or infinity")
        return checkpoint


def read_about(path: Path) -> dict[str, Any]:
    """The metadata of a weights file, without reading its tensors.

    Raises:
        WeightsError, InputError: see `Checkpoint.open`.
    """
    from safetensors import SafetensorError, safe_open

    check_file(path)
    try:
        with safe_open(path, framework="numpy") as stream:
            about = json.loads((stream.metadata() or {})[KEY])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError):
        raise WeightsError(
            f"{path} is not a weights file of codectk.", "Name a file that `codectk train` or `import-weights` wrote."
        ) from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise WeightsError(f"{path} has an unknown weights format.", "Update codectk-core.")
    if set(about) != set(_FIELDS) or not all(isinstance(about[name], kind) for name, kind in _FIELDS.items()):
        raise _damaged(path, "its description is incomplete")
    return about


def _first_not_finite(tensors: Mapping[str, Array]) -> str | None:
    """Name of a tensor that holds NaN or infinity, if there is one."""
    return next((n for n, t in tensors.items() if t.dtype.kind in "fc" and not np.isfinite(t).all()), None)


def _stored_form(tensor: Array) -> Array:
    """The tensor as a file holds it: little endian, in C order, of the same shape."""
    return np.asarray(tensor, tensor.dtype.newbyteorder("<"), order="C")


def _damaged(path: Path, reason: str) -> WeightsError:
    return WeightsError(f"{path} is damaged: {reason}.", "Copy or download it again.")
