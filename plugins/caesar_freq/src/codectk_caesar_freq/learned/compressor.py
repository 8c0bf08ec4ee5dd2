"""The frequency compressor: a small hyperprior network for the planes of the lowest frequencies.

    planes ─ encoder ─ y ─┬─────────────── round(y - means) + means ─ y_hat ─ decoder ─ planes_hat
                          └ hyper-encoder ─ z ─ round ─ hyper-decoder ─ (means, scales)

Frames of a window lie along time and are coded each by itself: all kernels have one frame. Spatial sides of y are those
of the planes, of z a quarter. In double precision means and scales have the same bits on every machine, and so select
the same tables.

CAESAR-Freq's network, which codes a 16×16 corner of one plane there; here it sees the first `low_freq_size` planes.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codectk.entropy import gaussian_tables, pmf_tables, scale_levels
from codectk_caesar_freq.learned.layers import TransposedConvolution, fit, flat
from codectk_caesar_freq.learned.prior import (
    LARGEST_SCALE,
    SCALE_LEVELS,
    SMALLEST_SCALE,
    FactorizedPrior,
    gaussian_bits,
    straight_through,
    uniform_noise,
)

SLOPE = 0.2
"""Of the leaky ReLU below zero."""
SMALLEST_WIDTH = 16
Z_CELL = 4
"""Places of y on each side that share one of z."""
REACH = 30
"""Values of z farther from the median have no place of their own in a table."""


class Output(NamedTuple):
    """Of a forward pass.

    Attributes:
        planes_hat: decoded planes, (B, P, T, h, w).
        y_bits, z_bits: of each sample, (B,).
    """

    planes_hat: Tensor
    y_bits: Tensor
    z_bits: Tensor


class FrequencyCompressor(nn.Module):
    """Hyperprior network for planes of low frequencies.

    Args:
        low_freq_size: P, number of planes.
        latent_channels: of y.
        hyper_channels: of z.
    """

    def __init__(self, low_freq_size: int = 16, latent_channels: int = 32, hyper_channels: int = 32) -> None:
        super().__init__()
        self.low_freq_size, self.latent_channels = low_freq_size, latent_channels
        planes, latent, hyper = low_freq_size, latent_channels, hyper_channels
        width = max(SMALLEST_WIDTH, planes)
        self.encoder = nn.Sequential(flat(planes, width), _act(), flat(width, latent))
        self.decoder = nn.Sequential(flat(latent, width), _act(), flat(width, planes))
        self.hyper_encoder = nn.Sequential(
            flat(latent, hyper), _act(), flat(hyper, hyper, stride=2), _act(), flat(hyper, hyper, stride=2)
        )
        self.hyper_decoder = nn.Sequential(_doubling(hyper), _act(), _doubling(hyper), _act(), flat(hyper, 2 * latent))
        self.prior = FactorizedPrior(hyper)

    def forward(self, planes: Tensor) -> Output:
        """Reconstruction and rate; in training the rate is that of noisy values.

        Args:
            planes: (B, P, T, h, w), of frames whose values span about 1.
        """
        y = self.encoder(planes)
        z = self.hyper_encoder(fit(y, Z_CELL))
        medians = self.prior.medians.detach()[None, :, :, :, None]
        z_hat = straight_through(z, medians)
        means, scales = self.entropy_parameters(z_hat, y.shape[-2:])
        y_hat = straight_through(y, means)
        z_bits = self.prior.bits(uniform_noise(z) if self.training else z_hat)
        y_bits = gaussian_bits(uniform_noise(y) if self.training else y_hat, means, scales)
        return Output(self.decoder(y_hat), y_bits.sum((1, 2, 3, 4)), z_bits.sum((1, 2, 3, 4)))

    def entropy_parameters(self, z_hat: Tensor, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Means and scales of y.

        Args:
            z_hat: (B, Z, T, h/4, w/4), rounded up.
            size: h and w.
        """
        made = self.hyper_decoder(z_hat)[..., : size[0], : size[1]]
        means, scales = made.chunk(2, dim=1)
        return means, scales.clamp(min=SMALLEST_SCALE)

    def extra_loss(self) -> Tensor:
        """What moves the medians of z."""
        return self.prior.extra_loss()


@torch.no_grad()
def frozen_tables(model: FrequencyCompressor) -> Mapping[str, NDArray[Any]]:
    """Integer tables that y and z can be coded with: `z.…`, one for each channel, around its median, and `y.…`.

    The scales that tables of y stand for are `scale_levels(128, 0.1, 20)`.
    """
    prior = FactorizedPrior(model.prior.channels).double()
    prior.load_state_dict({name: value.double().cpu() for name, value in model.prior.state_dict().items()})
    places = prior.medians + torch.arange(-REACH, REACH + 1, dtype=torch.float64)
    pmfs: list[NDArray[np.float64]] = list(prior.likelihood(places)[:, 0].numpy())
    z = pmf_tables(pmfs, [-REACH] * len(pmfs)).tensors("z")
    return z | gaussian_tables(scale_levels(SCALE_LEVELS, SMALLEST_SCALE, LARGEST_SCALE)).tensors("y")


def _act() -> nn.Module:
    return nn.LeakyReLU(SLOPE)


def _doubling(channels: int) -> TransposedConvolution:
    return TransposedConvolution(channels, channels, (1, 3, 3), (1, 2, 2), (0, 1, 1), (0, 1, 1))
