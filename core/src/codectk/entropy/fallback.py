"""What `native/entropy.c` does, in Python: the same bytes, and about a hundred times slower.

For platforms without the compiled coder, and to test it.
"""

from bisect import bisect_right
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from codectk.entropy.native import ALONE, LANES, LOWEST, STATE_BYTES
from codectk.entropy.tables import PRECISION, TOTAL, Tables

WIDTH_BITS = 6
MAX_WIDTH = 33
CHUNK = 15
INT32 = np.iinfo(np.int32)

Lists = tuple[list[int], list[int], list[int], list[int]]


@lru_cache(maxsize=8)
def _lists(tables: Tables) -> Lists:
    """Python reads elements of lists many times faster than those of arrays."""
    return tables.cumulative.tolist(), tables.first.tolist(), tables.offsets.tolist(), tables.lengths.tolist()


def _even(value: int, bits: int) -> int:
    return value << (PRECISION - bits) << PRECISION | ((1 << (PRECISION - bits)) - 1)


def _chunks(width: int) -> list[int]:
    return [min(CHUNK, width - done) for done in range(0, width, CHUNK)]


def _escape(value: int, first: int, count: int) -> list[int]:
    number = 2 * (first - value) + 1 if value < first else 2 * (value - first - count) + 2
    left = number.bit_length() - 1
    found = [_even(left, WIDTH_BITS)]
    for bits in _chunks(left):
        left -= bits
        found.append(_even(number >> left & ((1 << bits) - 1), bits))
    return found


def items(tables: Tables, symbols: NDArray[np.int32], indexes: NDArray[np.uint16]) -> NDArray[np.uint32]:
    """See `native.items`."""
    found: list[int] = []
    skippable = tables.skippable[indexes] > 0
    if skippable.any():
        skip = not symbols[skippable].any()
        found.append(_even(int(skip), 1))
        if skip:
            symbols, indexes = symbols[~skippable], indexes[~skippable]
    cumulative, first, offsets, lengths = _lists(tables)
    for value, index in zip(symbols.tolist(), indexes.tolist(), strict=True):
        count = lengths[index] - 1
        place = value - offsets[index]
        inside = 0 <= place < count
        at = first[index] + (place if inside else count)
        start, stop = cumulative[at], cumulative[at + 1]
        found.append(start << PRECISION | (stop - start - 1))
        if not inside:
            found += _escape(value, offsets[index], count)
    return np.array(found, np.uint32)


def pack(found: NDArray[np.uint32]) -> bytes:
    """See `native.pack`."""
    states, parts = [LOWEST] * LANES, []
    for j in range(len(found) - 1, -1, -1):
        start, freq = int(found[j]) >> PRECISION, (int(found[j]) & (TOTAL - 1)) + 1
        lane = 0 if j < ALONE else j % LANES
        x = states[lane]
        if x >> 24 >= freq:
            parts.append((x & (TOTAL - 1)).to_bytes(2, "little"))
            x >>= 16
        states[lane] = (x // freq << PRECISION) + x % freq + start
        if j == ALONE:
            parts += [states[lane].to_bytes(STATE_BYTES, "big") for lane in range(LANES - 1, 0, -1)]
    if len(found):
        parts.append(states[0].to_bytes(STATE_BYTES, "big"))
    return b"".join(reversed(parts))


class _Wrong(Exception):
    """The stream is too short, or no encoder writes it."""


class Reader:
    """See `native.Reader`."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place, self._item = data, 0, 0
        self._states = [0] * LANES

    def decode(self, tables: Tables, indexes: NDArray[np.uint16]) -> NDArray[np.int32] | None:
        """See `native.Reader`."""
        out = np.zeros(len(indexes), np.int32)
        coded = np.ones(len(indexes), bool)
        try:
            if tables.skippable[indexes].any() and self._even(1):
                coded = tables.skippable[indexes] == 0
            lists = _lists(tables)
            out[coded] = [self._symbol(lists, index) for index in indexes[coded].tolist()]
        except _Wrong:
            return None
        return out

    def finished(self) -> bool:
        """See `native.Reader`."""
        used = LANES if self._item > ALONE else min(self._item, 1)
        return self._place == len(self._data) and all(state == LOWEST for state in self._states[:used])

    def _take(self, size: int) -> bytes:
        part = self._data[self._place : self._place + size]
        if len(part) < size:
            raise _Wrong
        self._place += size
        return part

    def _begin(self) -> int:
        """The lane of the next item, after its state was read."""
        new = {0: range(1), ALONE: range(1, LANES)}.get(self._item, range(0))
        for lane in new:
            self._states[lane] = int.from_bytes(self._take(STATE_BYTES), "big")
            if self._states[lane] < LOWEST:
                raise _Wrong
        return 0 if self._item < ALONE else self._item % LANES

    def _end(self, lane: int, start: int, freq: int) -> None:
        x = self._states[lane]
        x = freq * (x >> PRECISION) + x % TOTAL - start
        self._states[lane] = x if x >= LOWEST else x << 16 | int.from_bytes(self._take(2), "little")
        self._item += 1

    def _even(self, bits: int) -> int:
        lane, rest = self._begin(), PRECISION - bits
        value = self._states[lane] % TOTAL >> rest
        self._end(lane, value << rest, 1 << rest)
        return value

    def _symbol(self, tables: Lists, index: int) -> int:
        cumulative, firsts, offsets, lengths = tables
        lane, first, count, offset = self._begin(), firsts[index], lengths[index] - 1, offsets[index]
        at = bisect_right(cumulative, self._states[lane] % TOTAL, first, first + count + 1) - 1
        self._end(lane, cumulative[at], cumulative[at + 1] - cumulative[at])
        return offset + at - first if at < first + count else self._escape(offset, count)

    def _escape(self, first: int, count: int) -> int:
        width, number = self._even(WIDTH_BITS), 1
        if not 1 <= width <= MAX_WIDTH:
            raise _Wrong
        for bits in _chunks(width):
            number = number << bits | self._even(bits)
        half = number >> 1
        value = first - half if number & 1 else first + count + half - 1
        if not INT32.min <= value <= INT32.max:
            raise _Wrong
        return value
