"""The short way for notebooks and scripts: arrays to `.ctk` files and back in one call each.

packed = codectk.compress(picture, "jpeg", quality=60)
packed.save("photo.ctk")
picture = codectk.open("photo.ctk")
"""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from codectk.arrays import KINDS, Array, ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.compression import Compressed, codec_name, load_codec
from codectk.container import MAGIC, unpack
from codectk.errors import InputError
from codectk.files import check_file, read_bytes
from codectk.inputs import read_array, value_range
from codectk.registry import get_registry
from codectk.specs import CodecSpec

_IMAGES = {("uint8", 1): "image/gray8", ("uint8", 3): "image/rgb8", ("uint8", 4): "image/rgba8"}
_IMAGES[("uint16", 1)] = "image/gray16"
_FIELDS = {kind.dtype: name for name, kind in KINDS.items() if not kind.channels}

Weights = str | PathLike[str] | Checkpoint | None


def compress(x: Any, codec: str, *, weights: Weights = None, device: str = "cpu", **options: Any) -> Compressed:
    """The `.ctk` file of a picture or field, in memory.

    Args:
        x: picture, uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) or uint16 (H, W) or (H, W, 1); or field, float32 or
            float64 of 1 to 5 axes; or anything that `numpy.asarray` turns into one.
        codec: its name, as `codectk list codecs` shows it.
        weights: a weights file, or weights in memory, for a codec that ships none.
        device: torch's name of a device.
        options: encode options of the codec, as `codectk info CODEC` shows them.

    Raises:
        CodectkError: no such codec or option, or an array that it does not take.
    """
    loaded = load_codec(codec, _checkpoint(weights), device)
    array, info = described(x)
    return loaded.compress(array, info, loaded.encode_options(options))


def open(path: str | PathLike[str], *, weights: Weights = None, device: str = "cpu") -> Array:
    """The array of a `.ctk` file, or of a picture or `.npy` file: what `compress` takes. Grey pictures are (H, W).

    Args:
        path: the file.
        weights, device: see `compress`.

    Raises:
        CodectkError: the file is missing, damaged, or needs a codec or weights that are not here.
    """
    place = Path(path)
    check_file(place)
    with place.open("rb") as stream:
        packed = stream.read(len(MAGIC)) == MAGIC
    if not packed:
        return _plain(read_array(place).x)
    file = unpack(read_bytes(place), str(place))
    name = codec_name(file.header)
    needed = get_registry().find(CodecSpec, name).spec.needs_weights
    loaded = load_codec(name, _checkpoint(weights) if needed else None, device)
    return _plain(loaded.decompress(file, source=str(place)))


def described(x: Any) -> tuple[Array, ArrayInfo]:
    """An array as codecs take it, and what it is.

    Args:
        x: see `compress`.

    Raises:
        InputError: its type or shape is that of no kind of array.
    """
    array = np.asarray(x)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.name in _FIELDS and 1 <= array.ndim <= 5 and array.size:
        return array, ArrayInfo(_FIELDS[array.dtype.name], array.shape, value_range(array))
    picture = array[..., None] if array.ndim == 2 else array
    kind = _IMAGES.get((array.dtype.name, picture.shape[-1])) if picture.ndim == 3 else None
    if kind is None or not array.size:
        raise InputError(
            f"An array of {array.dtype} and shape {array.shape} is no picture or field.",
            "Pictures are uint8 or uint16 (H, W), or uint8 (H, W, 3 or 4); fields float32 or float64 of 1 to 5 axes.",
        )
    return picture, ArrayInfo(kind, picture.shape)


def _plain(x: Array) -> Array:
    """Grey pictures without their axis of one channel, as other libraries have them."""
    grey = x.dtype.kind == "u" and x.ndim == 3 and x.shape[-1] == 1
    return x[..., 0] if grey else x


def _checkpoint(weights: Weights) -> Path | Checkpoint | None:
    return weights if weights is None or isinstance(weights, Checkpoint) else Path(weights)
