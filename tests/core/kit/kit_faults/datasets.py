"""A good dataset of noise, and datasets that differ from it by one fault."""

import time
from typing import Any

import numpy as np

from codectk.arrays import ArrayInfo
from codectk.dataset import Sample
from codectk.errors import OptionsError

SPLITS = {"train": 1, "val": 2, "test": 3}
COUNT = 4


class GoodDataset:
    """Four pictures of noise in each split."""

    def __init__(self, split: str) -> None:
        self.check(split)
        self.split, self.count = split, COUNT

    def check(self, split: str) -> None:
        if split not in SPLITS:
            raise OptionsError(f"There is no split '{split}'.", f"Choose one of {', '.join(SPLITS)}.")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Sample:
        if not 0 <= i < self.count:
            raise IndexError(i)
        x = self.noise(i)
        return Sample(x, self.name(i), ArrayInfo("image/rgb8", x.shape))

    def noise(self, i: int) -> Any:
        rng = np.random.default_rng(self.seed(i))
        return rng.integers(0, 256, (8, 12, 3), np.uint8)

    def seed(self, i: int) -> Any:
        return [SPLITS[self.split], i]

    def name(self, i: int) -> str:
        return f"{self.split}-{i}"


class HasAnEmptySplit(GoodDataset):
    """Names a split for which there is nothing."""

    def __init__(self, split: str) -> None:
        super().__init__(split)
        self.count = 0 if split == "test" else COUNT


class SaysTheWrongKind(GoodDataset):
    """Its spec says grey."""


class DrawsAgain(GoodDataset):
    """Other noise each time that it is opened."""

    def __init__(self, split: str) -> None:
        super().__init__(split)
        self.start = time.time_ns()

    def seed(self, i: int) -> Any:
        return [SPLITS[self.split], i, self.start]


class SharesItsMemory(GoodDataset):
    """Hands out the array that it keeps."""

    def __init__(self, split: str) -> None:
        super().__init__(split)
        self.kept: dict[int, Any] = {}

    def noise(self, i: int) -> Any:
        return self.kept.setdefault(i, super().noise(i))


class NeverEnds(GoodDataset):
    """Starts again after its last sample."""

    def __getitem__(self, i: int) -> Sample:
        return super().__getitem__(i % COUNT)


class NamesAllAlike(GoodDataset):
    """Nobody can tell which is which."""

    def name(self, i: int) -> str:
        return "noise"


class SplitsInName(GoodDataset):
    """Has the same pictures in both."""

    def seed(self, i: int) -> Any:
        return [0, i]


class TripsOverASplit(GoodDataset):
    """Looks a split up and falls."""

    def check(self, split: str) -> None:
        SPLITS[split]


class SeedsNumpyToo(GoodDataset):
    """Wants the same noise each time."""

    def noise(self, i: int) -> Any:
        np.random.seed(i)
        return super().noise(i)
