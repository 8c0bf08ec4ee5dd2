"""Parts of weights files: networks to tensors and back."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from codectk.checkpoint import Checkpoint
from codectk.errors import WeightsError
from codectk.options import Options
from codectk_caesar_freq.architecture import (
    BITSTREAM_VERSION,
    CODEC,
    DISTRIBUTION,
    TENSORS,
    CompressorConfig,
    FrequencyConfig,
    StudentConfig,
    UNetConfig,
    WindowConfig,
    config_of,
    frequency_of,
    parts_of,
)
from codectk_caesar_freq.learned.compressor import FrequencyCompressor, frozen_tables
from codectk_caesar_freq.learned.diffusion import Diffusion
from codectk_caesar_freq.learned.student import Student
from codectk_caesar_freq.learned.unet import UNet

TABLES = "tables."
"""How names of the compressor's frozen tables begin, within the part."""


def build(config: Options, latents: int) -> nn.Module:
    """A network by its architecture, with fresh weights.

    Args:
        config: of a part.
        latents: planes that diffusion and student predict.
    """
    if isinstance(config, CompressorConfig):
        return FrequencyCompressor(config.low_freq_size, config.latent_channels, config.hyper_channels)
    if isinstance(config, UNetConfig):
        sizes = (config.dim, config.dim_mults, config.steps, config.heads, config.head_width)
        return Diffusion(UNet(latents, *sizes, config.activation), config.steps, config.prediction)
    if isinstance(config, StudentConfig):
        return Student(latents, config.base_channels, config.channel_mults, config.num_res_blocks, config.activation)
    raise TypeError(f"{type(config).__name__} is the architecture of no part")


def load_part(checkpoint: Checkpoint, name: str) -> nn.Module:
    """A network of a weights file, on the CPU, ready for inference.

    Args:
        checkpoint: the weights.
        name: one of `PARTS`.

    Raises:
        WeightsError: they lack that part, or their tensors do not fit their configuration.
    """
    configs = parts_of(checkpoint)
    if name not in configs:
        there = ", ".join(configs) or "none"
        raise WeightsError(f"The weights have no part {name} (parts: {there}).", "Train that phase, or merge it in.")
    place = f"{name}."
    tensors = {
        key.removeprefix(place): torch.from_numpy(np.array(value))
        for key, value in checkpoint.tensors.items()
        if key.startswith(place) and not key.startswith(place + TABLES)
    }
    single = {key: value.float() if value.dtype == torch.float16 else value for key, value in tensors.items()}
    try:
        with torch.device("meta"):  # a configuration allocates nothing; memory comes from the file's tensors
            network = build(configs[name], frequency_of(checkpoint).latent_channels)
        own = {key: value.dtype for key, value in network.state_dict().items()}
        if own != {key: value.dtype for key, value in single.items()}:
            raise RuntimeError("names or types of tensors differ")
        network.load_state_dict(single, assign=True)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"The weights' part {name} is damaged: {reason}.", "Train it again.") from None
    if isinstance(network, Diffusion):
        network.check()
    return network.requires_grad_(False).eval()


def export_part(
    name: str,
    network: nn.Module,
    config: Options,
    frequency: FrequencyConfig,
    window: WindowConfig | None,
    training: Mapping[str, Any],
) -> Checkpoint:
    """Weights of one part.

    Args:
        name: one of `PARTS`.
        network: trained.
        config: its architecture.
        frequency: the transform.
        window: of diffusion and student.
        training: how, for the record.
    """
    state = network.state_dict()
    tensors: dict[str, NDArray[Any]] = {f"{name}.{key}": value.cpu().numpy() for key, value in state.items()}
    if isinstance(network, FrequencyCompressor):
        tensors |= {f"{name}.{TABLES}{key}": value for key, value in frozen_tables(network).items()}
    return make_checkpoint(tensors, config_of(frequency, window, **{name: config}), training)


def make_checkpoint(
    tensors: Mapping[str, NDArray[Any]],
    config: dict[str, Any],
    training: Mapping[str, Any],
    licence: str = "that of the training data",
) -> Checkpoint:
    """A weights file of this codec. It knows how many tensors it has, so that a part is missed before it is used."""
    config = {**config, TENSORS: len(tensors)}
    return Checkpoint(
        tensors=tensors,
        codec=CODEC,
        distribution=DISTRIBUTION,
        version=version(DISTRIBUTION),
        bitstream_version=BITSTREAM_VERSION,
        config=config,
        training=dict(training),
        licence=licence,
    )
