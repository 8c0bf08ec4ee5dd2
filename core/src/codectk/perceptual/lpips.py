"""LPIPS: how different two pictures look, by distances between features that people's judgements weight.

    x, x_hat ──> trunk ──> features of 5 layers, each position scaled to length 1 ──> squared differences
             ──> weighted sum over channels ──> mean over positions ──> sum over layers

Source: Zhang, Isola, Efros, Shechtman and Wang 2018 (CVPR), version 0.1 of the published weights.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from codectk.perceptual import trunks
from codectk.perceptual.weights import Pretrained

EPSILON = 1e-10
"""Added to the lengths by which features are divided."""

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""From [-1, 1] to the range that the trunks were trained on, for red, green and blue."""


@dataclass(frozen=True)
class Variant:
    """A trunk with the layers that are compared.

    Attributes:
        trunk: makes it.
        taps, channels: numbers and widths of those layers.
        side: smallest H and W that it takes.
        origin: what files of its weights are made from.
    """

    trunk: Callable[[], nn.Sequential]
    taps: tuple[int, ...]
    channels: tuple[int, ...]
    side: int
    origin: str


VARIANTS = {
    "alex": Variant(
        trunk=trunks.alexnet,
        taps=trunks.ALEXNET_TAPS,
        channels=(64, 192, 384, 256, 256),
        side=trunks.ALEXNET_SIDE,
        origin="torchvision's alexnet-owt-7be5be79.pth and the package lpips' weights/v0.1/alex.pth",
    ),
    "vgg": Variant(
        trunk=lambda: trunks.vgg16(lambda: nn.MaxPool2d(2)),
        taps=trunks.VGG16_TAPS,
        channels=(64, 128, 256, 512, 512),
        side=trunks.VGG16_SIDE,
        origin="torchvision's vgg16-397923af.pth and the package lpips' weights/v0.1/vgg.pth",
    ),
}


class Head(nn.Module):
    """Weights of one layer's channels, under the name that they have in published files."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.ModuleList([nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False)])

    def forward(self, squares: Tensor) -> Tensor:
        """(B, C, H, W) → (B,): weighted sum over channels, mean over positions; float32 also under autocast."""
        weight: Tensor = self.model[1].get_parameter("weight")
        return (squares * weight.float()).sum(1).mean((1, 2))


class Lpips(Pretrained):
    """The distance as a module, for losses and for metrics.

    Args:
        weights: file with `features.{n}.weight`, `features.{n}.bias` of the trunk and `lin{0…4}.model.1.weight`; by
            default `lpips_alex.safetensors` or `lpips_vgg.safetensors`. See `Pretrained`.
        network: `alex`, which most published figures are of, or `vgg`.

    Raises:
        WeightsError: there are no such weights.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, weights: str | os.PathLike[str] | None = None, network: Literal["alex", "vgg"] = "alex") -> None:
        self.variant = VARIANTS[network]
        super().__init__(weights, f"lpips_{network}.safetensors", self.variant.origin)
        self.register_buffer("shift", torch.tensor(SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(3, 1, 1), persistent=False)

    def build(self) -> None:
        """The trunk, and one head per layer that is compared."""
        self.features = self.variant.trunk()
        for number, channels in enumerate(self.variant.channels):
            self.add_module(f"lin{number}", Head(channels))

    def forward(self, x: Tensor, x_hat: Tensor) -> Tensor:
        """The distance of each pair; 0 for equal ones.

        Args:
            x: originals, (B, 3, H, W), values -1 to 1, H and W at least 31 (alex) or 16 (vgg). No gradient goes there.
            x_hat: decoded, of the same shape.

        Returns:
            (B,), float32, differentiable in `x_hat`.

        Raises:
            InputError: the shapes differ, or are others.
        """
        trunks.check_pair(x, x_hat, self.variant.side)
        with torch.no_grad():
            wanted = self._directions(x.detach())
        total = x_hat.new_zeros(len(x_hat), dtype=torch.float32)
        for number, (a, b) in enumerate(zip(wanted, self._directions(x_hat), strict=True)):
            total = total + self.get_submodule(f"lin{number}")((a - b).square())
        return total

    def _directions(self, x: Tensor) -> list[Tensor]:
        """Features of each layer, of length 1 at every position."""
        layers = trunks.tapped(self.features, self.variant.taps, (x.float() - self.shift) / self.scale)
        # The gradient of this norm is 0 where all features are; that of a square root would be NaN.
        return [h / (torch.linalg.vector_norm(h, dim=1, keepdim=True) + EPSILON) for h in layers]
