"""The short way for notebooks and scripts: arrays to `.ctk` files and back in one call each.

packed = codectk.compress(picture, "jpeg", quality=60)
packed.save("photo.ctk")
picture = codectk.open("photo.ctk")
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from codectk.arrays import FIELD_KINDS, Array, ArrayInfo, carrier_info
from codectk.checkpoint import Checkpoint
from codectk.compression import Compressed, codec_name, load_codec
from codectk.container import MAGIC, MAX_ARRAY_BYTES, unpack
from codectk.errors import InputError
from codectk.fields import is_field, value_range
from codectk.fields.metadata import fill_value, of_labelled, to_json
from codectk.files import check_file, read_bytes
from codectk.inputs import read_array
from codectk.registry import get_registry
from codectk.specs import CodecSpec

_IMAGES = {("uint8", 1): "image/gray8", ("uint8", 3): "image/rgb8", ("uint8", 4): "image/rgba8"}
_IMAGES[("uint16", 1)] = "image/gray16"

Weights = str | PathLike[str] | Checkpoint | None


def compress(x: Any, codec: str, *, weights: Weights = None, device: str = "cpu", **options: Any) -> Compressed:
    """The `.ctk` file of a picture or field, in memory.

    Args:
        x: picture, uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) or uint16 (H, W) or (H, W, 1); or field, integers or
            floats of 32 or 64 bits, of 1 to 5 axes; or anything that `numpy.asarray` turns into one. Of an
            `xarray.DataArray`, the file keeps name, dimensions, attributes and coordinates.
        codec: its name, as `codectk list codecs` shows it.
        weights: a weights file, or weights in memory, for a codec that ships none.
        device: torch's name of a device.
        options: encode options of the codec, as `codectk info CODEC` shows them.

    Raises:
        CodectkError: no such codec or option, or an array that it does not take.
    """
    loaded = load_codec(codec, _checkpoint(weights), device)
    array, info = described(x, loaded.spec.kinds)
    labels = of_labelled(x)
    return loaded.compress(array, info, loaded.encode_options(options), to_json(labels, []) if labels else {})


def open(
    path: str | PathLike[str], *, weights: Weights = None, device: str = "cpu", max_bytes: int = MAX_ARRAY_BYTES
) -> Array:
    """The array of a `.ctk` file, of a picture or of a field: what `compress` takes. Grey pictures are (H, W).

    Args:
        path: the file, with the name of a field behind a colon where it holds several.
        weights, device: see `compress`.
        max_bytes: refuse `.ctk` files of larger arrays.

    Raises:
        CodectkError: the file is missing, damaged, or needs a codec or weights that are not here.
    """
    place = Path(path)
    if is_field(place) and not place.is_file():  # a store, or a name behind a colon
        return read_array(place).x
    check_file(place)
    with place.open("rb") as stream:
        packed = stream.read(len(MAGIC)) == MAGIC
    if not packed:
        picture = read_array(place)
        return _plain(picture.x, picture.info)
    file = unpack(read_bytes(place), str(place), max_bytes)
    name = codec_name(file.header)
    spec: CodecSpec = get_registry().find(CodecSpec, name).spec
    needed = spec.needs_weights or spec.takes_weights
    loaded = load_codec(name, _checkpoint(weights) if needed else None, device)
    return _plain(loaded.decompress(file, source=str(place)), file.header.info)


def described(x: Any, kinds: Sequence[str] = ()) -> tuple[Array, ArrayInfo]:
    """An array as codecs take it, and what it is.

    Args:
        x: see `compress`.
        kinds: what the codec takes: integers may be a picture or a field. Without any, it is a picture where it can.

    Raises:
        InputError: its type or shape is that of no kind of array.
    """
    array = np.asarray(x)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    picture = array[..., None] if array.ndim == 2 else array
    image = _IMAGES.get((array.dtype.name, picture.shape[-1])) if picture.ndim == 3 else None
    field = FIELD_KINDS.get(array.dtype.name) if 1 <= array.ndim <= 5 else None
    if not array.size or not (image or field):
        raise InputError(
            f"An array of {array.dtype} and shape {array.shape} is no picture or field.",
            "Pictures are uint8 or uint16 (H, W), or uint8 (H, W, 3 or 4); fields floats or integers of 1 to 5 axes.",
        )
    if image:
        info = ArrayInfo(image, picture.shape)
        if not field or field not in kinds or carrier_info(info, tuple(kinds)).kind in kinds:
            return picture, info
    kind = field or ""
    fill = fill_value(getattr(x, "attrs", {}), kind, array.shape)
    return array, ArrayInfo(kind, array.shape, value_range(array, fill), fill)


def _plain(x: Array, info: ArrayInfo) -> Array:
    """Grey pictures without their axis of one channel, as other libraries have them."""
    grey = info.is_image and x.shape[-1] == 1
    return x[..., 0] if grey else x


def _checkpoint(weights: Weights) -> Path | Checkpoint | None:
    return weights if weights is None or isinstance(weights, Checkpoint) else Path(weights)
