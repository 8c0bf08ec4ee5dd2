"""Weights that files can be made with: frozen tables, and on request networks in integers.

trained model ─ freeze ─ checkpoint with float networks: files open on the machine that made them
              ─ freeze, calibrate, quantise ─ checkpoint with integer networks: files open everywhere
"""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codectk.checkpoint import Checkpoint
from codectk_crdr.codec import INTEGER, MODEL, TABLES, CrdrCodec
from codectk_crdr.model import CompressionModel
from codectk_crdr.quantise import calibrate, integer_arrays
from codectk_crdr.tables import freeze

DISTRIBUTION = "codectk-crdr"
BITSTREAM_VERSION = 1
SELECTING = ("hyperdecoder.", "context_model.")
"""Networks that select probabilities."""


def checkpoint(
    model: CompressionModel,
    training: Mapping[str, Any],
    integers: Mapping[str, NDArray[Any]] | None = None,
    licence: str = "that of the training data",
) -> Checkpoint:
    """Weights for `compress`.

    Args:
        model: trained.
        training: how, for the record.
        integers: from `quantise.integer_arrays`; then the float networks that they stand for are left out, and the
            others are stored in half precision.
        licence: terms of the weights.
    """
    tensors: dict[str, NDArray[Any]] = {}
    for name, value in model.state_dict().items():
        array = value.detach().float().cpu().numpy()
        if integers is None:
            tensors[MODEL + name] = array
        elif not name.startswith(SELECTING):
            half = not name.startswith("entropy_model_z.")
            tensors[MODEL + name] = array.astype(np.float16) if half else array
    tensors |= {TABLES + name: array for name, array in freeze(model.entropy_model_z).items()}
    tensors |= {INTEGER + name: array for name, array in (integers or {}).items()}
    return Checkpoint(
        tensors=tensors,
        codec="crdr",
        distribution=DISTRIBUTION,
        version=version(DISTRIBUTION),
        bitstream_version=BITSTREAM_VERSION,
        config=model.options.changed(),
        training=dict(training),
        licence=licence,
    )


def to_integers(
    model: CompressionModel, crops: Iterator[Tensor], training: Mapping[str, Any], licence: str
) -> Checkpoint:
    """Weights whose files open on every machine.

    Args:
        model: trained, in eval mode.
        crops: batches (B, 3, H, W) in [-1, 1] to calibrate on.
    """
    levels = model.options.levels
    qualities = [None] if levels == 1 else [torch.tensor([float(level)]) for level in range(levels)]
    batches = ((x, q) for x in crops for q in qualities)
    return checkpoint(model, training, integer_arrays(model, calibrate(model, batches)), licence)


def predicted_bits(codec: CrdrCodec, pictures: list[NDArray[np.uint8]], quality: float | None) -> float:
    """Information of pictures (H, W, 3), sides multiples of 64, as a codec's networks predict it."""
    from codectk.arrays import ArrayInfo
    from codectk_crdr.options import EncodeOptions

    options = EncodeOptions(quality=quality)
    return sum(codec.encode(x, ArrayInfo("image/rgb8", x.shape), options).notes["predicted_bits"] for x in pictures)
