"""Pillow opens and saves `.ctk` pictures once `register` was called.

import codectk.pillow
codectk.pillow.register()
Image.open("photo.ctk")
image.save("small.ctk", codec="avif", quality=50)
"""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile

from codectk.checkpoint import Checkpoint, read_about
from codectk.compression import codec_name, load_codec
from codectk.container import DIGEST_BYTES, MAGIC, Container, unpack
from codectk.easy import compress
from codectk.errors import CodectkError, WeightsMismatch

FORMAT = "CTK"
_MODES = {"image/gray8": "L", "image/rgb8": "RGB", "image/rgba8": "RGBA", "image/gray16": "I;16"}

_weights: dict[str, Path] = {}


def register(weights: Iterable[str | PathLike[str]] = ()) -> None:
    """Make `Image.open` and `Image.save` know `.ctk`; a second call adds weights.

    Args:
        weights: files of weights, for pictures of codecs that ship none; each picture finds its own by its digest.

    Raises:
        CodectkError: a weights file is missing or is none.
    """
    for place in weights:
        path = Path(place)
        _weights[str(read_about(path)["digest"])[: 2 * DIGEST_BYTES]] = path
    Image.register_open(FORMAT, CtkImageFile, lambda prefix: prefix.startswith(MAGIC))
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, ".ctk")
    Image.register_mime(FORMAT, "image/x-ctk")


class CtkImageFile(ImageFile.ImageFile):
    """A `.ctk` picture: its header is read on opening, its pixels when they are asked for."""

    format = FORMAT
    format_description = "codectk"

    def _open(self) -> None:
        data = self.fp.read() if self.fp else b""
        try:
            self._file: Container | None = unpack(data, self._name())
        except CodectkError as error:
            raise SyntaxError(str(error)) from error  # by which Pillow knows that a file is not of a format
        info = self._file.header.info
        if info.kind not in _MODES:
            raise SyntaxError(f"{self._name()} holds {info.kind}, which is no picture")
        self._mode = _MODES[info.kind]
        self._size = (info.shape[1], info.shape[0])
        self.info["codec"] = self._file.header.codec

    def load(self) -> Any:
        """Decode the pixels, once.

        Raises:
            OSError: they cannot be decoded; the text says why and what to do.
        """
        if self._file is not None:
            try:
                pixels = _decode(self._file, self._name())
            except CodectkError as error:
                raise OSError(str(error)) from error
            self.im = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).im
            self._file = None
        return super().load()

    def _name(self) -> str:
        return str(self.filename or "the file")


def _decode(file: Container, source: str) -> Any:
    digest = file.header.weights_digest
    weights = _weights.get(digest.hex()) if digest else None
    try:
        loaded = load_codec(codec_name(file.header), weights)
        return loaded.decompress(file, source=source)
    except WeightsMismatch as error:
        raise type(error)(error.problem, "Name its weights in codectk.pillow.register(weights=[…]).") from error


def _save(image: Image.Image, stream: IO[bytes], filename: str | bytes) -> None:
    """Pillow's hook for `Image.save`; `codec`, `weights` and the codec's options come as keyword arguments."""
    given = dict(image.encoderinfo)
    codec = given.pop("codec", None)
    if codec is None:
        raise ValueError('name a codec: image.save("photo.ctk", codec="avif")')
    weights: Checkpoint | Path | None = given.pop("weights", None)
    if image.mode not in _MODES.values():
        raise ValueError(f"pictures of mode {image.mode} cannot be saved as .ctk: convert them to RGB, RGBA or L first")
    try:
        stream.write(compress(np.asarray(image), codec, weights=weights, **given).data)
    except CodectkError as error:
        raise ValueError(str(error)) from error
