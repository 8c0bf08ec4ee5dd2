"""ResNet-34-d: a stem of three convolutions, and shortcuts that average before they project.

    x ─ conv1 (3x3 s2, 3x3, 3x3) ─ max 3x3 s2 ─ res_layers.0 ─ .1 ─ .2 ─ .3 ─> features at H / 32
    H       H / 2                    H / 4        H / 4      H / 8  H / 16  H / 32

He et al., Bag of Tricks for Image Classification (CVPR 2019), section 4.2; names of parameters are those of RT-DETR's
PResNet, which published weights have.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812, torch's own name for it
from torch import Tensor, nn

from codectk_dct_backbones.networks.layers import check_pixels

DEPTHS = (3, 4, 6, 3)
"""Blocks of the four stages."""

WIDTHS = (64, 128, 256, 512)
"""Channels of the four stages."""


def scaled(widths: Sequence[int], factor: float, fewest: int = 1) -> tuple[int, ...]:
    """Widths times a factor, rounded."""
    return tuple(max(fewest, round(width * factor)) for width in widths)


class ConvNorm(nn.Module):
    """Convolution without bias, then batch norm, of the same size when the stride is 1."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` → `[B, outputs, H / stride, W / stride]`."""
        out: Tensor = self.norm(self.conv(x))
        return out


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which projects in the first block of a stage."""

    def __init__(self, inputs: int, outputs: int, stride: int, projects: bool) -> None:
        super().__init__()
        if not projects:
            self.short: nn.Module = nn.Identity()
        elif stride == 1:
            self.short = ConvNorm(inputs, outputs, 1)
        else:
            pool = nn.AvgPool2d(2, 2, 0, ceil_mode=True)
            self.short = nn.Sequential(OrderedDict(pool=pool, conv=ConvNorm(inputs, outputs, 1)))
        self.branch2a = ConvNorm(inputs, outputs, 3, stride)
        self.branch2b = ConvNorm(outputs, outputs, 3)

    def before_activation(self, x: Tensor) -> Tensor:
        """What the last ReLU gets."""
        out: Tensor = self.branch2b(F.relu(self.branch2a(x))) + self.short(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` → `[B, outputs, H / stride, W / stride]`."""
        return F.relu(self.before_activation(x))


class Stage(nn.Module):
    """Blocks of one width."""

    def __init__(self, inputs: int, outputs: int, depth: int, stride: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            BasicBlock(outputs if i else inputs, outputs, 1 if i else stride, projects=not i) for i in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` → `[B, outputs, H / stride, W / stride]`."""
        for block in self.blocks:
            x = block(x)
        return x


class ResNet(nn.Module):
    """ResNet-34-d without its head.

    Args:
        widths: channels of the four stages.
        initial: channels that the first stage gets; half of it, rounded down, inside the stem.
        stem: whether it takes pixels; without, there are only the stages.
        first: the stages before this one are left out.

    Attributes:
        out_channels: of the features.
        initial: see above.
    """

    def __init__(
        self, widths: Sequence[int] = WIDTHS, initial: int | None = None, stem: bool = True, first: int = 0
    ) -> None:
        super().__init__()
        self.initial = widths[0] if initial is None else initial
        self.widths, self.out_channels = tuple(widths), widths[-1]
        if stem:
            half = max(1, self.initial // 2)
            shapes = ((3, half, 2), (half, half, 1), (half, self.initial, 1))
            self.conv1: nn.Sequential | None = nn.Sequential(
                OrderedDict((f"conv1_{i}", ConvNorm(a, b, 3, stride)) for i, (a, b, stride) in enumerate(shapes, 1))
            )
        else:
            self.conv1 = None
        inputs = (self.initial, *widths)
        self.res_layers = nn.ModuleList(
            nn.Identity() if i < first else Stage(inputs[i], width, depth, 2 if i else 1)
            for i, (width, depth) in enumerate(zip(widths, DEPTHS, strict=True))
        )

    def stem(self, x: Tensor) -> Tensor:
        """Pixels `[B, 3, H, W]` → what stage 1 gets, `[B, initial, H / 4, W / 4]`."""
        for layer in self.conv1 or ():
            x = F.relu(layer(x))
        return F.max_pool2d(x, 3, 2, 1)

    def stages(self, x: Tensor, first: int = 0) -> Tensor:
        """The stages from one on."""
        for stage in self.res_layers[first:]:
            x = stage(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Pixels `[B, 3, H, W]` → features `[B, out_channels, H / 32, W / 32]`.

        Raises:
            InputError: these are no pixels.
        """
        return self.stages(self.stem(check_pixels(x)))
