"""Weights in the layout in which the method's authors publish them, made into weights of codectk.

    config.json ──────────────────────────> ModelOptions ──────────────┐ shapes
    merged.{n}.encoders.{s}.…  of every n ─> encoders.{s}.…  once ─────┤
    merged.{n}.decoder.…       of every n ─> merged.{n}.decoder.…  ────┴──> Checkpoint

The filters of a smaller n are the leading rows of those of a larger n. Tensors are read one by one, and those of an n
that is not wanted never; a tensor is read only where its type and shape are the expected ones.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from codectk.errors import CodectkError, InputError, OptionsError, WeightsError
from codectk.files import check_file, read_bytes
from codectk.options import IntList, Options, option
from codectk.published import shown
from codectk_frappe.options import Each, ModelOptions
from codectk_frappe.plugin import READS

if TYPE_CHECKING:
    from codectk.arrays import Array
    from codectk.checkpoint import Checkpoint

DISTRIBUTION = "codectk-frappe"

MAX_CONFIG_BYTES = 1 << 20
"""Larger configurations are refused."""

TRAINED = "n_trained"
"""Key of the configuration: channels that are trained; `ps` may list more."""

MODEL = (
    "ps",
    "decoder_ps",
    "input_channels",
    "decoder_dim",
    "decoder_kernel_size",
    "decoder_arch",
    "decoder_mlp_ratio",
    "decoder_layerscale",
    "decoder_layerscale_init",
    "encoder_arch",
    "linear_input",
)
"""Keys of the configuration without which there is no model."""

TRAINING = frozenset(
    {
        *("lam", "rpe", "encoder_lr_scale", "sc_max_lr", "sc_lr_pow", "md_max_lr", "md_lr_pow", "min_lr", "grad_clip"),
        *("merged_decoder_noise", "merged_decoder_round", "epochs_single", "epochs_merged", "batch_size"),
        *("min_aspect", "max_aspect", "min_size", "max_size", "min_scale", "max_scale"),
        *("train_ds", "val_ds", "dataset_samples", "num_workers", "device", "save_checkpoint_name"),
        *("resume_checkpoint", "resume_channels"),
    }
)
"""Keys that tell how the weights came about: kept as a record, and not needed."""

AGAIN = "Download it again."
_NAME = re.compile(r"merged\.([1-9][0-9]{0,3})\.(.+)", re.DOTALL)
_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")


class ImportOptions(Options):
    """What to take of published weights."""

    channels: Annotated[IntList, Each(ge=1)] = option(
        (), help="Numbers of channels to keep a decoder for; all if not given."
    )


def import_weights(files: Sequence[Path], options: ImportOptions) -> Checkpoint:
    """Published weights as a checkpoint of mode progressive.

    Args:
        files: the configuration (JSON), then the tensors (safetensors; float32, or float16 and bfloat16, which become
            float32).
        options: which decoders to keep; the filters are those of the largest number of channels among them.

    Raises:
        InputError: not two files, or one is missing or unreadable.
        OptionsError: a number of channels is wanted that was not trained.
        WeightsError: a file is damaged or something else, or the two do not belong together.
    """
    from codectk.checkpoint import Checkpoint

    if len(files) != 2:
        raise InputError(
            f"frappe is imported from two files, not {len(files)}.", "Name CONFIG.json and MODEL.safetensors."
        )
    config_path, weights_path = files
    model, record = read_config(config_path)
    kept = _wanted(options.channels, len(model.ps), config_path)
    with _open(weights_path) as source:
        source.check_names(model, kept)
        tensors = _encoders(source, model, kept)
        for n in kept:
            prefix = f"merged.{n}.decoder."
            tensors |= {prefix + name: source.read(prefix + name, s) for name, s in model.decoder_shapes(n).items()}
    names = (os.fsencode(path.name).decode(errors="replace") for path in files)
    return Checkpoint(
        tensors=tensors,
        codec="frappe",
        distribution=DISTRIBUTION,
        version=version(DISTRIBUTION),
        bitstream_version=READS[-1],
        config=_first(model, kept[-1]).changed(),
        training={"imported": list(names), "options": record},
    )


def read_config(path: Path) -> tuple[ModelOptions, dict[str, Any]]:
    """The architecture of the trained channels, and what else the configuration says of the training.

    Raises:
        InputError: the file is missing, unreadable or too large.
        WeightsError: it is not such a configuration.
    """
    values = _json_object(path)
    missing = [name for name in (*MODEL, TRAINED) if name not in values]
    if missing:
        raise WeightsError(
            f"{path} lacks {', '.join(missing)}.", "Take the config.json that is published beside the weights."
        )
    unknown = sorted(set(values) - {*MODEL, TRAINED} - TRAINING)
    if unknown:
        raise WeightsError(
            f"{path} has the unknown key {shown(unknown[0])}.",
            "Update codectk-frappe; or, if the model does not depend on the key, delete it from a copy of the file.",
        )
    try:
        whole = ModelOptions.parse({name: values[name] for name in MODEL}, str(path))
    except CodectkError as error:
        raise WeightsError(error.problem, AGAIN) from None
    trained = values[TRAINED]
    if type(trained) is not int or not 1 <= trained <= len(whole.ps):
        raise WeightsError(f"{path}: {TRAINED} is {shown(trained)}, not from 1 to {len(whole.ps)}.", AGAIN)
    return _first(whole, trained), {name: value for name, value in values.items() if name in TRAINING}


def _json_object(path: Path) -> dict[str, Any]:
    data = read_bytes(path, MAX_CONFIG_BYTES)
    try:
        values = json.loads(data)
        json.dumps(values, allow_nan=False, ensure_ascii=False).encode()  # neither NaN nor half characters
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise WeightsError(
            f"{path} is not a configuration in JSON.", "Name the files in this order: CONFIG.json MODEL.safetensors."
        )
    return values


def _first(model: ModelOptions, n: int) -> ModelOptions:
    """The same architecture with the first n channels alone; the pitch stays that of all."""
    return ModelOptions.parse({**model.changed(), "ps": model.ps[:n], "decoder_ps": model.pitch})


def _wanted(channels: Sequence[int], trained: int, path: Path) -> list[int]:
    """The numbers of channels to keep, rising."""
    kept = sorted(set(channels)) or list(range(1, trained + 1))
    if kept[-1] > trained:
        raise OptionsError(
            f"{path} has {trained} trained channels, not {kept[-1]}.", f"Choose --channels from 1 to {trained}."
        )
    return kept


def encoder_shapes(model: ModelOptions, n: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter of the filters of the first `n` channels."""
    scalars = ("1.compand.sigma",) if model.encoder_arch == "LF8" else ("1.0._σ", "1.2.γ")
    shapes: dict[str, tuple[int, ...]] = {}
    for s, group in enumerate(model.groups(n)):
        shapes[f"encoders.{s}.0.weight"] = (group.count, model.input_channels, group.ps, group.ps)
        shapes |= {f"encoders.{s}.{name}": (group.count,) for name in ("0.bias", *scalars)}
    return shapes


def _encoders(source: _Source, model: ModelOptions, kept: Sequence[int]) -> dict[str, Array]:
    """The filters of the largest n, after a check that those of every other n are their leading rows."""
    whole = {name: source.read(f"merged.{kept[-1]}.{name}", s) for name, s in encoder_shapes(model, kept[-1]).items()}
    for n in kept[:-1]:
        for name, shape in encoder_shapes(model, n).items():
            if (source.read(f"merged.{n}.{name}", shape) != whole[name][: shape[0]]).any():
                raise WeightsError(
                    f"{source.path}: merged.{n}.{name} differs from that of {kept[-1]} channels.",
                    f"The filters of all decoders must be the same; keep one alone: --channels {n}.",
                )
    return whole


class _Source:
    """Tensors of a safetensors file whose header has been checked."""

    def __init__(self, path: Path, stream: Any) -> None:
        self.path = path
        self.stream = stream
        self.names = set(stream.keys())

    def check_names(self, model: ModelOptions, kept: Sequence[int]) -> None:
        """Refuse tensors that have no place in the layout.

        Raises:
            WeightsError: there is one.
        """
        places = {n: {*encoder_shapes(model, n)} | {f"decoder.{x}" for x in model.decoder_shapes(n)} for n in kept}
        for name in sorted(self.names):
            found = _NAME.fullmatch(name)
            n = int(found[1]) if found else 0
            if not found or n > len(model.ps) or (n in places and found[2] not in places[n]):
                raise WeightsError(
                    f"{self.path}: tensor {shown(name)} has no place in published frappe weights of this config.",
                    "Name a config.json and a model file that were published together.",
                )

    def read(self, name: str, shape: tuple[int, ...]) -> Array:
        """A tensor as float32.

        Raises:
            WeightsError: it is missing, of another shape or type, or holds NaN or infinity.
        """
        import numpy as np

        if name not in self.names:
            step = "Name a config.json and a model file that were published together, or keep others with --channels."
            raise WeightsError(f"{self.path}: tensor {name} is missing.", step)
        header = self.stream.get_slice(name)
        kind, found = header.get_dtype(), tuple(header.get_shape())
        if found != shape or kind not in ("F32", "F16", "BF16"):
            raise WeightsError(
                f"{self.path}: tensor {name} is {kind} {found}, not F32, F16 or BF16 {shape}.",
                "Name a config.json and a model file that were published together.",
            )
        tensor = _bfloat16(self.path, name) if kind == "BF16" else self.stream.get_tensor(name)
        if not np.isfinite(tensor).all():
            raise WeightsError(f"{self.path}: tensor {name} holds NaN or infinity.", AGAIN)
        return np.ascontiguousarray(tensor, np.float32)


def _bfloat16(path: Path, name: str) -> Array:
    """A tensor whose type numpy lacks."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stream:
        values: Array = stream.get_tensor(name).float().numpy()
        return values


@contextmanager
def _open(path: Path) -> Iterator[_Source]:
    """The tensors of a file.

    Raises:
        InputError: it is missing or unreadable.
        WeightsError: it is no safetensors file, or codectk's own already.
    """
    from safetensors import SafetensorError, safe_open

    check_file(path)
    try:
        stream = safe_open(path, framework="numpy")
    except (SafetensorError, OSError, ValueError) as error:
        raise _not_safetensors(path) from error
    with stream as opened:
        if "codectk" in (opened.metadata() or {}):
            raise WeightsError(f"{path} is a weights file of codectk already.", "Use it as it is, with -w.")
        yield _Source(path, opened)


def _not_safetensors(path: Path) -> WeightsError:
    with path.open("rb") as stream:
        start = stream.read(4)
    if path.suffix.lower() in _PICKLES or start == b"PK\x03\x04":
        return WeightsError(
            f"{path} is a pickle, which can run any program when it is opened; codectk opens none.",
            "Take the .safetensors file that is published beside it, or convert it with safetensors.torch.save_file "
            "where you trust it.",
        )
    return WeightsError(f"{path} is damaged, or not a safetensors file.", AGAIN)
