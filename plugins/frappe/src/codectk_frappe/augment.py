"""Random crops for training: resized, cut, with jittered brightness and saturation."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codectk.dataset import Dataset
from codectk_frappe.options import TrainOptions

_LUMA = np.array([0.2989, 0.587, 0.114], np.float32)

Float32 = NDArray[np.float32]


def crop_size(options: TrainOptions, rng: np.random.Generator) -> tuple[int, int]:
    """Height and width of a batch's crops in pixels: multiples of what the model divides, within bounds."""
    aspect = rng.uniform(options.min_aspect, options.max_aspect)
    height = rng.uniform(options.min_size, options.max_size)

    def fit(length: float) -> int:
        rounded = round(length / options.multiple_of) * options.multiple_of
        return min(max(rounded, options.smallest_crop), options.largest_crop)

    return fit(height), fit(height * aspect)


def draw(
    dataset: Dataset, item: int, size: tuple[int, int], options: TrainOptions, rng: np.random.Generator
) -> Float32:
    """One training crop.

    Args:
        dataset: pictures (H, W, 3) uint8.
        item: which one.
        size: height and width of the crop in pixels.

    Returns:
        (3, height, width) in [-1, 1].
    """
    height, width = size
    picture = Image.fromarray(dataset[item].x)
    short = int(max(size) * rng.uniform(options.min_scale, options.max_scale))
    longest = 1 + int(options.max_scale * options.max_size)
    factor = min(short / min(picture.size), longest / max(picture.size))
    new = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    resized = np.asarray(picture.resize(new, Image.Resampling.BICUBIC))
    missing = (max(0, height - new[1]), max(0, width - new[0]))
    if any(missing):
        resized = np.pad(resized, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")
    top = int(rng.integers(resized.shape[0] - height + 1))
    left = int(rng.integers(resized.shape[1] - width + 1))
    crop: Float32 = resized[top : top + height, left : left + width].astype(np.float32) / np.float32(255)
    crop = _jitter(crop, options.jitter, rng)
    if options.flips:
        crop = crop[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
        if height == width and rng.random() < 0.5:
            crop = crop.transpose(1, 0, 2)
    return np.ascontiguousarray(crop.transpose(2, 0, 1)) * 2 - 1


def _jitter(crop: Float32, amount: float, rng: np.random.Generator) -> Float32:
    """Brightness and saturation by factors of 1 ± amount, in random order; (H, W, 3) in [0, 1]."""
    brightness, saturation = rng.uniform(1 - amount, 1 + amount, 2).astype(np.float32)
    steps = [
        lambda x: x * brightness,
        lambda x: x * saturation + (x @ _LUMA)[..., np.newaxis] * (1 - saturation),
    ]
    for index in rng.permutation(2):
        crop = np.clip(steps[index](crop), 0, 1)
    return crop
