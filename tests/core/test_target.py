"""Files of a wanted size or quality."""

import numpy as np
import pytest

from codectk import container
from codectk.arrays import ArrayInfo
from codectk.compression import LoadedCodec, load_codec
from codectk.errors import OptionsError
from codectk.metric import PSNR
from codectk.target import compress_to


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:96, 0:128]
    waves = 127 + 60 * np.sin(rows / 9) + 40 * np.cos(columns / 5)
    return np.clip(waves[..., None] + rng.normal(0, 8, (96, 128, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def jpeg() -> LoadedCodec:
    return load_codec("jpeg")


def quality(codec: LoadedCodec, x: np.ndarray, data: bytes) -> float:
    metric, info = PSNR(), ArrayInfo("image/rgb8", x.shape)
    metric.update(x, codec.decompress(container.unpack(data)), info)
    return metric.compute()["psnr"]


def rungs(codec: LoadedCodec, x: np.ndarray) -> list[bytes]:
    info = ArrayInfo("image/rgb8", x.shape)
    return [codec.compress(x, info, codec.encode_options(rung)).data for rung in codec.rate_ladder]


def test_the_largest_file_that_fits_is_made(jpeg: LoadedCodec, x: np.ndarray) -> None:
    info, files = ArrayInfo("image/rgb8", x.shape), rungs(jpeg, x)
    for bpp in (1.0, 2.0, 3.0):
        data = compress_to(jpeg, x, info, bpp=bpp).data
        assert data == max((f for f in files if 8 * len(f) <= bpp * info.pixels), key=len)


def test_the_smallest_file_that_is_good_enough_is_made(jpeg: LoadedCodec, x: np.ndarray) -> None:
    info, files = ArrayInfo("image/rgb8", x.shape), rungs(jpeg, x)
    qualities = [quality(jpeg, x, f) for f in files]
    for wanted in (qualities[1], (qualities[1] + qualities[2]) / 2):
        data = compress_to(jpeg, x, info, psnr=wanted).data
        assert data == min((f for f, q in zip(files, qualities, strict=True) if q >= wanted), key=len)


def test_what_no_setting_reaches_is_told_with_what_is_reached(jpeg: LoadedCodec, x: np.ndarray) -> None:
    info, files = ArrayInfo("image/rgb8", x.shape), rungs(jpeg, x)
    with pytest.raises(OptionsError, match=f"smallest file has {min(map(len, files))} bytes"):
        compress_to(jpeg, x, info, bpp=0.01)
    with pytest.raises(OptionsError, match="best file reaches"):
        compress_to(jpeg, x, info, psnr=90.0)


def test_codecs_with_one_rate_and_double_wishes_are_refused(jpeg: LoadedCodec, x: np.ndarray) -> None:
    info = ArrayInfo("image/rgb8", x.shape)
    with pytest.raises(OptionsError, match="no settings to search"):
        compress_to(load_codec("png"), x, info, bpp=1.0)
    with pytest.raises(OptionsError, match="no settings to search"):
        compress_to(jpeg, x, info, {"quality": 40}, bpp=1.0)
    for both in ({}, {"bpp": 1.0, "psnr": 30.0}):
        with pytest.raises(OptionsError, match="one of --bpp and --psnr"):
            compress_to(jpeg, x, info, **both)
