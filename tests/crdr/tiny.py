"""Small models with random weights whose latents and scales take many values, and pictures for them."""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codectk.arrays import ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk_crdr.context import ChannelContext, SpaceChannelContext
from codectk_crdr.export import as_tensor, checkpoint
from codectk_crdr.model import CompressionModel
from codectk_crdr.options import ModelOptions
from codectk_crdr.quantise import calibrate, integer_arrays

CONTEXTS = ("none", "channel", "space_channel")

TINY: dict[str, Any] = {
    "levels": 3,
    "latent_channels": 16,
    "hyper_channels": 8,
    "hyper_width": 12,
    "encoder_width": 8,
    "encoder_middle": 4,
    "decoder_width": 8,
    "decoder_middle": 4,
    "blocks": 1,
    "attention": False,
    "condition_channels": 4,
    "slices": 4,
    "support_slices": 2,
    "groups": "2,4,10",
    "context_width": "12,8",
    "aggregation_width": "16,12",
}


def tiny_options(**changes: Any) -> ModelOptions:
    return ModelOptions.parse({**TINY, **changes})


def tiny_model(**changes: Any) -> CompressionModel:
    """Random networks that neither amplify nor damp: y spreads by about 4, z by 3, and scales up to 10."""
    torch.manual_seed(7)
    model = CompressionModel(tiny_options(**changes)).eval().requires_grad_(False)
    for part in (model.encoder, model.hyperencoder, model.hyperdecoder, model.context_model):
        for module in part.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.uniform_(module.bias, -0.5, 0.5)  # type: ignore[arg-type]
    x, q = as_tensor(photo(96, 128)), knob(model)
    _spread(model.encoder.conv4, 4, model.encoder(x, q))
    plain = model.options.context == "none"
    _spread(model.hyperencoder.conv5 if plain else model.hyperencoder.conv3, 3, model.hyperencoder(model.encoder(x, q)))
    _raise_scales(model)
    model.entropy_model_z.quantiles.add_(torch.linspace(-0.4, 0.4, model.options.hyper_channels)[:, None, None])
    return model


def _raise_scales(model: CompressionModel) -> None:
    """Let most scales be positive."""
    context, hyper = model.context_model, model.hyperdecoder
    if isinstance(context, ChannelContext):
        layers = [cast(Any, net).model[4] for net in context.scale_slice_transforms]
    elif isinstance(context, SpaceChannelContext):
        layers = [cast(Any, net)[4] for net in context.aggregation]
    else:
        layers = [cast(Any, hyper).conv5]
    for layer in layers:
        half = 0 if isinstance(context, ChannelContext) else len(layer.bias) // 2
        layer.weight[half:] *= 0.3
        layer.bias[half:] += 2


def _spread(last: Any, wanted: float, output: Tensor) -> None:
    """Scale the layer that made an output."""
    last.weight *= wanted / output.std()
    last.bias *= wanted / output.std()


def photo(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth picture with some noise, (H, W, 3)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / (5 + c)) * np.cos(columns / (7 - c)) for c in range(3)]
    x = 127 + 90 * np.stack(waves, axis=2) + rng.normal(0, 12, (height, width, 3))
    return np.clip(x, 0, 255).astype(np.uint8)


def info_of(x: NDArray[np.uint8]) -> ArrayInfo:
    return ArrayInfo("image/rgb8", x.shape)


def knob(model: CompressionModel, value: float = 1.0) -> Tensor | None:
    return None if model.options.levels == 1 else torch.tensor([value])


def exact_arrays(model: CompressionModel) -> dict[str, NDArray[Any]]:
    """The model's networks in integers, calibrated on two pictures."""
    ranges = calibrate(model, [(as_tensor(photo(192, 192, seed)), knob(model)) for seed in (1, 2)])
    return integer_arrays(model, ranges)


def exact_weights(model: CompressionModel) -> Checkpoint:
    """Weights with networks in integers."""
    return checkpoint(model, {}, exact_arrays(model))
