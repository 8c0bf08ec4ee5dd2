"""Entropy coder of integer latents: planes in the order of the channels, each in the light of those before.

The arithmetic is in `native/coder.c`. What it is given per channel comes from the weights (`coder.…` tensors, counted
on training pictures by `fit`), or from `cold_tables` where nothing is known:

    coder.models   (N, 10)    int16   prediction W N NW NE in 1/256, activity |W| |N| |NW| |NE| |WW| |NN|
    coder.sources  (N, N, 2)  int16   activity of channel j < i at the same place, and of each of its neighbours
    coder.tables   (N, 291)   uint16  probability of a 1 at the start, per context, in 1/65536
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import Array
from codectk.errors import ContainerError
from codectk_frappe.analysis import Int8
from codectk_frappe.native import Model, Source, library
from codectk_frappe.options import ModelOptions

CONTEXTS = 16 + 32 + 27 + 14 * 16
PREDICT = 0.15
"""A channel is predicted if that explains more than this part of its variance."""
FAR = 2
"""Planes up to so many times coarser help to code one."""
MAX_WEIGHT = 500
"""Largest sum of a channel's activity weights: 127 times as much still fits 16 bits."""


class Coder:
    """Codes planes one after the other.

    Args:
        options: patch sizes of the channels.
        models, sources, tables: see the module.

    Raises:
        ValueError: they have other shapes or values that the coder cannot hold.
    """

    def __init__(self, options: ModelOptions, models: Array, sources: Array, tables: Array) -> None:
        self.ps = options.ps
        count = len(self.ps)
        for name, tensor, shape, kind in (
            ("models", models, (count, 10), np.int16),
            ("sources", sources, (count, count, 2), np.int16),
            ("tables", tables, (count, CONTEXTS), np.uint16),
        ):
            if tensor.shape != shape or tensor.dtype != kind:
                raise ValueError(f"coder.{name} is {tensor.dtype} {tensor.shape}, not {np.dtype(kind)} {shape}")
        total = models[:, 4:].astype(int).sum(1) + (sources.astype(int) * (1, 4)).sum((1, 2))
        if models[:, 4:].min() < 0 or sources.min() < 0 or total.max() > MAX_WEIGHT:
            raise ValueError(f"coder: weights of the activity must be 0 or more, and {MAX_WEIGHT} at most together")
        if np.abs(models[:, :4]).max() > 1024 or tables.min() < 64 or tables.max() > 65535 - 64:
            raise ValueError("coder: predictions or probabilities out of bounds")
        self.models = [_model(row) for row in models]
        self.tables = np.ascontiguousarray(tables)
        self.helpers = [
            [(j, *map(int, sources[i, j])) for j in range(i) if sources[i, j].any() and self.ps[j] % self.ps[i] == 0]
            for i in range(count)
        ]

    def encode(self, planes: Sequence[Int8], counts: NDArray[np.uint32] | None = None) -> list[bytes]:
        """One byte string per plane.

        Args:
            planes: int8 (H/p_i, W/p_i) of the first channels.
            counts: (N, contexts, 2), to which decisions are added, if given.
        """
        magnitudes = self.magnitudes(planes)
        return [self._encode_one(i, planes, magnitudes, counts) for i in range(len(planes))]

    def size(self, groups: Sequence[Int8]) -> int:
        """Bytes of the latents of one picture, (n_s, h, w) per scale group."""
        return sum(map(len, self.encode(planes_of(groups))))

    def magnitudes(self, planes: Sequence[Int8]) -> list[NDArray[np.uint8]]:
        """Magnitudes of the residuals, from which activities come."""
        lib, out = library(), []
        for plane, model in zip(planes, self.models, strict=False):
            magnitudes = np.empty(plane.shape, np.uint8)
            lib.frappe_magnitudes(plane.ctypes.data, *plane.shape, model, magnitudes.ctypes.data)
            out.append(magnitudes)
        return out

    def _encode_one(
        self, i: int, planes: Sequence[Int8], magnitudes: Sequence[Array], counts: NDArray[np.uint32] | None = None
    ) -> bytes:
        plane = planes[i]
        room = 2 * plane.size + 64
        out = np.empty(room, np.uint8)
        size = library().frappe_encode(
            plane.ctypes.data,
            self._relative(i, planes),
            *plane.shape,
            self.models[i],
            self.tables[i].ctypes.data,
            *self._sources(i, magnitudes),
            out.ctypes.data,
            room,
            None if counts is None else counts[i].ctypes.data,
        )
        if size < 0:
            raise MemoryError("no memory to code latents")
        return out[:size].tobytes()

    def decode(self, data: Sequence[bytes], height: int, width: int) -> list[Int8]:
        """Undo `encode` for the first `len(data)` channels of a picture of `height` x `width` pixels.

        Raises:
            ContainerError: the bytes are not such planes.
        """
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
                self.tables[i].ctypes.data,
                *self._sources(i, magnitudes),
            )
            if error:
                raise ContainerError(f"The latents of channel {i + 1} are damaged.", "Compress the original again.")
            planes.append(plane)
            magnitudes.append(size)
        return planes

    def _relative(self, i: int, planes: Sequence[Int8]) -> int | None:
        """The previous channel of the same patch size, whose signs help."""
        return planes[i - 1].ctypes.data if i and self.ps[i - 1] == self.ps[i] else None

    def _sources(self, i: int, magnitudes: Sequence[Array]) -> tuple[Any, int]:
        helpers = self.helpers[i]
        array = (Source * max(1, len(helpers)))()
        for place, (j, centre, around) in zip(array, helpers, strict=False):
            plane = magnitudes[j]
            place.magnitudes, place.height, place.width = plane.ctypes.data, *plane.shape
            place.factor, place.centre, place.around = self.ps[j] // self.ps[i], centre, around
        return array, len(helpers)


def _model(row: Array) -> Model:
    values = [int(value) for value in row]
    return Model((ctypes.c_int32 * 4)(*values[:4]), (ctypes.c_int32 * 6)(*values[4:]))


def planes_of(groups: Sequence[Int8]) -> list[Int8]:
    """Latents per scale group → one contiguous plane per channel."""
    return [np.ascontiguousarray(plane) for group in groups for plane in group]


def cold_tables(options: ModelOptions) -> tuple[Array, Array, Array]:
    """Models, sources and tables that know nothing of any weights."""
    count = len(options.ps)
    models = np.tile(np.array([0, 0, 0, 0, 30, 30, 12, 12, 6, 6], np.int16), (count, 1))
    sources = np.zeros((count, count, 2), np.int16)
    for i, j in _pairs(options):
        sources[i, j] = (6, 1)
    tables = np.full((count, CONTEXTS), 1 << 15, np.uint16)
    return models, sources, tables


def _pairs(options: ModelOptions) -> list[tuple[int, int]]:
    """Channels i and those before them that may help: of the same patch size, or `FAR` times coarser."""
    ps = options.ps
    return [(i, j) for i in range(len(ps)) for j in range(i) if ps[j] in (ps[i], FAR * ps[i])]


def fit(options: ModelOptions, pictures: Sequence[Sequence[Int8]]) -> dict[str, Array]:
    """The `coder.…` tensors for latents like these.

    Args:
        options: patch sizes.
        pictures: latents of training pictures, (n_s, h, w) per scale group.
    """
    all_planes = [planes_of(groups) for groups in pictures]
    models, sources, tables = cold_tables(options)
    sources[:] = 0
    for i in range(len(options.ps)):
        models[i, :4] = _fit_prediction([planes[i] for planes in all_planes])
    for i in range(len(options.ps)):
        coder = Coder(options, models, sources, tables)
        magnitudes = [coder.magnitudes(planes) for planes in all_planes]
        helpers = [j for a, j in _pairs(options) if a == i]
        weights = _fit_activity(i, helpers, options, magnitudes)
        models[i, 4:] = weights[:6]
        for place, j in enumerate(helpers):
            sources[i, j] = weights[6 + 2 * place : 8 + 2 * place]
    for _ in range(2):  # the second count sees probabilities that adapt from a good start
        coder = Coder(options, models, sources, tables)
        counts = np.zeros((len(options.ps), CONTEXTS, 2), np.uint32)
        for planes in all_planes:
            coder.encode(planes, counts)
        ones, total = counts[..., 1].astype(float), counts.sum(2).astype(float)
        tables = np.clip(np.rint(65536 * (ones + 0.4) / (total + 0.8)), 256, 65536 - 256).astype(np.uint16)
    return {"coder.models": models, "coder.sources": sources, "coder.tables": tables}


def _fit_prediction(planes: Sequence[Int8]) -> Array:
    """Least-squares weights of W, N, NW, NE in 1/256, or zeros where they explain little."""
    columns, targets = [], []
    for plane in planes:
        z = plane.astype(np.float64)
        if min(z.shape) < 3:
            continue
        columns.append(np.stack([z[1:, :-2], z[:-1, 1:-1], z[:-1, :-2], z[:-1, 2:]], -1).reshape(-1, 4))
        targets.append(z[1:, 1:-1].ravel())
    if not columns:
        return np.zeros(4, np.int16)
    a, b = np.concatenate(columns), np.concatenate(targets)
    weights = np.linalg.lstsq(a, b, rcond=None)[0]
    energy = np.square(b).sum()
    if not energy or 1 - np.square(b - a @ weights).sum() / energy < PREDICT:
        return np.zeros(4, np.int16)
    quantised: Array = np.clip(np.rint(256 * weights), -1024, 1024).astype(np.int16)
    return quantised


def _fit_activity(i: int, helpers: list[int], options: ModelOptions, pictures: list[list[Any]]) -> Array:
    """Non-negative weights whose sum with magnitudes around is nearest to the magnitude, relative to its size."""
    from scipy.optimize import nnls

    columns, targets = [], []
    rng = np.random.default_rng(0)
    for magnitudes in pictures:
        m = np.pad(magnitudes[i].astype(np.float32), 2)
        h, w = magnitudes[i].shape

        def shifted(a: Any, dy: int, dx: int, h: int = h, w: int = w) -> Any:
            return a[2 + dy : 2 + dy + h, 2 + dx : 2 + dx + w].ravel()

        features = [shifted(m, *d) for d in ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))]
        for j in helpers:
            factor = options.ps[j] // options.ps[i]
            other = np.pad(magnitudes[j].astype(np.float32), 1)
            around = other[:-2, 1:-1] + other[2:, 1:-1] + other[1:-1, :-2] + other[1:-1, 2:]
            for part in (other[1:-1, 1:-1], around):
                features.append(part.repeat(factor, 0).repeat(factor, 1).ravel())
        chosen = rng.integers(h * w, size=min(h * w, 2000))
        columns.append(np.stack(features, 1)[chosen])
        targets.append(magnitudes[i].ravel()[chosen].astype(np.float32))
    a, b = np.concatenate(columns).astype(np.float64), np.concatenate(targets).astype(np.float64)
    weights = np.full(a.shape[1], 1 / a.shape[1])
    for _ in range(3):
        scale = 1 / (a @ weights + 0.05)
        weights = nnls(a * scale[:, None], b * scale)[0]
    whole = np.minimum(np.rint(64 * weights), 200)
    heavy = np.ones(len(whole))
    heavy[7::2] = 4
    excess = (whole * heavy).sum() / MAX_WEIGHT
    quantised: Array = np.floor(whole / excess if excess > 1 else whole).astype(np.int16)
    return quantised
