"""EfficientViT-M4 of Liu et al., EfficientViT: Vision Transformer with Cascaded Group Attention, CVPR 2023.

    x ─ patch_embed (four 3x3 s2) ─ blocks1 ─ blocks2 ─ blocks3 ─> features
    H               H / 16          H / 16    H / 32    H / 64

One head after the other attends, each to its own channels and what the head before found. Names of parameters are
those of the authors' code.
"""

from collections import OrderedDict
from itertools import pairwise, product

import torch
import torch.nn.functional as F  # noqa: N812, torch's own name for it
from torch import Tensor, nn

from codectk.errors import InputError
from codectk_dct_backbones.networks.layers import Residual, check_pixels

DEPTHS = (1, 2, 3)
"""Blocks of the three stages."""

WIDTHS = (128, 256, 384)
"""Channels of the three stages."""

HEADS = 4
KEY = 16
"""Channels of a head's queries and keys."""

KERNELS = (7, 5, 3, 3)
"""Sides of the heads' convolutions of queries."""

WINDOW = 7
"""Largest side of what one attention sees."""

PATCH = 16
"""Pixels of a picture's side to one of the first stage's grid."""


def conv_norm(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, start: float = 1.0
) -> nn.Sequential:
    """Convolution without bias, then batch norm whose weights start with one value."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    norm = nn.BatchNorm2d(outputs)
    nn.init.constant_(norm.weight, start)
    return nn.Sequential(OrderedDict(c=conv, bn=norm))


class FFN(nn.Module):
    """1x1 to twice the width, ReLU, 1x1 back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pw1, self.pw2 = conv_norm(width, 2 * width), conv_norm(2 * width, width, start=0)

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        out: Tensor = self.pw2(F.relu(self.pw1(x)))
        return out


class SqueezeExcite(nn.Module):
    """Channels times a factor from all means."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        out: Tensor = x * self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()
        return out


class PatchMerging(nn.Module):
    """Half of the resolution, through four times the width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        width = 4 * inputs
        self.conv1 = conv_norm(inputs, width)
        self.conv2 = conv_norm(width, width, 3, 2, groups=width)
        self.se = SqueezeExcite(width)
        self.conv3 = conv_norm(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` → `[B, outputs, H / 2, W / 2]`, rounded up."""
        out: Tensor = self.conv3(self.se(F.relu(self.conv2(F.relu(self.conv1(x))))))
        return out


class CascadedGroupAttention(nn.Module):
    """Attention of four heads over a square grid.

    Args:
        width: channels.
        side: of the grid; there is one learned bias for each pair of distances.
    """

    attention_bias_idxs: Tensor

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.value = width // HEADS
        self.qkvs = nn.ModuleList(conv_norm(width // HEADS, 2 * KEY + self.value) for _ in range(HEADS))
        self.dws = nn.ModuleList(conv_norm(KEY, KEY, kernel, groups=KEY) for kernel in KERNELS)
        self.proj = nn.Sequential(nn.ReLU(), conv_norm(HEADS * self.value, width, start=0))
        places = list(product(range(side), range(side)))
        far = [(abs(a[0] - b[0]), abs(a[1] - b[1])) for a in places for b in places]
        number = {distance: i for i, distance in enumerate(dict.fromkeys(far))}
        self.attention_biases = nn.Parameter(torch.zeros(HEADS, len(number)))
        index = torch.tensor([number[distance] for distance in far]).view(len(places), len(places))
        self.register_buffer("attention_bias_idxs", index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width, side, side]` → the same shape."""
        biases = self.attention_biases[:, self.attention_bias_idxs]
        found: list[Tensor] = []
        for head, part in enumerate(x.chunk(HEADS, 1)):
            seen = part + found[-1] if found else part
            q, k, v = self.qkvs[head](seen).split((KEY, KEY, self.value), 1)
            q, k, v = self.dws[head](q).flatten(2), k.flatten(2), v.flatten(2)
            weights = (q.transpose(1, 2) @ k * KEY**-0.5 + biases[head]).softmax(-1)
            found.append((v @ weights.transpose(1, 2)).view(part.shape))
        out: Tensor = self.proj(torch.cat(found, 1))
        return out


class LocalWindowAttention(nn.Module):
    """Attention inside windows, or over the whole grid where it is no larger than one."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.window = min(WINDOW, side)
        self.attn = CascadedGroupAttention(width, self.window)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width, side, side]` → the same shape."""
        batch, width, side, w = len(x), x.shape[1], x.shape[2], self.window
        if side == w:
            out: Tensor = self.attn(x)
            return out
        more = -side % w
        x = F.pad(x, (0, more, 0, more))
        n = (side + more) // w
        x = x.view(batch, width, n, w, n, w).permute(0, 2, 4, 1, 3, 5).reshape(-1, width, w, w)
        x = self.attn(x).view(batch, n, n, width, w, w).permute(0, 3, 1, 4, 2, 5)
        return x.reshape(batch, width, n * w, n * w)[:, :, :side, :side]


class Block(nn.Module):
    """Depthwise 3x3 and FFN on both sides of the attention, all added to what they get."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.dw0, self.ffn0 = Residual(conv_norm(width, width, 3, groups=width, start=0)), Residual(FFN(width))
        self.mixer = Residual(LocalWindowAttention(width, side))
        self.dw1, self.ffn1 = Residual(conv_norm(width, width, 3, groups=width, start=0)), Residual(FFN(width))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width, side, side]` → the same shape."""
        out: Tensor = self.ffn1(self.dw1(self.mixer(self.ffn0(self.dw0(x)))))
        return out


def _local(width: int) -> nn.Sequential:
    return nn.Sequential(Residual(conv_norm(width, width, 3, groups=width)), Residual(FFN(width)))


class EfficientViT(nn.Module):
    """EfficientViT-M4 without its head.

    Args:
        image_size: side of the pictures, a multiple of 16; the attention is built for it.
        factor: of all widths, which are rounded to multiples of 16.

    Attributes:
        out_channels: of the features.
    """

    def __init__(self, image_size: int = 224, factor: float = 1.0) -> None:
        super().__init__()
        self.image_size = image_size
        widths = [max(16, round(width * factor / 16) * 16) for width in WIDTHS]
        steps = [3, *(widths[0] // part for part in (8, 4, 2, 1))]
        embedding: list[nn.Module] = []
        for inputs, outputs in pairwise(steps):
            embedding += [conv_norm(inputs, outputs, 3, 2), nn.ReLU()]
        self.patch_embed = nn.Sequential(*embedding[:-1])
        side, stages = image_size // PATCH, []
        for i, (width, depth) in enumerate(zip(widths, DEPTHS, strict=True)):
            stage: list[nn.Module] = []
            if i:
                side = (side + 1) // 2
                stage = [_local(widths[i - 1]), PatchMerging(widths[i - 1], width), _local(width)]
            stages.append(nn.Sequential(*stage, *(Block(width, side) for _ in range(depth))))
        self.blocks1, self.blocks2, self.blocks3 = stages
        self.out_channels = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Pixels `[B, 3, S, S]`, S = image_size → features `[B, out_channels, S / 64, S / 64]`, rounded up.

        Raises:
            InputError: these are no pixels, or of another size.
        """
        x = check_pixels(x)
        if tuple(x.shape[2:]) != (self.image_size, self.image_size):
            raise InputError(
                f"This EfficientViT is built for {self.image_size} x {self.image_size} pixels, "
                f"not {x.shape[2]} x {x.shape[3]}.",
                "Resize or crop the pictures, or build it with another image_size.",
            )
        out: Tensor = self.blocks3(self.blocks2(self.blocks1(self.patch_embed(x))))
        return out
