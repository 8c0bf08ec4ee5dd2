"""JPEG-LS through CharLS: lossless, or with a bound on the error of every sample."""

from typing import Any, Self

import imagecodecs
import numpy as np

from codectk.arrays import Array, ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.codec import Codec, Encoded
from codectk.errors import CodectkError, OptionsError
from codectk_classic import headers
from codectk_classic.options import JpegLsOptions

_TITLE = "JPEG-LS"
_LONGEST_SIDE = 65535
_SPIFF_BYTES = 44
_END_OF_IMAGE = b"\xff\xd9"


class JpegLs(Codec):
    """JPEG-LS of every kind of picture; the segment is a plain file without the optional SPIFF header."""

    rate_points = (0, 1, 2, 3, 5, 8, 14, 24)

    @classmethod
    def load(cls, checkpoint: Checkpoint | None, device: str) -> Self:
        """Make the codec ready; it has no weights and runs on the CPU."""
        return cls()

    def encode(self, x: Array, info: ArrayInfo, options: JpegLsOptions) -> Encoded:
        """Code a picture (H, W, C) as one JPEG-LS file, and decode it again to see that the bound holds.

        Raises:
            InputError: the picture is larger than the format can hold.
            OptionsError: the bound is too wide for samples of 8 bits.
            CodectkError: CharLS refuses the picture or breaks the bound.
        """
        headers.require_size(_TITLE, info, _LONGEST_SIDE)
        if options.near > 127 and info.dtype == "uint8":
            raise OptionsError(f"near {options.near} is too much for 8 bits.", "Choose 127 or less.")
        plane = np.ascontiguousarray(x[:, :, 0] if info.shape[2] == 1 else x)
        try:
            # 32 bits of code for each 8 of a sample is the most that the format ever takes.
            data = _without_spiff(bytes(imagecodecs.jpegls_encode(plane, options.near, out=4 * x.nbytes + 1024)))
        except (imagecodecs.JpeglsError, ValueError) as error:
            raise CodectkError(f"{_TITLE} cannot code this picture: {error}.", "Choose another codec.") from error
        encoded = Encoded({}, (data,))
        largest = np.abs(self.decode(encoded, info, None).astype(np.int32) - x.astype(np.int32)).max()
        if largest > options.near:
            raise CodectkError(
                f"CharLS {imagecodecs.jpegls_version()} missed the bound: {largest} instead of {options.near}.",
                "Set near to 0, or choose codec png, and report this to the makers of codectk-classic.",
            )
        return encoded

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        """The picture (H, W, C), after a check that the file holds one of the announced size and kind.

        Raises:
            ContainerError: it does not, or it is damaged.
        """
        data = headers.only_segment(encoded, _TITLE)
        if not data.endswith(_END_OF_IMAGE):
            # CharLS would count missing bits as zeros, two billion times, before it gives up.
            raise headers.damaged(_TITLE, "it is cut")
        headers.require_frame(_TITLE, headers.jpeg_frame(data, _TITLE, headers.JPEG_LS_FRAMES), info)
        with headers.plain_errors(_TITLE):
            x_hat: Array = imagecodecs.jpegls_decode(data)
            if x_hat.dtype.name != info.dtype or x_hat.shape != (info.shape if info.shape[2] > 1 else info.shape[:2]):
                raise headers.damaged(_TITLE, f"it decodes to {x_hat.dtype.name} {x_hat.shape}")
        return x_hat.reshape(info.shape)


def _without_spiff(data: bytes) -> bytes:
    """Leave out the two SPIFF segments after the first marker, which repeat what the frame header says."""
    has_spiff = data[2:6] == b"\xff\xe8\x00\x20" and data[36:40] == b"\xff\xe8\x00\x08"
    return data[:2] + data[2 + _SPIFF_BYTES :] if has_spiff else data
