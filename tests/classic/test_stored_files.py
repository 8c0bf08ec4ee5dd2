"""Picture files that were written once and must decode to the same picture on every machine, in every release.

The files are never written again to make a test pass.
"""

from pathlib import Path

import numpy as np
import pytest

from codectk import ArrayInfo, decompress
from codectk.container import Header, pack

STORED = Path(__file__).parent / "stored"

# Largest distance to the original: 0 for the lossless files, else what the file had when it was written, and 2 more
# because libraries may round the samples of a lossy picture differently.
FILES = [
    ("avif", "colour.avif", "image/rgb8", 12),
    ("avif", "transparent.avif", "image/rgba8", 13),
    ("jpeg", "colour.jpg", "image/rgb8", 9),
    ("jpeg", "grey.jpg", "image/gray8", 6),
    ("jpeg2000", "colour.j2k", "image/rgb8", 12),
    ("jpeg2000", "deep.j2k", "image/gray16", 353),
    ("jpegls", "colour.jls", "image/rgb8", 0),
    ("jpegls", "deep.jls", "image/gray16", 0),
    ("jpegls", "near5.jls", "image/rgb8", 5),
    ("png", "deep.png", "image/gray16", 0),
    ("png", "transparent.png", "image/rgba8", 0),
    ("webp", "colour.webp", "image/rgb8", 11),
    ("webp", "lossless.webp", "image/rgba8", 0),
]


def original(kind):
    """A picture of integers alone, so that it is the same everywhere."""
    rows, columns = np.mgrid[:20, :28]
    planes = [np.abs((rows * (5 + c) + columns * (7 - c)) % 510 - 255) // (1 + c % 2) for c in range(4)]
    if kind == "image/gray16":
        return (planes[0] * 256 + columns)[:, :, np.newaxis].astype(np.uint16)
    channels = {"image/gray8": 1, "image/rgb8": 3, "image/rgba8": 4}[kind]
    return np.stack(planes[:channels], axis=2).astype(np.uint8)


@pytest.mark.parametrize(("codec", "file", "kind", "distance"), FILES)
def test_a_stored_file_decodes_to_its_picture(codec, file, kind, distance):
    x = original(kind)
    header = Header(codec, "codectk-classic", 1, ArrayInfo(kind, x.shape))
    x_hat, _ = decompress(pack(header, ((STORED / file).read_bytes(),)))
    assert np.abs(x_hat.astype(int) - x).max() <= distance
