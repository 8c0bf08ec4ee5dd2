"""Hyper analysis h_a and hyper synthesis h_s.

    y (B, M, h, w) ─ h_a ─ z (B, Z, h/4, w/4)        z_hat ─ h_s ─ (B, 2M, h, w): first M about means, then scales

With a context: after Minnen and Singh, ICIP 2020. Without one: after Cheng et al., CVPR 2020. Names of parameters are
those of the published weights.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codectk_crdr.options import ModelOptions
from codectk_crdr.transforms import down, up

SLOPE = 0.2
"""Of LeakyReLU."""


class HyperEncoder(nn.Module):
    """h_a for models with a context."""

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        first, width = options.hyper_first_width, options.hyper_width
        self.conv1 = nn.Conv2d(options.latent_channels, first, 3, padding=1)
        self.conv2 = down(first, width)
        self.conv3 = down(width, options.hyper_channels)

    def forward(self, y: Tensor) -> Tensor:
        """z of y."""
        out: Tensor = self.conv3(F.relu(self.conv2(F.relu(self.conv1(y)))))
        return out


class _Branch(nn.Module):
    """One of the two halves of h_s."""

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        z, width = options.hyper_channels, options.hyper_width
        self.conv1, self.conv2 = up(z, z), up(z, width)
        self.conv3 = nn.ConvTranspose2d(width, options.latent_channels, 3, padding=1)

    def forward(self, z_hat: Tensor) -> Tensor:
        out: Tensor = self.conv3(F.relu(self.conv2(F.relu(self.conv1(z_hat)))))
        return out


class HyperDecoder(nn.Module):
    """h_s for models with a context: a network for means and one for scales."""

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        self.hd_mu, self.hd_std = _Branch(options), _Branch(options)

    def forward(self, z_hat: Tensor) -> Tensor:
        """(B, 2M, h, w)."""
        return torch.cat([self.hd_mu(z_hat), self.hd_std(z_hat)], dim=1)


class PlainHyperEncoder(nn.Module):
    """h_a for models without a context."""

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        width = options.hyper_channels
        self.conv1 = nn.Conv2d(options.latent_channels, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv3 = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.conv4 = nn.Conv2d(width, width, 3, padding=1)
        self.conv5 = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        """z of y."""
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            y = F.leaky_relu(conv(y), SLOPE)
        out: Tensor = self.conv5(y)
        return out


class PlainHyperDecoder(nn.Module):
    """h_s for models without a context."""

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        width = options.hyper_channels
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.ConvTranspose2d(width, width, 4, stride=2, padding=1)
        self.conv3 = nn.Conv2d(width, width, 3, padding=1)
        self.conv4 = nn.ConvTranspose2d(width, width, 4, stride=2, padding=1)
        self.conv5 = nn.Conv2d(width, 2 * options.latent_channels, 3, padding=1)

    def forward(self, z_hat: Tensor) -> Tensor:
        """(B, 2M, h, w)."""
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            z_hat = F.leaky_relu(conv(z_hat), SLOPE)
        out: Tensor = self.conv5(z_hat)
        return out
