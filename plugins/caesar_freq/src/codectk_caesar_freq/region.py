"""Parts of a field in a file: only the header and the chunks that an index touches are read and decoded.

index ─ range along each axis ─ chunks that it touches ─ their segments ─ decode ─ values that are asked for
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from itertools import product
from math import prod
from operator import index as whole_number
from os import PathLike, fspath
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from codectk.arrays import Array
from codectk.checkpoint import Checkpoint
from codectk.compression import load_codec
from codectk.container import MAX_ARRAY_BYTES, Header
from codectk.errors import CodectkError, ContainerError, InputError, OptionsError, WeightsMismatch, one_line
from codectk.files import check_file
from codectk.segments import SegmentReader
from codectk_caesar_freq import layout, native
from codectk_caesar_freq.codec import chunk_sides, decode_chunk
from codectk_caesar_freq.layout import Chunk
from codectk_caesar_freq.plugin import READS
from codectk_caesar_freq.weights import Learned

CODEC = "caesar_freq"

Weights = str | PathLike[str] | Checkpoint | None


class OutsideField(OptionsError, IndexError):
    """An index that the field does not have; a `for` loop over a field ends by it."""


class Field:
    """A field in an open file, indexed like an array: by integers, slices with steps, and `...`.

    Each index reads and decodes the chunks that it touches, one after the other; nothing is kept. Not for several
    threads at a time.

    Attributes:
        header: what the file says about itself.
    """

    def __init__(
        self, stream: BinaryIO, source: str, weights: Weights = None, max_bytes: int = MAX_ARRAY_BYTES
    ) -> None:
        self._stream, self._source, self._levels, self._max_bytes = stream, source, native.GROUPS, max_bytes
        self._reader = SegmentReader(stream, source)
        self.header: Header = self._reader.header
        self._learned = _checked(self.header, source, weights)
        self._sides = chunk_sides(self.header.params, self.shape)
        self._number = layout.count(self.shape, self._sides)
        if not 1 <= len(self.header.segment_lengths) <= self._number * native.GROUPS:
            raise ContainerError(f"{source} has no segments, or more than chunks.", "Copy or download the file again.")
        self._check_size(prod(self._sides), "a chunk")

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self.header.info.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the values."""
        return np.dtype(self.header.info.dtype)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Sides of the longest chunk, one for each axis."""
        return (1, 1, *self._sides)[-len(self.shape) :]

    def coarse(self, levels: int) -> "Field":
        """The same field from fewer levels, of which less is read; the file stays shared.

        Args:
            levels: groups of levels, 1 (the coarsest) to 3 (all). Chunks without levels come whole from the first.

        Raises:
            OptionsError: there are not so many.
        """
        if not 1 <= levels <= native.GROUPS:
            raise OptionsError(f"There are no {levels} groups of levels.", f"Ask for 1 to {native.GROUPS}.")
        made = copy(self)
        made._levels = levels
        return made

    def __getitem__(self, index: Any) -> Array:
        """The values at an index, as numpy gives them; of a single value an array without axes.

        Raises:
            OutsideField: an integer is outside its axis, or the index is of another kind.
            InputError: the result would be larger than the limit that the field was opened with.
            ContainerError: the file is damaged or cut where it is read.
        """
        wanted = ranges(index, self.shape)
        self._check_size(prod(len(r) for r, _ in wanted), "that part of the field")
        five = [range(1)] * (5 - len(wanted)) + [r for r, _ in wanted]
        x = np.empty([len(r) for r in five], self.dtype)
        # Ranges that run backwards are filled from their end.
        target = x[tuple(slice(None, None, -1 if r.step < 0 else 1) for r in five)]
        if x.size:
            self._fill(target, [r[::-1] if r.step < 0 else r for r in five])
        return x.reshape([len(r) for r, kept in wanted if kept])

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> Self:
        """The field itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self.close()

    def _fill(self, x: Array, wanted: Sequence[range]) -> None:
        sides = (1, 1, *self._sides)
        for place in product(*(touched(r, side) for r, side in zip(wanted, sides, strict=True))):
            there = [_inside(r, number * side, side) for r, number, side in zip(wanted, place, sides, strict=True)]
            x[tuple(part for part, _ in there)] = self._chunk(place)[tuple(part for _, part in there)]

    def _chunk(self, place: tuple[int, ...]) -> Array:
        """The values of a chunk as [V, S, T, H, W], from its number along each axis."""
        lengths = layout.five(self.shape)
        sides = (1, 1, *self._sides)
        begin = [number * side for number, side in zip(place, sides, strict=True)]
        shape = [min(side, n - b) for side, n, b in zip(sides, lengths, begin, strict=True)]
        chunk = Chunk(begin[0], begin[1], (begin[2], begin[3], begin[4]), (shape[2], shape[3], shape[4]))
        i = int(np.ravel_multi_index(place, [-(-n // side) for n, side in zip(lengths, sides, strict=True)]))
        parts = list(self._parts(i))
        try:
            values = decode_chunk(parts, chunk, self.header.info, 1, self._learned)
        except CodectkError as error:
            raise type(error)(f"{self._source}: {error.problem}", error.next_step) from error
        except Exception as error:  # the bytes may be hostile; whatever a decoder trips over is the file's fault
            raise ContainerError(
                f"{self._source} cannot be decoded ({one_line(error)}).", "Compress the original again."
            ) from error
        return values[None, None]

    def _parts(self, i: int) -> Iterator[bytes | None]:
        for group in range(native.GROUPS):
            place = group * self._number + i
            there = group < self._levels and place < len(self.header.segment_lengths)
            yield self._reader.read(place) if there else None

    def _check_size(self, values: int, what: str) -> None:
        size = values * self.dtype.itemsize
        if size > self._max_bytes:
            raise InputError(
                f"{self._source}: {what} takes {size} bytes; the limit is {self._max_bytes}.",
                "Ask for a smaller part, or raise max_bytes if you trust the file.",
            )


def open_field(
    path: str | PathLike[str] | BinaryIO, weights: Weights = None, max_bytes: int = MAX_ARRAY_BYTES
) -> Field:
    """Open a field in a `.ctk` file of caesar_freq, to read parts of it.

    Args:
        path: the file, or a stream of its bytes that can seek. `with` or `close` closes it.
        weights: those that the file was made with, if it needs any.
        max_bytes: most that one index, or a chunk of the file, may take in memory.

    Raises:
        InputError: there is no such file, or a chunk of it is larger than that.
        ContainerError: it is no file of caesar_freq, damaged in its header, or of a version that is not read here.
        WeightsError: it needs weights, or others than these.
    """
    if not isinstance(path, str | PathLike):
        return Field(path, str(getattr(path, "name", "the file")), weights, max_bytes)
    check_file(Path(path), 1 << 62)
    stream = Path(path).open("rb")  # noqa: SIM115 - it lives as long as the field
    try:
        return Field(stream, fspath(path), weights, max_bytes)
    except BaseException:
        stream.close()
        raise


def ranges(index: Any, shape: Sequence[int]) -> list[tuple[range, bool]]:
    """What an index means along each axis: its positions, and whether the result keeps the axis.

    Args:
        index: an integer, a slice, `...`, or a tuple of those.
        shape: of the array.

    Raises:
        OutsideField: an integer is outside its axis, there are too many, or something else is among them.
    """
    parts = index if isinstance(index, tuple) else (index,)
    dots = [i for i, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1 or len(parts) - len(dots) > len(shape):
        raise OutsideField(f"The index is for more than the {len(shape)} axes of the field.", "Leave some out.")
    at = dots[0] if dots else len(parts)
    all_of_axis = (slice(None),) * (len(shape) - len(parts) + len(dots))
    parts = parts[:at] + all_of_axis + parts[at + 1 :]
    return [_along(part, length, axis) for axis, (part, length) in enumerate(zip(parts, shape, strict=True))]


def touched(wanted: range, side: int) -> Iterable[int]:
    """Numbers of the chunks of a side that a range, which runs forwards and is not empty, has positions in."""
    if wanted.step < side:
        return range(wanted[0] // side, wanted[-1] // side + 1)
    return [position // side for position in wanted]


def _along(part: Any, length: int, axis: int) -> tuple[range, bool]:
    try:
        if isinstance(part, slice):
            return range(*part.indices(length)), True
        if isinstance(part, bool):
            raise TypeError
        number = whole_number(part)
    except (TypeError, ValueError):
        raise OutsideField(
            f"{part!r:.40} is no index of axis {axis}.", "Give integers, slices of a step other than 0, or '...'."
        ) from None
    if not -length <= number < length:
        raise OutsideField(f"Index {number} is outside axis {axis} of length {length}.", "Give a smaller one.")
    return range(number % length, number % length + 1), False


def _inside(wanted: range, begin: int, length: int) -> tuple[slice, slice]:
    """Which positions of a range that runs forwards lie in [begin, begin + length), and where these are within it."""
    first = max(0, -(-(begin - wanted.start) // wanted.step))
    last = min(len(wanted), -(-(begin + length - wanted.start) // wanted.step))
    start = wanted[first] - begin
    return slice(first, last), slice(start, wanted[last - 1] - begin + 1, wanted.step)


def _checked(header: Header, source: str, weights: Weights) -> Learned | None:
    """What the weights bring that a file needs, after a check that the file is one of this codec."""
    if header.codec != CODEC:
        raise ContainerError(f"{source} was made by codec {header.codec}, not {CODEC}.", "Use `codectk decompress`.")
    if header.bitstream_version not in READS:
        raise ContainerError(
            f"{source} has bitstream version {header.bitstream_version} of {CODEC}, which is not read here.",
            "If the file is not damaged, update codectk-caesar-freq.",
        )
    if header.info.is_image:
        raise ContainerError(f"{source} holds no field.", "The file is damaged.")
    if header.weights_digest is None:
        return None
    loaded = load_codec(CODEC, weights if weights is None or isinstance(weights, Checkpoint) else Path(weights))
    if loaded.weights_digest != header.weights_digest:
        raise WeightsMismatch(
            f"{source} was made with weights {header.weights_digest.hex()}, not these.", "Name those that it needs."
        )
    learned: Learned | None = loaded.codec.learned  # type: ignore[attr-defined]
    return learned
