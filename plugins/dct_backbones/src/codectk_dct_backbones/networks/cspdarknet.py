"""The backbone of YOLOv5-L, which the method calls CSPDarknet-53.

    x ─ 6x6 s2 ─ [3x3 s2, C3] x 4 ─ SPPF ─> features at H / 32

Each C3 sends one half of its channels through bottlenecks and lets the other pass (Wang et al., CSPNet, CVPRW 2020).
Names of parameters are those of RT-DETR's CSPDarkNet.
"""

import math

import torch
from torch import Tensor, nn

from codectk_dct_backbones.networks.layers import check_pixels

DEPTHS = (3, 6, 9, 3)
"""Bottlenecks of the four stages."""

WIDTHS = (64, 128, 256, 512, 1024)
"""Channels of the stem and of the four stages."""


class Conv(nn.Module):
    """Convolution without bias, batch norm, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, padding: int | None = None) -> None:
        super().__init__()
        pad = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, pad, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` → `[B, outputs, H / stride, W / stride]`."""
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class Bottleneck(nn.Module):
    """x + 3x3(1x1(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(width, width), Conv(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        out: Tensor = x + self.cv2(self.cv1(x))
        return out


class C3(nn.Module):
    """Two projections to half of the channels, bottlenecks on one of them, and a third that joins them."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        half = width // 2
        self.cv1, self.cv2, self.cv3 = Conv(width, half), Conv(width, half), Conv(2 * half, width)
        self.m = nn.Sequential(*(Bottleneck(half) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        out: Tensor = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))
        return out


class SPPF(nn.Module):
    """Maxima over 5x5, 9x9 and 13x13 beside the features themselves, by three pools in a row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.cv1, self.cv2 = Conv(width, half), Conv(4 * half, width)
        self.m = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(self.m(maps[-1]))
        out: Tensor = self.cv2(torch.cat(maps, 1))
        return out


class CSPDarknet(nn.Module):
    """CSPDarknet without its head.

    Args:
        factor: of all widths, which are rounded up to multiples of 8.

    Attributes:
        out_channels: of the features.
    """

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        widths = [math.ceil(width * factor / 8) * 8 for width in WIDTHS]
        layers: list[nn.Module] = [Conv(3, widths[0], 6, 2, 2)]
        layers += [
            nn.Sequential(Conv(inputs, outputs, 3, 2), C3(outputs, depth))
            for inputs, outputs, depth in zip(widths[:-1], widths[1:], DEPTHS, strict=True)
        ]
        self.layers = nn.ModuleList([*layers, SPPF(widths[-1])])
        self.out_channels = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Pixels `[B, 3, H, W]` → features `[B, out_channels, H / 32, W / 32]`.

        Raises:
            InputError: these are no pixels.
        """
        x = check_pixels(x)
        for layer in self.layers:
            x = layer(x)
        return x
