"""Probability models of z and y, for training and for making tables.

Semantics of CompressAI (BSD-3-Clause-Clear), whose parameters published weights hold: Ballé et al., "Variational image
compression with a scale hyperprior", ICLR 2018, section 6.1 (z), and Minnen et al., NeurIPS 2018 (y).
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

WIDTHS = (1, 3, 3, 3, 3, 1)
"""Of the monotone network whose sigmoid is the distribution function of a channel of z."""

START_SCALE = 10.0
TAIL = math.log(2 / 1e-9 - 1)
"""Logit that the outer quantiles are trained to have, up to the sign."""

SMALLEST_LIKELIHOOD = 1e-9
SCALE_BOUND = 0.11
"""Smallest standard deviation of an element of y."""


class _LowerBound(torch.autograd.Function):
    """max(x, bound), whose gradient also passes below the bound where it would raise x."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound  # type: ignore[attr-defined]
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        passes = (x >= ctx.bound) | (gradient < 0)  # type: ignore[attr-defined]
        return gradient * passes, None


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """`x`, but at least `bound`; see `_LowerBound` for its gradient."""
    return _LowerBound.apply(x, bound)  # type: ignore[no-any-return, no-untyped-call]


def straight_through(x: Tensor, offset: Tensor) -> Tensor:
    """round(x - offset) + offset, with the gradient of x (and none through the rounding)."""
    return x + ((x - offset).round() + offset - x).detach()


def uniform_noise(x: Tensor) -> Tensor:
    """x + U(-0.5, 0.5)."""
    return x + torch.rand_like(x) - 0.5


def gaussian_bits(v: Tensor, means: Tensor, scales: Tensor) -> Tensor:
    """Information of each element of `v`, in bits, under a Gaussian integrated over ±0.5."""
    sigma = lower_bound(scales, SCALE_BOUND)
    distance = (v - means).abs()
    upper = torch.special.ndtr((0.5 - distance) / sigma)
    lower = torch.special.ndtr((-0.5 - distance) / sigma)
    return -torch.log2(lower_bound(upper - lower, SMALLEST_LIKELIHOOD))


class FactorizedPrior(nn.Module):
    """Distribution of z: one per channel, learned, the same everywhere.

    Args:
        channels: Z.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.quantiles = nn.Parameter(torch.tensor([[[-10.0, 0.0, 10.0]]]).expand(channels, 1, 3).contiguous())
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        scale = START_SCALE ** (1 / (len(WIDTHS) - 1))
        for i in range(len(WIDTHS) - 1):
            inputs, outputs = WIDTHS[i], WIDTHS[i + 1]
            start = math.log(math.expm1(1 / scale / outputs))
            self.matrices.append(torch.full((channels, outputs, inputs), start))
            self.biases.append(torch.empty(channels, outputs, 1).uniform_(-0.5, 0.5))
            if i < len(WIDTHS) - 2:
                self.factors.append(torch.zeros(channels, outputs, 1))

    @property
    def medians(self) -> Tensor:
        """(1, Z, 1, 1), what is subtracted before rounding."""
        return self.quantiles[:, 0, 1].detach().view(1, -1, 1, 1)

    def logits(self, v: Tensor, fixed: bool = False) -> Tensor:
        """Logit of the distribution function.

        Args:
            v: (Z, 1, n).
            fixed: give the network's own parameters no gradient.
        """
        for i, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            weight, shift = (matrix.detach(), bias.detach()) if fixed else (matrix, bias)
            v = F.softplus(weight) @ v + shift
            if i < len(self.factors):
                factor = self.factors[i].detach() if fixed else self.factors[i]
                v = v + factor.tanh() * v.tanh()
        return v

    def bits(self, v: Tensor) -> Tensor:
        """Information (B, Z, h, w) of each element, in bits."""
        flat = v.movedim(1, 0)
        shape = flat.shape
        flat = flat.reshape(self.channels, 1, -1)
        lower, upper = self.logits(flat - 0.5), self.logits(flat + 0.5)
        sign = -(lower + upper).sign().detach()
        likelihood = (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()
        return -torch.log2(lower_bound(likelihood, SMALLEST_LIKELIHOOD)).reshape(shape).movedim(0, 1)

    def aux_loss(self) -> Tensor:
        """Distance of the quantiles' logits from where the tails should begin; moves the quantiles alone."""
        target = self.quantiles.new_tensor([-TAIL, 0.0, TAIL])
        return (self.logits(self.quantiles, fixed=True) - target).abs().sum()
