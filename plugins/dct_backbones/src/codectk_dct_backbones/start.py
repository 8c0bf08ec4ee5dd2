"""Trained weights as the start of another training."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from codectk.checkpoint import Checkpoint
from codectk.errors import WeightsError
from codectk.runs import WEIGHTS
from codectk_dct_backbones.architecture import STEMS, Architecture
from codectk_dct_backbones.classifier import NETWORK, architecture_of, load_network, statistics_of
from codectk_dct_backbones.model import build
from codectk_dct_backbones.networks.classifier import Classifier
from codectk_dct_backbones.networks.start import start_from_rgb
from codectk_dct_backbones.pipeline import Coefficients
from codectk_dct_backbones.statistics import Statistics, same

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
    path, weights, found = _opened(path)
    if found.variant == architecture.variant:
        other = "".join(f"; they were trained with {difference}" for difference in differences(found, architecture))
        if found.classes == architecture.classes:
            load_network(network, weights)
            return f"starts from {path}{other}"
        fresh = {f"{NETWORK}{HEAD}{name}": value.numpy() for name, value in network.head.state_dict().items()}
        load_network(network, replace(weights, tensors={**weights.tensors, **fresh}))
        return f"starts from {path}, but for the head: it has {found.classes} classes{other}"
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


def check_same(path: Path, architecture: Architecture, classes: Sequence[str], statistics: Statistics | None) -> None:
    """Refuse to evaluate weights on another input or with other labels than they have learned.

    Names and shapes of tensors do not tell these apart.

    Args:
        path: see `start_from`.
        architecture: of the network that is evaluated.
        classes: of the pictures.
        statistics: that coefficients are normalised by.

    Raises:
        InputError: there is no such file.
        WeightsError: they were trained otherwise; with what is named.
    """
    path, weights, found = _opened(path)
    named = weights.config["classes"] or classes
    if found.classes != architecture.classes or [*named] != [*classes]:
        raise WeightsError(f"{path} holds a network of other classes.", "Evaluate it on pictures of its own classes.")
    if found.variant != architecture.variant:
        return  # what starts from an RGB network reads its input anew
    wrong = differences(found, architecture)
    if not same(statistics_of(weights, found), statistics):
        wrong.append("other --dct-stats")
    if wrong:
        raise WeightsError(
            f"{path} was trained with {', '.join(wrong)}.", "Evaluate it with the options that it was trained with."
        )


def differences(found: Architecture, architecture: Architecture) -> list[str]:
    """How the input of weights differs from that of a network of the same variant.

    Shapes do not tell how Cb and Cr share a stem's channels. Reconstruction may well go on with fewer coefficients.
    """
    names = ("range_mode", "compat") if architecture.reads_coefficients else ()
    wrong = [f"{name} {getattr(found, name)}" for name in names if getattr(found, name) != getattr(architecture, name)]
    if architecture.variant in STEMS and found.budget != architecture.budget:
        wrong.append(f"{' '.join(map(str, found.budget.counts))} coefficients of Y, Cb and Cr")
    return wrong


def _opened(path: Path) -> tuple[Path, Checkpoint, Architecture]:
    path = path / WEIGHTS if path.is_dir() else path
    weights = Checkpoint.open(path)
    return path, weights, architecture_of(weights)
