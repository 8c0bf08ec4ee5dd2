"""The codec `dct`: quantised DCT coefficients, of JPEG files as they are and of pictures as they are made here."""

from dataclasses import replace
from typing import Self

import numpy as np
from PIL import Image

from codectk.arrays import Array, ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.codec import Encoded, FileCodec
from codectk.errors import InputError
from codectk.images import to_srgb
from codectk_dct_backbones import coding
from codectk_dct_backbones.budget import COEFFICIENTS
from codectk_dct_backbones.jpeg.file import JpegFile, read
from codectk_dct_backbones.jpeg.metadata import MOST_BYTES, profile, profile_alone, taken, without_colour
from codectk_dct_backbones.jpeg.writing import usual_metadata, write
from codectk_dct_backbones.options import EncodeOptions, Subsampling

QUALITY = 90
"""Of pictures that are not JPEG files."""

SAMPLING: dict[Subsampling, coding.Factors] = {
    "4:4:4": ((1, 1), (1, 1), (1, 1)),
    "4:2:2": ((2, 1), (1, 1), (1, 1)),
    "4:2:0": ((2, 2), (1, 1), (1, 1)),
}


class DctCodec(FileCodec):
    """Follows `codectk.codec.Codec`. All arithmetic of the decoder is on integers, but for conversions of colours."""

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

        Raises:
            InputError: it is a strip of a million pixels' length or more.
        """
        file = coding.from_pixels(x, options.quality or QUALITY, SAMPLING[options.subsampling])
        return coding.pack(file, options.budget())

    def encode_file(self, data: bytes, info: ArrayInfo, options: EncodeOptions) -> Encoded:
        """Code the coefficients of a JPEG file, with a quality those of its picture, and its metadata.

        Args:
            data: the file.
            info: kind and shape of its picture, upright.
            options: see there.

        Raises:
            InputError: it is no JPEG file or of a kind that is not read, damaged, or shows another picture.
        """
        file = read(data, name="The file")
        if (file.height, file.width) != coding.stored_size(info, file.orientation):
            raise InputError(
                f"The file shows {file.width} x {file.height} pixels with orientation {file.orientation}, "
                f"not {info.shape[1]} x {info.shape[0]}.",
                "Convert it to PNG first.",
            )
        kept, left_out = taken(data)
        if options.quality is not None:
            file, kept = _coded_anew(file, options.quality, options.subsampling), without_colour(kept)
        _same_chroma(file)
        if not options.metadata:
            kept, left_out = _least(file, kept), ()
        elif len(kept) > MOST_BYTES:
            kept, left_out = _least(file, kept), (f"{len(kept)} bytes of metadata", *left_out)
        kept = b"" if kept == usual_metadata(file) else kept
        encoded = coding.pack(file, options.budget(), kept)
        notes = {"jpeg_bytes": len(data), "metadata_bytes": len(kept)}
        told = (f"Left out: {', '.join(left_out)}.",) if left_out else ()
        return replace(encoded, notes={name: float(count) for name, count in notes.items()}, messages=told)

    def decode(self, encoded: Encoded, info: ArrayInfo, options: object) -> Array:
        """The picture in sRGB, uint8 (H, W, 3).

        Pixel for pixel as libjpeg would decode the JPEG file, converted where its metadata hold a colour profile.

        Raises:
            ContainerError: these are no segments of such a picture.
            DesyncError: the coefficients are not those that were encoded.
        """
        file, kept = coding.unpack(encoded, info)
        x, colours = coding.pixels(file), profile(kept)
        if colours is None or len(file.planes) == 1:
            return x
        return np.array(to_srgb(Image.fromarray(x), colours)[0])

    def decode_file(self, encoded: Encoded, info: ArrayInfo, options: object) -> bytes:
        """A JPEG file of these coefficients, tables, sampling and orientation, and of the metadata that were kept.

        Raises:
            InputError: no JPEG file can hold such a picture, or not with such metadata.
            ContainerError, DesyncError: see `decode`.
        """
        file, kept = coding.unpack(encoded, info)
        return write(file, progressive=file.progressive, metadata=kept)


def _least(file: JpegFile, segments: bytes) -> bytes:
    """Of a file's metadata what it takes to show the picture right: the orientation, and a profile if not sRGB's."""
    colours = profile(segments) if len(file.planes) == 3 else None
    _, changes = to_srgb(Image.new("RGB", (1, 1)), colours)
    alone = profile_alone(segments)
    return usual_metadata(file) + (alone if changes and len(alone) <= MOST_BYTES // 2 else b"")


def _coded_anew(file: JpegFile, quality: int, subsampling: Subsampling) -> JpegFile:
    """The picture of a file by other tables, no more turned than it was, as its EXIF says."""
    stored = coding.pixels(replace(file, orientation=1))
    return replace(coding.from_pixels(stored, quality, SAMPLING[subsampling]), orientation=file.orientation)


def _same_chroma(file: JpegFile) -> None:
    factors = coding.sampling_of(file)
    if len(factors) == 3 and factors[1] != factors[2]:
        raise InputError(
            "The file's second and third plane are of different sizes.", "Convert it to an ordinary JPEG first."
        )
