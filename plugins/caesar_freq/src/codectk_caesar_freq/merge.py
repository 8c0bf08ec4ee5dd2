"""`codectk caesar-freq merge`: the weights of the phases in one file, with named parts.

freq_compressor.…          phase 1
diffusion.…                phase 2
single_step_diffusion.…    phase 3
background.…               what variables usually look like, if there is one
contexts.…                 the context network of the fitted wavelet, if there is one
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from codectk.checkpoint import Checkpoint
from codectk.errors import WeightsError
from codectk.files import refuse_existing
from codectk.options import Options, WordList, among, option
from codectk_caesar_freq.architecture import (
    BACKGROUND,
    COMPRESSOR,
    CONTEXTS,
    DIFFUSION,
    NETWORKS,
    STUDENT,
    config_of,
    frequency_of,
    parts_of,
    window_of,
)
from codectk_caesar_freq.background import Backgrounds
from codectk_caesar_freq.contexts import Contexts

Parts = Annotated[WordList, among(NETWORKS, "part")]


class MergeOptions(Options):
    """Which weights become one file."""

    freq_compressor: str | None = option(None, help="Weights of phase 1.")
    diffusion: str | None = option(None, help="Weights of phase 2.")
    single_step_diffusion: str | None = option(None, help="Weights of phase 3.")
    background: str | None = option(None, help="Weights of backgrounds, which no phase needs.")
    contexts: str | None = option(None, help="Weights of the context network, which no phase needs.")
    without: Parts = option((), help=f"Parts that are left out: {', '.join(NETWORKS)}.")
    output: str = option(cli="-o", help="File to write.")
    half: bool = option(False, help="Keep weights in half precision, which halves the file.")
    licence: str = option("that of the training data", help="Terms of the weights, for the record.")
    force: bool = option(False, help="Replace the output if it exists.")


def merge(options: MergeOptions) -> dict[str, Any]:
    """Combine the weights of phases.

    Args:
        options: which, and where to.

    Returns:
        What was written: the file, its parts with their numbers of weights, bytes, digest.

    Raises:
        InputError: a file is missing or unreadable.
        WeightsError: a part is not named, not in its file, or damaged; or two files have other transforms or windows.
        OutputError: the output exists already, or cannot be written.
    """
    output = Path(options.output)
    refuse_existing(output, options.force)
    opened = {name: Checkpoint.open(path) for name, path in _paths(options).items()}
    merged = combined(opened, options.half, options.licence)
    merged.save(output, options.force)
    counts = {
        name: sum(int(t.size) for key, t in merged.tensors.items() if key.startswith(f"{name}.")) for name in opened
    }
    shown = {name: f"{count:,} numbers" for name, count in counts.items()}
    return {"output": str(output), **shown, "bytes": output.stat().st_size, "digest": merged.digest}


def combined(opened: Mapping[str, Checkpoint], half: bool = False, licence: str = "") -> Checkpoint:
    """One checkpoint of several.

    Args:
        opened: name of a part → weights that hold it.
        half: keep weights in half precision.
        licence: terms of the result.

    Raises:
        WeightsError: a part is not in its weights or damaged, or weights do not fit together.
    """
    from codectk_caesar_freq.learned.parts import load_part, make_checkpoint

    tensors: dict[str, NDArray[Any]] = {}
    configs: dict[str, Options] = {}
    for name, checkpoint in opened.items():
        if name in NETWORKS:
            load_part(checkpoint, name)  # checks that all is there and fits
        elif name not in parts_of(checkpoint) or not _extra(checkpoint, name):
            raise WeightsError(f"The weights have no part {name}.", "Train it, or leave it out.")
        configs[name] = parts_of(checkpoint)[name]
        found = {key: tensor for key, tensor in checkpoint.tensors.items() if key.startswith(f"{name}.")}
        tensors |= {key: _stored(key, tensor, half) for key, tensor in found.items()}
    networks = {name: c for name, c in opened.items() if name in NETWORKS}
    frequency = _same({name: frequency_of(c) for name, c in networks.items()}, "transform") if networks else None
    windows = {name: window_of(c) for name, c in networks.items() if name != COMPRESSOR}
    window = _same(windows, "windows") if windows else None
    training = {name: checkpoint.training for name, checkpoint in opened.items()}
    return make_checkpoint(tensors, config_of(frequency, window, **configs), training, licence)


def _extra(checkpoint: Checkpoint, name: str) -> bool:
    """Check a part that is no network of torch; whether it holds anything."""
    if name == CONTEXTS:
        return Contexts.load(checkpoint) is not None
    return bool(Backgrounds.load(checkpoint).entries)


def _paths(options: MergeOptions) -> dict[str, Path]:
    """Part → file, of those that are not left out."""
    named = {
        COMPRESSOR: options.freq_compressor,
        DIFFUSION: options.diffusion,
        STUDENT: options.single_step_diffusion,
    }
    found: dict[str, Path] = {}
    for name, path in named.items():
        if (path is None) != (name in options.without):
            problem = "is not named" if path is None else "is both named and left out"
            flag = f"--{name.replace('_', '-')}"
            raise WeightsError(f"Part {name} {problem}.", f"Name its weights with {flag}, or add --without {name}.")
        if path is not None:
            found[name] = Path(path)
    extras = {BACKGROUND: options.background, CONTEXTS: options.contexts}
    found |= {name: Path(path) for name, path in extras.items() if path is not None}
    if not found:
        raise WeightsError("All parts are left out.", "Name at least one.")
    return found


def _same(values: Mapping[str, Any], what: str) -> Any:
    """The one value that all parts have."""
    first = next(iter(values))
    for name, value in values.items():
        if value != values[first]:
            difference = ", ".join(sorted(set(_items(value)) ^ set(_items(values[first]))))
            raise WeightsError(
                f"Parts {first} and {name} have other {what}: {difference}.", "Train one of them to fit the other."
            )
    return values[first]


def _items(value: Options) -> list[str]:
    return [f"{name} {item}" for name, item in value.model_dump().items()]


def _stored(name: str, tensor: NDArray[Any], half: bool) -> NDArray[Any]:
    """A tensor as it is kept: weights in half precision if that is asked for, and tables as they are."""
    network = name.partition(".")[0] in NETWORKS
    if not (half and network) or tensor.dtype != np.float32 or name.startswith(f"{COMPRESSOR}.prior."):
        return tensor
    with np.errstate(over="ignore"):
        made = tensor.astype(np.float16)
    return made if np.isfinite(made).all() else tensor
