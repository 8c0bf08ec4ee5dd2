"""Classifiers as weights: the network, what it is built of, how its input is prepared, and the names of its classes.

network.…             parameters and running statistics, by the names that modules have
statistics.mean       [3, 64] of Y, Cb and Cr, where coefficients are normalised
statistics.std
config                architecture, classes, side and resize of pictures, trim
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from codectk.checkpoint import Checkpoint
from codectk.device import pick_device
from codectk.errors import CodectkError, WeightsError
from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.data.preparation import Preparation
from codectk_dct_backbones.model import build
from codectk_dct_backbones.statistics import Floats, Statistics

CODEC = "dct_backbones"
DISTRIBUTION = "codectk-dct-backbones"
NETWORK = "network."
MEAN, STD = "statistics.mean", "statistics.std"
AGAIN = "Name weights that `codectk train dct_backbones.rgb` or `.compressed` wrote."


@dataclass(frozen=True)
class LoadedClassifier:
    """A classifier that is ready for use.

    Attributes:
        network: in evaluation mode, on its device.
        architecture: what it was built of.
        classes: names, by number; empty if they are not known.
        preparation: from pixels, or coefficients as they are, to its input.
        resize: short side of pictures, of which the middle is looked at.
    """

    network: nn.Module
    architecture: Architecture
    classes: tuple[str, ...]
    preparation: Preparation
    resize: int

    @torch.no_grad()
    def logits(self, pixels: Tensor) -> Tensor:
        """Logits [B, classes] of pictures.

        Args:
            pixels: [B, 3, H, W], uint8, already cut to `architecture.image_size`; on any device.
        """
        device = next(self.network.parameters()).device
        x = self.preparation((pixels.to(device),))
        logits: Tensor = self.network(self.preparation.payload(x))
        return logits.float()


def checkpoint(
    network: nn.Module,
    architecture: Architecture,
    *,
    classes: Sequence[str] = (),
    statistics: Statistics | None = None,
    trim: bool = True,
    resize: int | None = None,
    training: Mapping[str, Any] | None = None,
    licence: str = "that of the training data",
) -> Checkpoint:
    """Weights of a classifier.

    Args:
        network: of `model.build`.
        architecture: what it was built of.
        classes: names, by number.
        statistics: that its coefficients are normalised by.
        trim: whether channels outside of the budget are left out of its input.
        resize: short side of pictures before the middle is cut out; by default as for ImageNet.
        training: how it came about, for the record.
        licence: terms of the weights.
    """
    tensors = {NETWORK + name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    if statistics is not None:
        tensors |= {MEAN: statistics.mean, STD: statistics.std}
    config = {
        "architecture": architecture.changed(),
        "classes": list(classes),
        "trim": trim,
        "resize": resize or round(architecture.image_size * 256 / 224),
    }
    return Checkpoint(
        tensors=tensors,
        codec=CODEC,
        distribution=DISTRIBUTION,
        version=version(DISTRIBUTION),
        bitstream_version=0,
        config=config,
        training=dict(training or {}),
        licence=licence,
    )


def load_classifier(weights: Checkpoint, device: str = "auto") -> LoadedClassifier:
    """The classifier that weights hold.

    Args:
        weights: as `checkpoint` makes them.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        WeightsError: they are of something else, or do not fit their own description.
        OptionsError: there is no such device.
    """
    architecture = architecture_of(weights)
    network = build(architecture)
    load_network(network, weights)
    config, place = weights.config, pick_device(device)
    preparation = Preparation(architecture, config["trim"], statistics_of(weights, architecture))
    return LoadedClassifier(
        network.to(place).eval(), architecture, tuple(config["classes"]), preparation, config["resize"]
    )


def architecture_of(weights: Checkpoint) -> Architecture:
    """What the network of weights is built of.

    Raises:
        WeightsError: see `load_classifier`.
    """
    if weights.codec != CODEC:
        raise WeightsError(f"These are weights of {weights.codec}, not of a classifier.", AGAIN)
    config = weights.config
    try:
        architecture = Architecture.parse(config["architecture"], "the weights")
        classes, resize = config["classes"], config["resize"]
        fits = isinstance(classes, list) and len(classes) in (0, architecture.classes)
        fits = fits and all(isinstance(name, str) for name in classes) and isinstance(config["trim"], bool)
        fits = fits and type(resize) is int and architecture.image_size <= resize <= 1 << 16
        head = weights.tensors[NETWORK + "head.weight"]
        fits = fits and len(head) == architecture.classes
    except (KeyError, TypeError, CodectkError) as error:
        raise WeightsError(f"The weights describe no classifier: {error}.", AGAIN) from None
    if not fits:
        raise WeightsError("The weights describe no classifier.", AGAIN)
    return architecture


def load_network(network: nn.Module, weights: Checkpoint) -> None:
    """Take the parameters over.

    Raises:
        WeightsError: names or shapes are not those of the network.
    """
    found = {
        name.removeprefix(NETWORK): torch.from_numpy(np.array(array))
        for name, array in weights.tensors.items()
        if name.startswith(NETWORK)
    }
    try:
        network.load_state_dict(found)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"The weights do not fit this network: {reason}.", AGAIN) from None


def statistics_of(weights: Checkpoint, architecture: Architecture) -> Statistics | None:
    """What coefficients are normalised by, if they are.

    Raises:
        WeightsError: these are no statistics.
    """
    mean, std = weights.tensors.get(MEAN), weights.tensors.get(STD)
    if mean is None and std is None:
        return None
    fits = all(table is not None and table.shape == (3, 64) and table.dtype == np.float32 for table in (mean, std))
    if mean is None or std is None or not fits:
        raise WeightsError("The weights hold damaged statistics.", AGAIN)
    return Statistics(cast(Floats, mean), cast(Floats, std), architecture.range_mode)
