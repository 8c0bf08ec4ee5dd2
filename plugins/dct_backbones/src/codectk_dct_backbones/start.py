"""Trained weights as the start of another training."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from codectk.checkpoint import Checkpoint
from codectk.errors import WeightsError
from codectk.runs import WEIGHTS
from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.classifier import NETWORK, architecture_of, load_network
from codectk_dct_backbones.model import build
from codectk_dct_backbones.networks.classifier import Classifier
from codectk_dct_backbones.networks.start import start_from_rgb
from codectk_dct_backbones.pipeline import Coefficients

HEAD = "head."

Normalise = Callable[[Coefficients], Coefficients]


def start_from(
    network: Classifier,
    architecture: Architecture,
    path: Path,
    samples: Callable[[], Sequence[Coefficients]],
    normalise: Normalise,
) -> str:
    """Take over what weights have learned.

    Args:
        network: changed in place. Its head stays as it is if the weights have another number of classes.
        architecture: of the network.
        path: weights, or a run folder, of the same variant, or of the RGB network of the same backbone.
        samples: makes batches of all 64 coefficients, not normalised, for what is fitted to them.
        normalise: makes of them what the network is fed with.

    Returns:
        What was done, for the user.

    Raises:
        InputError: there is no such file.
        WeightsError: they are of another network.
        OptionsError: widths differ.
    """
    path = path / WEIGHTS if path.is_dir() else path
    weights = Checkpoint.open(path)
    found = architecture_of(weights)
    if found.variant == architecture.variant:
        if found.classes == architecture.classes:
            load_network(network, weights)
            return f"starts from {path}"
        fresh = {f"{NETWORK}{HEAD}{name}": value.numpy() for name, value in network.head.state_dict().items()}
        load_network(network, replace(weights, tensors={**weights.tensors, **fresh}))
        return f"starts from {path}, but for the head: it has {found.classes} classes"
    if found.variant != "rgb":
        raise WeightsError(
            f"{path} holds a network of variant {found.variant}, not {architecture.variant}.",
            "Start from weights of the same variant, or of variant rgb.",
        )
    rgb = build(found)
    load_network(rgb, weights)
    drawn = samples() if architecture.variant == "full-grid" else []
    left = start_from_rgb(network, rgb, drawn, architecture.range_mode, normalise)
    fitted = "" if left is None else f"; the stem is fitted, {left:.0%} of the variance is left"
    return f"starts from the RGB network {path}{fitted}"
