"""What is special about this codec."""

from typing import Any

import numpy as np
from codectk import ArrayInfo, load_codec
from codectk.container import unpack

from codectk_blocky.codec import from_blocks, to_blocks
from codectk_blocky.start import dct_weights


def picture() -> Any:
    """A smooth picture with some noise, (64, 80, 3) uint8."""
    rows, columns = np.mgrid[0:64, 0:80]
    waves = [np.sin(rows / (6 + c)) * np.cos(columns / (9 - c)) for c in range(3)]
    x = 128 + 80 * np.stack(waves, axis=2) + np.random.default_rng(0).normal(0, 1, (64, 80, 3))
    return np.clip(x, 0, 255).astype(np.uint8)


def test_blocks_give_back_the_picture() -> None:
    """Cutting into blocks loses nothing."""
    x = picture()
    assert np.array_equal(from_blocks(to_blocks(x), 64, 80), x)


def test_the_start_is_orthonormal() -> None:
    """So that errors of y are errors of x."""
    g_a: Any = dct_weights().tensors["g_a"]
    assert np.allclose(g_a @ g_a.T, np.eye(192), atol=1e-6)


def test_quality_trades_bytes_for_errors() -> None:
    """More quality: more bytes, fewer errors; and all are far below the raw size."""
    x, codec = picture(), load_codec("blocky")
    sizes, errors = [], []
    for quality in (10, 25, 40):
        data = codec.compress(x, ArrayInfo("image/rgb8", x.shape), codec.encode_options({"quality": quality})).data
        sizes.append(len(data))
        errors.append(np.square(codec.decompress(unpack(data)).astype(float) - x).mean())
    assert sizes == sorted(sizes) and sizes[-1] < x.nbytes / 2
    assert errors == sorted(errors, reverse=True) and errors[-1] < 10
