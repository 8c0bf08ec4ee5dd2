"""Codecs that code files themselves: a file comes back as one, and so does a picture; all else is refused."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from codectk.arrays import Array
from codectk.compression import LoadedCodec
from codectk.container import Container, unpack
from codectk.errors import CodectkError
from codectk.images import Picture, read_image
from codectk.specs import CodecSpec
from codectk.testing import samples

LARGEST_GAP = 1.0
"""Mean square difference between a picture and a file of it, which may round once more."""


class FileCoding:
    """The part of `CodecConformance` about the spec's `files`."""

    spec: ClassVar[CodecSpec]

    loaded: Callable[[], LoadedCodec]

    def test_a_file_comes_back_as_a_file_and_as_its_picture(self, tmp_path: Path) -> None:
        """Of each ending; the new file shows what its `.ctk` decodes to, and that resembles the first file."""
        for ending, path in self._sample_files(tmp_path):
            picture = read_image(path)
            assert self.spec.files == tuple(e.lower() for e in self.spec.files), "endings are in small letters"
            file = self._coded(picture, picture.data)
            x_hat = self.loaded().decompress(file)
            assert x_hat.shape == picture.x.shape, f"{ending}: {picture.x.shape} became {x_hat.shape}"
            error, plain = _gap(picture.x, x_hat), _gap(picture.x, np.full_like(picture.x, picture.x.mean()))
            assert error < plain, f"{ending}: mean square error {error:g}, of a plain picture {plain:g}"
            gap = _gap(self._shown(file, tmp_path / f"back{ending}"), x_hat)
            assert gap <= LARGEST_GAP, f"{ending}: the new file shows another picture, mean square difference {gap:g}"

    def test_a_picture_from_elsewhere_becomes_a_file(self, tmp_path: Path) -> None:
        """One that was coded as an array."""
        for ending, path in self._sample_files(tmp_path):
            file = self._coded(read_image(path), None)
            gap = _gap(self._shown(file, tmp_path / f"made{ending}"), self.loaded().decompress(file))
            assert gap <= LARGEST_GAP, f"{ending}: the file shows another picture, mean square difference {gap:g}"

    def test_what_is_no_such_file_is_refused(self, tmp_path: Path) -> None:
        """Nothing, half a file, and other bytes."""
        for ending, path in self._sample_files(tmp_path):
            picture = read_image(path)
            for data in (b"", picture.data[: len(picture.data) // 2], b"another thing" * 100):
                with pytest.raises(CodectkError):
                    self._coded(picture, data)
                    pytest.fail(f"{ending}: {len(data)} bytes are coded that are no such file")

    def _sample_files(self, folder: Path) -> Iterator[tuple[str, Path]]:
        if not self.spec.files:
            pytest.skip("the codec codes no files")
        x, _ = samples.array("image/rgb8")
        for ending in self.spec.files:
            stream = BytesIO()
            Image.fromarray(x).save(stream, Image.registered_extensions()[ending])
            path = folder / f"sample{ending}"
            path.write_bytes(stream.getvalue())
            yield ending, path

    def _coded(self, picture: Picture, data: bytes | None) -> Container:
        return unpack(self.loaded().compress(picture.x, picture.info, file=data).data)

    def _shown(self, file: Container, path: Path) -> Array:
        path.write_bytes(self.loaded().decompress_file(file))
        return read_image(path).x


def _gap(x: Array, y: Array) -> float:
    return float(np.mean(np.square(x.astype(np.float64) - y.astype(np.float64)))) if x.shape == y.shape else np.inf
