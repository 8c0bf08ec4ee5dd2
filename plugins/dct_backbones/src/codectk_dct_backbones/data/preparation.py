"""From what loaders bring to what networks take.

pixels, uint8 ─ normalised                                pixel networks
pixels, uint8 ─ planes ─ DCT ─ normalised                 coefficients that are recomputed
coefficients                                              coefficients of files, which come ready
"""

from typing import Any

import torch
from torch import Tensor

from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.pipeline import Coefficients, from_pictures
from codectk_dct_backbones.statistics import Statistics

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of pixels that networks for pixels are fed with, of values of 0 to 1."""

Tensors = tuple[Tensor, ...]


class Preparation:
    """What a network's input goes through.

    Args:
        architecture: of the network.
        trim: whether channels outside of the budget are left out or zero.
        statistics: of coefficients, in the architecture's range; None leaves them as they are.
        keep_original: whether the pixels come with the coefficients.
    """

    def __init__(
        self, architecture: Architecture, trim: bool, statistics: Statistics | None, keep_original: bool = False
    ) -> None:
        self.architecture, self.trim, self.statistics = architecture, trim, statistics
        self.keep_original = keep_original

    def __call__(self, x: Tensors) -> Tensors:
        """Floats on the device of `x`: pixels alone, Y, Cb and Cr, or these with the pixels.

        Args:
            x: pixels [B, 3, H, W], uint8; what is no pixels comes back as it is.
        """
        if x[0].dtype != torch.uint8:
            return x
        pixels, architecture = x[0], self.architecture
        if not architecture.reads_coefficients:
            return (normalised(pixels),)
        coefficients = from_pictures(
            pixels,
            architecture.budget,
            architecture.range_mode,
            trim=self.trim,
            statistics=self.statistics,
            compat=architecture.compat,
        )
        return (*coefficients, normalised(pixels)) if self.keep_original else tuple(coefficients)

    @staticmethod
    def payload(x: Tensors) -> Any:
        """The same as the one argument of a network."""
        if len(x) == 1:
            return x[0]
        coefficients = Coefficients(*x[:3])
        return (coefficients, x[3]) if len(x) > 3 else coefficients


def normalised(pixels: Tensor) -> Tensor:
    """Pixels of 0 to 255 for a network that was trained on ImageNet's."""
    mean, deviation = (torch.tensor(values, device=pixels.device)[:, None, None] * 255 for values in IMAGENET)
    return (pixels.float() - mean) / deviation
