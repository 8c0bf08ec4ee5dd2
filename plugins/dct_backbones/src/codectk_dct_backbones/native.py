"""The compiled parts, `native/*.c`: loaded without any package of their own, called with checked arrays only."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from codectk.compiled import open_library

LIBRARY = Path(__file__).parent / "_native.so"
MOST_PLANES = 3
BLOCK = 64


class Plane(ctypes.Structure):
    """`Plane` of jpeg.h."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("id", "h", "v", "rows", "columns", "shown_rows", "shown_columns")),
        ("quantiser", ctypes.c_int32),
        ("table", ctypes.c_uint16 * BLOCK),
    )


class Header(ctypes.Structure):
    """`Header` of jpeg.h."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("height", "width", "planes", "progressive", "one_scan")),
        *((name, ctypes.c_int32) for name in ("orientation", "colour", "mcu_rows", "mcu_columns", "most_h", "most_v")),
        ("plane", Plane * MOST_PLANES),
    )


class Window(ctypes.Structure):
    """`Window` of jpeg.h: MCUs [begin, end)."""

    _fields_ = tuple((name, ctypes.c_int32) for name in ("row_begin", "row_end", "column_begin", "column_end"))


class ScanPlan(ctypes.Structure):
    """`ScanPlan` of jpeg_write.c."""

    _fields_ = (
        ("planes", ctypes.c_int32),
        ("plane", ctypes.c_int32 * MOST_PLANES),
        ("code", ctypes.c_int32 * MOST_PLANES),
        *((name, ctypes.c_int32) for name in ("first", "last", "high", "low", "progressive")),
    )


class Gather(ctypes.Structure):
    """`Gather` of gather.c; the arrays must outlive it."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("rows", "columns", "transposed", "rows_back", "columns_back", "count")),
        *((name, ctypes.c_void_p) for name in ("index", "factor", "shift")),
    )


class Axis(ctypes.Structure):
    """`Axis` of resample.c."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("pixels", "factor", "most", "step", "first", "last", "out")),
        *((name, ctypes.c_int32) for name in ("origin", "blocks")),
        *((name, ctypes.c_double) for name in ("begin", "span")),
    )


class Layer(ctypes.Structure):
    """`Layer` of resample.c: addresses of blocks, table and output."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("blocks", "table", "out"))


def address(x: NDArray[Any]) -> int:
    """Where a contiguous array's first element lies. The array must outlive its use."""
    if x.size and x.flags.writeable:
        return ctypes.addressof(ctypes.c_char.from_buffer(x.data))  # x.ctypes.data takes several times as long
    return x.ctypes.data


@cache
def library() -> ctypes.CDLL:
    """The shared library, with its functions' types.

    Raises:
        PluginError: it was not built, or for another machine.
    """
    lib = open_library(LIBRARY, "codectk-dct-backbones")
    data, i64, header = ctypes.c_char_p, ctypes.c_int64, ctypes.POINTER(Header)
    lib.jpeg_header.argtypes = [data, i64, header]
    lib.jpeg_read.argtypes = [data, i64, header, ctypes.POINTER(Window), ctypes.POINTER(ctypes.c_void_p)]
    blocks, out = ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_void_p)
    lib.jpeg_write.argtypes = [header, ctypes.POINTER(ScanPlan), blocks, out]
    lib.jpeg_write.restype = i64
    lib.jpeg_release.argtypes = [ctypes.c_void_p]
    lib.jpeg_release.restype = None
    pointer, axis = ctypes.c_void_p, ctypes.POINTER(Axis)
    lib.resample.argtypes = [ctypes.POINTER(Layer), ctypes.c_int32, axis, axis]
    for gather in (lib.gather_integers, lib.gather_floats):
        gather.argtypes = [pointer, i64, pointer, ctypes.POINTER(Gather), pointer]
        gather.restype = None
    return lib
