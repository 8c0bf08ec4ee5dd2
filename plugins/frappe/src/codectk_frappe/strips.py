"""Horizontal strips of a picture, coded apart: several threads work at once, and a part can be read alone.

A strip begins with the probabilities of the weights and sees nothing of its neighbours. The bytes of a channel are
those of its strips from top to bottom; the length of each but the last stands before them, as a varint.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

from codectk.container import varint
from codectk.errors import ContainerError

AREA = 1 << 19
"""Pixels of a strip. Smaller ones cost bytes, larger ones leave threads without work."""
MAX_THREADS = 16

T = TypeVar("T")


def strip_count(height: int, width: int, cell: int) -> int:
    """How many strips a picture is cut into; `cell` is what all patch sizes divide."""
    return max(1, min(height // cell, round(height * width / AREA)))


def strip_rows(height: int, cell: int, count: int) -> list[tuple[int, int]]:
    """Pixel rows of each strip, as half-open ranges that are multiples of `cell`."""
    rows = height // cell
    edges = [cell * (rows * i // count) for i in range(count + 1)]
    return list(pairwise(edges))


def on_threads(work: Callable[[int, int], T], rows: Iterable[tuple[int, int]], threads: int) -> list[T]:
    """`work(top, bottom)` of every strip, in order."""
    rows = list(rows)
    if min(threads, len(rows)) <= 1:
        return [work(*part) for part in rows]
    with ThreadPoolExecutor(min(threads, len(rows))) as pool:
        return list(pool.map(lambda part: work(*part), rows))


def thread_count(wanted: int) -> int:
    """The number that is asked for; with 0 as many as this process may run at once."""
    if wanted:
        return wanted
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, MAX_THREADS)


def join(parts: Sequence[bytes]) -> bytes:
    """The bytes of a channel from those of its strips."""
    return b"".join(varint(len(part)) for part in parts[:-1]) + b"".join(parts)


def split(data: bytes, count: int) -> list[bytes]:
    """Undo `join` for `count` strips.

    Raises:
        ContainerError: the lengths do not fit the bytes.
    """
    lengths, at = [], 0
    for _ in range(count - 1):
        length, shift = 0, 0
        while True:
            if at >= len(data) or shift > 28:
                raise _damaged()
            byte = data[at]
            at += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        lengths.append(length)
    if at + sum(lengths) > len(data):
        raise _damaged()
    parts = []
    for length in lengths:
        parts.append(data[at : at + length])
        at += length
    return [*parts, data[at:]]


def _damaged() -> ContainerError:
    return ContainerError("Lengths of strips do not fit their channel.", "Compress the original again.")
