"""Convolutional trunks of classifiers, up to the features that LPIPS and DISTS compare.

Layers have the numbers under which torchvision publishes their weights: `features.0.weight`, …

Sources: Krizhevsky 2014 (arXiv:1404.5997, AlexNet with one column); Simonyan and Zisserman 2015 (VGG16, table 1 D).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from codectk.errors import InputError

ALEXNET_TAPS = (1, 4, 7, 9, 11)
"""relu1 to relu5, of 64, 192, 384, 256 and 256 channels."""

ALEXNET_SIDE = 31
"""Smaller pictures leave nothing to its second pooling."""

VGG16_TAPS = (3, 8, 15, 22, 29)
"""relu1_2, relu2_2, relu3_3, relu4_3, relu5_3, of 64, 128, 256, 512 and 512 channels."""

VGG16_SIDE = 16
"""Smaller pictures leave nothing to its fourth pooling."""


def alexnet() -> nn.Sequential:
    """Five convolutions with two poolings between them."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )


def vgg16(pool: Callable[[], nn.Module]) -> nn.Sequential:
    """Thirteen convolutions of 3×3 with four poolings between them.

    Args:
        pool: makes a layer that halves H and W.
    """
    layers: list[nn.Module] = []
    for before, width, convolutions in ((3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3)):
        layers += [pool()] if layers else []
        for c_in, c_out in pairwise([before] + [width] * convolutions):
            layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def tapped(features: nn.Sequential, taps: Sequence[int], x: Tensor) -> list[Tensor]:
    """What the layers with these numbers return, as float32 whatever the network computes in.

    Args:
        features: a trunk.
        taps: numbers of layers, rising; the last ends the computation.
        x: (B, 3, H, W).
    """
    h = x.to(next(features.parameters()).dtype)
    found = []
    for number in range(taps[-1] + 1):
        h = features[number](h)
        if number in taps:
            found.append(h.float())
    return found


def check_pair(x: Tensor, x_hat: Tensor, side: int) -> None:
    """Make sure that two batches can be compared.

    Raises:
        InputError: their shapes differ, are not (B, 3, H, W), or H or W is below `side`.
    """
    shape = tuple(x.shape)
    if shape != tuple(x_hat.shape):
        raise InputError(f"Shapes {shape} and {tuple(x_hat.shape)} differ.", "Compare batches of equal shape.")
    if len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < side:
        raise InputError(
            f"Shape {shape} is not B, 3, H, W with sides from {side}.", "Use larger pictures with 3 channels."
        )
