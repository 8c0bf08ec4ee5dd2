"""How much smaller the codec `dct` makes JPEG files, and how fast. One thread, processor time.

CODECTK_PICTURES names a folder of JPEG files to measure with; without it, pictures of 375 x 500 pixels are made. Sizes
are of whole `.ctk` files against the files themselves, and against JPEG files of the same coefficients with the Huffman
codes that suit them best; all of them hold the file's metadata.
"""

import io
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from codectk.arrays import Array, ArrayInfo
from codectk.compression import load_codec
from codectk.container import unpack
from codectk_dct_backbones.jpeg.file import read
from codectk_dct_backbones.jpeg.metadata import taken
from codectk_dct_backbones.jpeg.writing import write

MOST_FILES, LEAST_SAVING = 200, 0.12

Report = Callable[[str], None]
Ratio = Callable[[str, list[float], str, list[float]], float]


@pytest.fixture(scope="module")
def files(jpeg_files: list[bytes]) -> list[bytes]:
    return jpeg_files[:: max(1, len(jpeg_files) // MOST_FILES)]


def decoded(data: bytes) -> tuple[Array, ArrayInfo]:
    x = np.asarray(Image.open(io.BytesIO(data)))
    x = x[:, :, None] if x.ndim == 2 else x
    return x, ArrayInfo("image/gray8" if x.shape[2] == 1 else "image/rgb8", x.shape)


@pytest.mark.parametrize("count", [4, 16, 36, 64])
def test_sizes(files: list[bytes], count: int, report: Report) -> None:
    dct = load_codec("dct")
    options = dct.encode_options({"coeff_count": count})
    sizes = np.zeros(4)
    for data in files:
        packed = dct.compress(*decoded(data), options, file=data).data
        kept = read(dct.decompress_file(unpack(packed)))
        metadata = taken(data)[0]
        best = [len(write(kept, progressive=progressive, metadata=metadata)) for progressive in (False, True)]
        sizes += (len(packed), len(data), *best)
    mine, *others = sizes
    saved = [f"{100 * (1 - mine / other):.1f} %" for other in others]
    report(
        f"dct with {count} coefficients, {len(files)} files: {mine / len(files):.0f} bytes, smaller by {saved[0]} than "
        f"the files, {saved[1]} than JPEG of the same coefficients, {saved[2]} than progressive JPEG"
    )
    assert mine < 0.95 * min(others[1:])
    assert count < 64 or mine < (1 - LEAST_SAVING) * others[0]


def test_speed(files: list[bytes], ratio: Ratio, report: Report) -> None:
    dct, size = load_codec("dct"), sum(map(len, files))
    pictures = [decoded(data) for data in files]
    packed = [dct.compress(*picture, file=data).data for picture, data in zip(pictures, files, strict=True)]
    work: dict[str, Callable[[], object]] = {
        "encode": lambda: [dct.compress(*p, file=data) for p, data in zip(pictures, files, strict=True)],
        "decode": lambda: [dct.decompress_file(unpack(data)) for data in packed],
        "peer": lambda: [saved_by_pillow(data) for data in files],
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(5):
        for name, function in work.items():
            start = time.thread_time()
            function()
            times[name].append(time.thread_time() - start)
    for name in ("encode", "decode"):
        ratio(f"dct, {name}", times[name], "Pillow's decoding and coding anew", times["peer"])
        report(f"dct, {name}: {size / min(times[name]) / 1e6:.1f} MB of JPEG a second")


def saved_by_pillow(data: bytes) -> None:
    Image.open(io.BytesIO(data)).save(io.BytesIO(), "JPEG", quality="keep", optimize=True)
