"""Weights that files can be made with: frozen tables, and on request networks in integers.

trained model ─ freeze ─ checkpoint with float networks: files open on the machine that made them
              ─ freeze, calibrate, quantise ─ checkpoint with integer networks: files open everywhere
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codectk.arrays import ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.dataset import Dataset, find_data
from codectk.errors import OptionsError
from codectk.options import Options, option
from codectk_crdr.codec import INTEGER, MODEL, TABLES, CrdrCodec
from codectk_crdr.model import CompressionModel
from codectk_crdr.options import EncodeOptions
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


class ExportOptions(Options):
    """How weights become integers."""

    data: str = option("photos", help="Folder of pictures to calibrate on, or a dataset's name.")
    val_data: str | None = option(None, help="Pictures to measure the cost on; part of --data if not given.")
    pictures: int = option(48, ge=1, le=4096, help="Pictures to calibrate on, and at most as many to measure on.")
    crop: int = option(256, ge=64, le=4096, multiple_of=64, unit="px", help="Side of the middle that is used of each.")


def export(weights: Checkpoint, options: ExportOptions, device: str) -> tuple[Checkpoint, dict[str, float]]:
    """Weights with integer networks, and what they cost.

    Args:
        weights: with float networks, as `codectk train` and `codectk import-weights` write them.
        options: pictures to calibrate and to measure on.
        device: where to compute.

    Returns:
        The weights, and `bits_over_float`: bits of the integer path over those of the float path, mean over all
        quality levels of the pictures to measure on, which are not those of the calibration.

    Raises:
        OptionsError: the weights have integer networks already.
    """
    if any(name.startswith(INTEGER) for name in weights.tensors):
        raise OptionsError("These weights have integer networks already.", "Name the weights that training wrote.")
    before = CrdrCodec.load(weights, device)
    train, val = find_data(options.data, options.val_data, ("image/rgb8",))
    crops, others = (_middles(data, options) for data in (train, val))
    model = before.model
    levels = model.options.levels
    qualities: list[float | None] = [None] if levels == 1 else [float(level) for level in range(levels)]
    knobs = [None if q is None else torch.tensor([q], device=before.device) for q in qualities]
    ranges = calibrate(model, ((as_tensor(x).to(before.device), knob) for x in crops for knob in knobs))
    integers = integer_arrays(model, ranges)
    made = checkpoint(model, weights.training, integers, weights.licence)
    after = CrdrCodec.load(made, device)
    bits = [sum(_bits(codec, x, q) for x in others for q in qualities) for codec in (before, after)]
    return made, {"bits_over_float": bits[1] / bits[0]}


def as_tensor(x: NDArray[np.uint8]) -> Tensor:
    """(1, 3, H, W) in [-1, 1] of a picture (H, W, 3)."""
    return torch.from_numpy(x.transpose(2, 0, 1).copy())[None].float() * (2 / 255) - 1


def _middles(data: Dataset, options: ExportOptions) -> list[NDArray[np.uint8]]:
    """The middle of each of the first pictures, extended to the size of the crop where it is smaller."""
    size = options.crop
    middles: list[NDArray[np.uint8]] = []
    for i in range(min(len(data), options.pictures)):
        x: NDArray[np.uint8] = data[i].x.astype(np.uint8)
        top, left = (max(0, (side - size) // 2) for side in x.shape[:2])
        part = x[top : top + size, left : left + size]
        middles.append(np.pad(part, [(0, size - part.shape[0]), (0, size - part.shape[1]), (0, 0)], mode="edge"))
    return middles


def _bits(codec: CrdrCodec, x: NDArray[np.uint8], quality: float | None) -> float:
    info = ArrayInfo("image/rgb8", x.shape)
    return codec.encode(x, info, EncodeOptions(quality=quality)).notes["predicted_bits"]
