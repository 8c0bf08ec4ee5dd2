"""Networks of FRAPPE, with the parameter names of the published weights.

    x ──> encoders[s]: strided convolution, companding ──> round ──> adapt to one grid ──> decoder ──> x_hat
          one per scale group                              outside   nearest or unshuffle  on the q-pitch grid

Shapes: x (B, 3, H, W) in [-1, 1]; latents of group s (B, n_s, H/p_s, W/p_s); grid (B, inputs, H/q, W/q).
Source: Jacobellis and Yadwadkar, arXiv:2605.28992.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codectk.arrays import Array
from codectk_frappe.options import HEAD_DIM, HEADS, LIMIT, ModelOptions, ScaleGroup


class Softsign(nn.Module):
    """Companding of SC8: 127·u / (σ + |u|), strictly inside (-127, 127)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._σ = nn.Parameter(torch.full((channels,), LIMIT - 1.0))

    def forward(self, u: Tensor) -> Tensor:
        """(B, n, h, w) → same shape."""
        sigma = self._σ.abs().add(1e-6).view(-1, 1, 1)
        return LIMIT * u / (sigma + u.abs())


class LaplaceCDF(nn.Module):
    """Companding of LF8: 254·F(u) - 127 with F the Laplace distribution function of scale σ."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sigma = nn.Parameter(torch.full((channels,), 42.0))

    def forward(self, u: Tensor) -> Tensor:
        """(B, n, h, w) → same shape."""
        sigma = self.sigma.clamp(min=1e-6).view(-1, 1, 1)
        return LIMIT * u.sign() * -torch.expm1(-u.abs() / sigma)


class Noise(nn.Module):
    """Uniform noise of one step width in training; identity in evaluation."""

    def forward(self, y: Tensor) -> Tensor:
        """Same shape."""
        return y + torch.rand_like(y) - 0.5 if self.training else y


class ChannelScale(nn.Module):
    """One factor per channel, learned, without an offset."""

    def __init__(self, channels: int, init: float = 1.0) -> None:
        super().__init__()
        self.γ = nn.Parameter(torch.full((channels,), init))

    def forward(self, y: Tensor) -> Tensor:
        """(B, C, h, w) → same shape."""
        return self.γ.view(-1, 1, 1) * y


class _LF8(nn.Module):
    """Laplace companding and noise; the name of the inner module is part of the published keys."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.compand = LaplaceCDF(channels)
        self.noise = Noise()

    def forward(self, u: Tensor) -> Tensor:
        return self.noise(self.compand(u))  # type: ignore[no-any-return]


class ScaleEncoder(nn.Sequential):
    """Filters of one scale group: (B, 3, H, W) → companded latents (B, n_s, H/p, W/p), not rounded.

    The noise comes before the factor γ and the rounding after it, as in the published method.
    """

    def __init__(self, options: ModelOptions, ps: int, channels: int) -> None:
        quantiser: nn.Module = _LF8(channels)
        if options.encoder_arch == "SC8":
            quantiser = nn.Sequential(Softsign(channels), Noise(), ChannelScale(channels))
        super().__init__(nn.Conv2d(options.input_channels, channels, ps, stride=ps), quantiser)


class Encoders(nn.ModuleList):
    """All filters of a model; those of the first n channels are the same in every operating point."""

    def __init__(self, options: ModelOptions) -> None:
        self.options = options
        super().__init__(ScaleEncoder(options, g.ps, g.count) for g in options.groups(len(options.ps)))

    def latents(self, x: Tensor, n: int) -> list[Tensor]:
        """Latents of the first `n` channels, one tensor (B, n_s, H/p, W/p) per scale group, not rounded."""
        x = self.encoder_input(x)
        return [self[s](x)[:, : g.count] for s, g in enumerate(self.options.groups(n))]

    def encoder_input(self, x: Tensor) -> Tensor:
        """What the filters see: x, or its linear light."""
        return linear_light(x) if self.options.linear_input else x

    def locate(self, channel: int) -> tuple[ScaleEncoder, int]:
        """The scale group of a channel, and its place in it."""
        groups = self.options.groups(len(self.options.ps))
        s = next(s for s, g in enumerate(groups) if g.start <= channel < g.end)
        return self[s], channel - groups[s].start  # type: ignore[return-value]

    @torch.no_grad()
    def adopt(self, channel: int, single: ScaleEncoder) -> None:
        """Copy a filter that was learned alone into its place."""
        group, place = self.locate(channel)
        for mine, theirs in zip(group.parameters(), single.parameters(), strict=True):
            mine[place] = theirs[0]


class ConvBlock(nn.Module):
    """ConvNeXt block: x + γ ⊙ (depthwise → norm → widen → GELU → narrow)."""

    def __init__(self, options: ModelOptions, dim: int) -> None:
        super().__init__()
        kernel, hidden = options.decoder_kernel_size, int(options.decoder_mlp_ratio) * dim
        self.main = nn.Sequential(
            nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim),
            ChannelNorm(dim),
            nn.Conv2d(dim, hidden, 1),
            nn.GELU(approximate="tanh"),
            nn.Conv2d(hidden, dim, 1),
        )
        self.scale = ChannelScale(dim, options.decoder_layerscale_init) if options.decoder_layerscale else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) → same shape."""
        return x + self.scale(self.main(x))  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """x + (convolution → ReLU → convolution), both dense: more work per byte read than a ConvNeXt block."""

    def __init__(self, options: ModelOptions, dim: int) -> None:
        super().__init__()
        kernel = options.decoder_kernel_size
        self.main = nn.Sequential(
            nn.Conv2d(dim, dim, kernel, padding=kernel // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(dim, dim, kernel, padding=kernel // 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) → same shape."""
        return x + self.main(x)  # type: ignore[no-any-return]


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels at each position of (B, C, h, w)."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Attention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        width = HEADS * HEAD_DIM
        self.qkv = nn.Conv2d(dim, 3 * width, 1, bias=False)
        self.proj = nn.Conv2d(width, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        qkv = self.qkv(x).reshape(batch, 3, HEADS, HEAD_DIM, height * width)
        q, k, v = qkv.transpose(-1, -2).unbind(1)  # each (B, heads, positions, head dim)
        out = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2)
        return self.proj(out.reshape(batch, -1, height, width))  # type: ignore[no-any-return]


class TransformerBlock(nn.Module):
    """Transformer block with two coordinate channels, in positions from the centre, in its residual stream (SAPE)."""

    def __init__(self, options: ModelOptions, dim: int) -> None:
        super().__init__()
        dim += 2
        hidden = int(options.decoder_mlp_ratio) * dim
        self.norm1, self.norm2 = ChannelNorm(dim), ChannelNorm(dim)
        self.attn = _Attention(dim)
        self.mlp = nn.Sequential(
            nn.Conv2d(dim, hidden, 1),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.GELU(approximate="tanh"),
            nn.Conv2d(hidden, dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) → same shape."""
        batch, _, height, width = x.shape
        rows = torch.arange(height, device=x.device, dtype=x.dtype) - (height - 1) / 2
        columns = torch.arange(width, device=x.device, dtype=x.dtype) - (width - 1) / 2
        coordinates = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
        x = torch.cat([x, coordinates.expand(batch, -1, -1, -1)], dim=1)
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x[:, :-2]


def blocks_of(options: ModelOptions) -> list[nn.Module]:
    """The blocks that the letters of `decoder_arch` name."""
    blocks = {"C": ConvBlock, "T": TransformerBlock, "R": ResidualBlock}
    return [blocks[letter](options, options.decoder_dim) for letter in options.decoder_arch.upper()]


class Decoder(nn.Sequential):
    """Synthesis from the grid: (B, inputs, H/q, W/q) → x_hat (B, 3, H, W) in [-1, 1]."""

    def __init__(self, options: ModelOptions, inputs: int) -> None:
        dim, kernel, pitch = options.decoder_dim, options.decoder_kernel_size, options.pitch
        out = options.input_channels
        super().__init__(
            nn.Conv2d(inputs, dim, kernel, padding=kernel // 2, padding_mode="reflect"),
            *blocks_of(options),
            nn.Conv2d(dim, out * pitch**2, 1),
            nn.ConvTranspose2d(out * pitch**2, out, pitch, stride=pitch),
            nn.Hardtanh(),
        )


def merged_decoder(options: ModelOptions, n: int) -> Decoder:
    """The decoder for the first `n` channels."""
    return Decoder(options, sum(options.grid_channels(ps) for ps in options.ps[:n]))


def single_decoder(options: ModelOptions, channel: int) -> Decoder:
    """The decoder that helps to learn one filter and is thrown away."""
    return Decoder(options, options.grid_channels(options.ps[channel]))


def to_grid(latents: list[Tensor], groups: list[ScaleGroup], pitch: int) -> Tensor:
    """Bring latents of all scales onto the decoder's grid.

    Args:
        latents: one (B, n_s, H/p_s, W/p_s) per scale group.
        groups: their patch sizes.
        pitch: q, the pixels per grid position.

    Returns:
        (B, inputs, H/q, W/q): coarser latents repeated, finer ones unshuffled, in the order of the channels.
    """
    adapted = []
    for latent, group in zip(latents, groups, strict=True):
        if group.ps > pitch:
            factor = group.ps // pitch
            adapted.append(latent.repeat_interleave(factor, 2).repeat_interleave(factor, 3))
        else:
            adapted.append(F.pixel_unshuffle(latent, pitch // group.ps))
    return torch.cat(adapted, dim=1)


def linear_light(x: Tensor) -> Tensor:
    """sRGB in [-1, 1] → linear light in [-1, 1]."""
    t = x / 2 + 0.5
    return 2 * torch.where(t <= 0.04045, t / 12.92, ((t + 0.055) / 1.055).clamp(min=0) ** 2.4) - 1


def state_arrays(module: nn.Module, prefix: str) -> dict[str, Any]:
    """A module's parameters as numpy arrays, for a checkpoint."""
    return {f"{prefix}{name}": tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}


def to_pixels(x_hat: Tensor) -> Array:
    """(1, 3, H, W) in [-1, 1] → (H, W, 3) uint8, rounded to nearest."""
    pixels: Array = ((x_hat[0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()
    return pixels
