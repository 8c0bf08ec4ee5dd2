"""The codecs that Pillow writes and reads: JPEG, WebP, AVIF, JPEG 2000 and PNG.

    x ─ Image.save ─> one segment, a plain file of the format
    segment ─ strict look at its header ─ Pillow's reader of that one format ─ size, mode ─ decode ─> x_hat

Pillow's file classes are called directly: `Image.open` would try other formats or its own limit on pixels, which is
lower than that of the formats. What may be decoded is decided by the size that the `.ctk` file announces.
"""

from io import BytesIO
from threading import Lock
from typing import Any, ClassVar, Self

import numpy as np
from PIL import Image, ImageFile, features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from codectk.arrays import Array, ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.codec import Codec, Encoded
from codectk.errors import CodectkError, PluginError
from codectk.images import to_pillow
from codectk_classic import headers
from codectk_classic.avif_header import avif_frame
from codectk_classic.options import AvifOptions, Jpeg2000Options, JpegOptions, PngOptions, WebPOptions

_MODES = {"image/gray8": "L", "image/rgb8": "RGB", "image/rgba8": "RGBA", "image/gray16": "I;16"}

_pillow_buffer = Lock()


class PillowCodec(Codec):
    """One picture format through Pillow; the segment is a plain file of that format.

    Attributes:
        title: the format's name in messages.
        reader: Pillow's class for files of this format alone.
        feature: Pillow's name of the library it needs, which some builds of Pillow lack.
        longest_side, most_pixels: largest picture that the library both writes and reads.
        drops_opaque_alpha: an alpha channel that is opaque everywhere is not in the file.
    """

    title: ClassVar[str]
    reader: ClassVar[type[ImageFile.ImageFile]]
    feature: ClassVar[str]
    longest_side: ClassVar[int]
    most_pixels: ClassVar[int | None] = None
    drops_opaque_alpha: ClassVar[bool] = False

    @classmethod
    def load(cls, checkpoint: Checkpoint | None, device: str) -> Self:
        """Make the codec ready; it has no weights and runs on the CPU.

        Raises:
            PluginError: this build of Pillow lacks the format.
        """
        if not features.check(cls.feature):
            raise PluginError(
                f"This Pillow was built without {cls.title}.", "Run `pip install --force-reinstall pillow`."
            )
        return cls()

    def encode(self, x: Array, info: ArrayInfo, options: Any) -> Encoded:
        """Code a picture (H, W, C) as one file of the format.

        Raises:
            InputError: the picture is larger than the format can hold.
            CodectkError: the library refuses it.
        """
        headers.require_size(self.title, info, self.longest_side, self.most_pixels)
        try:
            data = self._save(to_pillow(x), self._settings(info, options))
        except (OSError, RuntimeError, ValueError) as error:
            raise CodectkError(f"{self.title} cannot code this picture: {error}.", "Choose another codec.") from error
        return Encoded({}, (data,))

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        """The picture (H, W, C), after a check that the file holds one of the announced size and kind.

        Raises:
            ContainerError: it does not, or it is damaged.
        """
        data = headers.only_segment(encoded, self.title)
        height, width, channels = info.shape
        with headers.plain_errors(self.title):
            self._check_header(data, info)
            image: Image.Image = self.reader(BytesIO(data))
            headers.require_frame(self.title, headers.Frame(*image.size), info)
            wanted = _MODES[info.kind]
            opaque = self.drops_opaque_alpha and (image.mode, wanted) == ("RGB", "RGBA")
            if (image.mode != wanted and not opaque) or getattr(image, "n_frames", 1) != 1:
                raise headers.damaged(self.title, f"it holds {image.mode} samples instead of {wanted}")
            image.load()
            return np.array(image.convert(wanted) if opaque else image).reshape(height, width, channels)

    def _settings(self, info: ArrayInfo, options: Any) -> dict[str, Any]:
        """Arguments of `Image.save`."""
        raise NotImplementedError

    def _check_header(self, data: bytes, info: ArrayInfo) -> None:
        """Refuse files whose coded size is not the announced one, as far as Pillow does not do it itself."""

    def _save(self, image: Image.Image, settings: dict[str, Any]) -> bytes:
        buffer = BytesIO()
        image.save(buffer, self.reader.format, **settings)
        return buffer.getvalue()


class Jpeg(PillowCodec):
    """JPEG, grey or in colour, with Huffman tables optimised for the picture."""

    title = "JPEG"
    reader = JpegImageFile
    feature = "jpg"
    longest_side = 65500
    rate_points = (5, 10, 20, 35, 55, 75, 87, 95)

    def _settings(self, info: ArrayInfo, options: JpegOptions) -> dict[str, Any]:
        return {
            "quality": options.quality,
            "subsampling": options.subsampling,
            "progressive": options.progressive,
            "optimize": True,
        }

    def _save(self, image: Image.Image, settings: dict[str, Any]) -> bytes:
        # With optimised tables the whole file must fit into Pillow's buffer, which is too small for noisy pictures.
        needed = 4 * image.width * image.height * len(image.getbands())
        with _pillow_buffer:
            usual = ImageFile.MAXBLOCK
            ImageFile.MAXBLOCK = max(usual, needed)
            try:
                return super()._save(image, settings)
            finally:
                ImageFile.MAXBLOCK = usual

    def _check_header(self, data: bytes, info: ArrayInfo) -> None:
        headers.require_frame(self.title, headers.jpeg_frame(data, self.title, headers.JPEG_FRAMES), info)


class WebP(PillowCodec):
    """WebP in colour, with or without transparency."""

    title = "WebP"
    reader = WebPImageFile
    feature = "webp"
    longest_side = 16383
    most_pixels = 178_956_970  # Pillow's reader refuses more, whatever `Image.MAX_IMAGE_PIXELS` its callers want.
    drops_opaque_alpha = True
    rate_points = (5, 20, 40, 60, 77, 87, 94, 100)

    def _settings(self, info: ArrayInfo, options: WebPOptions) -> dict[str, Any]:
        # Without `exact` the colours of transparent pixels would be changed, also in lossless files.
        return {"quality": options.quality, "method": options.method, "lossless": options.lossless, "exact": True}

    def _check_header(self, data: bytes, info: ArrayInfo) -> None:
        headers.require_frame(self.title, headers.webp_frame(data), info)


class Avif(PillowCodec):
    """AVIF in colour, with or without transparency."""

    title = "AVIF"
    reader = AvifImageFile
    feature = "avif"
    longest_side = 32768  # libavif writes up to 65536, but reads back no more than this.
    most_pixels = 16384 * 16384
    drops_opaque_alpha = True
    rate_points = (15, 30, 45, 55, 65, 75, 85, 95)

    def _settings(self, info: ArrayInfo, options: AvifOptions) -> dict[str, Any]:
        # Tiles chosen by the number of threads would make the bytes depend on the machine.
        threads = {"max_threads": 1, "autotiling": False}
        return {"quality": options.quality, "speed": options.speed, "subsampling": options.subsampling, **threads}

    def _check_header(self, data: bytes, info: ArrayInfo) -> None:
        headers.require_frame(self.title, avif_frame(data), info)


class Jpeg2000(PillowCodec):
    """JPEG 2000 with the irreversible wavelet, as a bare code stream without the boxes of a .jp2 file."""

    title = "JPEG 2000"
    reader = Jpeg2KImageFile
    feature = "jpg_2000"
    longest_side = 2**31 - 1
    rate_points = (30.0, 33.0, 35.0, 37.0, 40.0, 43.0, 46.0, 50.0)

    def _settings(self, info: ArrayInfo, options: Jpeg2000Options) -> dict[str, Any]:
        return {
            "quality_mode": "dB",
            "quality_layers": [options.quality],
            "irreversible": True,
            "mct": int(info.shape[2] == 3),  # colour transform; OpenJPEG has none for four channels
            "no_jp2": True,
        }

    def _check_header(self, data: bytes, info: ArrayInfo) -> None:
        headers.require_frame(self.title, headers.jpeg2000_frame(data), info)


class Png(PillowCodec):
    """PNG of every kind of picture, lossless."""

    title = "PNG"
    reader = PngImageFile
    feature = "zlib"
    longest_side = 2**31 - 1

    def _settings(self, info: ArrayInfo, options: PngOptions) -> dict[str, Any]:
        return {"compress_level": options.compress_level}
