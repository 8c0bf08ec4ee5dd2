"""Analysis g_a and synthesis g_s: ELIC's transforms, with channel gains for the rate and conditioning for realism.

    x ─ conv1 ─ block1 ─ conv2 ─ block2 ─ attn2 ─ conv3 ─ block3 ─ conv4 ─ attn4 ─ y        a gain after each step
    y_hat ─ attn1 ─ conv1 ─ block1 ─ conv2 ─ attn2 ─ block2 ─ conv3 ─ block3 ─ conv4 ─ x_hat   a gain before each step

Every `conv` halves or doubles the resolution. Pictures are in [-1, 1]; x_hat is not clamped. Names of parameters are
those of the published weights.

Sources: He et al., "ELIC", CVPR 2022; Sun et al., "Interpolation Variable Rate Image Compression", ACM MM 2022 (gains);
Agustsson et al., "Multi-Realism Image Compression with a Conditional Generator", CVPR 2023 (conditioning).
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codectk_crdr.options import MAX_BETA, ModelOptions

OCTAVES = 10
"""Sines, and as many cosines, that stand for a realism."""

IDENTITY = math.log(math.e - 1)
"""softplus(IDENTITY) = 1: a gain of this value changes nothing."""


class InterpolatedGain(nn.Module):
    """Scale and shift of each channel, chosen by a real-valued quality.

    Args:
        levels: number of quality levels L; q lies in [0, L - 1].
        channels: C.
    """

    def __init__(self, levels: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((levels, 1, channels, 1, 1), IDENTITY))
        self.bias = nn.Parameter(torch.zeros(levels, 1, channels, 1, 1))

    def forward(self, x: Tensor, q: Tensor) -> Tensor:
        """softplus(w)·x + b, with w and b between those of the two levels around `q`.

        Args:
            x: (B, C, H, W).
            q: (1,) or (B,) qualities, within bounds.
        """
        levels = len(self.weight)
        left = q.floor().long()
        right = (left + 1).clamp(max=levels - 1)
        share = (right - q).view(-1, 1, 1, 1).to(self.weight.dtype)
        weight = share * self.weight[left, 0] + (1 - share) * self.weight[right, 0]
        bias = share * self.bias[left, 0] + (1 - share) * self.bias[right, 0]
        return (F.softplus(weight) * x + bias).to(x.dtype)


class Bottleneck(nn.Module):
    """x + Conv 1 ─ ReLU ─ Conv 3 ─ ReLU ─ Conv 1; with a condition, its projections are added after each of them."""

    def __init__(self, width: int, middle: int, condition: int = 0) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(width, middle, 1),
            nn.ReLU(),
            nn.Conv2d(middle, middle, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(middle, width, 1),
        )
        self.conditioned = condition > 0
        if condition:
            self.proj_1 = nn.Conv2d(condition, middle, 1)
            self.proj_2 = nn.Conv2d(condition, middle, 1)
            self.proj_3 = nn.Conv2d(condition, width, 1)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """(B, C, H, W) of the same shape; `condition` (1 or B, cond_ch, 1, 1)."""
        if not self.conditioned or condition is None:
            plain: Tensor = x + self.conv(x)
            return plain
        first, relu, second, _, third = self.conv
        v = relu(first(x)) + self.proj_1(condition)
        v = relu(second(v)) + self.proj_2(condition)
        out: Tensor = x + third(v) + self.proj_3(condition)
        return out


class Block(nn.Module):
    """Bottlenecks in a row, named block0, block1, …"""

    def __init__(self, count: int, width: int, middle: int, condition: int = 0) -> None:
        super().__init__()
        for i in range(count):
            self.add_module(f"block{i}", Bottleneck(width, middle, condition))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """(B, C, H, W) of the same shape."""
        for block in self.children():
            x = block(x, condition)
        return x


class _Unit(nn.Module):
    """Residual unit of the attention: no activation after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(width, width // 2, 1)
        self.c2 = nn.Conv2d(width // 2, width // 2, 3, padding=1)
        self.c3 = nn.Conv2d(width // 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.c3(F.relu(self.c2(F.relu(self.c1(x)))))
        return out


class Attention(nn.Module):
    """x + trunk(x)·sigmoid(mask(x)), the simplified non-local attention of Cheng et al., CVPR 2020."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk_block = nn.Sequential(*(_Unit(width) for _ in range(3)))
        self.attention_block = nn.Sequential(*(_Unit(width) for _ in range(3)))
        self.conv = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) of the same shape."""
        out: Tensor = x + self.trunk_block(x) * torch.sigmoid(self.conv(self.attention_block(x)))
        return out


def down(inputs: int, outputs: int) -> nn.Conv2d:
    """Convolution to half the resolution."""
    return nn.Conv2d(inputs, outputs, 5, stride=2, padding=2)


def up(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """Transposed convolution to twice the resolution."""
    return nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=2, output_padding=1)


class Encoder(nn.Module):
    """g_a: x (B, 3, H, W) in [-1, 1] → y (B, M, H/16, W/16)."""

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        (a, b, c), latent = options.encoder_widths, options.latent_channels
        middle, blocks = options.encoder_middles, options.block_counts
        self.conv1, self.block1 = down(3, a), Block(blocks[0], a, middle[0])
        self.conv2, self.block2 = down(a, b), Block(blocks[1], b, middle[1])
        self.conv3, self.block3 = down(b, c), Block(blocks[2], c, middle[2])
        self.conv4 = down(c, latent)
        widths = {"conv1": a, "block1": a, "conv2": b, "block2": b, "attn2": b, "conv3": c, "block3": c}
        widths |= {"conv4": latent, "attn4": latent}
        if options.attention:
            self.attn2, self.attn4 = Attention(b), Attention(latent)
        self._steps = [name for name in widths if options.attention or not name.startswith("attn")]
        self.interp_ca_list = _gains(options, [widths[name] for name in self._steps])

    def forward(self, x: Tensor, q: Tensor | None = None) -> Tensor:
        """Latent; `q` (1,) or (B,) for weights with several rates.

        The last steps compute in full precision: y is rounded to integers, which may be large.
        """
        for i, name in enumerate(self._steps):
            exact = name in ("conv4", "attn4")
            with torch.autocast(x.device.type, enabled=not exact and torch.is_autocast_enabled(x.device.type)):
                x = getattr(self, name)(x.float() if exact else x)
                if q is not None:
                    x = self.interp_ca_list[i](x, q)
        return x.float()


class Decoder(nn.Module):
    """g_s: y_hat (B, M, H/16, W/16) → x_hat (B, 3, H, W), about [-1, 1]."""

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        (a, b, c), latent = options.decoder_widths, options.latent_channels
        middle, blocks = options.decoder_middles, options.block_counts
        condition = options.condition_channels if options.realism else 0
        self.conv1, self.block1 = up(latent, c), Block(blocks[2], c, middle[2], condition)
        self.conv2, self.block2 = up(c, b), Block(blocks[1], b, middle[1], condition)
        self.conv3, self.block3 = up(b, a), Block(blocks[0], a, middle[0], condition)
        self.conv4 = up(a, 3)
        widths = {"attn1": latent, "conv1": latent, "block1": c, "conv2": c, "attn2": b, "block2": b}
        widths |= {"conv3": b, "block3": a, "conv4": a}
        if options.attention:
            self.attn1, self.attn2 = Attention(latent), Attention(b)
        self._steps = [name for name in widths if options.attention or not name.startswith("attn")]
        self.interp_ca_list = _gains(options, [widths[name] for name in self._steps])
        if condition:
            self.mlp = nn.Sequential(nn.Linear(2 * OCTAVES, condition), nn.ReLU(), nn.Linear(condition, condition))

    def forward(self, y_hat: Tensor, q: Tensor | None = None, beta: Tensor | None = None) -> Tensor:
        """Picture; `q` and `beta` (1,) or (B,) for weights that have these knobs. Without a beta it is 0."""
        condition = None
        if hasattr(self, "mlp"):
            vector = self.mlp(fourier(y_hat.new_zeros(1) if beta is None else beta))
            condition = vector[:, :, None, None].to(y_hat.dtype)
        x = y_hat
        for i, name in enumerate(self._steps):
            exact = name == "conv4"  # in full precision: half of it has but 256 levels in [0.5, 1]
            with torch.autocast(x.device.type, enabled=not exact and torch.is_autocast_enabled(x.device.type)):
                x = x.float() if exact else x
                if q is not None:
                    x = self.interp_ca_list[i](x, q)
                module = getattr(self, name)
                x = module(x, condition) if name.startswith("block") else module(x)
        return x


def fourier(beta: Tensor) -> Tensor:
    """Features (n, 20) of realisms (n,) in [0, 5.12]: ten sines, then ten cosines, of octaves of 2·β/5.12 - 1."""
    t = 2 * (beta.float() / MAX_BETA) - 1
    angles = t[:, None] * 2.0 ** torch.arange(OCTAVES, device=beta.device)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _gains(options: ModelOptions, widths: list[int]) -> nn.ModuleList:
    return nn.ModuleList(InterpolatedGain(options.levels, width) for width in widths if options.levels > 1)
