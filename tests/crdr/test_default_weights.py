"""The weights in the wheel: files are as large as predicted, better than JPEG, and realism adds detail."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from codectk.arrays import ArrayInfo
from codectk.compression import LoadedCodec, load_codec
from codectk.container import unpack
from codectk.dataset import sample_photos
from codectk.images import read_image
from codectk.options import packaged

MOST_BYTES = 25_000_000


@pytest.fixture(scope="module")
def loaded() -> LoadedCodec:
    return load_codec("crdr")


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A photo that no training has seen, (384, 512, 3)."""
    (path,) = sample_photos("val")
    return np.ascontiguousarray(read_image(path).x[:384, :512])


def psnr(x: np.ndarray, x_hat: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(x.astype(float) - x_hat).mean()))


def detail(x: np.ndarray) -> float:
    """Energy of what a pixel differs from its four neighbours."""
    grey = x.astype(float).mean(2)
    around = sum(np.roll(grey, shift, axis) for shift in (1, -1) for axis in (0, 1)) / 4
    return float(np.square(grey - around)[2:-2, 2:-2].mean())


def test_they_fit_into_the_wheel(loaded: LoadedCodec) -> None:
    assert loaded.spec.default_weights is not None
    assert packaged(loaded.spec.default_weights).stat().st_size <= MOST_BYTES


@pytest.mark.parametrize("quality", [0, 1.5, 4])
def test_a_file_is_as_large_as_the_networks_predict(loaded: LoadedCodec, photo: np.ndarray, quality: float) -> None:
    packed = loaded.compress(photo, ArrayInfo("image/rgb8", photo.shape), loaded.encode_options({"quality": quality}))
    file = unpack(packed.data)
    assert 8 * sum(map(len, file.segments)) <= 1.01 * packed.notes["predicted_bits"]
    assert file.header_bytes < 90


def test_they_beat_jpeg_by_far(loaded: LoadedCodec, photo: np.ndarray) -> None:
    info = ArrayInfo("image/rgb8", photo.shape)
    packed = loaded.compress(photo, info, loaded.encode_options({"quality": 2}))
    quality = psnr(photo, loaded.decompress(unpack(packed.data)))
    for jpeg_quality in range(1, 96):
        stream = BytesIO()
        Image.fromarray(photo).save(stream, "JPEG", quality=jpeg_quality, optimize=True)
        if psnr(photo, np.asarray(Image.open(stream))) >= quality:
            break
    assert len(packed) < 0.75 * len(stream.getvalue())


def test_realism_adds_detail_and_costs_little(loaded: LoadedCodec, photo: np.ndarray) -> None:
    info = ArrayInfo("image/rgb8", photo.shape)
    file = unpack(loaded.compress(photo, info, loaded.encode_options({"quality": 1})).data)
    plain, real = (loaded.decompress(file, loaded.decode_options({"realism": b})) for b in (0, 3.84))
    assert detail(plain) < detail(real) < 1.2 * detail(photo)
    assert psnr(photo, plain) - 3 < psnr(photo, real) < psnr(photo, plain)
