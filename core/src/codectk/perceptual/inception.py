"""Inception v3 up to its 2,048 pooled features, in the variant by which FID is published.

    x ──> 299 × 299 ──> 5 convolutions, 2 poolings ──> Mixed_5b…5d ──> 6a…6e ──> 7a…7c ──> mean over positions

Average pooling in the mixed blocks leaves the border out of its means, and Mixed_7c takes a maximum instead. Names of
weights are torchvision's. Sources: Szegedy et al. 2016 (CVPR, table 1); Heusel et al. 2017 (FID).
"""

import os

import torch
from torch import Tensor, nn
from torch.nn import functional

from codectk.perceptual.weights import Pretrained

FEATURES = 2048
SIDE = 299
ORIGIN = "pytorch-fid's pt_inception-2015-12-05-6726825d.pth"

Kernel = int | tuple[int, int]


class Norm(nn.Module):
    """Normalisation by stored statistics, whatever mode the network is in."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.register_buffer("running_mean", torch.empty(channels))
        self.register_buffer("running_var", torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=0.001)


class Conv(nn.Module):
    """Convolution, normalisation, ReLU; H and W stay as they are unless `stride` or `padding` say otherwise."""

    def __init__(self, c_in: int, c_out: int, kernel: Kernel, stride: int = 1, padding: int | None = None) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        around = (sides[0] // 2, sides[1] // 2) if padding is None else (padding, padding)
        self.conv = nn.Conv2d(c_in, c_out, sides, stride, around, bias=False)
        self.bn = Norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) → (B, C_out, …)."""
        normed: Tensor = self.bn(self.conv(x))
        return normed.relu()


def _mean_pool(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class MixedA(nn.Module):
    """Mixed_5b to 5d: 1×1, 5×5 and twice 3×3 beside a mean."""

    def __init__(self, c_in: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(c_in, 64, 1)
        self.branch5x5_1 = Conv(c_in, 48, 1)
        self.branch5x5_2 = Conv(48, 64, 5)
        self.branch3x3dbl_1 = Conv(c_in, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3)
        self.branch_pool = Conv(c_in, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) → (B, 224 + pooled, H, W)."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(_mean_pool(x))], 1)


class MixedB(nn.Module):
    """Mixed_6a: halves H and W."""

    def __init__(self, c_in: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(c_in, 384, 3, stride=2, padding=0)
        self.branch3x3dbl_1 = Conv(c_in, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) → (B, 480 + c_in, H/2, W/2)."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, functional.max_pool2d(x, 3, stride=2)], 1)


class MixedC(nn.Module):
    """Mixed_6b to 6e: 1×1, and rows and columns of 7, beside a mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(768, 192, 1)
        self.branch7x7_1 = Conv(768, width, 1)
        self.branch7x7_2 = Conv(width, width, (1, 7))
        self.branch7x7_3 = Conv(width, 192, (7, 1))
        self.branch7x7dbl_1 = Conv(768, width, 1)
        self.branch7x7dbl_2 = Conv(width, width, (7, 1))
        self.branch7x7dbl_3 = Conv(width, width, (1, 7))
        self.branch7x7dbl_4 = Conv(width, width, (7, 1))
        self.branch7x7dbl_5 = Conv(width, 192, (1, 7))
        self.branch_pool = Conv(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 768, H, W) → the same."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(_mean_pool(x))], 1)


class MixedD(nn.Module):
    """Mixed_7a: halves H and W."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = Conv(768, 192, 1)
        self.branch3x3_2 = Conv(192, 320, 3, stride=2, padding=0)
        self.branch7x7x3_1 = Conv(768, 192, 1)
        self.branch7x7x3_2 = Conv(192, 192, (1, 7))
        self.branch7x7x3_3 = Conv(192, 192, (7, 1))
        self.branch7x7x3_4 = Conv(192, 192, 3, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 768, H, W) → (B, 1280, H/2, W/2)."""
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, functional.max_pool2d(x, 3, stride=2)], 1)


class MixedE(nn.Module):
    """Mixed_7b and 7c: rows and columns of 3 side by side, beside a mean or a maximum."""

    def __init__(self, c_in: int, maximum: bool) -> None:
        super().__init__()
        self.maximum = maximum
        self.branch1x1 = Conv(c_in, 320, 1)
        self.branch3x3_1 = Conv(c_in, 384, 1)
        self.branch3x3_2a = Conv(384, 384, (1, 3))
        self.branch3x3_2b = Conv(384, 384, (3, 1))
        self.branch3x3dbl_1 = Conv(c_in, 448, 1)
        self.branch3x3dbl_2 = Conv(448, 384, 3)
        self.branch3x3dbl_3a = Conv(384, 384, (1, 3))
        self.branch3x3dbl_3b = Conv(384, 384, (3, 1))
        self.branch_pool = Conv(c_in, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) → (B, 2048, H, W)."""
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = functional.max_pool2d(x, 3, stride=1, padding=1) if self.maximum else _mean_pool(x)
        parts = [self.branch1x1(x), self.branch3x3_2a(three), self.branch3x3_2b(three)]
        parts += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(pooled)]
        return torch.cat(parts, 1)


class Inception(Pretrained):
    """Pictures to features.

    Args:
        weights: file with `Conv2d_1a_3x3.conv.weight`, `Conv2d_1a_3x3.bn.weight`, … to `Mixed_7c.…`; by default
            `inception.safetensors`. See `Pretrained`.

    Raises:
        WeightsError: there are no such weights.
    """

    def __init__(self, weights: str | os.PathLike[str] | None = None) -> None:
        super().__init__(weights, "inception.safetensors", ORIGIN)

    def build(self) -> None:
        """All blocks, in the order in which they are computed."""
        blocks: dict[str, nn.Module] = {
            "Conv2d_1a_3x3": Conv(3, 32, 3, stride=2, padding=0),
            "Conv2d_2a_3x3": Conv(32, 32, 3, padding=0),
            "Conv2d_2b_3x3": Conv(32, 64, 3),
            "maxpool1": nn.MaxPool2d(3, stride=2),
            "Conv2d_3b_1x1": Conv(64, 80, 1),
            "Conv2d_4a_3x3": Conv(80, 192, 3, padding=0),
            "maxpool2": nn.MaxPool2d(3, stride=2),
            "Mixed_5b": MixedA(192, 32),
            "Mixed_5c": MixedA(256, 64),
            "Mixed_5d": MixedA(288, 64),
            "Mixed_6a": MixedB(288),
            "Mixed_6b": MixedC(128),
            "Mixed_6c": MixedC(160),
            "Mixed_6d": MixedC(160),
            "Mixed_6e": MixedC(192),
            "Mixed_7a": MixedD(),
            "Mixed_7b": MixedE(1280, maximum=False),
            "Mixed_7c": MixedE(2048, maximum=True),
        }
        for name, block in blocks.items():
            self.add_module(name, block)

    def forward(self, x: Tensor) -> Tensor:
        """Features of each picture.

        Args:
            x: (B, 3, H, W), values 0 to 1, of any size; it is resized to 299 × 299, bilinear.

        Returns:
            (B, 2048).
        """
        h = functional.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
        h = 2 * h - 1
        for block in self.children():
            h = block(h)
        return h.mean((2, 3))
