"""The compiled parts: `native/*.c`, loaded without any package of their own."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

from codectk.compiled import open_library

LIBRARY = Path(__file__).parent / "_native.so"


class Model(ctypes.Structure):
    """`Model` of coder.c."""

    _fields_ = (("predict", ctypes.c_int32 * 4), ("activity", ctypes.c_int32 * 6))


class Source(ctypes.Structure):
    """`Source` of coder.c."""

    _fields_ = (
        ("magnitudes", ctypes.c_void_p),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("factor", ctypes.c_int32),
        ("centre", ctypes.c_int32),
        ("around", ctypes.c_int32),
    )


class Tables(ctypes.Structure):
    """`Tables` of coder.c."""

    _fields_ = (("contexts", ctypes.c_void_p), ("patterns", ctypes.c_void_p), ("mixers", ctypes.c_void_p))


class Group(ctypes.Structure):
    """`Group` of analysis.c."""

    _fields_ = (
        ("ps", ctypes.c_int32),
        ("channels", ctypes.c_int32),
        ("weights", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("sigma", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("fine", ctypes.c_void_p),
        ("plane", ctypes.c_int64),
    )


@cache
def library() -> ctypes.CDLL:
    """The shared library, with its functions' types.

    Raises:
        PluginError: it was not built, or for another machine.
    """
    lib = open_library(LIBRARY, "codectk-frappe")
    pointer, i32, i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
    model, sources = ctypes.POINTER(Model), ctypes.POINTER(Source)
    for name in ("contexts", "patterns", "mixers"):
        getattr(lib, f"frappe_{name}").restype = i32
    lib.frappe_magnitudes.argtypes = [pointer, i32, i32, model, pointer]
    lib.frappe_magnitudes.restype = None
    walk: list[Any] = [pointer, i32, i32, model, ctypes.POINTER(Tables), sources, i32]
    lib.frappe_encode.argtypes = [pointer, *walk, pointer, i64, pointer, pointer]
    lib.frappe_encode.restype = i64
    lib.frappe_decode.argtypes = [pointer, i64, pointer, pointer, *walk]
    lib.frappe_decode.restype = i32
    lib.frappe_analyse.argtypes = [pointer, i64, i64, i32, pointer, ctypes.POINTER(Group), i32, pointer, i32]
    lib.frappe_analyse.restype = i32
    return lib
