"""How fast pictures of 256 x 256 pixels become coefficients. One thread.

The peer of the transform is one convolution of equal arithmetic: as many products, sums, inputs and outputs, random
weights. The peer of the pipeline does what the public code does to each picture: products of 8 x 8 matrices in numpy,
and two nested loops over the blocks that bring them into order. Colours and range cost it as much as they do here.
"""

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from codectk_dct_backbones import dct, planes
from codectk_dct_backbones.budget import Budget, channels
from codectk_dct_backbones.pipeline import from_pictures
from codectk_dct_backbones.statistics import load

SIZE, BATCH, RUNS = 256, 16, 15

Ratio = Callable[[str, list[float], str, list[float]], float]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def in_turn(*works: Callable[[], object]) -> list[list[float]]:
    """Seconds of processor time of several works, taken in turn so that all meet the same machine."""
    times: list[list[float]] = [[] for _ in works]
    for run in range(RUNS + 3):
        for work, seconds in zip(works, times, strict=True):
            start = time.thread_time()
            work()
            if run >= 3:
                seconds.append(time.thread_time() - start)
    return times


def pictures() -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (BATCH, 3, SIZE, SIZE), dtype=np.uint8))


def basis() -> np.ndarray:
    a = np.array([[math.cos(math.pi * (n + 0.5) * k / 8) for n in range(8)] for k in range(8)]) / 2
    a[0] = math.sqrt(1 / 8)
    return a.astype(np.float32)


def blocks_in_loops(plane: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Depth first, as the public code makes them."""
    height, width = (side // 8 for side in plane.shape)
    blocks = a @ plane.reshape(height, 8, width, 8).transpose(0, 2, 1, 3) @ a.T
    flattened = np.zeros((height, width, 64), np.float32)
    for row in range(height):
        for column in range(width):
            flattened[row, column] = blocks[row, column].flatten(order="F")
    return np.ascontiguousarray(flattened.transpose(2, 0, 1))


@pytest.mark.parametrize("count", [64, 16])
def test_the_transform_of_a_batch_beside_a_convolution(count: int, ratio: Ratio) -> None:
    plane, kernel, kept = torch.rand(BATCH, SIZE, SIZE) * 255, torch.rand(count, 1, 8, 8), channels(count)
    ours, peer = in_turn(
        lambda: dct.forward(plane, kept),
        lambda: F.conv2d(plane[:, None], kernel, stride=8),
    )
    name = f"DCT of {BATCH} planes, {count} coefficients"
    assert ratio(name, ours, "one conv2d of equal arithmetic", peer) < 1.3


def test_the_pipeline_beside_the_public_one(ratio: Ratio) -> None:
    rgb, a, statistics = pictures()[:1], basis(), load("imagenet")

    def public() -> None:
        for plane in planes.from_pictures(rgb):
            blocks_in_loops(plane[0].numpy(), a)

    ours, peer = in_turn(lambda: from_pictures(rgb, statistics=statistics), public)
    assert ratio("Coefficients of a picture, normalised", ours, "the public pipeline", peer) < 0.8


def test_a_small_budget_beside_all_coefficients(ratio: Ratio) -> None:
    rgb = pictures()
    few, whole = in_turn(lambda: from_pictures(rgb, Budget(16, 16, 16)), lambda: from_pictures(rgb))
    assert ratio(f"16 coefficients of {BATCH} pictures", few, "all 64", whole) < 1.1
