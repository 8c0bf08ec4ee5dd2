"""The compiled parts, `native/*.c`: loaded without any package of their own, called with checked arrays only."""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codectk.compiled import open_library
from codectk.container import Reader, varint
from codectk.errors import CodectkError, ContainerError

LIBRARY = Path(__file__).parent / "_native.so"
AXES = 3
TAPS = 25
MAX_LEVELS = 6
MAX_PASSES = AXES * MAX_LEVELS
GROUPS = 3
STREAMS = 4
"""Of the groups, and of the second half of the last in large blocks."""

FEATURES = 26
MOST_BLOCK = 64
SLACK = 4096
"""Bytes of an output buffer beyond four for each value; streams that need more are not worth their name."""

Shape = tuple[int, int, int]
Array = NDArray[Any]
"""Numbers to compute with, of any type."""

Weights = NDArray[np.int16]
Integers = NDArray[np.int32]
Doubles = NDArray[np.float64]
Examples = tuple[NDArray[np.int16], Integers, NDArray[np.uint8], NDArray[np.uint8]]

_three32, _three64 = ctypes.c_int32 * AXES, ctypes.c_int64 * AXES


class Grid(ctypes.Structure):
    """`Grid` of grid.h."""

    _fields_ = (("shape", _three32), ("order", _three32), ("levels", ctypes.c_int32))

    @classmethod
    def of(cls, shape: Shape, order: Sequence[int]) -> "Grid":
        """The grid of a block, with as many levels as its longest axis allows."""
        return cls(_three32(*shape), _three32(*order), min(MAX_LEVELS, (max(shape) - 1).bit_length()))


class _Streams(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p * STREAMS), ("size", ctypes.c_int64 * STREAMS), ("room", ctypes.c_int64))


class ContextWeights(ctypes.Structure):
    """`Contexts` of context.h; see `contexts.Contexts`, which checks what the pointers lead to."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("inner", "outer", "offset", "starts", "signs")),
        ("seen", ctypes.c_int32),
    )


class _Examples(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("features", "magnitudes", "kinds", "levels")),
        ("contexts", ctypes.POINTER(ContextWeights)),
        ("room", ctypes.c_int64),
        ("count", ctypes.c_int64),
    )


class _Blocks(ctypes.Structure):
    _fields_ = (("shape", _three64), ("blocks", _three64))


class Survey(ctypes.Structure):
    """`Survey` of values.c: `low`, `high`, and how many values are not finite (`odd`)."""

    _fields_ = (("low", ctypes.c_double), ("high", ctypes.c_double), ("odd", ctypes.c_int64))


class Errors(ctypes.Structure):
    """`Errors` of values.c: `largest`, sum of `squares`, and how many are `outside` the bound."""

    _fields_ = (("largest", ctypes.c_double), ("squares", ctypes.c_double), ("outside", ctypes.c_int64))


class _Box(ctypes.Structure):
    _fields_ = (("begin", _three64), ("size", _three64), ("parent", _three64))


Box = tuple[Shape, Shape, Shape]
"""Where a part of an array begins, its size, and where its parent begins or -1, -1, -1."""


@cache
def library() -> ctypes.CDLL:
    """The shared library, with its functions' types.

    Raises:
        PluginError: it was not built, or for another machine.
    """
    lib = open_library(LIBRARY, "codectk-caesar-freq")
    pointer, i32, i64, grid = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.POINTER(Grid)
    lib.caesar_fit.argtypes = [grid, pointer, pointer, ctypes.c_double, i64, pointer, pointer]
    for name, real in (("f32", ctypes.c_float), ("f64", ctypes.c_double)):
        function = getattr(lib, f"caesar_lift_{name}")
        streams, contexts = ctypes.POINTER(_Streams), ctypes.POINTER(ContextWeights)
        function.argtypes = [grid, *[pointer] * 4, real, i32, pointer, streams, contexts, i32]
        scale = [pointer, i64, ctypes.c_double, ctypes.c_double, pointer]
        for way in ("to_single", "from_single", "from_double"):
            getattr(lib, f"caesar_{way}_{name}").argtypes = scale
        getattr(lib, f"caesar_survey_{name}").argtypes = [pointer, i64, ctypes.POINTER(Survey)]
        errors = getattr(lib, f"caesar_errors_{name}")
        errors.argtypes = [pointer, pointer, pointer, i64, ctypes.c_double, ctypes.POINTER(Errors)]
    lib.caesar_in_halves.argtypes = [grid]
    lib.caesar_context_examples.argtypes = [grid, pointer, pointer, i64, ctypes.POINTER(_Examples)]
    lib.caesar_context_examples.restype = i64
    lib.caesar_dct.argtypes = [pointer, *[i64] * 4, i32]
    lib.caesar_wavelet.argtypes = [pointer, *[i64] * 4, i32, i32]
    planes: list[Any] = [ctypes.POINTER(_Blocks), pointer, i64, pointer, pointer, i64]
    lib.caesar_encode_planes.argtypes = lib.caesar_decode_planes.argtypes = planes
    lib.caesar_encode_planes.restype = i64
    return lib


def _check(result: int) -> int:
    if result == -1:
        raise MemoryError("the compiled part of codectk-caesar-freq got no memory")
    if result < 0:
        raise CodectkError("A stream is larger than the values it stands for.", "Ask for a wider bound.")
    return result


def _address(x: Array | None) -> int | None:
    return None if x is None else x.ctypes.data


def fit(grid: Grid, z: Array, mask: Array | None, noise: float, sample: int) -> tuple[Weights, Doubles]:
    """Weights of the taps of every pass, (passes, TAPS) int16, and the mean squares that they leave, (passes,).

    Args:
        grid: of the block.
        z: float32 (T, H, W), contiguous.
        mask: uint8 (T, H, W), 1 where values are not coded, or None.
        noise: variance of the quantiser's error.
        sample: values of each pass to look at.
    """
    weights, left = np.zeros((MAX_PASSES, TAPS), np.int16), np.zeros(MAX_PASSES)
    where = z.ctypes.data, _address(mask)
    passes = _check(library().caesar_fit(grid, *where, noise, sample, weights.ctypes.data, left.ctypes.data))
    return weights[:passes], left[:passes]


def _lift(z: Array | None, z_hat: Array, grid: Grid, *rest: Any) -> int:
    name = "f32" if z_hat.dtype == np.float32 else "f64"
    function = getattr(library(), f"caesar_lift_{name}")
    return _check(function(grid, _address(z), z_hat.ctypes.data, *rest))


def lift_encode(
    grid: Grid,
    z: Array,
    mask: Array | None,
    weights: Weights,
    step: float,
    lattice: bool,
    threads: int,
    contexts: ContextWeights | None = None,
) -> tuple[list[bytes], Array]:
    """Quantise and code a block; see lifting.c.

    Args:
        z: float32 or float64 (T, H, W), contiguous; |z| / step below 2^30.
        step: distance of quantised values; with `lattice` an odd integer, and z holds integers.
        contexts: of the network that foresees magnitudes, or None for fixed sums of those around.

    Returns:
        The streams of the groups of levels, and the values as the decoder will have them.

    Raises:
        CodectkError: the streams would be larger than the values.
    """
    z_hat, q = np.empty_like(z), np.empty(z.size, np.int32)
    room = 4 * z.size + SLACK
    buffers = [np.empty(room, np.uint8) for _ in range(STREAMS)]
    data = (ctypes.c_void_p * STREAMS)(*(buffer.ctypes.data for buffer in buffers))
    streams = _Streams(data, (ctypes.c_int64 * STREAMS)(), room)
    where = _address(mask), weights.ctypes.data
    _lift(z, z_hat, grid, *where, step, lattice, q.ctypes.data, ctypes.byref(streams), contexts, threads)
    *groups, second = (buffer[:size].tobytes() for buffer, size in zip(buffers, streams.size, strict=True))
    if in_halves(grid):
        groups[-1] = varint(len(groups[-1])) + groups[-1] + second
    return groups, z_hat


def in_halves(grid: Grid) -> bool:
    """Whether the last group of a block has two streams, for two threads: the length of the first stands before it."""
    return bool(library().caesar_in_halves(grid))


def _halves(grid: Grid, group: bytes | None) -> tuple[bytes | None, bytes | None]:
    if group is None or not in_halves(grid):
        return group, None
    reader = Reader(group, 0, len(group), "The block")
    first = reader.bytes(reader.varint(len(group)))
    return first, group[reader.at :]


def lift_quantise(grid: Grid, z: Array, mask: Array | None, weights: Weights, step: float) -> Array:
    """The values as a decoder would have them, without coding."""
    z_hat, q = np.empty_like(z), np.empty(z.size, np.int32)
    _lift(z, z_hat, grid, _address(mask), weights.ctypes.data, step, False, q.ctypes.data, None, None, 1)
    return z_hat


def lift_symbols(grid: Grid, z: Array, mask: Array | None, weights: Weights, step: float) -> Integers:
    """The quantised values in the order of the passes, anchors first, (T·H·W,)."""
    z_hat, q = np.empty_like(z), np.empty(z.size, np.int32)
    _lift(z, z_hat, grid, _address(mask), weights.ctypes.data, step, False, q.ctypes.data, None, None, 1)
    return q


def context_examples(
    grid: Grid, mask: Array | None, q: Integers, every: int, contexts: ContextWeights | None = None
) -> Examples:
    """What the context network sees, and should foresee, at one row in so many.

    Args:
        grid: of the block.
        mask: uint8 (T, H, W), 1 where values are not coded, or None.
        q: from `lift_symbols`.
        every: distance of the rows.
        contexts: of the network.

    Returns:
        Features (N, FEATURES) int16, magnitudes (N,) int32, kinds of passes (N,) uint8, and the levels that the network
        chooses (N,) uint8, all 0 without one.
    """
    features, magnitudes = np.empty((q.size, FEATURES), np.int16), np.empty(q.size, np.int32)
    kinds, levels = np.empty(q.size, np.uint8), np.zeros(q.size, np.uint8)
    anchors = int(np.prod([-(-side // (1 << grid.levels)) for side in grid.shape]))
    given = ctypes.pointer(contexts) if contexts is not None else None
    out = (features.ctypes.data, magnitudes.ctypes.data, kinds.ctypes.data, levels.ctypes.data if given else None)
    behind = np.ascontiguousarray(q[anchors:])
    found = _Examples(*out, given, q.size, 0)
    count = _check(
        library().caesar_context_examples(grid, _address(mask), behind.ctypes.data, every, ctypes.byref(found))
    )
    return features[:count], magnitudes[:count], kinds[:count], levels[:count]


def lift_decode(
    grid: Grid,
    dtype: Any,
    mask: Array | None,
    weights: Weights,
    step: float,
    lattice: bool,
    streams: Sequence[bytes | None],
    threads: int,
    contexts: ContextWeights | None = None,
) -> Array:
    """The values of a block; of groups whose stream is None all quantised values are 0.

    Raises:
        ContainerError: the last group says that its first stream is longer than it is.
    """
    z_hat = np.empty(tuple(grid.shape), dtype)
    q = np.empty(z_hat.size, np.int32)
    every = [*streams[:-1], *_halves(grid, streams[-1])]
    kept = [ctypes.create_string_buffer(s, len(s) + 1) if s is not None else None for s in every]
    pointers = (ctypes.c_void_p * STREAMS)(*(ctypes.addressof(k) if k is not None else None for k in kept))
    sizes = (ctypes.c_int64 * STREAMS)(*(len(s) if s is not None else 0 for s in every))
    given = _Streams(pointers, sizes, 0)
    where = _address(mask), weights.ctypes.data
    _lift(None, z_hat, grid, *where, step, lattice, q.ctypes.data, ctypes.byref(given), contexts, threads)
    return z_hat


def _of_type(what: str, x: Array) -> Any:
    """The function for float32 or float64; arrays must be contiguous."""
    if x.dtype not in (np.float32, np.float64) or not x.flags.c_contiguous:
        raise ValueError(f"{what} works on contiguous floats")
    return getattr(library(), f"caesar_{what}_{'f32' if x.dtype == np.float32 else 'f64'}")


def survey(x: Array) -> Survey:
    """Smallest and largest finite value of floats, and how many are not finite."""
    found = Survey()
    _of_type("survey", x)(x.ctypes.data, x.size, found)
    return found


def errors(x: Array, x_hat: Array, mask: Array | None, bound: float) -> Errors:
    """Errors of floats; those under a mask (uint8) do not count."""
    found = Errors()
    _of_type("errors", x)(x.ctypes.data, x_hat.ctypes.data, _address(mask), x.size, bound, found)
    return found


def to_single(x: Array, offset: float, unit: float) -> Array:
    """(x - offset) / unit in float32, of floats."""
    z = np.empty(x.shape, np.float32)
    _of_type("to_single", x)(x.ctypes.data, x.size, offset, unit, z.ctypes.data)
    return z


def from_work(z: Array, offset: float, unit: float, dtype: Any) -> Array:
    """z unit + offset, computed in float64, as floats of a type."""
    x = np.empty(z.shape, dtype)
    way = "from_single" if z.dtype == np.float32 else "from_double"
    _of_type(way, x)(z.ctypes.data, z.size, offset, unit, x.ctypes.data)
    return x


def dct(x: Doubles, axis: int, blocks: int, inverse: bool = False) -> None:
    """Orthonormal DCT-II, in place, of nearly equal blocks of at most MOST_BLOCK values along an axis."""
    before, length, after = _split(x, axis)
    if not -(-length // MOST_BLOCK) <= blocks <= length:
        raise ValueError(f"{blocks} blocks of {length} values")
    _check(library().caesar_dct(x.ctypes.data, before, length, after, blocks, inverse))


def wavelet(x: Doubles, axis: int, part: int, kind: int, inverse: bool = False) -> None:
    """One level of a wavelet (0 Haar, 1 CDF 9/7), in place, on the first `part` values along an axis."""
    before, length, after = _split(x, axis)
    if not 1 <= part <= length:
        raise ValueError(f"{part} of {length} values")
    _check(library().caesar_wavelet(x.ctypes.data, before, length, after, part, kind, inverse))


def _split(x: Doubles, axis: int) -> tuple[int, int, int]:
    if x.dtype != np.float64 or not x.flags.c_contiguous or not x.flags.writeable:
        raise ValueError("transforms work on contiguous float64 arrays")
    return int(np.prod(x.shape[:axis])), x.shape[axis], int(np.prod(x.shape[axis + 1 :]))


def encode_planes(q: Integers, blocks: Shape = (1, 1, 1), boxes: Sequence[Box] = ()) -> bytes:
    """The stream of quantised coefficients (T, H, W): of blocks, or of boxes if there are any.

    Raises:
        CodectkError: it would be larger than the values.
    """
    q = np.ascontiguousarray(q, np.int32)
    out = np.empty(4 * q.size + SLACK, np.uint8)
    size = library().caesar_encode_planes(*_plan(q, blocks, boxes), q.ctypes.data, out.ctypes.data, out.size)
    return out[: _check(size)].tobytes()


def decode_planes(data: bytes, shape: Shape, blocks: Shape = (1, 1, 1), boxes: Sequence[Box] = ()) -> Integers:
    """The coefficients of a stream, int32 (T, H, W)."""
    q = np.zeros(shape, np.int32)
    _check(library().caesar_decode_planes(*_plan(q, blocks, boxes), q.ctypes.data, data, len(data)))
    return q


def _plan(q: Integers, blocks: Shape, boxes: Sequence[Box]) -> tuple[Any, Any, int]:
    if any(not 1 <= count <= length for count, length in zip(blocks, q.shape, strict=True)):
        raise ContainerError("The blocks do not fit the array.", "Copy or download the file again.")
    plan = _Blocks(_three64(*q.shape), _three64(*blocks))
    parts = (_Box * len(boxes))(*(_Box(*(_three64(*three) for three in box)) for box in boxes))
    return ctypes.byref(plan), ctypes.cast(parts, ctypes.c_void_p) if boxes else None, len(boxes)
