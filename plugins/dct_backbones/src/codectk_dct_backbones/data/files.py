"""Pictures as the coefficients of their JPEG files: cropped, scaled and flipped without pixels."""

import numpy as np

from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.data.batches import Arrays
from codectk_dct_backbones.data.pixels import training_box
from codectk_dct_backbones.jpeg.loading import Crop, centre, load, picture_size
from codectk_dct_backbones.plan import Plan
from codectk_dct_backbones.statistics import Statistics


class FileReader:
    """Reads coefficients; see `batches.Reader`.

    Args:
        plan: sides, and how pictures are cut.
        architecture: which coefficients, in which range.
        trim: whether other channels are left out or zero.
        statistics: to normalise by, in that range.
    """

    def __init__(self, plan: Plan, architecture: Architecture, trim: bool, statistics: Statistics | None) -> None:
        self.plan, self.architecture, self.trim, self.statistics = plan, architecture, trim, statistics

    def train(self, data: bytes, name: str, side: int, rng: np.random.Generator) -> Arrays:
        """Y (n, side / 8, side / 8), Cb and Cr (n, side / 16, side / 16), float32."""
        height, width = picture_size(data, name)
        augmentation = self.plan.augmentation
        left, top, w, h = training_box(width, height, side, augmentation, rng)
        flip = bool(rng.random() < augmentation.flip)
        return self._load(data, name, side, Crop(top, left, h, w), flip)

    def middle(self, data: bytes, name: str) -> Arrays:
        """The same of the middle."""
        size = self.plan.image_size
        return self._load(data, name, size, centre(*picture_size(data, name), size, self.plan.resize), False)

    def _load(self, data: bytes, name: str, size: int, crop: Crop, flip: bool) -> Arrays:
        return load(
            data,
            size=size,
            crop=crop,
            flip=flip,
            budget=self.architecture.budget,
            range_mode=self.architecture.range_mode,
            trim=self.trim,
            statistics=self.statistics,
            name=name,
        )
