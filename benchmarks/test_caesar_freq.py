"""How fast caesar_freq is beside SZ3, both from an array in memory to the bytes of a `.ctk` file and back.

Both decode what they encode and check it, so encoding includes a decoding. caesar_freq runs on two threads, SZ3 on one,
as each does where nothing else is asked for.
"""

import os
import time
from collections.abc import Callable

import numpy as np
import pytest

from codectk.compression import LoadedCodec, load_codec
from codectk.container import unpack
from codectk.easy import described

from .adv48 import adv48

RUNS = int(os.environ.get("CODECTK_RUNS", "3"))
FIELD = adv48(frames=24, side=128)


def seconds(work: Callable[[], object]) -> list[float]:
    work()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def encoding(loaded: LoadedCodec, bound: float) -> Callable[[], bytes]:
    info = described(FIELD, loaded.spec.kinds)[1]
    options = loaded.encode_options({"rel_error": bound})
    return lambda: loaded.compress(FIELD, info, options).data


@pytest.mark.parametrize("bound", [1e-2, 1e-3, 1e-4])
def test_beside_sz3(bound: float, ratio: Callable[..., float], report: Callable[[str], None]) -> None:
    mine, theirs = load_codec("caesar_freq"), load_codec("sz3")
    encode, peer_encode = encoding(mine, bound), encoding(theirs, bound)
    file, peer_file = encode(), peer_encode()
    unpacked, peer_unpacked = unpack(file), unpack(peer_file)
    x_hat = mine.decompress(unpacked).astype(np.float64)
    assert np.abs(x_hat - FIELD).max() <= bound * (float(FIELD.max()) - float(FIELD.min()))
    ratio(f"encode, rel_error {bound:g}", seconds(encode), "sz3", seconds(peer_encode))
    decoded = seconds(lambda: mine.decompress(unpacked))
    ratio(f"decode, rel_error {bound:g}", decoded, "sz3", seconds(lambda: theirs.decompress(peer_unpacked)))
    report(f"bytes, rel_error {bound:g}: {len(file)}, {len(file) / len(peer_file):.2f} times sz3 ({len(peer_file)})")
