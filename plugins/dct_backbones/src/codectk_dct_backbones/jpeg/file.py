"""A JPEG file (ITU-T T.81) as what it holds: quantised coefficients and the tables of their steps.

Read are sequential and progressive files of 8 bits with Huffman codes, of one plane (grey) or three. All others are
refused by name, and so is a file that is cut or damaged: no coefficient is ever made up.
"""

import ctypes
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from codectk.errors import InputError
from codectk_dct_backbones.native import BLOCK, Header, Window, address, library

MOST_PIXELS = 1 << 28
"""Larger pictures are refused before anything is allocated for them."""

Colour = Literal["grey", "ycc", "rgb"]
COLOURS: tuple[Colour, ...] = ("grey", "ycc", "rgb")

_AGAIN = "Copy or download the file again."
_CONVERT = "Convert it to an ordinary RGB JPEG first."
_PROBLEMS = {
    -2: ("is no JPEG file", "Name a file that begins with a JPEG's marker FF D8."),
    -3: ("is a JPEG file that ends too early", _AGAIN),
    -4: ("is a damaged JPEG file", _AGAIN),
    -5: ("is a JPEG file with arithmetic coding", _CONVERT),
    -6: ("is a lossless JPEG file, which holds no DCT coefficients", _CONVERT),
    -7: ("is a hierarchical JPEG file", _CONVERT),
    -8: ("is a JPEG file of other than 8 bits a sample", _CONVERT),
    -9: ("is a JPEG file whose height is told only behind the picture (marker DNL)", _CONVERT),
    -10: ("is a JPEG file of other than 1 or 3 colour components (CMYK and YCCK have 4)", _CONVERT),
    -11: ("is a JPEG file with sampling factors outside the standard", _CONVERT),
    -12: ("is a JPEG file without all of its Huffman tables", _AGAIN),
    -13: ("is a JPEG file without all of its quantisation tables", _AGAIN),
    -14: ("is a JPEG file without a picture", _AGAIN),
    -15: ("is a JPEG file that lacks a colour component's data", _AGAIN),
    -16: ("is a JPEG file of more scans than anybody needs", _CONVERT),
}


@dataclass(frozen=True, eq=False)
class Plane:
    """One colour component.

    Attributes:
        blocks: quantised coefficients, int16 (rows, columns, 64), in natural order 8 v + u (v the vertical frequency);
            whole MCUs, so that some blocks may lie outside the picture.
        h: sampling factor across, 1 to 4; the plane has h / (largest h of all planes) of the picture's columns.
        v: sampling factor down.
        table: steps of the quantiser, uint16 (64,), natural order.
        shown: rows and columns of blocks that the picture covers, the last of them perhaps in part.
    """

    blocks: NDArray[np.int16]
    h: int
    v: int
    table: NDArray[np.uint16]
    shown: tuple[int, int]


@dataclass(frozen=True, eq=False)
class JpegFile:
    """A picture as its file holds it.

    Attributes:
        height: pixels, as stored (before `orientation`).
        width: pixels.
        planes: of grey one, else three.
        orientation: of EXIF, 1 to 8: how to turn the stored picture for showing; 1 is as it is.
        colour: what the planes are; `rgb` files are rare.
        progressive: whether the file was.
    """

    height: int
    width: int
    planes: tuple[Plane, ...]
    orientation: int = 1
    colour: Colour = "ycc"
    progressive: bool = False


def read_header(data: bytes, most_pixels: int = MOST_PIXELS, name: str = "The data") -> Header:
    """What a file says of its picture before the first coefficient.

    Args:
        data: the whole file.
        most_pixels: pictures of more are refused.
        name: of the file, for messages.

    Raises:
        InputError: see `read`.
    """
    header = Header()
    _check(library().jpeg_header(data, len(data), header), name)
    pixels = header.height * header.width
    if pixels > most_pixels:
        raise InputError(
            f"{name} is a JPEG file of {header.width} x {header.height} pixels; at most {most_pixels} pixels are read.",
            "Scale it down first.",
        )
    planes = header.plane[: header.planes]
    if sum(plane.shown_rows * plane.shown_columns for plane in planes) > 8 * len(data):  # a bit at least for each block
        _check(-3, name)
    return header


def read(data: bytes, most_pixels: int = MOST_PIXELS, name: str = "The data") -> JpegFile:
    """The coefficients of a file.

    Args:
        data: the whole file.
        most_pixels: pictures of more are refused before anything is allocated.
        name: of the file, for messages.

    Raises:
        InputError: it is no JPEG file, of a kind that is not read (CMYK, arithmetic coding, lossless, hierarchical,
            other than 8 bits), too large, cut, or damaged.
    """
    header = read_header(data, most_pixels, name)
    shapes = [(plane.rows, plane.columns) for plane in header.plane[: header.planes]]
    blocks = read_blocks(data, header, None, shapes, name)
    return JpegFile(
        header.height,
        header.width,
        tuple(
            Plane(x, plane.h, plane.v, np.array(plane.table, np.uint16), (plane.shown_rows, plane.shown_columns))
            for x, plane in zip(blocks, header.plane, strict=False)
        ),
        header.orientation,
        COLOURS[header.colour],
        bool(header.progressive),
    )


def read_blocks(
    data: bytes, header: Header, window: Window | None, shapes: list[tuple[int, int]], name: str
) -> list[NDArray[np.int16]]:
    """Blocks of every plane, (rows, columns, 64), of a window of MCUs of a file of one scan; tables go to `header`.

    Args:
        data: the file that `header` was read from.
        header: of `read_header`.
        window: MCUs to keep, inside the picture; None for all. What lies below is not looked at.
        shapes: rows and columns of blocks of each plane in the window.
        name: of the file, for messages.

    Raises:
        InputError: see `read`.
    """
    blocks = [np.empty((*shape, BLOCK), np.int16) for shape in shapes]
    pointers = (ctypes.c_void_p * len(blocks))(*(address(x) for x in blocks))
    _check(library().jpeg_read(data, len(data), header, window, pointers), name)
    return blocks


def _check(code: int, name: str) -> None:
    if code == -1:
        raise MemoryError("the compiled part of codectk-dct-backbones got no memory")
    if code < 0:
        problem, next_step = _PROBLEMS[code]
        raise InputError(f"{name} {problem}.", next_step)
