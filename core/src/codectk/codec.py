"""What a codec is: arrays in, segments of bytes out, and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self
from zlib import crc32

import numpy as np

from codectk.arrays import Array, ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.errors import DesyncError


@dataclass(frozen=True)
class Encoded:
    """What a codec makes of one array.

    Attributes:
        params: small JSON object that the decoder needs; leave out what has its usual value.
        segments: bytes in order of importance; a progressive codec decodes from the first k.
        symbol_check: CRC-32 of the integer symbols (see `symbol_check`), or None.
        notes: figures for `evaluate`, such as predicted bits; never stored.
        messages: what the user should know of it, one sentence each; shown by `compress`, never stored.
        needs_weights: decoding it takes the weights that the codec has loaded, if it has any.
    """

    params: dict[str, Any]
    segments: tuple[bytes, ...]
    symbol_check: int | None = None
    notes: Mapping[str, float] = field(default_factory=dict)
    messages: tuple[str, ...] = ()
    needs_weights: bool = True

    def verify(self, *symbols: Array) -> None:
        """Compare decoded symbols with those that were encoded.

        Raises:
            DesyncError: they differ.
        """
        if self.symbol_check is not None and symbol_check(*symbols) != self.symbol_check:
            raise DesyncError(
                "The decoded symbols are not those that were encoded.",
                "It was probably made on a machine whose arithmetic differs; decode it there, or encode it again.",
            )


class Codec(Protocol):
    """A codec, numpy at the border. Derive from this class to get the defaults.

    Nothing may be kept on the object between `encode` and `decode`: a file is decoded in a fresh process, without a
    GPU, from its bytes and the weights alone.

    Attributes:
        multiple_of: height and width of what `encode` gets are multiples of this; core pads and crops.
        min_size: height and width of what `encode` gets are at least this.
        rate_option: the encode option that trades size for quality with these weights, if not that of the spec.
        rate_points: values of the rate option that span its range, for `evaluate`.
        rate_ladder: encode options from the smallest to the largest file, for a search by size or quality; by default
            the rate points, which may be few.
    """

    multiple_of: int = 1
    min_size: int = 1
    rate_option: str | None = None
    rate_points: tuple[Any, ...] = ()

    @property
    def rate_ladder(self) -> tuple[dict[str, Any], ...]:
        """See the class."""
        return ()

    @classmethod
    def load(cls, checkpoint: Checkpoint | None, device: str) -> Self:
        """Make the codec ready.

        Args:
            checkpoint: weights, or None for a codec without.
            device: torch's name of a device; a codec without torch ignores it.
        """
        ...

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        """Code one array.

        Args:
            x: array of shape `info.shape`, padded to `multiple_of`; it must not be changed.
            info: kind and padded shape.
            options: an instance of the spec's `encode_options`.

        Raises:
            CodectkError: this array or setting cannot be coded.
        """
        ...

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        """The array that the segments hold, of shape `info.shape`.

        Args:
            encoded: params, segments and symbol check as read from a file, which may be hostile.
            info: kind and padded shape.
            options: an instance of the spec's `decode_options`.

        Raises:
            CodectkError: the segments do not hold such an array.
        """
        ...


class FileCodec(Codec, Protocol):
    """A codec of files that hold a picture in a form that an array does not have; see `files` of its spec."""

    def encode_file(self, data: bytes, info: ArrayInfo, options: Any) -> Encoded:
        """Code a file that holds a picture in a form that an array does not have, such as a JPEG's coefficients.

        Asked for where the spec's `files` has the file's ending and the file shows just the picture: not where parts
        of it were made opaque, or its depth reduced. `decode` gives the picture's array, upright and in sRGB, of what
        this returns, too, so that a file can be opened as both; `codectk.images.to_srgb` converts by a profile.

        Args:
            data: the whole file.
            info: kind and shape of its picture, upright, without padding.
            options: an instance of the spec's `encode_options`.

        Raises:
            CodectkError: it is another kind of file, damaged, or cannot be coded with this setting.
        """
        ...

    def decode_file(self, encoded: Encoded, info: ArrayInfo, options: Any) -> bytes:
        """A file of the kind that the spec's `files` names, of what `encode` or `encode_file` made.

        Args:
            encoded: params, segments and symbol check as read from a file, which may be hostile.
            info: kind and shape of the picture, without padding.
            options: an instance of the spec's `decode_options`.

        Raises:
            CodectkError: the segments do not hold such a picture.
        """
        ...


def symbol_check(*symbols: Array) -> int:
    """CRC-32 over integer arrays, in the order given."""
    check = 0
    for array in symbols:
        check = crc32(np.ascontiguousarray(array).data, check)
    return check
