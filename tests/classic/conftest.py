"""Pictures for the tests of codectk-classic, made on the spot."""

from collections.abc import Callable

import numpy as np
import pytest

from codectk import ArrayInfo
from codectk.arrays import KINDS, Array

MakePicture = Callable[..., tuple[Array, ArrayInfo]]


def make(kind: str, height: int = 48, width: int = 64, noise: float = 6.0) -> tuple[Array, ArrayInfo]:
    """A smooth picture with edges and some noise, over the whole range of its kind."""
    channels = KINDS[kind].channels
    top = KINDS[kind].value_range[1]
    rows, columns = np.mgrid[:height, :width]
    planes = [
        0.5 + 0.3 * np.sin(rows / (5 + c)) * np.cos(columns / (7 - c)) + 0.15 * ((rows // 9 + columns // 13 + c) % 2)
        for c in range(channels)
    ]
    x = np.stack(planes, axis=2) * top
    x += np.random.default_rng(height * width).normal(0, noise * top / 255, x.shape)
    return np.clip(np.round(x), 0, top).astype(KINDS[kind].dtype), ArrayInfo(kind, (height, width, channels))


@pytest.fixture
def picture() -> MakePicture:
    """`picture(kind, height, width, noise)` gives an array (H, W, C) and its info."""
    return make
