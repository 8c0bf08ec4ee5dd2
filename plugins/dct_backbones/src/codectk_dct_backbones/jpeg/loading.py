"""From the bytes of a JPEG file to the tensors that a network reads, without a pixel in between.

    bytes -> quantised blocks of the crop -> [resampled] -> dequantised, turned, in range, normalised, of the budget

A crop of the network's size whose corner lies at a multiple of 16 stored pixels is taken as it is. Any other is
resampled as `crop, then scale` of pixels would be (linearly, with a wider filter where it shrinks), but by matrices on
coefficients, see resample.c. Chroma is brought to half of the picture's resolution by the mean of its pixels, whatever
the file's sampling.
"""

import ctypes
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codectk.errors import OptionsError
from codectk_dct_backbones import native
from codectk_dct_backbones.budget import COEFFICIENTS, Budget, channels
from codectk_dct_backbones.jpeg.file import COLOURS, MOST_PIXELS, read_blocks, read_header
from codectk_dct_backbones.jpeg.turns import ORIENTATIONS, Turn, sources
from codectk_dct_backbones.ranges import FROM_FULL, RangeMode
from codectk_dct_backbones.statistics import Statistics, check_range

Floats = NDArray[np.float32]

UNIT = 16
"""Crops whose corner is a multiple of this, in pixels as stored, need no resampling."""

MOST_SIZE = 1 << 14
"""Largest side of a crop that is returned."""

SHIFT = 1024.0
"""What JPEG's shift of pixels by 128 takes from the first coefficient."""

_WHOLE = Budget()
_TO_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]], np.float32
)


class Crop(NamedTuple):
    """A part of the picture as it is shown (after EXIF's orientation), in pixels.

    Attributes:
        top: first row.
        left: first column.
        height: rows.
        width: columns.
    """

    top: int
    left: int
    height: int
    width: int


class _Span(NamedTuple):
    """Pixels along a stored axis: of the picture, where the crop begins, its length, and pixels to return."""

    pixels: int
    begin: int
    length: int
    out: int

    @property
    def as_is(self) -> bool:
        return self.length == self.out and self.begin % UNIT == 0

    def units(self, size: int) -> tuple[int, int]:
        """First and last MCU, of `size` pixels, that hold the samples that the crop is made of."""
        end = min(self.pixels, -(-(self.begin + self.length) // 2) * 2)
        return self.begin // 2 * 2 // size, -(-end // size)


def picture_size(data: bytes, name: str = "The data") -> tuple[int, int]:
    """Height and width of the picture as it is shown. No coefficient is read.

    Args:
        data: the whole file.
        name: of the file, for messages.

    Raises:
        InputError: see `jpeg.file.read`.
    """
    header = read_header(data, name=name)
    return ORIENTATIONS[header.orientation].shape(header.height, header.width)


def load(
    data: bytes,
    *,
    size: int,
    crop: Crop | None = None,
    flip: bool = False,
    budget: Budget = _WHOLE,
    range_mode: RangeMode = "studio",
    trim: bool = True,
    statistics: Statistics | None = None,
    most_pixels: int = MOST_PIXELS,
    name: str = "The data",
) -> tuple[Floats, Floats, Floats]:
    """Coefficients of a crop of a file, in the layout and range of `pipeline.from_pictures`.

    Of a file of one scan, nothing below the crop is decoded. Runs without Python's lock for the most part.

    Args:
        data: the whole file.
        size: side of what is returned, pixels, a multiple of 16.
        crop: inside the picture; scaled to `size` if it has another size. None takes the middle: `size` pixels at the
            nearest place that needs no resampling, or of a picture with a shorter side its largest square, scaled.
        flip: whether left and right are swapped, after cropping.
        budget: which coefficients are kept.
        range_mode: see `ranges`.
        trim: whether other channels are left out, or zero.
        statistics: of the same range, to normalise by; None does not.
        most_pixels: larger pictures are refused.
        name: of the file, for messages.

    Returns:
        y (n, size / 8, size / 8), cb and cr (n, size / 16, size / 16), float32. Grey pictures have neutral chroma.

    Raises:
        InputError: see `jpeg.file.read`.
        OptionsError: size or crop are impossible, or the statistics are of another range.
    """
    if not 0 < size <= MOST_SIZE or size % UNIT:
        raise OptionsError(
            f"Pictures of {size} pixels are impossible.", f"Take a multiple of {UNIT} up to {MOST_SIZE}."
        )
    if statistics is not None:
        check_range(statistics, range_mode)
    header = read_header(data, most_pixels, name)
    turn = ORIENTATIONS[header.orientation]
    down, across = _spans(header, turn, crop, size)
    turn = turn.mirrored if flip else turn
    planes = _region(data, header, down, across, name).sources()
    luma, cb, cr = _plans(turn, size, budget, range_mode, trim, statistics)
    if len(planes) == 1:
        return luma.gather(planes[0]), cb.neutral(), cr.neutral()
    return luma.gather(planes[0]), cb.gather(planes[1]), cr.gather(planes[2])


def centre(height: int, width: int, size: int, resized: int) -> Crop:
    """The crop of the usual evaluation: the shorter side scaled to `resized`, then `size` pixels from the middle.

    Args:
        height: of the picture.
        width: of the picture.
        size: pixels to cut out.
        resized: pixels of the shorter side then, not less than `size`.
    """
    side = max(1, min(height, width) * size // resized)
    return Crop((height - side) // 2, (width - side) // 2, side, side)


def _spans(header: native.Header, turn: Turn, crop: Crop | None, size: int) -> tuple[_Span, _Span]:
    """The crop along stored rows and columns."""
    stored = header.height, header.width
    if crop is None:
        side = size if min(stored) >= size else min(stored)
        middle = [(pixels - side) // 2 for pixels in stored]
        if side == size:
            middle = [begin // UNIT * UNIT for begin in middle]
        return _Span(stored[0], middle[0], side, size), _Span(stored[1], middle[1], side, size)
    height, width = turn.shape(*stored)
    fits = crop.height > 0 and crop.width > 0 and crop.top >= 0 and crop.left >= 0
    if not fits or crop.top + crop.height > height or crop.left + crop.width > width:
        raise OptionsError(
            f"A crop of {crop.height} x {crop.width} pixels at row {crop.top}, column {crop.left} "
            f"does not lie in a picture of {height} x {width} pixels.",
            "Choose it by `picture_size`.",
        )
    (top, left), (rows, columns) = turn.shape(crop.top, crop.left), turn.shape(crop.height, crop.width)
    top = stored[0] - top - rows if turn.rows_back else top
    left = stored[1] - left - columns if turn.columns_back else left
    return _Span(stored[0], top, rows, size), _Span(stored[1], left, columns, size)


class _Source(NamedTuple):
    """Blocks to gather from: (rows, columns, 64), the first of them, and the table unless they are dequantised."""

    blocks: NDArray[np.int16] | Floats
    row: int
    column: int
    plane: native.Plane | None


@dataclass(frozen=True)
class _Plan:
    """How a plane's tensor is gathered; `index`, `factor` and `shift` are by channel, see gather.c."""

    shape: tuple[int, int, int]
    turn: Turn
    index: NDArray[np.int32]
    factor: Floats
    shift: Floats

    @cached_property
    def _compiled(self) -> native.Gather:
        count, rows, columns = self.shape
        arrays = (native.address(x) for x in (self.index, self.factor, self.shift))
        return native.Gather(rows, columns, *self.turn, count, *arrays)

    def gather(self, source: _Source) -> Floats:
        """Blocks turned, in range and normalised."""
        blocks, plane = source.blocks, source.plane
        out = np.empty(self.shape, np.float32)
        begin = native.address(blocks) + source.row * blocks.strides[0] + source.column * blocks.strides[1]
        library = native.library()
        function, table = (library.gather_floats, None) if plane is None else (library.gather_integers, plane.table)
        function(begin, blocks.shape[1], table, self._compiled, native.address(out))
        return out

    def neutral(self) -> Floats:
        """Chroma of a grey picture: all coefficients 0."""
        out = np.empty(self.shape, np.float32)
        out[:] = self.shift[:, None, None]
        return out


@dataclass(frozen=True)
class _Region:
    """The blocks of a file that a crop needs, and where it lies."""

    header: native.Header
    blocks: list[NDArray[np.int16]]
    row: int
    column: int
    down: _Span
    across: _Span

    def sources(self) -> list[_Source]:
        """Y, or Y, Cb and Cr, at the resolution of the output, turned no more than the file is."""
        if COLOURS[self.header.colour] == "rgb":
            return self._from_rgb()
        luma = self._sources([0], 1)
        return luma if len(self.blocks) == 1 else luma + self._sources([1, 2], 2)

    def _sources(self, indices: list[int], step: int) -> list[_Source]:
        """Planes as they are where that is right; `step` pixels of the picture become one of the plane."""
        header, planes = self.header, [self.header.plane[i] for i in indices]
        fit = all(plane.v * step == header.most_v and plane.h * step == header.most_h for plane in planes)
        if not (fit and self.down.as_is and self.across.as_is):
            return [_Source(x, 0, 0, None) for x in self._resampled(indices, step)]
        row, column = (span.begin // (8 * step) for span in (self.down, self.across))
        return [
            _Source(self.blocks[i], row - self.row * plane.v, column - self.column * plane.h, plane)
            for i, plane in zip(indices, planes, strict=True)
        ]

    def _resampled(self, indices: list[int], step: int) -> list[Floats]:
        header, planes, blocks = self.header, [self.header.plane[i] for i in indices], [self.blocks[i] for i in indices]
        v, h = planes[0].v, planes[0].h
        if any((plane.v, plane.h) != (v, h) for plane in planes):
            return [x for i in indices for x in self._resampled([i], step)]
        shape = self.down.out // step // 8, self.across.out // step // 8, COEFFICIENTS
        out = [np.empty(shape, np.float32) for _ in indices]
        layers = (native.Layer * len(indices))()
        for layer, x, plane, y in zip(layers, blocks, planes, out, strict=True):
            layer.blocks, layer.table, layer.out = native.address(x), ctypes.addressof(plane.table), native.address(y)
        rows = _axis(self.down, v, header.most_v, step, self.row, blocks[0].shape[0])
        columns = _axis(self.across, h, header.most_h, step, self.column, blocks[0].shape[1])
        if native.library().resample(layers, len(layers), rows, columns):
            raise MemoryError("the compiled part of codectk-dct-backbones got no memory")
        return out

    def _from_rgb(self) -> list[_Source]:
        """Red, green and blue mixed; the means of chroma's pixels are those of colours, for all of it is linear."""
        full, half = (np.stack(self._resampled([0, 1, 2], step), -1) for step in (1, 2))
        parts = (full @ _TO_YCC[0], half @ _TO_YCC[1], half @ _TO_YCC[2])
        return [_Source(np.ascontiguousarray(part), 0, 0, None) for part in parts]


def _axis(span: _Span, factor: int, most: int, step: int, unit: int, blocks: int) -> native.Axis:
    """For resample.c; `unit` is the first MCU in store."""
    first, last = span.begin // step, -(-(span.begin + span.length) // step)
    pixels = -(-span.pixels * factor // most)
    begin, length = span.begin / step, span.length / step
    return native.Axis(pixels, factor, most, step, first, last, span.out // step, unit * factor, blocks, begin, length)


def _region(data: bytes, header: native.Header, down: _Span, across: _Span, name: str) -> _Region:
    """Read the blocks that a crop needs, all of a file of several scans."""
    row, row_end, column, column_end = 0, header.mcu_rows, 0, header.mcu_columns
    if header.one_scan:
        (row, row_end), (column, column_end) = down.units(8 * header.most_v), across.units(8 * header.most_h)
    window = native.Window(row, row_end, column, column_end)
    shapes = [(p.v * (row_end - row), p.h * (column_end - column)) for p in header.plane[: header.planes]]
    return _Region(header, read_blocks(data, header, window, shapes, name), row, column, down, across)


@lru_cache(maxsize=64)
def _plans(
    turn: Turn, size: int, budget: Budget, range_mode: RangeMode, trim: bool, statistics: Statistics | None
) -> tuple[_Plan, _Plan, _Plan]:
    """Of Y, Cb and Cr."""
    index, sign = sources(turn)
    plans = []
    normal = statistics.constants(budget, trim) if statistics is not None else ((0, 1),) * 3
    sides = (size // 8, size // 16, size // 16)
    for side, linear, count, (mean, divisor) in zip(sides, FROM_FULL[range_mode], budget.counts, normal, strict=True):
        kept = np.array(channels(count), np.int32)
        shown = kept if trim else np.arange(COEFFICIENTS, dtype=np.int32)
        u, v = np.divmod(shown, 8)
        used = np.isin(shown, kept)
        factor = np.where(used, sign[8 * v + u] * linear.scale / divisor, 0)
        shift = np.where(used, (np.where(shown == 0, linear.dc(SHIFT), 0.0) - mean) / divisor, 0)
        arrays = index[8 * v + u], factor.astype(np.float32), shift.astype(np.float32)
        plans.append(_Plan((len(shown), side, side), turn, *arrays))
    return plans[0], plans[1], plans[2]
