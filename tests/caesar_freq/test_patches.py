"""The bound on patches: it holds for patches that the field's ends or special values cut, without giving up on size."""

import numpy as np
import pytest

from codectk.arrays import Array
from codectk_caesar_freq import blocks, bounds, encoding, gae
from codectk_caesar_freq.bounds import Bound


def field(shape: tuple[int, int, int], offset: float = 0.0) -> Array:
    t, h, w = np.indices(shape)
    noise = np.random.default_rng(0).normal(size=shape)
    x: Array = (offset + np.sin(t / 5 + h / 17) * np.cos(w / 13) + 0.02 * noise).astype(np.float32)
    return x


def errors(work: encoding.Work, block: blocks.Block) -> Array:
    """Root mean square error of each patch, over the bound."""
    shape = work.x.shape[0], work.x.shape[1], work.x.shape[2]
    x_hat = blocks.decode(blocks.Block.unpack(block.pack(), "it"), blocks.Context(shape, work.x.dtype))
    squares, counts = gae.errors(bounds.distances(work.x, x_hat), work.special)
    there = counts > 0
    return np.sqrt(squares[there] / counts[there]) / work.bound.value


@pytest.mark.parametrize("shape", [(16, 33, 49), (9, 17, 41)])
@pytest.mark.parametrize("offset", [0.0, 280.0])
def test_patches_at_the_ends_of_the_field_keep_to_the_bound(shape: tuple[int, int, int], offset: float) -> None:
    work = encoding.Work(field(shape, offset), None, Bound("patch", 1e-2), encoding.Plan())
    block, _ = encoding.encode(work)
    assert block.method != blocks.Method.RAW and block.correction
    assert errors(work, block).max() <= 1
    assert sum(map(len, block.pack())) < work.x.nbytes / 6


def test_patches_of_few_valid_values_keep_to_the_bound() -> None:
    x = field((16, 32, 48))
    special = np.random.default_rng(1).random(x.shape) < 0.5
    special[:, :8, :8] = True
    special[:, 3, 5] = False  # patches of one value
    work = encoding.Work(x, special, Bound("patch", 1e-2), encoding.Plan())
    block, _ = encoding.encode(work)
    assert block.method != blocks.Method.RAW
    assert errors(work, block).max() <= 1


def test_values_outside_a_patch_bound_are_those_of_its_patches() -> None:
    x = np.zeros((2, 9, 16))
    x_hat = x.copy()
    x_hat[1, 8, 3] = 1  # in a patch of one row
    special = np.zeros(x.shape, bool)
    special[1, 8, 0] = True
    gaps = bounds.distances(x, x_hat)
    wrong = bounds.outside(Bound("patch", 0.2), x, x_hat, gaps, special)
    assert np.argwhere(wrong).tolist() == [[1, 8, w] for w in range(1, 8)]
    assert not bounds.outside(Bound("patch", 0.4), x, x_hat, gaps, special).any()
