"""Codecs as Zarr chunk codecs: each chunk is a whole `.ctk` file, with its checks.

    serializer = CtkCodec(codec="…", options={…})
    zarr.create_array(store, data=field, chunks=(1, 64, 64), serializer=serializer, compressors=None)

Zarr finds the class by its entry point, so arrays open again wherever codectk and the chunk's plugin are installed.
"""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer

from codectk.chunks import check_config, decode_chunk, encode_chunk

if TYPE_CHECKING:
    from zarr.core.chunk_grids import ChunkGrid
    from zarr.core.dtype.wrapper import ZDType

NAME = "codectk"


@dataclass(frozen=True)
class CtkCodec(ArrayBytesCodec):
    """An array-to-bytes codec of Zarr format 3.

    Args:
        codec: name of a codec of codectk that takes the array's chunks.
        options: its encode options.
        weights: path of a weights file, for a codec that ships none; read again where chunks are decoded.

    Raises:
        CodectkError: there is no such codec or option.
    """

    is_fixed_size = False

    codec: str
    options: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None

    def __post_init__(self) -> None:
        check_config(self.codec, self.options)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """From array metadata."""
        return cls(**data["configuration"])

    def to_dict(self) -> dict[str, Any]:
        """For array metadata; what is not set is left out."""
        values = {"codec": self.codec, "options": dict(self.options), "weights": self.weights}
        return {"name": NAME, "configuration": {name: value for name, value in values.items() if value}}

    def __hash__(self) -> int:
        return hash((self.codec, repr(sorted(self.options.items())), self.weights))

    def validate(self, *, shape: tuple[int, ...], dtype: "ZDType[Any, Any]", chunk_grid: "ChunkGrid") -> None:
        """Try the codec on an empty chunk, so that a mistake is told when the array is made.

        Raises:
            CodectkError: the codec does not take such chunks.
        """
        chunk = getattr(chunk_grid, "chunk_shape", shape)
        encode_chunk(np.zeros(chunk, dtype.to_native_dtype()), self.codec, self.options, self.weights)

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        x = chunk_array.as_numpy_array()
        data = await asyncio.to_thread(encode_chunk, x, self.codec, self.options, self.weights)
        return chunk_spec.prototype.buffer.from_bytes(data)

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        native = chunk_spec.dtype.to_native_dtype()
        x = await asyncio.to_thread(decode_chunk, chunk_bytes.to_bytes(), chunk_spec.shape, native, self.weights)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(x)

    def compute_encoded_size(self, input_byte_length: int, _chunk_spec: ArraySpec) -> int:
        """Not known before a chunk is coded."""
        raise NotImplementedError
