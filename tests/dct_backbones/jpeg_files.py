"""JPEG files of every kind, made on the spot, and what their coefficients mean, computed in another way."""

import io
import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from codectk.arrays import ArrayInfo
from codectk.compression import LoadedCodec
from codectk.container import Container, unpack
from codectk_dct_backbones.jpeg.file import JpegFile, Plane

Doubles = NDArray[np.float64]

_k = np.arange(8)
DCT: Doubles = np.cos(np.pi * (_k + 0.5) * _k[:, None] / 8) * np.where(_k, np.sqrt(2 / 8), np.sqrt(1 / 8))[:, None]
"""[frequency, pixel]."""


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """Something like a photograph: smooth colours, edges, and a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / (9 + 4 * c) + c) * np.cos(y / (13 - 3 * c)) for c in range(3)], -1)
    edges = ((x // 11 + y // 7) % 3 == 0)[..., None] * np.array([40, -30, 20])
    pixels = 128 + 70 * waves + edges + rng.normal(0, 6, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def saved(image: Image.Image, **options: object) -> bytes:
    """The file that libjpeg makes of it."""
    stream = io.BytesIO()
    orientation = options.pop("orientation", None)
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    image.save(stream, "JPEG", **{"quality": 90, **options})
    return stream.getvalue()


def pixels(data: bytes) -> NDArray[np.uint8]:
    """What Pillow decodes, as stored."""
    return np.asarray(Image.open(io.BytesIO(data)))


def upright(data: bytes) -> NDArray[np.uint8]:
    """What Pillow shows, (H, W, C)."""
    x = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    return x[:, :, None] if x.ndim == 2 else x


def coded(dct: LoadedCodec, data: bytes, **options: object) -> Container:
    """What the codec makes of a file."""
    x = upright(data)
    info = ArrayInfo("image/gray8" if x.shape[2] == 1 else "image/rgb8", x.shape)
    return unpack(dct.compress(x, info, dct.encode_options(options), file=data).data)


def turned(x: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as EXIF's orientation shows them."""
    x = x[::-1] if orientation in (3, 4, 6, 7) else x
    x = x[:, ::-1] if orientation in (2, 3, 7, 8) else x
    return x.swapaxes(0, 1) if orientation >= 5 else x


def planes(file: JpegFile) -> list[Doubles]:
    """Inverse transforms of the parts of the planes that the picture covers, neither rounded nor clipped."""
    found = []
    most_v, most_h = (max(getattr(plane, name) for plane in file.planes) for name in "vh")
    for plane in file.planes:
        c = (plane.blocks.astype(np.float64) * plane.table).reshape(*plane.blocks.shape[:2], 8, 8)
        x = np.einsum("vy,rcvu,ux->rycx", DCT, c, DCT).reshape(8 * c.shape[0], 8 * c.shape[1]) + 128
        found.append(x[: -(-file.height * plane.v // most_v), : -(-file.width * plane.h // most_h)])
    return found


def coefficients(plane: Doubles) -> Doubles:
    """[64, H / 8, W / 8], channel 8 u + v."""
    height, width = plane.shape
    blocks = plane.reshape(height // 8, 8, width // 8, 8)
    return np.einsum("vy,rycx,ux->uvrc", DCT, blocks, DCT).reshape(64, height // 8, width // 8)


def same(a: JpegFile, b: JpegFile) -> bool:
    """Whether two files hold the same in all that the picture covers."""
    heads = ((x.height, x.width, x.orientation, x.colour, len(x.planes)) for x in (a, b))
    return len(set(heads)) == 1 and all(_same(p, q) for p, q in zip(a.planes, b.planes, strict=True))


def _same(p: Plane, q: Plane) -> bool:
    rows, columns = p.shown
    heads = (p.h, p.v, p.shown) == (q.h, q.v, q.shown) and np.array_equal(p.table, q.table)
    return heads and np.array_equal(p.blocks[:rows, :columns], q.blocks[:rows, :columns])


def random_file(factors: tuple[tuple[int, int], ...], height: int, width: int, seed: int = 0) -> JpegFile:
    """Coefficients as they come, with sampling factors (h, v) that no library here writes."""
    rng = np.random.default_rng(seed)
    h_most, v_most = (max(factor) for factor in zip(*factors, strict=True))
    rows, columns = -(-height // (8 * v_most)), -(-width // (8 * h_most))
    made = []
    for h, v in factors:
        blocks = rng.laplace(0, 3, (rows * v, columns * h, 64)) * (rng.random((rows * v, columns * h, 64)) < 0.3)
        shown = -(-height * v // (8 * v_most)), -(-width * h // (8 * h_most))
        made.append(Plane(blocks.astype(np.int16), h, v, rng.integers(1, 40, 64).astype(np.uint16), shown))
    return JpegFile(height, width, tuple(made), colour="grey" if len(factors) == 1 else "ycc")


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Markers with a length before the first scan's data: code, where the marker begins, where its segment ends."""
    at = 2
    while data[at + 1] != 0xD9:
        length = struct.unpack_from(">H", data, at + 2)[0]
        yield data[at + 1], at, at + 2 + length
        if data[at + 1] == 0xDA:
            return
        at += 2 + length


def find(data: bytes, code: int) -> tuple[int, int]:
    """Begin and end of the first segment of a kind."""
    return next((begin, end) for found, begin, end in segments(data) if found == code)


def without(data: bytes, code: int) -> bytes:
    """The file without its segments of a kind, before the first scan's data."""
    for found, begin, end in reversed(list(segments(data))):
        if found == code:
            data = data[:begin] + data[end:]
    return data
