"""The transform before any training: luma and two chroma directions, each through a DCT."""

from typing import Any

import numpy as np
from codectk.arrays import Array
from codectk.checkpoint import Checkpoint

from codectk_blocky.codec import SIDE

DISTRIBUTION = "codectk-blocky"
VERSION = "0.1.0"

# --8<-- [start:dct]
# Orthonormal: grey, blue against yellow, red against green.
COLOURS: Any = np.array([[1, 1, 1], [-1, -1, 2], [1, -1, 0]]) / np.sqrt([[3], [6], [2]])


def dct(side: int) -> Any:
    """The orthonormal DCT-II, float64 (side, side): one row per frequency."""
    frequency, place = np.mgrid[0:side, 0:side]
    basis = np.sqrt(2 / side) * np.cos(np.pi * frequency * (2 * place + 1) / (2 * side))
    basis[0] /= np.sqrt(2)
    return basis


def dct_weights() -> Checkpoint:
    """Weights of a codec that has learned nothing yet: an orthonormal transform and its inverse."""
    rows = columns = dct(SIDE)
    g_s = np.einsum("ur,vc,kp->uvkrcp", rows, columns, COLOURS).reshape(3 * SIDE * SIDE, -1).astype(np.float32)
    return checkpoint(np.ascontiguousarray(g_s.T), g_s, {"start": "dct"})


# --8<-- [end:dct]


# --8<-- [start:checkpoint]
def checkpoint(g_a: Array, g_s: Array, training: dict[str, object]) -> Checkpoint:
    """Weights of this codec, as files hold them."""
    return Checkpoint(
        tensors={"g_a": g_a, "g_s": g_s},
        codec="blocky",
        distribution=DISTRIBUTION,
        version=VERSION,
        bitstream_version=1,
        config={},
        training=training,
    )


# --8<-- [end:checkpoint]
