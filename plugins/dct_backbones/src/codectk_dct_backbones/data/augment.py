"""Changes of colours and shapes of training pictures, by Pillow.

Sources: Cubuk et al., "AutoAugment", CVPR 2019, table 9 (the policy for ImageNet); magnitudes are torchvision's.
"""

from collections.abc import Callable
from math import cos, radians, sin

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Step = tuple[str, float, int]
"""Operation, probability, and bin of its magnitude, 0 to 9."""

GREY = (114, 114, 114)

FADED = 0.9
"""Sharpness of what `soften` returns, 1 being that of the picture."""

POLICY: tuple[tuple[Step, Step], ...] = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 0), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 0)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 0)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 0), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("colour", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 0)),
    (("equalize", 0.0, 0), ("equalize", 0.8, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("colour", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("colour", 1.0, 2)),
    (("colour", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 0)),
    (("shear", 0.6, 5), ("equalize", 1.0, 0)),
    (("colour", 0.4, 0), ("equalize", 0.6, 0)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("colour", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
)


def auto_augment(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One of the policy's pairs, each of whose operations happens with its probability."""
    for name, chance, magnitude in POLICY[int(rng.integers(len(POLICY)))]:
        happens, sign = rng.random() < chance, 1 if rng.random() < 0.5 else -1
        if happens:
            image = OPERATIONS[name](image, magnitude / 9, sign)
    return image


def jitter(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast and saturation times a factor of 1 ± strength each, in random order."""
    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    factors = rng.uniform(max(0.0, 1 - strength), 1 + strength, len(kinds))
    for which in rng.permutation(len(kinds)):
        image = kinds[which](image).enhance(float(factors[which]))
    return image


def soften(image: Image.Image) -> Image.Image:
    """A little less sharp."""
    return ImageEnhance.Sharpness(image).enhance(FADED)


def affine(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Shifted by up to a tenth of its sides and scaled about its middle by 0.5 to 1.2; grey where nothing is."""
    width, height = image.size
    across, down = rng.uniform(-0.1, 0.1, 2) * image.size
    scale = rng.uniform(0.5, 1.2)
    # Pillow wants the place in the picture that a place in the result comes from.
    back = (1 / scale, 0.0, width / 2 - (width / 2 + across) / scale)
    return _moved(image, (*back, 0.0, 1 / scale, height / 2 - (height / 2 + down) / scale), GREY)


def _moved(image: Image.Image, matrix: tuple[float, ...], outside: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=outside)


def _rotate(image: Image.Image, share: float, sign: int) -> Image.Image:
    angle = radians(30 * share * sign)
    x, y = (side / 2 for side in image.size)
    a, b = cos(angle), sin(angle)
    return _moved(image, (a, b, x - a * x - b * y, -b, a, y + b * x - a * y))


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> "Operation":
    return lambda image, share, sign: kind(image).enhance(1 + 0.9 * share * sign)


Operation = Callable[[Image.Image, float, int], Image.Image]
"""Takes a picture, a magnitude of 0 to 1 and a sign."""

OPERATIONS: dict[str, Operation] = {
    "posterize": lambda image, share, sign: ImageOps.posterize(image, 8 - round(4 * share)),
    "solarize": lambda image, share, sign: ImageOps.solarize(image, round(255 * (1 - share))),
    "autocontrast": lambda image, share, sign: ImageOps.autocontrast(image),
    "equalize": lambda image, share, sign: ImageOps.equalize(image),
    "invert": lambda image, share, sign: ImageOps.invert(image),
    "rotate": _rotate,
    "shear": lambda image, share, sign: _moved(image, (1.0, 0.3 * share * sign, 0.0, 0.0, 1.0, 0.0)),
    "colour": _enhance(ImageEnhance.Color),
    "contrast": _enhance(ImageEnhance.Contrast),
    "sharpness": _enhance(ImageEnhance.Sharpness),
}
