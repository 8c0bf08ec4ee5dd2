"""The codec caesar_freq: chunks of a field, each within the bound, each a file's own segments.

x ─ chunks ─ special values apart ─ candidates (`encoding`) ─ decode, check ─ smallest ─> head, levels coarse to fine
segments: heads and coarse levels of all chunks, then the middle levels of all, then the fine ones
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from codectk import fields
from codectk.arrays import ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.codec import Codec, Encoded
from codectk.container import MAX_SEGMENTS
from codectk.errors import ContainerError, InputError, OptionsError
from codectk_caesar_freq import blocks, encoding, layout, native, predicted, specials
from codectk_caesar_freq.background import Place
from codectk_caesar_freq.bands import Transform
from codectk_caesar_freq.bounds import Bound, Reached
from codectk_caesar_freq.layout import Chunk
from codectk_caesar_freq.native import Array
from codectk_caesar_freq.options import DecodeOptions, EncodeOptions
from codectk_caesar_freq.specials import Mask
from codectk_caesar_freq.weights import Learned, check_mode
from codectk_caesar_freq.windows import Layout

FIGURES = 6
MOST_ROWS = 1000
"""Of more variables, a file's header tells the largest bound and errors alone."""

RATE_POINTS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5)


@dataclass(frozen=True)
class Result:
    """A coded chunk.

    Attributes:
        segments: of the groups of levels.
        reached: errors of its valid values.
        lossless: it is stored without loss because nothing else holds the bound, or takes fewer bytes.
        needs_weights: it cannot be decoded without them.
    """

    segments: list[bytes]
    reached: Reached
    lossless: bool
    needs_weights: bool


class CaesarFreqCodec(Codec):
    """Scientific fields within an error bound."""

    rate_points = RATE_POINTS

    @classmethod
    def load(cls, checkpoint: Checkpoint | None, device: str) -> Self:
        """Make the codec ready; transforms need no weights and run on the CPU.

        Raises:
            WeightsError: the weights are damaged.
        """
        native.library()
        return cls(Learned(checkpoint) if checkpoint is not None else None)

    def __init__(self, learned: Learned | None = None) -> None:
        self.learned = learned

    def encode(self, x: Array, info: ArrayInfo, options: EncodeOptions) -> Encoded:
        """Code a field of rank 1 to 5.

        Raises:
            OptionsError: the mask does not fit.
            InputError: there are too many chunks for one file.
        """
        whole = layout.as_five(x)
        mask = read_mask(options.mask, x.shape) if options.mask else None
        limit = layout.limit_of(options.memory_bytes, options.threads)
        longest = layout.sides(x.shape, limit, options.chunk, patches=options.eb is not None)
        bounds = self._bounds(whole, info, mask, longest, options)
        number = layout.count(x.shape, longest)
        if number * native.GROUPS > MAX_SEGMENTS:
            raise InputError(
                f"The field falls into {number} chunks; a file holds at most {MAX_SEGMENTS // native.GROUPS}.",
                "Give more --memory or larger sides of --chunk, or put its variables and sections into several files.",
            )
        check_mode(options.mode, self.learned)
        learned = None if options.mode == "transform" else self.learned
        code = partial(
            _encode_chunk, Field(whole, info.fill_value, mask, bounds, learned), plan_of(options, number), options
        )
        results = list(_map(code, layout.chunks(x.shape, longest), options.threads))
        segments = tuple(result.segments[group] for group in range(native.GROUPS) for result in results)
        reached = _by_variable(results, layout.chunks(x.shape, longest), whole.shape[0])
        name, value = options.bound
        rows = [[_short(b.value), _short(r.largest), _short(r.rmse)] for b, r in zip(bounds, reached, strict=True)]
        if len(rows) > MOST_ROWS:
            rows = [[max(column) for column in zip(*rows, strict=True)]]
        notes = {
            "largest_error": max(r.largest for r in reached),
            "lossless_chunks": float(sum(result.lossless for result in results)),
        }
        params = {"bound": [name, value], "chunk": list(longest), "variables": rows}
        needed = any(result.needs_weights for result in results)
        return Encoded(params, segments, notes=notes, messages=_messages(results, name, value), needs_weights=needed)

    def decode(self, encoded: Encoded, info: ArrayInfo, options: DecodeOptions) -> Array:
        """The field, or a coarser one where fine levels are missing.

        Raises:
            ContainerError: the segments do not hold such a field.
        """
        longest = chunk_sides(encoded.params, info.shape)
        number = layout.count(info.shape, longest)
        if number * native.GROUPS > MAX_SEGMENTS or not 1 <= len(encoded.segments) <= number * native.GROUPS:
            raise ContainerError(
                "There are no segments, too many chunks, or fewer than segments.", "Copy or download the file again."
            )
        x = _room(info, options.memory_bytes)
        whole = layout.as_five(x)
        threads = options.threads if number == 1 else 1

        def one(place: tuple[int, Chunk]) -> None:
            i, chunk = place
            parts = [_get(encoded.segments, group * number + i) for group in range(native.GROUPS)]
            whole[chunk.slices] = decode_chunk(parts, chunk, info, threads, self.learned)

        for _ in _map(one, enumerate(layout.chunks(info.shape, longest)), options.threads):
            pass
        return x

    def _bounds(
        self, x: Array, info: ArrayInfo, mask: Mask | None, longest: native.Shape, options: EncodeOptions
    ) -> list[Bound]:
        """The bound of every variable, from the range of its valid values."""
        name, value = options.bound
        ends: list[list[Any]] = [[] for _ in range(x.shape[0])]
        for chunk in layout.chunks(x.shape, longest):
            part = np.ascontiguousarray(x[chunk.slices])
            special = specials.find(part, info.fill_value, _mask_of(mask, chunk))
            valid = part[~special] if special.any() else part
            if valid.size and valid.dtype.kind == "f":
                ends[chunk.variable] += specials.ends(valid)
            elif valid.size:
                ends[chunk.variable] += [valid.min().item(), valid.max().item()]
        if name == "eb":
            ends = [[end for variable in ends for end in variable]] * x.shape[0]
        spreads = [Fraction(max(e)) - Fraction(min(e)) if e else Fraction(0) for e in ends]
        return [Bound.of(name, value, spread) for spread in spreads]


def plan_of(options: EncodeOptions, chunks: int) -> encoding.Plan:
    """How blocks are to be coded."""
    threads = options.threads if chunks == 1 else 1
    size = options.dct_block_size
    if options.wavelet in ("auto", "fitted") and not size:
        return encoding.Plan(only_fitted=options.wavelet == "fitted", threads=threads)
    if options.wavelet == "fitted":
        raise OptionsError("The fitted wavelet leaves nothing for cosine blocks.", "Leave --dct-block-size out.")
    named = "none" if options.wavelet == "auto" else options.wavelet
    if named == "none" and not size:
        raise OptionsError("No transform is left.", "Give --dct-block-size, or another --wavelet.")
    levels = options.wavelet_levels if named != "none" else 0
    return encoding.Plan(Transform(named, levels, options.temporal, size), threads=threads)


def read_mask(name: str, shape: tuple[int, ...]) -> Mask:
    """True where values are missing: where the array in a file is 0.

    Raises:
        InputError: the file cannot be read.
        OptionsError: its shape is not that of the field's last axes.
    """
    mask = fields.read_mask(Path(name))
    if mask.ndim > len(shape) or mask.shape != shape[len(shape) - mask.ndim :]:
        raise OptionsError(
            f"The mask {name} has shape {mask.shape}, the field {shape}.", "Give the last axes of the field."
        )
    return np.broadcast_to(~mask, layout.five(shape))


def decode_chunk(
    parts: Sequence[bytes | None], chunk: Chunk, info: ArrayInfo, threads: int, learned: Learned | None = None
) -> Array:
    """The values of a chunk from its segments; without any, the middle of the field's range."""
    dtype = np.dtype(info.dtype)
    if parts[0] is None:
        low, high = info.value_range or (0.0, 0.0)
        return blocks.cast(np.full(chunk.shape, low / 2 + high / 2), dtype)
    there = sum(part is not None for part in parts)
    place = place_of(chunk, info.shape)
    context = blocks.Context(chunk.shape, dtype, threads, "the chunk", there, place=place, learned=learned)
    return blocks.decode(blocks.Block.unpack(parts, "the chunk"), context)


def chunk_sides(params: dict[str, Any], shape: tuple[int, ...]) -> native.Shape:
    """Longest T, H and W of the chunks of a file.

    Raises:
        ContainerError: the params do not say.
    """
    sides = params.get("chunk")
    whole = layout.five(shape)[2:]
    good = isinstance(sides, list) and len(sides) == 3 and all(isinstance(s, int) and s >= 1 for s in sides)
    if not good or any(side > length for side, length in zip(sides, whole, strict=True)):  # type: ignore[arg-type]
        raise ContainerError("The sides of the chunks make no sense.", "Copy or download the file again.")
    return sides[0], sides[1], sides[2]  # type: ignore[index]


@dataclass(frozen=True)
class Field:
    """What is encoded, chunk by chunk.

    Attributes:
        x: [V, S, T, H, W].
        fill_value, mask: what is special.
        bounds: of each variable.
        learned: weights, if the mode uses them.
    """

    x: Array
    fill_value: float | int | None
    mask: Mask | None
    bounds: list[Bound]
    learned: Learned | None


def _encode_chunk(field: Field, plan: encoding.Plan, options: EncodeOptions, chunk: Chunk) -> Result:
    part = np.ascontiguousarray(field.x[chunk.slices])
    special = specials.find(part, field.fill_value, _mask_of(field.mask, chunk))
    count = special.size - int(np.count_nonzero(special))
    special = specials.add_still(part, special)
    work = encoding.Work(
        part,
        special if special.any() else None,
        field.bounds[chunk.variable],
        plan,
        place_of(chunk, field.x.shape),
        field.learned,
    )
    windows = Layout(part.shape[0], options.n_frame, options.interpo_rate)
    forced = None if options.predict == "auto" else options.predict
    block, reached = predicted.encode(work, options.mode, windows, forced)
    reached.add(Reached(count=count - reached.count))  # valid values that came back exactly all the same
    needs_weights = predicted.needs_weights(block, part.shape[0])
    return Result(block.pack(), reached, block.method == blocks.Method.RAW, needs_weights)


def place_of(chunk: Chunk, shape: tuple[int, ...]) -> Place:
    """Where a chunk lies in a field."""
    whole = layout.five(shape)
    return chunk.begin[1], chunk.begin[2], whole[3], whole[4]


def _mask_of(mask: Mask | None, chunk: Chunk) -> Mask | None:
    return None if mask is None else mask[chunk.slices]


def _by_variable(results: Sequence[Result], chunks: Iterator[Chunk], variables: int) -> list[Reached]:
    reached = [Reached() for _ in range(variables)]
    for result, chunk in zip(results, chunks, strict=True):
        reached[chunk.variable].add(result.reached)
    return reached


def _messages(results: Sequence[Result], name: str, value: float) -> tuple[str, ...]:
    """What a user who asked for a bound should know."""
    exact = sum(result.lossless for result in results)
    if not exact:
        return ()
    parts = "the field is" if exact == len(results) else f"{exact} of {len(results)} chunks are"
    return (f"{parts} stored without loss, since nothing else keeps to {name} {value:g} or takes fewer bytes.",)


def _map(function: Callable[[Any], Any], items: Any, threads: int) -> Iterator[Any]:
    """Like `map`, with threads; the compiled parts do not hold the interpreter."""
    work = list(items)
    if threads == 1 or len(work) == 1:
        yield from map(function, work)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(function, work)


def _room(info: ArrayInfo, memory: int) -> Array:
    """An array to decode into: in a temporary file that nobody else sees where memory would be too little."""
    if info.nbytes <= memory:
        return np.empty(info.shape, info.dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, info.dtype, "w+", shape=info.shape)


def _get(segments: Sequence[bytes], i: int) -> bytes | None:
    return segments[i] if i < len(segments) else None


def _short(value: float) -> float:
    """A bound or error in few figures, not below it."""
    near = float(f"{value:.{FIGURES}g}")
    above = near if near >= value else float(Context(FIGURES, ROUND_CEILING).create_decimal_from_float(value))
    return above if above < float("inf") else value
