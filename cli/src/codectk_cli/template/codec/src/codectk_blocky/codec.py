# --8<-- [start:head]
"""The codec: numpy in, bytes out, and back.

encode: picture ─ blocks of 8×8×3 ─ g_a ─ y ─ round(y / step) ─ bzip2 ─ one segment
decode: segment ─ bzip2 ─ y_hat ─ g_s ─ blocks ─ picture
"""

import bz2
from typing import Any, Self

import numpy as np
from codectk.arrays import Array, ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.codec import Codec, Encoded, symbol_check
from codectk.errors import ContainerError, WeightsError

from codectk_blocky.options import EncodeOptions

SIDE = 8
VALUES = SIDE * SIDE * 3
MIDDLE = 128
# --8<-- [end:head]


# --8<-- [start:blocks]
def to_blocks(x: Array) -> Any:
    """(H, W, 3) → float64 (H/8 · W/8, 192), around zero."""
    rows, columns = x.shape[0] // SIDE, x.shape[1] // SIDE
    blocks = x.reshape(rows, SIDE, columns, SIDE, 3).swapaxes(1, 2).reshape(-1, VALUES)
    return blocks.astype(np.float64) - MIDDLE


def from_blocks(blocks: Any, height: int, width: int) -> Array:
    """Undo `to_blocks`, rounded to uint8."""
    grid = blocks.reshape(height // SIDE, width // SIDE, SIDE, SIDE, 3).swapaxes(1, 2).reshape(height, width, 3)
    x: Array = np.clip(np.round(grid + MIDDLE), 0, 255).astype(np.uint8)
    return x


# --8<-- [end:blocks]


# --8<-- [start:step]
def step_size(quality: int) -> float:
    """Distance of neighbouring values of y_hat: 1 at quality 100, twice as much every 13 below."""
    return float(2 ** ((100 - quality) / 13))


# --8<-- [end:step]


# --8<-- [start:load]
class BlockyCodec(Codec):
    """Image codec of one linear transform.

    Args:
        g_a: analysis, float (192, 192); y = blocks @ g_a.
        g_s: synthesis, the same; x_hat = y_hat @ g_s.
    """

    multiple_of = SIDE
    rate_points = (10, 25, 40, 55, 70, 85)

    def __init__(self, g_a: Array, g_s: Array) -> None:
        self.g_a, self.g_s = g_a.astype(np.float64), g_s.astype(np.float64)

    @classmethod
    def load(cls, checkpoint: Checkpoint | None, device: str) -> Self:
        """Make the codec from weights; see `Codec.load`.

        Raises:
            WeightsError: a transform is missing or of another shape.
        """
        tensors = checkpoint.tensors if checkpoint else {}
        for name in ("g_a", "g_s"):
            if name not in tensors or tensors[name].shape != (VALUES, VALUES) or tensors[name].dtype.kind != "f":
                raise WeightsError(f"These weights hold no {name} of {VALUES}×{VALUES} floats.", "Give others with -w.")
        return cls(tensors["g_a"], tensors["g_s"])

    # --8<-- [end:load]

    # --8<-- [start:encode]
    def encode(self, x: Array, info: ArrayInfo, options: EncodeOptions) -> Encoded:
        """Code a picture (H, W, 3) uint8; see `Codec.encode`."""
        y = to_blocks(x) @ self.g_a
        # Blocks of photos hardly reach the ends of 16 bits; a transform that is far from orthogonal might.
        limits = np.iinfo(np.int16)
        symbols = np.clip(np.round(y / step_size(options.quality)), limits.min, limits.max).astype("<i2")
        # All values of one coefficient lie together: long runs of zeros.
        segment = bz2.compress(symbols.T.tobytes(), 9)
        return Encoded({"quality": options.quality}, (segment,), symbol_check(symbols))

    # --8<-- [end:encode]

    # --8<-- [start:decode]
    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        """The picture (H, W, 3) uint8; see `Codec.decode`.

        Raises:
            ContainerError: the file holds something else.
            DesyncError: the symbols are not those that were encoded.
        """
        quality = encoded.params.get("quality")
        if type(quality) is not int or not 1 <= quality <= 100 or len(encoded.segments) != 1:
            raise ContainerError("Its parameters or segments are not those of this codec.", "The file is damaged.")
        height, width, _ = info.shape
        symbols = unpack(encoded.segments[0], 2 * height * width * 3).view("<i2").reshape(VALUES, -1).T
        encoded.verify(symbols)
        return from_blocks(symbols * step_size(quality) @ self.g_s, height, width)

    # --8<-- [end:decode]


# --8<-- [start:unpack]
def unpack(segment: bytes, length: int) -> Any:
    """Exactly `length` bytes from a bzip2 stream. No more are unpacked, whatever the stream holds.

    Raises:
        ContainerError: it holds more or fewer, is cut, or has something after its end.
    """
    stream = bz2.BZ2Decompressor()
    data = stream.decompress(segment, length + 1)
    if len(data) != length or not stream.eof or stream.unused_data:
        raise ContainerError(f"Its data does not unpack to {length} bytes.", "The file is damaged.")
    return np.frombuffer(data, np.uint8)


# --8<-- [end:unpack]
