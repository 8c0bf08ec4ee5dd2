"""DISTS: how different two pictures look, by means and correlations of features, so that equal texture counts as equal.

    x, x_hat ──> VGG16 with smooth pooling ──> the picture and features of 5 layers ──> per channel: mean, variance and
             covariance over positions ──> 1 - texture similarity, 1 - structure similarity ──> weighted mean

Source: Ding, Ma, Wang and Simoncelli 2020 (IEEE TPAMI; arXiv:2004.07728).
"""

import os

import torch
from torch import Tensor, nn
from torch.nn import functional

from codectk.errors import WeightsError
from codectk.perceptual import trunks
from codectk.perceptual.weights import Pretrained

CHANNELS = 3 + 64 + 128 + 256 + 512 + 512
"""Of the picture and of the five layers."""

STABILITY = 1e-6
"""Added above and below in both similarities."""

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Of the pictures that the trunk was trained on, for red, green and blue."""

ORIGIN = "torchvision's vgg16-397923af.pth and the package dists-pytorch's weights.pt"


class SmoothPool(nn.Module):
    """Root of the blurred squares, at every second row and column: (B, C, H, W) → (B, C, ⌈H/2⌉, ⌈W/2⌉).

    The blur is the Hann window of 5 samples without its zeros, [1, 2, 1]/4 along both axes.
    """

    def forward(self, x: Tensor) -> Tensor:
        """See the class. In float32, because half precision does not hold the square of small features."""
        power = functional.pad(x.float().square(), (1, 1, 1, 1))
        power = (power[..., :-2:2, :] + 2 * power[..., 1:-1:2, :] + power[..., 2::2, :]) / 4
        power = (power[..., :-2:2] + 2 * power[..., 1:-1:2] + power[..., 2::2]) / 4
        return (power + 1e-12).sqrt().to(x.dtype)


class Dists(Pretrained):
    """The distance as a module, for losses and for metrics.

    Args:
        weights: file with `features.{n}.weight`, `features.{n}.bias` of the trunk, `alpha` and `beta`; by default
            `dists.safetensors`. See `Pretrained`.

    Raises:
        WeightsError: there are no such weights.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: str | os.PathLike[str] | None = None) -> None:
        super().__init__(weights, "dists.safetensors", ORIGIN)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)
        if not (self.alpha.sum() + self.beta.sum()) > 0:
            raise WeightsError("The sum of alpha and beta is not above 0.", f"Make the weights from {ORIGIN}.")

    def build(self) -> None:
        """The trunk, and the weights of texture and structure."""
        self.features = trunks.vgg16(SmoothPool)
        self.alpha = nn.Parameter(torch.empty(1, CHANNELS, 1, 1))
        self.beta = nn.Parameter(torch.empty(1, CHANNELS, 1, 1))

    def forward(self, x: Tensor, x_hat: Tensor) -> Tensor:
        """The distance of each pair; 0 for equal ones.

        Args:
            x: originals, (B, 3, H, W), values 0 to 1. No gradient goes there.
            x_hat: decoded, of the same shape.

        Returns:
            (B,), float32, differentiable in `x_hat`.

        Raises:
            InputError: the shapes differ, or are others.
        """
        trunks.check_pair(x, x_hat, 1)
        with torch.no_grad():
            wanted = self._stages(x.detach())
        texture, structure = zip(*map(_dissimilarities, wanted, self._stages(x_hat)), strict=True)
        alpha, beta = self.alpha.float().flatten(), self.beta.float().flatten()
        # Not a product of matrices, which autocast would compute in half precision.
        weighted = torch.cat(texture, 1) * alpha + torch.cat(structure, 1) * beta
        return weighted.sum(1) / (alpha.sum() + beta.sum())

    def _stages(self, x: Tensor) -> list[Tensor]:
        """The picture, and the features of the five layers."""
        x = x.float()
        return [x, *trunks.tapped(self.features, trunks.VGG16_TAPS, (x - self.mean) / self.deviation)]


def _dissimilarities(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """One less the similarity of texture and of structure, of each channel: two times (B, C).

    Taking them from 1 before the weights are summed makes the distance of equal pictures exactly 0.
    """
    mean_x, mean_y = x.mean((2, 3), keepdim=True), y.mean((2, 3), keepdim=True)
    from_x, from_y = x - mean_x, y - mean_y
    variance = from_x.square().mean((2, 3)) + from_y.square().mean((2, 3))
    covariance = (from_x * from_y).mean((2, 3))
    power = (mean_x.square() + mean_y.square()).flatten(1)
    product = (mean_x * mean_y).flatten(1)
    texture = (2 * product + STABILITY) / (power + STABILITY)
    structure = (2 * covariance + STABILITY) / (variance + STABILITY)
    return 1 - texture, 1 - structure
