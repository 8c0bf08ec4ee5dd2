"""Pictures that are made up: eight kinds of patterns in random colours, sizes and places, as JPEG files in memory.

They are for trying things out where there is no data; what networks reach on them says nothing about photographs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codectk.arrays import ArrayInfo
from codectk.dataset import Sample
from codectk.errors import OptionsError
from codectk_dct_backbones.data.source import Labels

SIDE = 80
QUALITY = 90
EACH = {"train": 192, "val": 32}
"""Pictures of each class."""

Field = NDArray[np.float64]
Pattern = Callable[[Field, Field, np.random.Generator], Field]


def _wave(x: Field, rng: np.random.Generator) -> Field:
    return 0.5 + 0.5 * np.sin(2 * np.pi * (x * rng.uniform(3, 8) + rng.random()))


def _spots(x: Field, y: Field, rng: np.random.Generator, inner: float) -> Field:
    """Discs; rings where `inner` is above 0."""
    field = np.zeros_like(x)
    for _ in range(int(rng.integers(4, 9))):
        radius, (cx, cy) = rng.uniform(0.08, 0.18), rng.random(2)
        distance = np.hypot(x - cx, y - cy) / radius
        field[(distance < 1) & (distance > inner)] = 1
    return field


def _clouds(x: Field, y: Field, rng: np.random.Generator, cells: int) -> Field:
    grid = rng.random((cells, cells)).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize(x.shape[::-1], Image.Resampling.BICUBIC), dtype=np.float64)


def _checks(x: Field, y: Field, rng: np.random.Generator) -> Field:
    return np.asarray((_wave(x, rng) > 0.5) ^ (_wave(y, rng) > 0.5), dtype=np.float64)


PATTERNS: dict[str, Pattern] = {
    "checks": _checks,
    "clouds": lambda x, y, rng: _clouds(x, y, rng, 4),
    "columns": lambda x, y, rng: _wave(x, rng),
    "diagonals": lambda x, y, rng: _wave((x + y if rng.random() < 0.5 else x - y) / 2**0.5, rng),
    "discs": lambda x, y, rng: _spots(x, y, rng, 0),
    "grain": lambda x, y, rng: _clouds(x, y, rng, 24),
    "rings": lambda x, y, rng: _spots(x, y, rng, 0.6),
    "rows": lambda x, y, rng: _wave(y, rng),
}


def picture(kind: str, *seed: int) -> NDArray[np.uint8]:
    """A picture (SIDE, SIDE, 3) of a kind; the same seed makes the same."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    share = PATTERNS[kind](x, y, rng)[:, :, None]
    low, high = rng.uniform(0, 120, 3), rng.uniform(135, 255, 3)
    noisy = low + (high - low) * share + rng.normal(0, 3, (SIDE, SIDE, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Generated:
    """Patterns; see `source.Source`.

    Attributes:
        split: "train" or "val".
        numbers: of the pictures, which are their seeds.
    """

    split: str
    numbers: Labels

    @property
    def classes(self) -> tuple[str, ...]:
        """Kinds of patterns."""
        return tuple(PATTERNS)

    @property
    def labels(self) -> Labels:
        """Of each picture."""
        return self.numbers // EACH[self.split]

    @property
    def jpeg(self) -> bool:
        """They are JPEG files."""
        return True

    def name(self, i: int) -> str:
        """For messages."""
        return f"generated {self.split} picture {self.numbers[i]}"

    def pixels(self, i: int) -> NDArray[np.uint8]:
        """Picture i as it was made, (SIDE, SIDE, 3)."""
        return picture(self.classes[self.labels[i]], int(self.numbers[i]), self.split == "val")

    def read(self, i: int) -> bytes:
        """Picture i as a JPEG file."""
        stream = BytesIO()
        Image.fromarray(self.pixels(i)).save(stream, "JPEG", quality=QUALITY)
        return stream.getvalue()

    def take(self, which: Sequence[int] | NDArray[Any]) -> Self:
        """Some of the pictures, in the order given."""
        return replace(self, numbers=self.numbers[np.asarray(which, dtype=np.int64)])


def generated(split: str) -> Generated:
    """All pictures of a split.

    Raises:
        OptionsError: there is no such split.
    """
    if split not in EACH:
        raise OptionsError(f"Patterns have no split '{split}'.", f"Choose one of {', '.join(EACH)}.")
    return Generated(split, np.arange(EACH[split] * len(PATTERNS), dtype=np.int64))


class Patterns:
    """The same pictures for any trainer or codec, labels in `meta`.

    Args:
        split: "train" or "val".

    Raises:
        OptionsError: there is no such split.
    """

    def __init__(self, split: str) -> None:
        self.source = generated(split)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.source.numbers)

    def __getitem__(self, i: int) -> Sample:
        """Picture i.

        Raises:
            IndexError: there are not so many.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"There are {len(self)} patterns, so none is number {i}.")
        kind = self.source.classes[self.source.labels[i]]
        x = self.source.pixels(i)
        name = f"{kind}-{self.source.numbers[i]}"
        return Sample(x, name, ArrayInfo("image/rgb8", x.shape), {"label": kind})
