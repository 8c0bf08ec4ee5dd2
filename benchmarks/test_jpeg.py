"""How fast JPEG files in memory become what a network of 256 x 256 pixels reads. One thread, processor time.

CODECTK_PICTURES names a folder of JPEG files to measure with; without it, pictures of 375 x 500 pixels are made. The
peers read the same files: an ordinary RGB pipeline (Pillow decodes, cuts a random part, scales it, mirrors it; numpy
normalises), the same of pictures that libjpeg decodes at half the size, which cost less and show less, and the public
code's way to coefficients (the same in RGB, then colours, chroma and the DCT again, with matrices in numpy and two
nested loops over blocks). All scale random crops. `Scaled` are those crops here, too; `aligned` ones have the
network's size, as where training crops at the picture's own scale.
"""

import io
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from codectk_dct_backbones import statistics
from codectk_dct_backbones.dct import basis
from codectk_dct_backbones.jpeg.file import read
from codectk_dct_backbones.jpeg.loading import UNIT, Crop, load, picture_size

SIZE, RUNS, MOST_FILES = 256, 9, 60

Ratio = Callable[[str, list[float], str, list[float]], float]
Work = Callable[[bytes, Crop], object]

MEAN, STD = (np.array(x, np.float32)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
DCT = np.asarray(basis()).reshape(8, 8, 8, 8)[0, :, :, 0] * np.sqrt(8)  # A[v, y]


@pytest.fixture(scope="module")
def files(jpeg_files: list[bytes]) -> list[bytes]:
    large = [data for data in jpeg_files if min(picture_size(data)) >= SIZE][:MOST_FILES]
    if not large:
        pytest.skip(f"CODECTK_PICTURES holds no JPEG file of {SIZE} x {SIZE} pixels")
    return large


def drawn(data: bytes, rng: np.random.Generator) -> Crop:
    """A random resized crop: 8 to 100 % of the area, sides 3:4 to 4:3."""
    height, width = picture_size(data)
    while True:
        area, ratio = height * width * rng.uniform(0.08, 1), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if w <= width and h <= height:
            return Crop(int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w)


def aligned(data: bytes, rng: np.random.Generator) -> Crop:
    """A random crop of the network's size that needs no scaling."""
    top, left = (UNIT * int(rng.integers((side - SIZE) // UNIT + 1)) for side in picture_size(data))
    return Crop(top, left, SIZE, SIZE)


def seconds(files: list[bytes], crops: list[list[Crop]], works: list[Work]) -> list[list[float]]:
    """Of each work a file, in turn so that all meet the same machine; `crops` are of each work."""
    times: list[list[float]] = [[] for _ in works]
    for run in range(RUNS + 1):
        for work, chosen, found in zip(works, crops, times, strict=True):
            start = time.thread_time()
            for data, crop in zip(files, chosen, strict=True):
                work(data, crop)
            if run:
                found.append((time.thread_time() - start) / len(files))
    return times


def picture_of(data: bytes, crop: Crop, scale: int = 1) -> Image.Image:
    box = [side / scale for side in (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)]
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (image.width // scale, image.height // scale))
    image = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR, tuple(box))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def rgb(data: bytes, crop: Crop, scale: int = 1) -> NDArray[np.float32]:
    pixels = np.asarray(picture_of(data, crop, scale)).transpose(2, 0, 1)
    return (pixels.astype(np.float32) / 255 - MEAN) / STD


def half(data: bytes, crop: Crop) -> NDArray[np.float32]:
    return rgb(data, crop, 2)


def public(data: bytes, crop: Crop) -> list[NDArray[np.float32]]:
    x = np.asarray(picture_of(data, crop)).astype(np.float32)
    y = np.round(x @ np.array([0.299, 0.587, 0.114], np.float32))
    chroma = [np.clip(np.round((x[..., i] - y) * k + 128), 0, 255) for i, k in ((2, 0.564), (0, 0.713))]
    halves = [c.reshape(SIZE // 2, 2, SIZE // 2, 2).mean((1, 3)) for c in chroma]
    return [loops(plane * np.float32(0.86) + 16) for plane in (y, *halves)]


def loops(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
    blocks = plane.reshape(rows, 8, columns, 8).swapaxes(1, 2)
    transformed = DCT @ blocks @ DCT.T
    out = np.empty((rows, columns, 64), np.float32)
    for row in range(rows):
        for column in range(columns):
            out[row, column] = transformed[row, column].flatten(order="F")
    return np.ascontiguousarray(out.transpose(2, 0, 1))


def ours() -> Work:
    measured = statistics.load("imagenet")
    return lambda data, crop: load(data, size=SIZE, crop=crop, flip=True, statistics=measured)


def test_coefficients_from_files(files: list[bytes], ratio: Ratio) -> None:
    rng = np.random.default_rng(0)
    any_crop, easy = ([draw(data, rng) for data in files] for draw in (drawn, aligned))
    works = [ours(), ours(), rgb, half, public]
    fast, scaled, pixels, halved, recomputed = seconds(files, [easy, *[any_crop] * 4], works)
    slower = [
        ratio("coefficients of aligned crops", fast, "the public pipeline", recomputed),
        ratio("coefficients of aligned crops", fast, "RGB", pixels),
        ratio("coefficients of scaled crops", scaled, "the public pipeline", recomputed),
        ratio("coefficients of scaled crops", scaled, "RGB", pixels),
        ratio("coefficients of aligned crops", fast, "RGB decoded at half the size", halved),
        ratio("coefficients of scaled crops", scaled, "RGB decoded at half the size", halved),
    ]
    assert slower[0] < 1 / 8 and slower[1] < 1 / 2
    assert slower[2] < 1 / 4 and slower[3] < 1


def test_reading_against_decoding(files: list[bytes], ratio: Ratio) -> None:
    def decode(data: bytes, crop: Crop) -> None:
        Image.open(io.BytesIO(data)).convert("RGB").load()

    whole = [Crop(0, 0, *picture_size(data)) for data in files]
    mine, peer = seconds(files, [whole, whole], [lambda data, crop: read(data), decode])
    assert ratio("reading all coefficients", mine, "Pillow's decoding to RGB", peer) < 1 / 1.5
