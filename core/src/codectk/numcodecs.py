"""Codecs as codecs of numcodecs, for Zarr format 2 and whatever else stores chunks through that library."""

from typing import Any

import numcodecs.abc
import numpy as np

from codectk.chunks import check_config, decode_chunk, encode_chunk
from codectk.container import unpack
from codectk.errors import InputError


class CtkCodec(numcodecs.abc.Codec):  # type: ignore[misc]  # the library has no types
    """A codec of numcodecs; each buffer becomes a whole `.ctk` file. It must come first in a list of filters.

    Args:
        codec: name of a codec of codectk.
        options: its encode options.
        weights: path of a weights file, for a codec that ships none.

    Raises:
        CodectkError: there is no such codec or option.
    """

    codec_id = "codectk"

    def __init__(self, codec: str, options: dict[str, Any] | None = None, weights: str | None = None) -> None:
        self.codec, self.options, self.weights = codec, dict(options or {}), weights
        check_config(self.codec, self.options)

    def encode(self, buf: Any) -> bytes:
        """The `.ctk` file of an array; its shape is stored in it.

        Raises:
            InputError: bytes without shape and type.
            CodectkError: the codec does not take such an array.
        """
        if not isinstance(buf, np.ndarray):
            raise InputError("Only arrays can be encoded, with shape and type.", "Pass a numpy array.")
        return encode_chunk(buf, self.codec, self.options, self.weights)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The array.

        Raises:
            CodectkError: the bytes are damaged, or hold another array than `out` has room for.
        """
        data = bytes(buf)
        info = unpack(data, "the chunk").header.info
        shape = info.shape if out is None or out.shape == info.shape else tuple(out.shape)
        x = decode_chunk(data, shape, info.dtype if out is None else out.dtype, self.weights)
        if out is None:
            return x[..., 0] if info.is_image and info.shape[2] == 1 else x
        out[...] = x
        return out
