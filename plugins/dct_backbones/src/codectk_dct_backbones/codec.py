"""The codec `dct`: quantised DCT coefficients, of JPEG files as they are and of pictures as they are made here."""

from dataclasses import replace
from typing import Self

from codectk.arrays import Array, ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.codec import Encoded, FileCodec
from codectk.errors import InputError
from codectk_dct_backbones import coding
from codectk_dct_backbones.budget import COEFFICIENTS
from codectk_dct_backbones.jpeg import writing
from codectk_dct_backbones.jpeg.file import JpegFile, read
from codectk_dct_backbones.options import EncodeOptions, Subsampling

QUALITY = 90
"""Of pictures that are not JPEG files."""

SAMPLING: dict[Subsampling, coding.Factors] = {
    "4:4:4": ((1, 1), (1, 1), (1, 1)),
    "4:2:2": ((2, 1), (1, 1), (1, 1)),
    "4:2:0": ((2, 2), (1, 1), (1, 1)),
}

START_OF_SCAN, ORIENTATION_ALONE = 0xDA, 36
BESIDES = {
    b"\xe1Exif\0": "EXIF",
    b"\xe1http://ns.adobe.com/": "XMP",
    b"\xe2ICC_PROFILE\0": "a colour profile",
    b"\xedPhotoshop": "Photoshop's data",
    b"\xfe": "a comment",
}
"""Marker and first bytes of segments, and what they hold."""


class DctCodec(FileCodec):
    """Follows `codectk.codec.Codec`. All arithmetic of the decoder is on integers."""

    rate_points = (1, 4, 9, 16, 25, 36, 49, 64)

    @property
    def rate_ladder(self) -> tuple[dict[str, int], ...]:
        """All counts, so that JPEG files keep the steps of their quantiser."""
        return tuple({"coeff_count": count} for count in range(1, COEFFICIENTS + 1))

    @classmethod
    def load(cls, checkpoint: Checkpoint | None, device: str) -> Self:
        """Ready at once: it has no weights and runs on the CPU."""
        return cls()

    def encode(self, x: Array, info: ArrayInfo, options: EncodeOptions) -> Encoded:
        """Transform, quantise and code a picture.

        Args:
            x: uint8 (H, W, 3).
            info: its kind and shape.
            options: see there.
        """
        file = coding.from_pixels(x, options.quality or QUALITY, SAMPLING[options.subsampling])
        return coding.pack(file, options.budget())

    def encode_file(self, data: bytes, info: ArrayInfo, options: EncodeOptions) -> Encoded:
        """Code the coefficients of a JPEG file; with a quality, those of its picture.

        Args:
            data: the file.
            info: kind and shape of its picture, upright.
            options: see there.

        Raises:
            InputError: it is no JPEG file or of a kind that is not read, damaged, or shows another picture.
        """
        file = read(data, name="The file")
        shown = (file.width, file.height) if file.orientation >= coding.TURNED else (file.height, file.width)
        if shown != info.shape[:2]:
            raise InputError(f"The file shows {shown}, not {info.shape[:2]}.", "Copy or download it again.")
        if options.quality is not None:
            return self.encode(coding.pixels(file), info, options)
        _same_chroma(file)
        encoded = coding.pack(file, options.budget())
        left_out = _left_out(data)
        told = (f"{' and '.join(left_out)} beside the picture: left out.",) if left_out else ()
        return replace(encoded, notes={"jpeg_bytes": float(len(data))}, messages=told)

    def decode(self, encoded: Encoded, info: ArrayInfo, options: object) -> Array:
        """The picture, uint8 (H, W, 3), pixel for pixel as libjpeg would decode the JPEG file.

        Raises:
            ContainerError: these are no segments of such a picture.
            DesyncError: the coefficients are not those that were encoded.
        """
        return coding.pixels(coding.unpack(encoded, info))

    def decode_file(self, encoded: Encoded, info: ArrayInfo, options: object) -> bytes:
        """A JPEG file of these coefficients, tables, sampling and orientation.

        Raises:
            InputError: no JPEG file can hold such a picture.
            ContainerError, DesyncError: see `decode`.
        """
        file = coding.unpack(encoded, info)
        return writing.write(file, progressive=file.progressive)


def _left_out(data: bytes) -> list[str]:
    """What a file holds besides its picture, in segments before it; EXIF of no more than an orientation is not told."""
    found: list[str] = []
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1] != START_OF_SCAN:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length > ORIENTATION_ALONE:
            found += [
                name for mark, name in BESIDES.items() if data.startswith(mark[1:], at + 4) and data[at + 1] == mark[0]
            ]
        at += 2 + max(length, 2)
    return list(dict.fromkeys(found))


def _same_chroma(file: JpegFile) -> None:
    factors = coding.sampling_of(file)
    if len(factors) == 3 and factors[1] != factors[2]:
        raise InputError(
            "The file's second and third plane are of different sizes.", "Convert it to an ordinary JPEG first."
        )
