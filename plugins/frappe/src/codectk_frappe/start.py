"""Better starts than random numbers, for short trainings: a filter from statistics, a decoder from its predecessor."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codectk_frappe.model import Decoder, ScaleEncoder

RIDGE = 1e-4
"""Part of the mean variance that is added to each, so that smooth pictures have an invertible covariance."""


@torch.no_grad()
def klt_filter(encoder: ScaleEncoder, pairs: Iterable[tuple[Tensor, Tensor]], std: float) -> None:
    """Set a single filter to the one whose output explains most of the residual linearly (reduced-rank regression).

    For a residual of the picture itself that is the first vector of the Karhunen-Loève transform.

    Args:
        encoder: of one channel; its convolution is changed in place.
        pairs: what the encoder sees and the residual to explain, both (B, 3, H, W).
        std: wanted standard deviation of the latents, in quantiser steps.
    """
    convolution: nn.Conv2d = encoder[0]  # type: ignore[assignment]
    ps = convolution.kernel_size[0]
    columns = zip(*((_patches(x, ps), _patches(residual, ps)) for x, residual in pairs), strict=True)
    x_patches, r_patches = (torch.cat(column) for column in columns)
    mean_seen = x_patches.mean(0)
    seen = torch.cov(x_patches.T)
    explained = (x_patches - mean_seen).T @ (r_patches - r_patches.mean(0)) / len(x_patches)
    seen += RIDGE * seen.diagonal().mean() * torch.eye(len(seen), dtype=torch.float64)
    regression = torch.linalg.solve(seen, explained)  # residual ≈ regressionᵀ · patch
    direction = torch.linalg.eigh(explained.T @ regression).eigenvectors[:, -1]
    vector = regression @ direction
    vector *= std / (vector @ seen @ vector).sqrt()
    vector *= vector[vector.abs().argmax()].sign()  # eigenvectors have no sign of their own; fix one
    convolution.weight.copy_(vector.view_as(convolution.weight))
    convolution.bias.fill_(-float(mean_seen @ vector))  # type: ignore[union-attr]


@torch.no_grad()
def widen(decoder: Decoder, previous: Decoder) -> None:
    """Start a decoder as the previous one, which did not know the new channel: its weights are zero at first.

    Args:
        decoder: for one more channel than `previous`, which comes last; changed in place.
        previous: the decoder to start from.
    """
    old = previous.state_dict()
    first = torch.zeros_like(decoder.state_dict()["0.weight"])
    first[:, : old["0.weight"].shape[1]] = old["0.weight"]
    decoder.load_state_dict({**old, "0.weight": first})


def _patches(x: Tensor, ps: int) -> Tensor:
    """(B, 3, H, W) → (patches, 3·ps²) in float64, values in the order of a convolution's weight."""
    return F.unfold(x.double().cpu(), ps, stride=ps).transpose(1, 2).flatten(0, 1)
