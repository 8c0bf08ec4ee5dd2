"""The entropy coder of all plugins beside the usual one, on a million symbols with predicted scales, one thread.

The peer is the rANS coder of CompressAI, by the interface that its models use: lists of Python numbers. It is measured
if its package is on the path; nothing of it is imported but its coder. To have it there, without what it depends on:

    pip install --no-deps --target FOLDER compressai
    PYTHONPATH=FOLDER pytest benchmarks/test_entropy.py
"""

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from codectk.entropy import (
    Decoder,
    Encoder,
    Tables,
    gaussian_tables,
    scale_levels,
    scale_thresholds,
    table_indexes,
)

COUNT = 1_000_000
RUNS = 9

Sample = tuple[NDArray[np.int32], NDArray[np.uint16], NDArray[np.float64]]


def peer() -> Any:
    """The peer's compiled coder, or None."""
    package = importlib.util.find_spec("compressai")
    folders = package.submodule_search_locations if package else None
    files = [path for folder in folders or [] for path in Path(folder).glob("ans*.so")]
    if not files:
        return None
    spec = importlib.util.spec_from_file_location("compressai.ans", files[0])
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tables() -> Tables:
    return gaussian_tables(scale_levels())


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Symbols, three of four of them zeros, their tables and their standard deviations."""
    random = np.random.default_rng(0)
    scales = np.exp(random.normal(-1.05, 1.0, COUNT))
    symbols = np.rint(random.normal(size=COUNT) * scales).astype(np.int32)
    return symbols, table_indexes(np.rint(scales * 256).astype(np.int32), scale_thresholds(scale_levels(), 8)), scales


def encode(symbols: NDArray[np.int32], tables: Tables, indexes: NDArray[np.uint16]) -> bytes:
    encoder = Encoder()
    encoder.encode(symbols, tables, indexes)
    return encoder.finish()


def times(*work: Callable[[], object]) -> list[list[float]]:
    """Seconds of each, in turns."""
    found: list[list[float]] = [[] for _ in work]
    for run in range(RUNS + 1):
        for one, measured in zip(work, found, strict=True):
            start = time.thread_time()
            one()
            if run:
                measured.append(time.thread_time() - start)
    return found


def test_bits_are_close_to_the_ideal(sample: Sample, tables: Tables, report: Callable[[str], None]) -> None:
    from scipy.special import ndtr

    symbols, indexes, scales = sample
    distance = np.abs(symbols)
    ideal = -np.log2(ndtr((0.5 - distance) / scales) - ndtr((-0.5 - distance) / scales)).sum()
    over = 8 * len(encode(symbols, tables, indexes)) / ideal - 1
    report(f"entropy coder: {ideal / COUNT:.4f} bits per symbol would be ideal, {100 * over:+.3f} % are written")
    assert over < 0.002


def test_speed_beside_the_peer(sample: Sample, tables: Tables, ratio: Callable[..., float]) -> None:
    ans = peer()
    if ans is None:
        pytest.skip("the peer, compressai, is not on the path: see the module for how to have it there")
    symbols, indexes, _ = sample
    data = encode(symbols, tables, indexes)
    ends = np.cumsum(tables.lengths)
    rows = [
        [0, *np.cumsum(row).tolist()] for row in np.split(tables.frequencies.astype(int), ends[:-1])
    ]  # the last interval is the peer's for escapes, too
    about = rows, (tables.lengths + 1).tolist(), tables.offsets.tolist()
    theirs = ans.RansEncoder().encode_with_indexes(symbols.tolist(), indexes.tolist(), *about)

    def decode() -> NDArray[np.int32]:
        return Decoder(data).decode(tables, indexes)

    def peer_encode() -> bytes:
        return bytes(ans.RansEncoder().encode_with_indexes(symbols.tolist(), indexes.tolist(), *about))

    def peer_decode() -> NDArray[np.int32]:
        return np.array(ans.RansDecoder().decode_with_indexes(theirs, indexes.tolist(), *about), np.int32)

    assert np.array_equal(decode(), symbols)
    assert np.array_equal(peer_decode(), symbols)
    encoding = times(lambda: encode(symbols, tables, indexes), peer_encode)
    decoding = times(decode, peer_decode)
    assert (
        ratio(f"entropy encoding, {len(data)} bytes", encoding[0], f"CompressAI's, {len(theirs)}", encoding[1]) < 1 / 3
    )
    assert ratio("entropy decoding", decoding[0], "CompressAI's", decoding[1]) < 1 / 1.5


def test_zeros_that_are_left_out_save_time(tables: Tables, ratio: Callable[..., float]) -> None:
    """Nine of ten scales at the lower bound, with zeros there; against the same with one other symbol among them."""
    random = np.random.default_rng(1)
    indexes = np.where(random.random(COUNT) < 0.9, 0, random.integers(1, 30, COUNT)).astype(np.uint16)
    symbols = np.rint(random.normal(size=COUNT) * scale_levels()[indexes]).astype(np.int32)
    symbols[indexes == 0] = 0
    other = symbols.copy()
    other[np.flatnonzero(indexes == 0)[0]] = 1
    data, longer = encode(symbols, tables, indexes), encode(other, tables, indexes)
    encoding = times(lambda: encode(symbols, tables, indexes), lambda: encode(other, tables, indexes))
    decoding = times(*(lambda d=d: Decoder(d).decode(tables, indexes) for d in (data, longer)))
    assert ratio("entropy encoding, zeros left out", encoding[0], "coding them", encoding[1]) < 0.95
    assert ratio("entropy decoding, zeros left out", decoding[0], "coding them", decoding[1]) < 0.95
