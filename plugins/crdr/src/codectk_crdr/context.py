"""Context models: how means and scales of y follow from the hyperprior and from what is already decoded.

A context asks for the elements of y part by part. For each part it works out means and scales, hands them to a
function `quantise`, and goes on with the values that this returns. Training, encoding and decoding differ in that
function alone:

    hyper, y_hat so far ─ networks ─ (means, scales) ─ quantise(part, means, scales) ─ y_hat of the part ─ …

Sources: Minnen and Singh, "Channel-wise autoregressive entropy models", ICIP 2020 (`ChannelContext`); He et al.,
"ELIC", CVPR 2022, section 3.2 (`SpaceChannelContext`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codectk_crdr.options import ModelOptions


@dataclass(frozen=True)
class Part:
    """Elements of y that are coded in one step.

    Attributes:
        start, stop: range of channels.
        parity: None for all positions; else those of a checkerboard, 0 the squares like (0, 0), 1 the others.
    """

    start: int
    stop: int
    parity: int | None = None

    def take(self, y: Tensor) -> Tensor:
        """These elements of (B, M, h, w): (B, C, h, w), or of a checkerboard packed to (B, C, h, w/2)."""
        channels = y[:, self.start : self.stop]
        return channels if self.parity is None else pack(channels, self.parity)


Quantise = Callable[[Part, Tensor, Tensor], Tensor]
"""(part, means, scales) → the part's values, quantised, all of the same shape."""


def pack(x: Tensor, parity: int) -> Tensor:
    """One colour of the checkerboard of (B, C, h, w), h and w even: (B, C, h, w/2), in rows from left to right."""
    even, odd = x[:, :, 0::2, parity::2], x[:, :, 1::2, 1 - parity :: 2]
    return torch.stack([even, odd], dim=3).flatten(2, 3)


def unpack(first: Tensor, second: Tensor) -> Tensor:
    """The inverse of both packings: (B, C, h, w) from the colours of parity 0 and 1."""
    rows = torch.stack([torch.stack([first, second], -1), torch.stack([second, first], -1)])
    even, odd = rows[0][:, :, 0::2].flatten(3), rows[1][:, :, 1::2].flatten(3)
    return torch.stack([even, odd], dim=3).flatten(2, 3)


class NoContext(nn.Module):
    """Means and scales straight from the hyperprior."""

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        self.latent = options.latent_channels

    def forward(self, hyper: Tensor, quantise: Quantise) -> Tensor:
        """y_hat (B, M, h, w) from hyper (B, 2M, h, w)."""
        means, scales = hyper.chunk(2, dim=1)
        return quantise(Part(0, self.latent), means, scales)


class SliceNet(nn.Module):
    """Conv 5 ─ ReLU ─ Conv 5 ─ ReLU ─ Conv 3."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(inputs, 224, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(224, 128, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(128, outputs, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, outputs, h, w)."""
        return self.model(x)  # type: ignore[no-any-return]


class ChannelContext(nn.Module):
    """Slices of channels, one after the other: each sees the first few; each is corrected by a predicted residual."""

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        self.latent, self.width = options.latent_channels, options.latent_channels // options.slices
        self.support = options.support_slices
        inputs = [self.latent + self.width * min(i, self.support) for i in range(options.slices)]
        self.mean_slice_transforms = nn.ModuleList(SliceNet(n, self.width) for n in inputs)
        self.scale_slice_transforms = nn.ModuleList(SliceNet(n, self.width) for n in inputs)
        self.lrp_slice_transforms = nn.ModuleList(SliceNet(n + self.width, self.width) for n in inputs)

    def forward(self, hyper: Tensor, quantise: Quantise) -> Tensor:
        """y_hat (B, M, h, w) from hyper (B, 2M, h, w)."""
        hyper_means, hyper_scales = hyper.chunk(2, dim=1)
        slices: list[Tensor] = []
        for i, mean_net in enumerate(self.mean_slice_transforms):
            support = slices[: self.support]
            seen = torch.cat([hyper_means, *support], dim=1)
            means = mean_net(seen)
            scales = self.scale_slice_transforms[i](torch.cat([hyper_scales, *support], dim=1))
            values = quantise(Part(i * self.width, (i + 1) * self.width), means, scales)
            residual = self.lrp_slice_transforms[i](torch.cat([seen, values.to(seen.dtype)], dim=1))
            slices.append(values + 0.5 * torch.tanh(residual.float()))
        return torch.cat(slices, dim=1)


class SpaceChannelContext(nn.Module):
    """Uneven groups of channels, each in two passes of a checkerboard.

    For group k: `channel_context` sees the groups before it, `spatial_context` the first colour of its own (weights
    that would see the second are never used), `aggregation` makes means and scales of both and of the hyperprior. It
    has kernels of 1, so each pass computes its own positions alone.
    """

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        self.groups = options.groups
        (wide, narrow), kernel = options.context_widths, 5
        starts = [sum(self.groups[:k]) for k in range(len(self.groups))]
        self.channel_context = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(start, wide, kernel, padding=2),
                nn.ReLU(),
                nn.Conv2d(wide, narrow, kernel, padding=2),
                nn.ReLU(),
                nn.Conv2d(narrow, 2 * size, kernel, padding=2),
            )
            for start, size in zip(starts[1:], self.groups[1:], strict=True)
        )
        self.spatial_context = nn.ModuleList(nn.Conv2d(n, 2 * n, kernel, padding=2) for n in self.groups)
        self.aggregation = nn.ModuleList(
            _aggregation(2 * options.latent_channels + 2 * size * (2 if k else 1), size, options)
            for k, size in enumerate(self.groups)
        )

    def forward(self, hyper: Tensor, quantise: Quantise) -> Tensor:
        """y_hat (B, M, h, w), h and w even, from hyper (B, 2M, h, w)."""
        done: list[Tensor] = []
        for k, size in enumerate(self.groups):
            start = sum(self.groups[:k])
            known = [hyper]
            if k:
                known.append(self.channel_context[k - 1](torch.cat(done, dim=1).to(hyper.dtype)))
            packed: list[Tensor] = []
            for parity in (0, 1):
                spatial = hyper.new_zeros(hyper.shape[0], 2 * size, hyper.shape[2], hyper.shape[3] // 2)
                if parity:
                    first = unpack(packed[0], torch.zeros_like(packed[0])).to(hyper.dtype)
                    spatial = pack(self.spatial_context[k](first), 1)
                inputs = torch.cat([*(pack(part, parity) for part in known), spatial], dim=1)
                means, scales = self.aggregation[k](inputs).chunk(2, dim=1)
                packed.append(quantise(Part(start, start + size, parity), means, scales))
            done.append(unpack(packed[0], packed[1]))
        return torch.cat(done, dim=1)


def _aggregation(inputs: int, size: int, options: ModelOptions) -> nn.Sequential:
    wide, narrow = options.aggregation_widths
    return nn.Sequential(
        nn.Conv2d(inputs, wide, 1), nn.ReLU(), nn.Conv2d(wide, narrow, 1), nn.ReLU(), nn.Conv2d(narrow, 2 * size, 1)
    )


def make_context(options: ModelOptions) -> NoContext | ChannelContext | SpaceChannelContext:
    """The context model that the options name."""
    kinds: dict[str, type[NoContext | ChannelContext | SpaceChannelContext]] = {
        "none": NoContext,
        "channel": ChannelContext,
        "space_channel": SpaceChannelContext,
    }
    return kinds[options.context](options)
