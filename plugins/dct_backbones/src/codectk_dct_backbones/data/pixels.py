"""Pictures as pixels: decoded upright, cut, scaled and changed.

Random crops are those of Szegedy et al., "Going deeper with convolutions", CVPR 2015, as torchvision draws them.
"""

from io import BytesIO
from math import log

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from codectk.errors import InputError
from codectk_dct_backbones.data.augment import affine, auto_augment, jitter, soften
from codectk_dct_backbones.jpeg.loading import UNIT
from codectk_dct_backbones.plan import Augmentation

RATIOS = (3 / 4, 4 / 3)
"""Width over height of random crops."""

TRIES = 10

Box = tuple[int, int, int, int]
"""Left, top, width, height."""

Pixels = NDArray[np.uint8]


def decode(data: bytes, name: str) -> Image.Image:
    """An RGB picture, upright as EXIF says.

    Args:
        data: a file that Pillow opens.
        name: for the message.

    Raises:
        InputError: it is damaged or no picture.
    """
    try:
        with Image.open(BytesIO(data)) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            return upright if upright.mode == "RGB" else upright.convert("RGB")
    except Exception as error:  # decoders raise SyntaxError, struct.error, zlib.error, KeyError, … on damaged files
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise InputError(f"{name} cannot be read as a picture: {reason}.", "Copy or download it again.") from error


def draw_box(width: int, height: int, scale: float, rng: np.random.Generator, most: float = 1.0) -> Box:
    """A random part of a picture.

    Args:
        width: of the picture.
        height: of the picture.
        scale: smallest share of the area.
        rng: draws area, ratio and place.
        most: largest share.
    """
    for _ in range(TRIES):
        area = width * height * rng.uniform(scale, most)
        ratio = np.exp(rng.uniform(log(RATIOS[0]), log(RATIOS[1])))
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h
    w, h = min(width, round(height * RATIOS[1])), min(height, round(width / RATIOS[0]))
    return (width - w) // 2, (height - h) // 2, w, h


def training_box(width: int, height: int, size: int, augmentation: Augmentation, rng: np.random.Generator) -> Box:
    """The part of a training picture that becomes `size` by `size` pixels.

    Args:
        width: of the picture.
        height: of the picture.
        size: side of the result.
        augmentation: how it is drawn.
        rng: draws it.
    """
    if augmentation.crop == "aligned" and min(width, height) >= size:
        left, top = (UNIT * int(rng.integers((side - size) // UNIT + 1)) for side in (width, height))
        return left, top, size, size
    return draw_box(width, height, augmentation.scale, rng, augmentation.most)


def middle_box(width: int, height: int, resize: int, size: int) -> tuple[float, float, float, float]:
    """What a square from the middle of a scaled picture shows of the picture itself.

    Args:
        width: of the picture.
        height: of the picture.
        resize: short side of the scaled picture.
        size: side of the square, at most `resize`.

    Returns:
        Left, top, right, bottom.
    """
    side = size * min(width, height) / resize
    return (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2


def train_picture(image: Image.Image, size: int, augmentation: Augmentation, rng: np.random.Generator) -> Pixels:
    """A training picture.

    Args:
        image: RGB.
        size: side of the result.
        augmentation: what happens to it.
        rng: draws what is random.

    Returns:
        (3, size, size).
    """
    if augmentation.auto_augment:
        image = auto_augment(image, rng)
    left, top, width, height = training_box(*image.size, size, augmentation, rng)
    box = (left, top, left + width, top + height)
    image = image.resize((size, size), Image.Resampling.BILINEAR, box)
    if rng.random() < augmentation.flip:
        image = ImageOps.mirror(image)
    if augmentation.jitter and rng.random() < augmentation.jitter_chance:
        image = jitter(image, augmentation.jitter, rng)
    if rng.random() < augmentation.sharpness_chance:
        image = soften(image)
    if augmentation.affine:
        image = affine(image, rng)
    return channels_first(image)


def middle(image: Image.Image, size: int, resize: int) -> Pixels:
    """The middle of a scaled picture, (3, size, size).

    Args:
        image: RGB.
        size: side of the result.
        resize: short side that the whole picture would have.
    """
    box = middle_box(*image.size, resize, size)
    return channels_first(image.resize((size, size), Image.Resampling.BILINEAR, box))


def channels_first(image: Image.Image) -> Pixels:
    """(3, H, W) of an RGB picture."""
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
