"""Probability models of y and z, for training and for frozen tables.

Ballé et al., "Variational image compression with a scale hyperprior", ICLR 2018: section 6.1 (z), section 3 (y).
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

WIDTHS = (1, 3, 3, 3, 1)
"""Of the monotone network whose sigmoid is the distribution function of a channel of z."""

START_SCALE = 10.0
SMALLEST_LIKELIHOOD = 1e-9
SMALLEST_SCALE = 0.1
"""Of an element of y."""
LARGEST_SCALE = 20.0
SCALE_LEVELS = 128
"""Scales are coded with the nearest of so many, between these two, in the log domain."""


def straight_through(x: Tensor, offset: Tensor) -> Tensor:
    """round(x - offset) + offset, with the gradient of x."""
    return x + (torch.round(x - offset) + offset - x).detach()


def uniform_noise(x: Tensor) -> Tensor:
    """x + U(-0.5, 0.5)."""
    return x + torch.rand_like(x) - 0.5


def gaussian_bits(y: Tensor, means: Tensor, scales: Tensor) -> Tensor:
    """Information of each element of y, in bits: a Gaussian over the unit around it."""
    distance = (y - means).abs()
    upper = torch.special.ndtr((0.5 - distance) / scales)
    lower = torch.special.ndtr((-0.5 - distance) / scales)
    return -torch.log2((upper - lower).clamp(min=SMALLEST_LIKELIHOOD))


class FactorizedPrior(nn.Module):
    """Distribution of z: one per channel, learned, the same everywhere.

    Args:
        channels: of z.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.medians = nn.Parameter(torch.zeros(channels, 1, 1))
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        scale = START_SCALE ** (1 / (len(WIDTHS) - 1))
        for i in range(len(WIDTHS) - 1):
            inputs, outputs = WIDTHS[i], WIDTHS[i + 1]
            start = math.log(math.expm1(1 / scale / outputs))
            self.matrices.append(torch.full((channels, outputs, inputs), start))
            self.biases.append(torch.empty(channels, outputs, 1).uniform_(-0.5, 0.5))
            if i < len(WIDTHS) - 2:
                self.factors.append(torch.zeros(channels, outputs, 1))

    def logits(self, z: Tensor, fixed: bool = False) -> Tensor:
        """Logit of the distribution function.

        Args:
            z: (channels, 1, n).
            fixed: give the network's own parameters no gradient.
        """
        for i, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            weight, shift = (matrix.detach(), bias.detach()) if fixed else (matrix, bias)
            z = F.softplus(weight) @ z + shift
            if i < len(self.factors):
                factor = self.factors[i].detach() if fixed else self.factors[i]
                z = z + factor.tanh() * z.tanh()
        return z

    def likelihood(self, z: Tensor) -> Tensor:
        """Probability of the unit around each value; (channels, 1, n), same shape out."""
        lower, upper = self.logits(z - 0.5), self.logits(z + 0.5)
        # From the lower tail, where differences of small probabilities keep their precision.
        sign = -(lower + upper).sign().detach()
        return (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()

    def bits(self, z: Tensor) -> Tensor:
        """Information of each element of z (B, channels, …), in bits; same shape out."""
        rows = z.movedim(1, 0)
        likelihood = self.likelihood(rows.reshape(self.channels, 1, -1))
        bits = -torch.log2(likelihood.clamp(min=SMALLEST_LIKELIHOOD))
        return bits.view(rows.shape).movedim(0, 1)

    def extra_loss(self) -> Tensor:
        """Sum of the medians' distances, as logits, from the middle of their distributions; moves the medians alone."""
        return self.logits(self.medians, fixed=True).abs().sum()
