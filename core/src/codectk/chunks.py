"""Chunks of arrays as whole `.ctk` files, for the libraries that store arrays in chunks."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from codectk.arrays import Array
from codectk.compression import LoadedCodec, codec_name, load_codec
from codectk.container import unpack
from codectk.easy import described
from codectk.errors import ContainerError
from codectk.registry import get_registry
from codectk.specs import CodecSpec


def check_config(codec: str, options: Mapping[str, Any]) -> None:
    """See that codec and options exist, without loading weights.

    Raises:
        CodectkError: they do not.
    """
    registered = get_registry().find(CodecSpec, codec)
    registered.load(registered.spec.encode_options).parse(options, f"codec {codec}")


def encode_chunk(x: Any, codec: str, options: Mapping[str, Any], weights: str | None) -> bytes:
    """The `.ctk` file of one chunk.

    Args:
        x: picture or field, see `codectk.compress`; a picture is (H, W), or has its channels last.
        codec, options: how it is coded.
        weights: path of a weights file.

    Raises:
        CodectkError: the codec does not take such an array.
    """
    loaded = _loaded(codec, weights)
    array, info = described(np.ascontiguousarray(x), loaded.spec.kinds)
    return loaded.compress(array, info, loaded.encode_options(options)).data


def decode_chunk(data: bytes, shape: tuple[int, ...], dtype: Any, weights: str | None) -> Array:
    """The chunk that a `.ctk` file holds; the file itself says which codec made it.

    Args:
        data: the whole file.
        shape, dtype: of the chunk as its array describes it.
        weights: path of a weights file.

    Raises:
        ContainerError: the file is damaged, or holds an array of another shape or type.
        CodectkError: its codec or weights are not here.
    """
    limit = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    file = unpack(data, "the chunk", max_array_bytes=limit)
    info = file.header.info
    flat = info.shape[:2] if info.is_image and info.shape[2] == 1 else info.shape
    if shape not in (info.shape, flat) or info.dtype != np.dtype(dtype).newbyteorder("=").name:
        raise ContainerError(
            f"The chunk holds {info.dtype} {info.shape}, not {np.dtype(dtype).name} {shape}.",
            "The store is damaged, or its metadata was changed.",
        )
    name = codec_name(file.header)
    spec: CodecSpec = get_registry().find(CodecSpec, name).spec
    needed = spec.needs_weights or spec.takes_weights
    x = _loaded(name, weights if needed else None).decompress(file, source="the chunk")
    return np.ascontiguousarray(x.reshape(shape).astype(dtype, copy=False))


@lru_cache(maxsize=8)
def _loaded(codec: str, weights: str | None) -> LoadedCodec:
    return load_codec(codec, Path(weights) if weights else None)
