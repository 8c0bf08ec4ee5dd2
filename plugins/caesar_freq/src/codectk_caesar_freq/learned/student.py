"""The single-step network: the residual of all missing frames in one evaluation.

    linear interpolation, keyframes or zero, mask ─ conv ─ [blocks, half size] … ─ block, attention, block ─
        ─ [blocks beside what came down, double size] … ─ norm, conv ─ residual

A U-Net of 3×3×3 convolutions after CAESAR-Freq, whose input is noise or zeros where this one's is the interpolation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codectk_caesar_freq.learned.layers import Activation, ActivationName, Convolution, GroupNorm, attend, fit

GROUPS = 8
HEADS = 4


class Student(nn.Module):
    """Network of the single step.

    Args:
        channels: C, latents of a frame.
        base_channels: width at full resolution, a multiple of 8.
        channel_mults: factors of the width, one for each resolution.
        num_res_blocks: blocks at each resolution; on the way up there is one more.
        activation: after each norm.
    """

    def __init__(
        self,
        channels: int,
        base_channels: int = 64,
        channel_mults: Sequence[int] = (1, 2, 4),
        num_res_blocks: int = 2,
        activation: ActivationName = "hard_swish",
    ) -> None:
        super().__init__()
        self.multiple = 1 << (len(channel_mults) - 1)
        widths = [base_channels * m for m in channel_mults]
        self.stem = _cube(2 * channels + 1, widths[0])
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        before = widths[0]
        for i, width in enumerate(widths):
            smaller = _cube(width, width, stride=2) if i < len(widths) - 1 else None
            self.down.append(_Stage(before, width, num_res_blocks, smaller, activation))
            before = width
        self.middle = nn.Sequential(
            Block(before, before, activation), WindowAttention(before), Block(before, before, activation)
        )
        for i, width in reversed(list(enumerate(widths))):
            larger = _Larger(width, widths[i - 1]) if i else None
            self.up.append(_Stage(2 * width, width, num_res_blocks + 1, larger, activation))
        self.out = nn.Sequential(GroupNorm(GROUPS, widths[0]), Activation(activation), _cube(widths[0], channels))
        for parameter in self.out[2].parameters():
            nn.init.zeros_(parameter)  # so that training starts from linear interpolation

    def forward(self, condition: Tensor, mask: Tensor) -> Tensor:
        """The residual in steps.

        Args:
            condition: (B, C, T, h, w), what is known of the latents: linear between keyframes.
            mask: (1, 1, T, 1, 1), 1 at keyframes.

        Returns:
            (B, C, T, h, w), zero at keyframes.
        """
        h, w = condition.shape[-2:]
        marks = mask.expand(len(condition), 1, -1, h, w)
        x = self.stem(fit(torch.cat([condition, condition * mask, marks], 1), self.multiple))
        skips = []
        for stage in self.down:
            x, skip = stage(x)
            skips.append(skip)
        x = self.middle(x)
        for stage in self.up:
            x, _ = stage(torch.cat([x, skips.pop()], 1))
        made: Tensor = self.out(x)[..., :h, :w] * (1 - mask)
        return made


class Block(nn.Module):
    """Two convolutions, each after a norm and an activation, added to what came in.

    Args:
        inputs, outputs: channels, multiples of 8.
        activation: after each norm.
    """

    def __init__(self, inputs: int, outputs: int, activation: ActivationName) -> None:
        super().__init__()
        first = (GroupNorm(GROUPS, inputs), Activation(activation), _cube(inputs, outputs))
        self.body = nn.Sequential(*first, GroupNorm(GROUPS, outputs), Activation(activation), _cube(outputs, outputs))
        self.shortcut = Convolution(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T, h, w) → (B, outputs, T, h, w)."""
        made: Tensor = self.body(x) + self.shortcut(x)
        return made


class _Stage(nn.Module):
    """Blocks of one resolution, and the change to the next.

    Args:
        inputs, width: channels.
        count: of blocks.
        resize: to the next resolution, if there is one.
        activation: of the blocks.
    """

    def __init__(
        self, inputs: int, width: int, count: int, resize: nn.Module | None, activation: ActivationName
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(width if i else inputs, width, activation) for i in range(count)))
        self.resize = nn.Identity() if resize is None else resize

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The next stage's input, and what is kept for the way up."""
        x = self.blocks(x)
        return self.resize(x), x


class _Larger(nn.Module):
    """Twice the size in space, by repetition and a convolution.

    Args:
        inputs, outputs: channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _cube(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T, h, w) → (B, outputs, T, 2h, 2w)."""
        made: Tensor = self.conv(x.repeat_interleave(2, 3).repeat_interleave(2, 4))
        return made


class WindowAttention(nn.Module):
    """Attention among all places of all frames, added to what came in.

    Args:
        channels: in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = GroupNorm(GROUPS, channels)
        self.qkv = Convolution(channels, 3 * channels, 1)
        self.out = Convolution(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, h, w), same shape out."""
        heads = self.qkv(self.norm(x)).view(len(x), 3, HEADS, x.shape[1] // HEADS, -1)
        q, k, v = heads.permute(1, 0, 2, 4, 3)  # (B, heads, places, width) each
        made: Tensor = x + self.out(attend(q, k, v).transpose(-2, -1).reshape(x.shape))
        return made


def _cube(inputs: int, outputs: int, stride: int = 1) -> Convolution:
    return Convolution(inputs, outputs, 3, (1, stride, stride), 1)
