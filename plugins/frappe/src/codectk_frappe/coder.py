"""Entropy coder of integer latents: planes in the order of the channels, each in the light of those before.

The arithmetic is in `native/coder.c`. What it is given per channel comes from the weights (`coder.…` tensors, counted
on training pictures by `fitting.fit`), or from `cold_tables` where nothing is known:

    coder.models    (N, 10)     int16   prediction W N NW NE in 1/256, activity |W| |N| |NW| |NE| |WW| |NN|
    coder.sources   (N, N, 2)   int16   activity of channel j < i at the same place, and of each of its neighbours
    coder.tables    (N, 291)    uint16  probability of a 1 at the start, per context, in 1/65536
    coder.patterns  (N, 864)    uint16  the same per pattern of the neighbours, to be mixed with that of the context
    coder.mixers    (N, 64, 2)  int32   weights of the two at the start, in 1/65536

Without the last two nothing is mixed: faster, and a little larger.
"""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import Array
from codectk.errors import ContainerError
from codectk_frappe.analysis import Int8
from codectk_frappe.native import Model, Source, Tables, library
from codectk_frappe.options import ModelOptions

CONTEXTS = 16 + 32 + 27 + 14 * 16
PATTERNS = 2 * 432
MIXERS = 64
MAX_WEIGHT = 500
"""Largest sum of a channel's activity weights: 127 times as much still fits 16 bits. Residuals of predicted values
reach 254; should most around be so large, activities wrap, and do so alike wherever a file is written or read."""
MAX_PREDICT = 1024
MAX_MIXER = 1 << 18
MAX_SIDE = (1 << 31) - 1
"""Rows and columns of a plane that the C code can count."""
MARGIN = 1 << 15
"""Bytes that probabilities may cost until they have adapted, whatever they were at the start."""
NO_MEMORY = -2

Counts = NDArray[np.uint32]


class Coder:
    """Codes planes one after the other.

    Args:
        options: patch sizes of the channels.
        tensors: see the module; `coder.` is left out of the names.

    Raises:
        ValueError: they have other shapes or values that the coder cannot hold.
    """

    def __init__(self, options: ModelOptions, tensors: Mapping[str, Array]) -> None:
        self.ps = options.ps
        _check(len(self.ps), tensors)
        self.mixes = "patterns" in tensors
        self.models = [_model(row) for row in tensors["models"]]
        self.tables = np.array(tensors["tables"], order="C")
        self.patterns = np.array(tensors["patterns"], order="C") if self.mixes else None
        self.mixers = np.array(tensors["mixers"], order="C") if self.mixes else None
        sources, ps = tensors["sources"], self.ps
        self.helpers = [
            [(j, *map(int, sources[i, j])) for j in range(i) if sources[i, j].any() and ps[j] % ps[i] == 0]
            for i in range(len(ps))
        ]

    def encode(self, planes: Sequence[Int8], fast: bool = False, counts: Counts | None = None) -> list[bytes]:
        """One byte string per plane.

        Args:
            planes: int8 (H/p_i, W/p_i) of the first channels, each contiguous.
            fast: mix nothing.
            counts: (N, contexts + patterns, 2), to which decisions are added; the mixers' weights then stay as they
                were learnt. For `fitting.fit` alone.

        Raises:
            ValueError: the planes are not those of one picture.
        """
        magnitudes = self.magnitudes(planes)
        return [self._encode_one(i, planes, magnitudes, fast, counts) for i in range(len(planes))]

    def size(self, groups: Sequence[Int8]) -> int:
        """Bytes of the latents of one picture, (n_s, h, w) per scale group."""
        return sum(map(len, self.encode(planes_of(groups))))

    def magnitudes(self, planes: Sequence[Int8]) -> list[NDArray[np.uint8]]:
        """Magnitudes of the residuals, from which activities come.

        Raises:
            ValueError: the planes are not those of one picture.
        """
        self._check_planes(planes)
        lib, out = library(), []
        for plane, model in zip(planes, self.models, strict=False):
            magnitudes = np.empty(plane.shape, np.uint8)
            lib.frappe_magnitudes(plane.ctypes.data, *plane.shape, model, magnitudes.ctypes.data)
            out.append(magnitudes)
        return out

    def _encode_one(
        self, i: int, planes: Sequence[Int8], magnitudes: Sequence[Array], fast: bool, counts: Counts | None
    ) -> bytes:
        plane = planes[i]
        room = 2 * plane.size + MARGIN
        out = np.empty(room, np.uint8)
        learnt = None if counts is None or self.mixers is None else self.mixers[i].ctypes.data
        size = library().frappe_encode(
            plane.ctypes.data,
            self._relative(i, planes),
            *plane.shape,
            self.models[i],
            self._tables(i, fast),
            *self._sources(i, magnitudes),
            *(out.ctypes.data, room, None if counts is None else counts[i].ctypes.data, learnt),
        )
        if size < 0:
            raise MemoryError("no memory to code latents")
        return out[:size].tobytes()

    def decode(self, data: Sequence[bytes], height: int, width: int, fast: bool = False) -> list[Int8]:
        """Undo `encode` for the first `len(data)` channels of a picture of `height` x `width` pixels.

        Raises:
            ContainerError: the bytes are not such planes.
            ValueError: the sides are not multiples of all patch sizes.
        """
        if max(height, width) > MAX_SIDE or any(height % ps or width % ps for ps in self.ps[: len(data)]):
            raise ValueError(f"{height} x {width} pixels have no planes of patch sizes {self.ps[: len(data)]}")
        planes: list[Int8] = []
        magnitudes: list[NDArray[np.uint8]] = []
        for i, part in enumerate(data):
            shape = height // self.ps[i], width // self.ps[i]
            plane, size = np.empty(shape, np.int8), np.empty(shape, np.uint8)
            error = library().frappe_decode(
                part,
                len(part),
                plane.ctypes.data,
                size.ctypes.data,
                self._relative(i, planes),
                *shape,
                self.models[i],
                self._tables(i, fast),
                *self._sources(i, magnitudes),
            )
            if error == NO_MEMORY:
                raise MemoryError("no memory to decode latents")
            if error:
                raise ContainerError(f"The latents of channel {i + 1} are damaged.", "Compress the original again.")
            planes.append(plane)
            magnitudes.append(size)
        return planes

    def _check_planes(self, planes: Sequence[Int8]) -> None:
        """The C code relies on all that is refused here."""
        for plane, ps in zip(planes, self.ps, strict=False):
            sides = plane.shape[0] * ps, plane.shape[1] * ps
            same = sides == (planes[0].shape[0] * self.ps[0], planes[0].shape[1] * self.ps[0])
            if not same or max(sides) > MAX_SIDE or plane.dtype != np.int8 or not plane.flags.c_contiguous:
                raise ValueError(f"{plane.dtype} {plane.shape} is no contiguous int8 plane of patch size {ps}")

    def _relative(self, i: int, planes: Sequence[Int8]) -> int | None:
        """The previous channel of the same patch size, whose signs help."""
        return planes[i - 1].ctypes.data if i and self.ps[i - 1] == self.ps[i] else None

    def _tables(self, i: int, fast: bool) -> Tables:
        if fast or self.patterns is None or self.mixers is None:
            return Tables(self.tables[i].ctypes.data, None, None)
        return Tables(*(part[i].ctypes.data for part in (self.tables, self.patterns, self.mixers)))

    def _sources(self, i: int, magnitudes: Sequence[Array]) -> tuple[Any, int]:
        helpers = self.helpers[i]
        array = (Source * max(1, len(helpers)))()
        for place, (j, centre, around) in zip(array, helpers, strict=False):
            plane = magnitudes[j]
            place.magnitudes, place.height, place.width = plane.ctypes.data, *plane.shape
            place.factor, place.centre, place.around = self.ps[j] // self.ps[i], centre, around
        return array, len(helpers)


def _check(count: int, tensors: Mapping[str, Array]) -> None:
    """Shapes and bounds; what is within them, the C code can hold."""
    wanted: dict[str, tuple[tuple[int, ...], Any]] = {
        "models": ((count, 10), np.int16),
        "sources": ((count, count, 2), np.int16),
        "tables": ((count, CONTEXTS), np.uint16),
    }
    if "patterns" in tensors or "mixers" in tensors:
        wanted |= {"patterns": ((count, PATTERNS), np.uint16), "mixers": ((count, MIXERS, 2), np.int32)}
    for name, (shape, kind) in wanted.items():
        if name not in tensors:
            raise ValueError(f"coder.{name} is missing")
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != kind:
            raise ValueError(f"coder.{name} is {tensor.dtype} {tensor.shape}, not {np.dtype(kind)} {shape}")
    models, sources = tensors["models"], tensors["sources"]
    total = models[:, 4:].astype(int).sum(1) + (sources.astype(int) * (1, 4)).sum((1, 2))
    if models[:, 4:].min() < 0 or sources.min() < 0 or total.max() > MAX_WEIGHT:
        raise ValueError(f"coder: weights of the activity must be 0 or more, and {MAX_WEIGHT} at most together")
    chances = [tensors[name] for name in ("tables", "patterns") if name in tensors]
    predictions = np.abs(models[:, :4].astype(int))
    if predictions.max() > MAX_PREDICT or any(t.min() < 64 or t.max() > 65535 - 64 for t in chances):
        raise ValueError("coder: predictions or probabilities out of bounds")
    if "mixers" in tensors and np.abs(tensors["mixers"].astype(np.int64)).max() > MAX_MIXER:
        raise ValueError("coder: weights of the mixers out of bounds")


def _model(row: Array) -> Model:
    values = [int(value) for value in row]
    return Model((ctypes.c_int32 * 4)(*values[:4]), (ctypes.c_int32 * 6)(*values[4:]))


def planes_of(groups: Sequence[Int8]) -> list[Int8]:
    """Latents per scale group → one contiguous plane per channel."""
    return [np.ascontiguousarray(plane) for group in groups for plane in group]


def cold_tables(options: ModelOptions) -> dict[str, Array]:
    """Models, sources and tables that know nothing of any weights."""
    count = len(options.ps)
    models = np.tile(np.array([0, 0, 0, 0, 30, 30, 12, 12, 6, 6], np.int16), (count, 1))
    sources = np.zeros((count, count, 2), np.int16)
    for i in range(count):
        for j in helpers_of(options, i):
            sources[i, j] = (6, 1)
    return {"models": models, "sources": sources, "tables": np.full((count, CONTEXTS), 1 << 15, np.uint16)}


def helpers_of(options: ModelOptions, i: int) -> list[int]:
    """Channels before `i` that may help to code it: of the same patch size, or twice that."""
    return [j for j in range(i) if options.ps[j] in (options.ps[i], 2 * options.ps[i])]
