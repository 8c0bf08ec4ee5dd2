"""One decoder for all prefixes and all quantiser steps, as `--mode joint` trains it.

    latents v of the    ─┬─ expand ── u ── x_linear += synthesis(u - probe(x_linear)), per scale ─┬──────── + ── x_hat
    channels below n     └─ squash, to_grid ─┬─ unshuffle(x_linear) ──────────────────────────────┘         │
                                             └─ head · (1 + scale) + bias ── blocks ── tail ── shuffle ─────┘
                                                        of n and of the step

A filter sees the whole picture, also what coarser channels said already; what the picture so far would give, `probe`,
is therefore taken off before a scale adds to it.

Shapes: v of group s (B, n_s, H/p_s, W/p_s) in quantiser units at step 1; x_hat (B, 3, H, W) in [-1, 1].
The linear synthesis starts as the inverse of the filters, the networks as zero: training begins at a working codec.
"""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codectk.arrays import Array, tiles
from codectk_frappe.analysis import Int8
from codectk_frappe.model import Encoders, blocks_of, to_grid, to_pixels
from codectk_frappe.options import LIMIT, ModelOptions
from codectk_frappe.tiling import tiling

SQUASH = 4.0
"""Latents of this size enter the network as one half."""


class SharedDecoder(nn.Module):
    """See the module."""

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        self.options = options
        self.groups = options.groups(len(options.ps))
        dim, kernel, channels = options.decoder_dim, options.decoder_kernel_size, len(options.ps)
        colours, pixels = options.input_channels, options.input_channels * options.pitch**2
        self.linear = nn.ModuleList(
            nn.ConvTranspose2d(g.count, colours, g.ps, stride=g.ps, bias=False) for g in self.groups
        )
        self.probe = nn.ModuleList(nn.Conv2d(colours, g.count, g.ps, stride=g.ps) for g in self.groups)
        self.mean = nn.Parameter(torch.zeros(colours))
        self.prefix_scale = nn.Parameter(torch.zeros(channels, dim))
        self.prefix_bias = nn.Parameter(torch.zeros(channels, dim))
        self.step_scale = nn.Parameter(torch.zeros(dim))
        self.step_bias = nn.Parameter(torch.zeros(dim))
        inputs = pixels + sum(options.grid_channels(ps) for ps in options.ps)
        self.head = nn.Conv2d(inputs, dim, kernel, padding=kernel // 2, padding_mode="reflect")
        self.blocks = nn.Sequential(*blocks_of(options))
        self.tail = nn.Conv2d(dim, pixels, 1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, latents: list[Tensor], filters: list[Tensor], n: Tensor, step: Tensor) -> Tensor:
        """x_hat, not clipped.

        Args:
            latents: v per scale group, (B, n_s, H/p_s, W/p_s).
            filters: outputs of the filters that these stand for (`expand`), same shapes.
            n: number of channels of each picture, (B,) int64; latents above are taken as zero.
            step: quantiser step of each picture, (B,).
        """
        masks = [self._mask(g.start, g.end, n) for g in self.groups]
        with torch.autocast(n.device.type, enabled=False):  # low precision would show in the picture
            x_linear = self._linear(filters, masks)
        squashed = [v * mask / (SQUASH + v.abs()) for v, mask in zip(latents, masks, strict=True)]
        grid = to_grid(squashed, self.groups, self.options.pitch)
        h = torch.cat([F.pixel_unshuffle(x_linear, self.options.pitch), grid], dim=1)
        h = self.head(h.contiguous(memory_format=torch.channels_last))
        octaves = step.log2().view(-1, 1)
        scale = 1 + self.prefix_scale[n - 1] + octaves * self.step_scale
        bias = self.prefix_bias[n - 1] + octaves * self.step_bias
        h = h * scale[..., None, None] + bias[..., None, None]
        return x_linear + F.pixel_shuffle(self.tail(self.blocks(h)), self.options.pitch)

    def _linear(self, filters: list[Tensor], masks: list[Tensor]) -> Tensor:
        """The linear part of the picture, (B, 3, H, W)."""
        ps, (batch, _, height, width) = self.groups[0].ps, filters[0].shape
        x_linear = self.mean.view(1, -1, 1, 1).expand(batch, -1, height * ps, width * ps)
        for synthesis, probe, u, mask in zip(self.linear, self.probe, filters, masks, strict=True):
            x_linear = x_linear + synthesis((u - probe(x_linear)) * mask)
        return x_linear

    @staticmethod
    def _mask(start: int, end: int, n: Tensor) -> Tensor:
        """(B, end - start, 1, 1): 1 for channels below n, else 0."""
        return (torch.arange(start, end, device=n.device) < n.view(-1, 1)).float()[..., None, None]


def quantiser_scalars(encoders: Encoders) -> list[tuple[Tensor, Tensor]]:
    """(σ, γ) of each scale group, both (n_s, 1, 1)."""
    scalars = []
    for group in encoders:
        softsign, _, factor = group[1]  # type: ignore[index]
        scalars.append((softsign._σ.abs().add(1e-6).view(-1, 1, 1), factor.γ.view(-1, 1, 1)))
    return scalars


def expand(latents: list[Tensor], scalars: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Undo the companding of SC8: v = γ·127·u / (σ + |u|) → u."""
    filters = []
    for v, (sigma, gamma) in zip(latents, scalars, strict=True):
        y = (v / gamma).clamp(1 - LIMIT, LIMIT - 1)
        filters.append(sigma * y / (LIMIT - y.abs()))
    return filters


def synthesise(
    options: ModelOptions, tensors: Mapping[str, Array], latents: list[Int8], n: int, step: float, device: torch.device
) -> Array:
    """The picture (H, W, 3) uint8 that integer latents stand for, decoded tile by tile.

    Args:
        options: the architecture.
        tensors: the weights, complete.
        latents: int8 (n_s, H/p, W/p) per scale group of the first `n` channels.
        n: number of channels.
        step: width of the quantiser's steps.
        device: where to compute.
    """
    decoder = _load(options, tensors).to(device)
    groups, cell = options.groups(len(options.ps)), options.multiple_of
    height, width = (side * options.ps[0] for side in latents[0].shape[1:])
    scalars = [_scalars(tensors, s, device) for s in range(len(groups))]
    size, margin = tiling(options, max(height, width) // options.pitch)
    size, margin = max(1, size * options.pitch // cell), -(-margin * options.pitch // cell)
    channels = torch.full((1,), n, dtype=torch.int64, device=device)
    steps = torch.full((1,), step, device=device)
    out = np.empty((height, width, options.input_channels), np.uint8)
    with torch.inference_mode():
        for tile in tiles(height // cell, width // cell, size, margin):
            (top, bottom), (left, right) = tile.read_rows, tile.read_columns
            parts = []
            for s, g in enumerate(groups):
                k = cell // g.ps
                part = np.zeros((1, g.count, (bottom - top) * k, (right - left) * k), np.float32)
                if s < len(latents):
                    rows, columns = slice(top * k, bottom * k), slice(left * k, right * k)
                    part[0, : len(latents[s])] = latents[s][:, rows, columns] * np.float32(step)
                parts.append(torch.from_numpy(part).to(device))
            pixels = to_pixels(decoder(parts, expand(parts, scalars), channels, steps))
            (a, b), (c, d) = tile.rows, tile.columns
            target = out[a * cell : b * cell, c * cell : d * cell]
            y, x = (a - top) * cell, (c - left) * cell
            target[...] = pixels[y : y + target.shape[0], x : x + target.shape[1]]
    return out


def _load(options: ModelOptions, tensors: Mapping[str, Array]) -> SharedDecoder:
    prefix = "decoder."
    state = {k.removeprefix(prefix): torch.from_numpy(v).float() for k, v in tensors.items() if k.startswith(prefix)}
    with torch.device("meta"):  # allocates nothing and draws no random numbers
        decoder = SharedDecoder(options)
    decoder.load_state_dict(state, assign=True)
    return decoder.eval()


def _scalars(tensors: Mapping[str, Array], s: int, device: torch.device) -> tuple[Tensor, Tensor]:
    sigma, gamma = (torch.from_numpy(tensors[f"encoders.{s}.{name}"]).float() for name in ("1.0._σ", "1.2.γ"))
    return (sigma.abs() + 1e-6).view(-1, 1, 1).to(device), gamma.view(-1, 1, 1).to(device)
