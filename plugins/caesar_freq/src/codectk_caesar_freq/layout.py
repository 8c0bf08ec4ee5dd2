"""Fields of rank 1 to 5 as [V, S, T, H, W], and the chunks that are coded one by one.

Shorter shapes are the last letters: [H, W] is one variable, one section, one time. Bounds that speak of a variable's
range take it from all of V's slice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from codectk.arrays import Array
from codectk_caesar_freq import native

USUAL_VALUES = 1 << 22
"""Values of a chunk, at most."""

BYTES_PER_VALUE = 96
"""What encoding or decoding holds at a time, for each value of the chunks in work."""

LEAST_VALUES = 1 << 12
PATCH = 8


@dataclass(frozen=True)
class Chunk:
    """A part of a field.

    Attributes:
        variable, section: where it lies.
        begin, shape: of T, H and W.
    """

    variable: int
    section: int
    begin: native.Shape
    shape: native.Shape

    @property
    def slices(self) -> tuple[int | slice, ...]:
        """Index into [V, S, T, H, W]."""
        t, h, w = (slice(b, b + n) for b, n in zip(self.begin, self.shape, strict=True))
        return self.variable, self.section, t, h, w


def five(shape: tuple[int, ...]) -> tuple[int, int, int, int, int]:
    """A shape of rank 1 to 5 as V, S, T, H, W."""
    return (*(1,) * (5 - len(shape)), *shape)  # type: ignore[return-value]


def sides(shape: tuple[int, ...], limit: int, wanted: Sequence[int], patches: bool = False) -> native.Shape:
    """Longest T, H and W of chunks.

    Args:
        shape: of the field.
        limit: values of a chunk, at most.
        wanted: what the user wants; empty for no wish.
        patches: no patch may lie in two chunks but by its halves or quarters; H and W are shorter than wanted for that.
    """
    whole = five(shape)[2:]
    if wanted:
        whole = tuple(min(a, b) for a, b in zip(whole, wanted, strict=True))  # type: ignore[assignment]
    sides = list(whole)
    if patches:
        sides[1:] = [_of_patches(side, length) for side, length in zip(sides[1:], five(shape)[3:], strict=True)]
    while prod(sides) > max(limit, LEAST_VALUES):
        # Time is split first: neighbours in space predict better than those far away in time.
        weights = [4 * sides[0], sides[1], sides[2]]
        axis = max((i for i in range(native.AXES) if sides[i] > 1), key=lambda i: weights[i])
        sides[axis] = -(-sides[axis] // 2)
        if axis and sides[axis] > PATCH // 2:
            sides[axis] = -(-sides[axis] // PATCH) * PATCH  # so that no patch lies in two chunks
    return sides[0], sides[1], sides[2]


def _of_patches(side: int, whole: int) -> int:
    """The longest side up to `side` whose chunks hold whole patches, or parts of one each."""
    if side >= whole:
        return side
    return side // PATCH * PATCH if side >= PATCH else 1 << side.bit_length() - 1


def limit_of(memory: int, threads: int) -> int:
    """Values of a chunk that memory allows, with so many chunks in work."""
    return min(USUAL_VALUES, memory // (BYTES_PER_VALUE * threads))


def chunks(shape: tuple[int, ...], longest: native.Shape) -> Iterator[Chunk]:
    """All chunks of a field, in the order of its axes."""
    v, s, *rest = five(shape)
    for variable in range(v):
        for section in range(s):
            for t in range(0, rest[0], longest[0]):
                for h in range(0, rest[1], longest[1]):
                    for w in range(0, rest[2], longest[2]):
                        begin = (t, h, w)
                        part = tuple(min(n, whole - b) for n, whole, b in zip(longest, rest, begin, strict=True))
                        yield Chunk(variable, section, begin, part)  # type: ignore[arg-type]


def count(shape: tuple[int, ...], longest: native.Shape) -> int:
    """How many chunks a field has."""
    v, s, *rest = five(shape)
    return v * s * prod(-(-whole // side) for whole, side in zip(rest, longest, strict=True))


def as_five(x: Array) -> Array:
    """A field of any rank as [V, S, T, H, W], without a copy."""
    return x.reshape(five(x.shape))
