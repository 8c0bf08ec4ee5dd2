"""The compiled coder, `native/entropy.c`, loaded without any package of its own."""

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codectk.entropy.tables import Tables

LIBRARY = Path(__file__).parent / "_native.so"
ARRAYS = ("cumulative", "first", "offsets", "lengths", "hints", "skippable")
LANES = 4
ALONE = 1 << 16
LOWEST = 1 << 24
STATE_BYTES = 5


class _Tables(ctypes.Structure):
    """`Tables` of entropy.c."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ARRAYS)


class _Decoder(ctypes.Structure):
    """`Decoder` of entropy.c."""

    _fields_ = (
        ("data", ctypes.c_char_p),
        ("size", ctypes.c_int64),
        ("place", ctypes.c_int64),
        ("item", ctypes.c_int64),
        ("states", ctypes.c_uint64 * LANES),
    )


@cache
def library() -> ctypes.CDLL | None:
    """The shared library with its functions' types, or None where this platform's wheel has none."""
    try:
        lib = ctypes.CDLL(str(LIBRARY))
    except OSError:
        return None
    pointer, i32, i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
    tables, decoder = ctypes.POINTER(_Tables), ctypes.POINTER(_Decoder)
    lib.entropy_count.argtypes = [tables, pointer, pointer, i64, ctypes.POINTER(i32)]
    lib.entropy_count.restype = i64
    lib.entropy_items.argtypes = [tables, pointer, pointer, i64, i32, pointer]
    lib.entropy_items.restype = None
    lib.entropy_pack.argtypes = [pointer, i64, pointer]
    lib.entropy_pack.restype = i64
    lib.entropy_decode.argtypes = [tables, decoder, pointer, i64, pointer, pointer]
    lib.entropy_decode.restype = i32
    return lib


def _loaded() -> ctypes.CDLL:
    lib = library()
    if lib is None:
        raise RuntimeError("the compiled coder is not there; ask `library` before")
    return lib


def _pointers(tables: Tables) -> _Tables:
    return _Tables(*(getattr(tables, name).ctypes.data for name in ARRAYS))


def items(tables: Tables, symbols: NDArray[np.int32], indexes: NDArray[np.uint16]) -> NDArray[np.uint32]:
    """The intervals that stand for symbols.

    Args:
        tables: see there.
        symbols: int32 (N), contiguous.
        indexes: uint16 (N), contiguous and below the number of tables.

    Returns:
        uint32 (items), start · 2^16 + frequency - 1.
    """
    lib, pointers, skip = _loaded(), _pointers(tables), ctypes.c_int32()
    where = symbols.ctypes.data, indexes.ctypes.data, len(symbols)
    found = np.empty(lib.entropy_count(pointers, *where, skip), np.uint32)
    lib.entropy_items(pointers, *where, skip, found.ctypes.data)
    return found


def pack(found: NDArray[np.uint32]) -> bytes:
    """The stream of items."""
    out = np.empty(2 * len(found) + STATE_BYTES * LANES, np.uint8)
    size = _loaded().entropy_pack(found.ctypes.data, len(found), out.ctypes.data)
    return out[len(out) - size :].tobytes()


class Reader:
    """Takes symbols from a stream, in the order in which their items were packed."""

    def __init__(self, data: bytes) -> None:
        self._data = data  # as long as the structure points to it
        self._state = _Decoder(data, len(data))

    def decode(self, tables: Tables, indexes: NDArray[np.uint16]) -> NDArray[np.int32] | None:
        """int32 (N), or None if the stream is too short or no encoder writes it."""
        out, room = np.empty(len(indexes), np.int32), np.empty(len(indexes), np.uint16)
        where = indexes.ctypes.data, len(indexes), room.ctypes.data, out.ctypes.data
        return None if _loaded().entropy_decode(_pointers(tables), self._state, *where) else out

    def finished(self) -> bool:
        """Whether the stream ends here."""
        state = self._state
        used = LANES if state.item > ALONE else min(state.item, 1)
        return state.place == state.size and all(state.states[lane] == LOWEST for lane in range(used))
