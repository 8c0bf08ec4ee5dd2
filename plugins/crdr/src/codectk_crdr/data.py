"""Training crops."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def draw(x: NDArray[np.uint8], size: int, smallest_scale: float, rng: np.random.Generator) -> Tensor:
    """A random crop, flipped in half of the cases.

    Args:
        x: picture (H, W, 3).
        size: side of the crop in pixels; smaller pictures are reflected at their edges.
        smallest_scale: the picture is first resized by a factor from this to 1, but not below the crop.
        rng: source of all that is random.

    Returns:
        (3, size, size) in [-1, 1].
    """
    if smallest_scale < 1:
        factor = max(rng.uniform(smallest_scale, 1), min(1.0, size / min(x.shape[:2])))
        if factor < 1:
            new = (max(1, round(x.shape[1] * factor)), max(1, round(x.shape[0] * factor)))
            x = np.asarray(Image.fromarray(x).resize(new, Image.Resampling.BICUBIC))
    x = _at_least(x, size)
    top, left = (int(rng.integers(side - size + 1)) for side in x.shape[:2])
    crop: Any = x[top : top + size, left : left + size]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1))).float() * (2 / 255) - 1


def _at_least(x: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The picture, reflected right and below, as often as needed, until both sides have `size` pixels."""
    while min(x.shape[:2]) < size:
        missing = [max(0, size - side) for side in x.shape[:2]]
        mode = "reflect" if min(x.shape[:2]) > 1 else "edge"
        added = [min(m, max(1, side - 1)) for m, side in zip(missing, x.shape[:2], strict=True)]
        x = np.pad(x, [(0, added[0]), (0, added[1]), (0, 0)], mode=mode)  # type: ignore[call-overload]
    return x
