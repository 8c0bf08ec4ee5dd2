"""The compiled entropy coder and pixels of planes (`native/entropy_planes.c`, `native/pixels.c`) on numpy arrays."""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codectk.errors import CodectkError, ContainerError
from codectk_dct_backbones import native
from codectk_dct_backbones.native import BLOCK

Blocks = NDArray[np.int16]
"""Quantised coefficients (rows, columns, 64), natural order 8 v + u."""

Table = NDArray[np.uint16]
"""Steps of the quantiser (64,), natural order."""

Pixels = NDArray[np.uint8]

SLACK = 4096
"""Bytes of an output buffer beyond four for each coefficient; streams that need more are not worth their name."""


class _Plane(ctypes.Structure):
    """`Plane` of entropy_block.h."""

    _fields_ = (
        ("rows", ctypes.c_int32),
        ("columns", ctypes.c_int32),
        ("kept", ctypes.c_uint64),
        ("blocks", ctypes.c_void_p),
        ("table", ctypes.c_uint16 * BLOCK),
    )


@cache
def _library() -> ctypes.CDLL:
    lib = native.library()
    pointer, i32, i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
    lib.entropy_encode.argtypes = [pointer, i32, pointer, i64, pointer]
    lib.entropy_decode.argtypes = [pointer, i32, ctypes.POINTER(ctypes.c_char_p), pointer]
    lib.pixels_of_blocks.argtypes = [pointer, pointer, i64, i64, pointer]
    lib.pixels_of_blocks.restype = None
    lib.pixels_enlarge.argtypes = [pointer, i64, i64, i64, i32, i32, pointer]
    lib.pixels_rgb.argtypes = [pointer, pointer, pointer, i64, pointer]
    lib.pixels_rgb.restype = None
    return lib


def _check(code: int, problem: CodectkError) -> None:
    if code == -1:
        raise MemoryError("the compiled part of codectk-dct-backbones got no memory")
    if code < 0:
        raise problem


def _planes(blocks: Sequence[Blocks], tables: Sequence[Table], kept: Sequence[int]) -> Any:
    planes = (_Plane * len(blocks))()
    for to, x, table, mask in zip(planes, blocks, tables, kept, strict=True):
        if x.dtype != np.int16 or x.ndim != 3 or x.shape[2] != BLOCK or not x.flags.c_contiguous:
            raise ValueError("the entropy coder works on contiguous int16 blocks of 64")
        to.rows, to.columns, to.kept, to.blocks = x.shape[0], x.shape[1], mask, x.ctypes.data
        to.table[:] = table.tolist()
    if len(blocks) > native.MOST_PLANES or (len(blocks) > 2 and blocks[1].shape != blocks[2].shape):
        raise ValueError("the entropy coder works on three planes at most, the last two of one shape")
    return planes


def encode_planes(blocks: Sequence[Blocks], tables: Sequence[Table], kept: Sequence[int]) -> tuple[bytes, ...]:
    """One stream for each plane; each may need those before it to be decoded.

    Args:
        blocks: of each plane, 0 where `kept` says so; the third plane has as many as the second.
        tables: of each plane.
        kept: bit 8 v + u is set where a plane's coefficients may differ from 0.

    Raises:
        CodectkError: the streams would be larger than the coefficients.
    """
    planes, sizes = _planes(blocks, tables, kept), (ctypes.c_int64 * len(blocks))()
    out = np.empty(4 * sum(x.size for x in blocks) + SLACK, np.uint8)
    code = _library().entropy_encode(planes, len(blocks), out.ctypes.data, out.size, sizes)
    _check(code, CodectkError("The coefficients are noise, which nothing makes smaller.", "Keep the file as it is."))
    ends = np.cumsum(sizes).tolist()
    return tuple(out[end - size : end].tobytes() for end, size in zip(ends, sizes, strict=True))


def decode_planes(
    shapes: Sequence[tuple[int, int]], tables: Sequence[Table], kept: Sequence[int], streams: Sequence[bytes]
) -> list[Blocks]:
    """The blocks of all planes; those whose streams are missing are 0.

    Args:
        shapes: rows and columns of blocks of each plane.
        tables, kept: see `encode_planes`.
        streams: the first ones, not more than there are planes.

    Raises:
        ContainerError: a stream is damaged.
    """
    blocks = [np.zeros((*shape, BLOCK), np.int16) for shape in shapes]
    planes, data = _planes(blocks, tables, kept), (ctypes.c_char_p * len(streams))(*streams)
    sizes = (ctypes.c_int64 * len(streams))(*(len(stream) for stream in streams))
    code = _library().entropy_decode(planes, len(streams), data, sizes)
    _check(code, ContainerError("A stream of coefficients is damaged.", "Copy or download the file again."))
    return blocks


def samples(blocks: Blocks, table: Table) -> Pixels:
    """A plane's samples (8 rows, 8 columns), as libjpeg's accurate integer transform gives them."""
    rows, columns = blocks.shape[:2]
    out = np.empty((8 * rows, 8 * columns), np.uint8)
    blocks, table = np.ascontiguousarray(blocks, np.int16), np.ascontiguousarray(table, np.uint16)
    _library().pixels_of_blocks(blocks.ctypes.data, table.ctypes.data, rows, columns, out.ctypes.data)
    return out


def enlarge(plane: Pixels, down: int, across: int) -> Pixels:
    """A plane (H, W) at (H down, W across): doubled by libjpeg's triangle filter, else by repetition."""
    height, width = plane.shape
    if plane.strides[1] != 1:
        raise ValueError("rows of samples must lie side by side")
    out = np.empty((height * down, width * across), np.uint8)
    code = _library().pixels_enlarge(plane.ctypes.data, height, width, plane.strides[0], down, across, out.ctypes.data)
    _check(code, CodectkError("A plane cannot be enlarged.", "Report this to the makers of codectk-dct-backbones."))
    return out


def rgb(luma: Pixels, cb: Pixels, cr: Pixels) -> Pixels:
    """Planes Y, Cb and Cr (H, W) as red, green and blue (H, W, 3)."""
    planes = [np.ascontiguousarray(plane) for plane in (luma, cb, cr)]
    out = np.empty((*luma.shape, 3), np.uint8)
    _library().pixels_rgb(*(plane.ctypes.data for plane in planes), luma.size, out.ctypes.data)
    return out
