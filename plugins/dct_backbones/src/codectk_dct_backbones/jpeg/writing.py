"""JPEG files of coefficients, with the Huffman codes that suit them best.

Markers: SOI, metadata, tables of the quantiser, frame, scans, EOI. Metadata that are not given are JFIF's marker or
Adobe's (which says that planes are red, green and blue), and EXIF if the picture is to be turned.
"""

import ctypes
import struct

import numpy as np

from codectk.errors import InputError
from codectk_dct_backbones import native
from codectk_dct_backbones.budget import ZIGZAG
from codectk_dct_backbones.jpeg.file import COLOURS, JpegFile, Plane, read_header

MOST_BLOCKS = 10
"""Of one MCU, where a scan holds several planes."""

_MOST_SIDE = 65535
_JFIF = b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
_ADOBE_RGB = b"Adobe\0\x64\0\0\0\0\0"
_LAST = 63
_Scan = tuple[tuple[int, ...], int, int, int, int]
"""Planes, first and last coefficient, bits that are known before the scan and after it."""


def write(file: JpegFile, *, progressive: bool = False, metadata: bytes = b"") -> bytes:
    """The bytes of a file that holds just these coefficients, tables, sampling, orientation, colour and metadata.

    Args:
        file: see there; of blocks outside the picture, progressive files keep the first coefficient only.
        progressive: whether coefficients come in several scans of growing precision (smaller, slower to read) or, as is
            usual, in one. Planes whose sampling factors the standard does not allow in one scan get one each.
        metadata: segments to begin with, see `metadata`; they must tell the same orientation and colour. Without any,
            those of `usual_metadata`.

    Raises:
        InputError: sizes, factors, tables or coefficients are such that no JPEG file can hold them, or metadata tell
            something else.
    """
    header = _header(file)
    together = len(file.planes) == 1 or sum(plane.h * plane.v for plane in file.planes) <= MOST_BLOCKS
    scans = _progressive(len(file.planes), together) if progressive else _sequential(len(file.planes), together)
    tables, numbers = _tables(file)
    wide = any(int(table.max()) > 255 for table in tables)
    kind = 0xC2 if progressive else 0xC1 if wide or len(tables) > 2 else 0xC0
    parts = [b"\xff\xd8", metadata or usual_metadata(file)]
    parts += [_quantiser(number, table) for number, table in enumerate(tables)]
    parts.append(_frame(kind, file, header, numbers))
    blocks = [np.ascontiguousarray(plane.blocks) for plane in file.planes]
    parts += [_scan(header, blocks, scan, progressive) for scan in scans]
    data = b"".join([*parts, b"\xff\xd9"])
    if metadata:
        told = read_header(data, _MOST_SIDE**2)
        if (told.orientation, COLOURS[told.colour]) != (file.orientation, file.colour):
            raise _refuse("metadata of another orientation or colour than the picture's")
    return data


def usual_metadata(file: JpegFile) -> bytes:
    """The segments that tell a picture's colour and orientation, and nothing else."""
    colour = _segment(0xEE, _ADOBE_RGB) if file.colour == "rgb" else _segment(0xE0, _JFIF)
    return colour if file.orientation == 1 else colour + _segment(0xE1, _exif(file.orientation))


def _refuse(problem: str) -> InputError:
    return InputError(f"No JPEG file can hold {problem}.", "Read the coefficients again, or change them less.")


def _header(file: JpegFile) -> native.Header:
    """What jpeg_write.c needs, checked."""
    if not (1 <= file.height <= _MOST_SIDE and 1 <= file.width <= _MOST_SIDE):
        raise _refuse(f"{file.width} x {file.height} pixels")
    if len(file.planes) != (1 if file.colour == "grey" else 3) or file.colour not in COLOURS:
        raise _refuse(f"{len(file.planes)} planes of colour '{file.colour}'")
    if file.orientation not in range(1, 9):
        raise _refuse(f"the orientation {file.orientation}")
    factors = [(plane.h, plane.v) if len(file.planes) > 1 else (1, 1) for plane in file.planes]
    if any(not (1 <= h <= 4 and 1 <= v <= 4) for h, v in factors):
        raise _refuse(f"the sampling factors {factors}")
    h_most, v_most = (max(factor) for factor in zip(*factors, strict=True))
    header = native.Header(height=file.height, width=file.width, planes=len(file.planes), most_h=h_most, most_v=v_most)
    header.mcu_rows, header.mcu_columns = -(-file.height // (8 * v_most)), -(-file.width // (8 * h_most))
    for i, ((h, v), plane) in enumerate(zip(factors, file.planes, strict=True)):
        to = header.plane[i]
        to.id = b"RGB"[i] if file.colour == "rgb" else i + 1
        to.h, to.v, to.rows, to.columns = h, v, header.mcu_rows * v, header.mcu_columns * h
        to.shown_rows, to.shown_columns = -(-file.height * v // (8 * v_most)), -(-file.width * h // (8 * h_most))
        _check(plane, (to.rows, to.columns))
    return header


def _check(plane: Plane, shape: tuple[int, int]) -> None:
    if plane.blocks.shape != (*shape, native.BLOCK) or plane.blocks.dtype != np.int16:
        raise _refuse(
            f"blocks {plane.blocks.shape} of {plane.blocks.dtype} where int16 {(*shape, native.BLOCK)} fit the size"
        )
    if plane.table.shape != (native.BLOCK,) or plane.table.dtype != np.uint16 or not plane.table.all():
        raise _refuse("a quantiser's table that is not 64 positive steps in uint16")


def _sequential(planes: int, together: bool) -> list[_Scan]:
    groups = [tuple(range(planes))] if together else [(i,) for i in range(planes)]
    return [(group, 0, _LAST, 0, 0) for group in groups]


def _progressive(planes: int, together: bool) -> list[_Scan]:
    """libjpeg's usual order: what the eye sees first comes first."""
    groups = [tuple(range(planes))] if together else [(i,) for i in range(planes)]
    luma, chroma = (0,), [(i,) for i in range(planes - 1, 0, -1)]
    return [
        *((group, 0, 0, 0, 1) for group in groups),
        (luma, 1, 5, 0, 2),
        *((plane, 1, _LAST, 0, 1) for plane in chroma),
        (luma, 6, _LAST, 0, 2),
        (luma, 1, _LAST, 2, 1),
        *((group, 0, 0, 1, 0) for group in groups),
        *((plane, 1, _LAST, 1, 0) for plane in chroma),
        (luma, 1, _LAST, 1, 0),
    ]


def _tables(file: JpegFile) -> tuple[list[np.ndarray], list[int]]:
    """Tables that differ, and the number of each plane's."""
    tables: list[np.ndarray] = []
    numbers = []
    for plane in file.planes:
        same = [i for i, table in enumerate(tables) if np.array_equal(table, plane.table)]
        numbers.append(same[0] if same else len(tables))
        if not same:
            tables.append(plane.table)
    return tables, numbers


def _segment(code: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, code, len(content) + 2) + content


def _exif(orientation: int) -> bytes:
    """A TIFF directory with nothing but the orientation."""
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def _quantiser(number: int, table: np.ndarray) -> bytes:
    wide = int(table.max()) > 255
    steps = table[list(ZIGZAG)].astype(">u2" if wide else np.uint8)
    return _segment(0xDB, bytes([wide << 4 | number]) + steps.tobytes())


def _frame(kind: int, file: JpegFile, header: native.Header, numbers: list[int]) -> bytes:
    content = struct.pack(">BHHB", 8, file.height, file.width, len(file.planes))
    for number, plane in zip(numbers, header.plane, strict=False):
        content += bytes([plane.id, plane.h << 4 | plane.v, number])
    return _segment(kind, content)


def _scan(header: native.Header, blocks: list[np.ndarray], scan: _Scan, progressive: bool) -> bytes:
    planes, first, last, high, low = scan
    three = ctypes.c_int32 * native.MOST_PLANES
    codes = three(*(int(plane > 0) for plane in planes))
    plan = native.ScanPlan(len(planes), three(*planes), codes, first, last, high, low, progressive)
    pointers = (ctypes.c_void_p * len(blocks))(*(native.address(x) for x in blocks))
    out = ctypes.c_void_p()
    size = native.library().jpeg_write(header, plan, pointers, out)
    if size == -1:
        raise MemoryError("the compiled part of codectk-dct-backbones got no memory")
    if size < 0:
        raise _refuse("coefficients outside -2048..2047 (the first of a block) or -1023..1023 (the others)")
    try:
        return ctypes.string_at(out, size)
    finally:
        native.library().jpeg_release(out)
