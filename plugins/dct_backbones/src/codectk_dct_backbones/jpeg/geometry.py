"""Files turned, flipped and cropped without leaving their coefficients: nothing is decoded, nothing is lost.

Reversing an axis negates its odd frequencies and reverses the order of blocks; swapping axes transposes blocks and
tables. Both are exact where whole MCUs lie in the picture. Blocks that are only partly in it cannot become first ones,
so an axis that is reversed loses its last pixels down to a multiple of the MCU, as with `jpegtran -trim`.
"""

from dataclasses import replace

import numpy as np

from codectk.errors import OptionsError
from codectk_dct_backbones.jpeg.file import JpegFile, Plane
from codectk_dct_backbones.jpeg.turns import ORIENTATIONS, Turn, sources


def mcu_size(file: JpegFile) -> tuple[int, int]:
    """Height and width in pixels of the unit that crops begin at and reversed axes are whole numbers of: 8 to 32."""
    return 8 * max(plane.v for plane in file.planes), 8 * max(plane.h for plane in file.planes)


def upright(file: JpegFile) -> JpegFile:
    """The picture as EXIF's orientation wants it shown, with orientation 1.

    Raises:
        OptionsError: see `turned`.
    """
    return replace(turned(file, ORIENTATIONS[file.orientation]), orientation=1)


def turned(file: JpegFile, turn: Turn) -> JpegFile:
    """The stored picture turned or flipped; `orientation` stays, so make files `upright` first.

    Args:
        file: what to turn; sides of it that are reversed are cut to whole MCUs.
        turn: how, for example `Turn(columns_back=True)` to swap left and right, or one of `ORIENTATIONS`.

    Raises:
        OptionsError: a side that is reversed is shorter than an MCU.
    """
    height, width = file.height, file.width
    for back, size, side in zip((turn.rows_back, turn.columns_back), mcu_size(file), (height, width), strict=True):
        if back and side < size:
            raise OptionsError(
                f"A side of {side} pixels cannot be reversed in coefficients: it is shorter than a unit of {size}.",
                "Turn its pixels instead.",
            )
    mcu_height, mcu_width = mcu_size(file)
    height -= height % mcu_height if turn.rows_back else 0
    width -= width % mcu_width if turn.columns_back else 0
    kept = cropped(file, 0, 0, height, width)
    index, sign = sources(turn)
    planes = tuple(_turned(plane, turn, index, sign.astype(np.int16)) for plane in kept.planes)
    shown = turn.shape(height, width)
    return replace(file, height=shown[0], width=shown[1], planes=planes)


def _turned(plane: Plane, turn: Turn, index: np.ndarray, sign: np.ndarray) -> Plane:
    blocks = plane.blocks[:: -1 if turn.rows_back else 1, :: -1 if turn.columns_back else 1]
    if turn.transposed:
        blocks = blocks.transpose(1, 0, 2)
    v, h = turn.shape(plane.v, plane.h)
    return Plane(blocks[..., index] * sign, h, v, plane.table[index], turn.shape(*plane.shown))


def cropped(file: JpegFile, top: int, left: int, height: int, width: int) -> JpegFile:
    """A part of the stored picture.

    Args:
        file: what to cut.
        top: first row, a multiple of the MCU's height, see `mcu_size`.
        left: first column, likewise.
        height: rows, any number.
        width: columns, any number.

    Raises:
        OptionsError: the part does not begin at an MCU, or does not lie in the picture.
    """
    mcu_height, mcu_width = mcu_size(file)
    if top % mcu_height or left % mcu_width:
        raise OptionsError(
            f"A crop at row {top}, column {left} does not begin at a unit of {mcu_height} x {mcu_width} pixels.",
            "Choose multiples of these.",
        )
    if not (top >= 0 and 0 < height <= file.height - top and left >= 0 and 0 < width <= file.width - left):
        raise OptionsError(
            f"A crop of {height} x {width} pixels at row {top}, column {left} does not lie in a picture of "
            f"{file.height} x {file.width} pixels.",
            "Choose a smaller one.",
        )
    rows, columns = -(-height // mcu_height), -(-width // mcu_width)
    planes = []
    for plane in file.planes:
        first_row, first_column = top // mcu_height * plane.v, left // mcu_width * plane.h
        blocks = plane.blocks[first_row : first_row + rows * plane.v, first_column : first_column + columns * plane.h]
        shown = -(-height * plane.v // mcu_height), -(-width * plane.h // mcu_width)
        planes.append(replace(plane, blocks=blocks, shown=shown))
    return replace(file, height=height, width=width, planes=tuple(planes))
