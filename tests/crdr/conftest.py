"""Pictures that the trainings of these tests share."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The same sums in every run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of six small pictures to train on; one is held out."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for i in range(6):
        smooth = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(smooth).resize((80, 70), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder
