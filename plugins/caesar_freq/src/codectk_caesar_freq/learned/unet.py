"""The space-time U-Net of the diffusion model.

    state, condition, mask ─ stem ─ [2 blocks, linear attention in space, attention in time, half size] …
        ─ block, attentions, block ─ [the same upwards, beside what came down] … ─ block ─ out

Ho et al., "Video Diffusion Models", 2022, as CAESAR uses it: kernels see one frame, and only attention in time mixes
frames. Two differences: positions in time are a learned bias for each distance, without rotary embedding and without
buckets, since windows are short; and a channel marks the keyframes, for a residual of zero can be a guess or a fact.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codectk_caesar_freq.learned.layers import (
    Activation,
    ActivationName,
    ChannelNorm,
    Convolution,
    Linear,
    TransposedConvolution,
    attend,
    attend_linearly,
    fit,
    flat,
)

STEM_SIZE = 7
MAX_DISTANCE = 32
"""Frames farther apart than this share a bias."""


class UNet(nn.Module):
    """Network of the diffusion model.

    Args:
        channels: C, latents of a frame.
        dim: width at full resolution.
        dim_mults: factors of the width, one for each resolution.
        steps: of the diffusion.
        heads, head_width: of all attentions.
        activation: between layers.
    """

    def __init__(
        self,
        channels: int,
        dim: int = 64,
        dim_mults: Sequence[int] = (1, 2, 4, 8),
        steps: int = 32,
        heads: int = 8,
        head_width: int = 32,
        activation: ActivationName = "hard_swish",
    ) -> None:
        super().__init__()
        self.multiple = 1 << (len(dim_mults) - 1)
        widths = [dim * m for m in dim_mults]
        inner = heads * head_width
        self.register_buffer("times", _time_table(steps, dim))
        self.embedding = nn.Sequential(Linear(dim, 4 * dim), Activation(activation), Linear(4 * dim, 4 * dim))
        self.stem = flat(2 * channels + 1, dim, STEM_SIZE)
        self.stem_attention = TimeAttention(dim, heads, inner)

        def block(inputs: int, outputs: int, timed: bool = True) -> ResidualBlock:
            return ResidualBlock(inputs, outputs, 4 * dim if timed else None, activation)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for i, (before, width) in enumerate(zip([dim, *widths], widths, strict=False)):
            smaller = _halving(width) if i < len(widths) - 1 else None
            self.down.append(_Stage(block(before, width), block(width, width), heads, inner, smaller))
        deepest = widths[-1]
        self.middle = nn.ModuleList([block(deepest, deepest), block(deepest, deepest)])
        attentions = (SpaceAttention(deepest, heads, inner), TimeAttention(deepest, heads, inner))
        self.middle_attention = nn.Sequential(*attentions)
        for i in reversed(range(len(widths))):
            width, after = widths[i], widths[i - 1] if i else dim
            larger = _doubling(after) if i else None
            self.up.append(_Stage(block(2 * width, after), block(after, after), heads, inner, larger))
        self.final = block(2 * dim, dim, timed=False)
        self.out = flat(dim, channels, 1)

    def forward(self, state: Tensor, condition: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        """What the diffusion model is to predict.

        Args:
            state: (B, C, T, h, w) noisy residuals, clean (zero) at keyframes.
            condition: the same shape, what is known of the latents.
            mask: (1, 1, T, 1, 1), 1 at keyframes.
            times: (B,) steps of the diffusion, int64.

        Returns:
            (B, C, T, h, w).
        """
        h, w = state.shape[-2:]
        marks = mask.expand(len(state), 1, -1, h, w)
        x = self.stem_attention(self.stem(fit(torch.cat([state, condition, marks], 1), self.multiple)))
        table = self.get_buffer("times")
        time = self.embedding(table[times].to(x.dtype))
        first, skips = x, []
        for stage in self.down:
            x, skip = stage(x, time)
            skips.append(skip)
        x = self.middle[1](self.middle_attention(self.middle[0](x, time)), time)
        for stage in self.up:
            x, _ = stage(torch.cat([x, skips.pop()], 1), time)
        made: Tensor = self.out(self.final(torch.cat([x, first], 1), None))
        return made[..., :h, :w]


class ResidualBlock(nn.Module):
    """Two convolutions in space, each with norm and activation; scale and shift after the first come from the time.

    Args:
        inputs, outputs: channels.
        time_width: of the embedded time; None for a block that does not see it.
        activation: after each norm.
    """

    def __init__(self, inputs: int, outputs: int, time_width: int | None, activation: ActivationName) -> None:
        super().__init__()
        self.first, self.second = flat(inputs, outputs), flat(outputs, outputs)
        self.norms = nn.ModuleList([ChannelNorm(outputs), ChannelNorm(outputs)])
        self.act = Activation(activation)
        self.modulation = None if time_width is None else Linear(time_width, 2 * outputs)
        self.shortcut = flat(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor | None) -> Tensor:
        """(B, inputs, T, h, w), and (B, time_width) → (B, outputs, T, h, w)."""
        y = self.norms[0](self.first(x))
        if self.modulation is not None and time is not None:
            scale, shift = self.modulation(self.act(time))[:, :, None, None, None].chunk(2, 1)
            y = y * (scale + 1)
            y = y + shift
        made: Tensor = self.act(self.norms[1](self.second(self.act(y)))) + self.shortcut(x)
        return made


class _Stage(nn.Module):
    """Two blocks, attention in space and in time, and the change to the next resolution.

    Args:
        first, second: blocks.
        heads, inner: of the attentions.
        resize: to the next resolution, if there is one.
    """

    def __init__(
        self, first: ResidualBlock, second: ResidualBlock, heads: int, inner: int, resize: nn.Module | None
    ) -> None:
        super().__init__()
        self.first, self.second = first, second
        width = second.second.out_channels
        self.space = SpaceAttention(width, heads, inner, linear=True)
        self.time = TimeAttention(width, heads, inner)
        self.resize = nn.Identity() if resize is None else resize

    def forward(self, x: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """The next stage's input, and what is kept for the way up."""
        x = self.second(self.first(x, time), time)
        x = self.time(self.space(x))
        return self.resize(x), x


class SpaceAttention(nn.Module):
    """Attention among the places of each frame, added to what came in.

    Args:
        channels: in and out.
        heads: number.
        inner: width of all heads together.
        linear: whether its cost grows with the number of places alone.
    """

    def __init__(self, channels: int, heads: int, inner: int, linear: bool = False) -> None:
        super().__init__()
        self.heads, self.linear = heads, linear
        self.norm = ChannelNorm(channels)
        self.qkv = Convolution(channels, 3 * inner, 1, bias=False)
        self.out = Convolution(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, h, w), same shape out."""
        b, _, t, h, w = x.shape
        heads = self.qkv(self.norm(x)).view(b, 3, self.heads, -1, t, h * w)
        q, k, v = heads.permute(1, 0, 4, 2, 5, 3)  # (B, T, heads, places, width) each
        made = attend_linearly(q, k, v) if self.linear else attend(q, k, v)
        added: Tensor = x + self.out(made.permute(0, 2, 4, 1, 3).reshape(b, -1, t, h, w))
        return added


class TimeAttention(nn.Module):
    """Attention among the frames at each place, added to what came in.

    Args:
        channels: in and out.
        heads: number.
        inner: width of all heads together.
    """

    def __init__(self, channels: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(channels)
        self.qkv = Convolution(channels, 3 * inner, 1, bias=False)
        self.out = Convolution(inner, channels, 1)
        self.bias = nn.Parameter(torch.zeros(heads, 2 * MAX_DISTANCE + 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, h, w), same shape out."""
        b, _, t, h, w = x.shape
        heads = self.qkv(self.norm(x)).view(b, 3, self.heads, -1, t, h, w)
        q, k, v = heads.permute(1, 0, 5, 6, 2, 4, 3)  # (B, h, w, heads, frames, width) each
        frames = torch.arange(t, device=x.device)
        distances = (frames[None] - frames[:, None]).clamp(-MAX_DISTANCE, MAX_DISTANCE) + MAX_DISTANCE
        made = attend(q, k, v, self.bias[:, distances])
        added: Tensor = x + self.out(made.permute(0, 3, 5, 4, 1, 2).reshape(b, -1, t, h, w))
        return added


def _time_table(steps: int, width: int) -> Tensor:
    """(steps, width) sines and cosines. A buffer, so that decoders read them and need no sine of their own."""
    half = width // 2
    if torch.get_default_device().type == "meta":  # the shape alone: sines there import torch's compiler, for a second
        return torch.empty(steps, 2 * half)
    rates = torch.exp(torch.arange(half) * (-math.log(10_000) / max(1, half - 1)))
    angles = torch.arange(steps)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _halving(channels: int) -> Convolution:
    return Convolution(channels, channels, (1, 4, 4), (1, 2, 2), (0, 1, 1))


def _doubling(channels: int) -> TransposedConvolution:
    return TransposedConvolution(channels, channels, (1, 4, 4), (1, 2, 2), (0, 1, 1))
