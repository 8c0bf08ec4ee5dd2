"""Pictures of waves: nothing to download, and the same on every machine."""

import numpy as np
from codectk.arrays import Array, ArrayInfo
from codectk.dataset import Sample
from codectk.errors import OptionsError

COUNTS = {"train": 64, "val": 8}
SIDE = 128


class BlockyDataset:
    """One split of the dataset.

    Raises:
        OptionsError: there is no such split.
    """

    def __init__(self, split: str) -> None:
        if split not in COUNTS:
            raise OptionsError(f"There is no split '{split}'.", f"Choose one of {', '.join(COUNTS)}.")
        self.split = split

    def __len__(self) -> int:
        """Number of pictures."""
        return COUNTS[self.split]

    def __getitem__(self, i: int) -> Sample:
        """Picture i.

        Raises:
            IndexError: there are not so many.
        """
        if not 0 <= i < len(self):
            raise IndexError(f"There are {len(self)} pictures, so none is number {i}.")
        x = waves(np.random.default_rng([list(COUNTS).index(self.split), i]))
        return Sample(x, f"{self.split}-{i:03d}", ArrayInfo("image/rgb8", x.shape))


def waves(rng: np.random.Generator) -> Array:
    """A picture (H, W, 3) uint8 of a few waves in random directions and colours."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    x = np.full((SIDE, SIDE, 3), 128.0)
    for _ in range(6):
        down, right = rng.normal(0, 0.15, 2)
        wave = np.sin(down * rows + right * columns + rng.uniform(0, 2 * np.pi))
        x += wave[..., None] * rng.normal(0, 25, 3)
    picture: Array = np.clip(np.round(x), 0, 255).astype(np.uint8)
    return picture
