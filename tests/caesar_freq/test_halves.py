"""Large blocks, whose finest level two threads code half by half: the same bytes and values as by one."""

import numpy as np
import pytest

from codectk.container import varint
from codectk.errors import ContainerError
from codectk_caesar_freq import native
from codectk_caesar_freq.native import Array

LARGE, FLAT, SMALL = (9, 160, 183), (4, 300, 230), (8, 16, 16)


def rough(shape: tuple[int, ...]) -> Array:
    t, h, w = np.indices(shape)
    noise = np.random.default_rng(3).normal(size=shape)
    return (40 * np.sin(t / 3 + h / 25) * np.cos(w / 14) + (1 + t) * noise).astype(np.float32)


def grid_of(shape: tuple[int, int, int], order: tuple[int, int, int] = (0, 1, 2)) -> native.Grid:
    return native.Grid.of(shape, order)


class Block:
    """A block with its streams."""

    def __init__(self, order: tuple[int, int, int], mask: Array | None = None, threads: int = 1) -> None:
        self.grid, self.mask = grid_of(LARGE, order), mask
        z = rough(LARGE)
        self.weights, _ = native.fit(self.grid, z, mask, 1 / 12, 4000)
        self.streams, self.values = native.lift_encode(self.grid, z, mask, self.weights, 1.0, False, threads)

    def decoded(self, streams: list[bytes | None], threads: int = 1) -> Array:
        return native.lift_decode(self.grid, np.float32, self.mask, self.weights, 1.0, False, streams, threads)


def test_large_blocks_of_several_slices_are_coded_in_halves() -> None:
    assert native.in_halves(grid_of(LARGE))
    assert not native.in_halves(grid_of(FLAT))
    assert not native.in_halves(grid_of(SMALL))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_threads_change_neither_bytes_nor_values(order: tuple[int, int, int]) -> None:
    block, other = Block(order), Block(order, threads=2)
    assert block.streams == other.streams
    for threads in (1, 2):
        np.testing.assert_array_equal(block.decoded([*block.streams], threads), block.values)


def test_masked_values_cost_nothing_in_either_half() -> None:
    mask = (np.random.default_rng(5).random(LARGE) < 0.4).astype(np.uint8)
    block = Block((0, 1, 2), mask)
    assert sum(map(len, block.streams)) < 0.75 * sum(map(len, Block((0, 1, 2)).streams))
    for threads in (1, 2):
        found = block.decoded([*block.streams], threads)
        np.testing.assert_array_equal(found[mask == 0], block.values[mask == 0])


def test_without_the_finest_level_both_halves_are_predicted() -> None:
    block = Block((0, 1, 2))
    coarse: list[bytes | None] = [*block.streams[:-1], None]
    found = block.decoded(coarse)
    np.testing.assert_array_equal(found, block.decoded(coarse, 2))
    np.testing.assert_array_equal(found[::2, ::2, ::2], block.values[::2, ::2, ::2])


def test_a_first_half_longer_than_both_is_refused() -> None:
    block = Block((0, 1, 2))
    finest = block.streams[-1]
    for hostile in (b"", varint(len(finest)) + finest[:-9], b"\xff" * 12):
        with pytest.raises(ContainerError):
            block.decoded([*block.streams[:-1], hostile])


@pytest.mark.parametrize("threads", [1, 2])
def test_damaged_halves_decode_to_something_of_the_same_shape(threads: int) -> None:
    block, rng = Block((0, 1, 2)), np.random.default_rng(7)
    for _ in range(8):
        finest = bytearray(block.streams[-1])
        for place in rng.integers(4, len(finest), 20):
            finest[place] = int(rng.integers(256))
        with np.errstate(all="ignore"):
            assert block.decoded([*block.streams[:-1], bytes(finest)], threads).shape == LARGE
