"""Pictures mixed with others of their batch, and targets that say of what they are.

Sources: Zhang et al., "mixup", ICLR 2018; Yun et al., "CutMix", ICCV 2019; Bochkovskiy et al., "YOLOv4", 2020 (mosaic).
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Tensors = tuple[Tensor, ...]


def mixup(x: Tensors, targets: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensors, Tensor]:
    """Each item blended with another, in a share of its own.

    Args:
        x: tensors of a batch, pixels or coefficients: the DCT is linear, so both may be mixed.
        targets: [B, classes].
        alpha: both parameters of the Beta distribution of the shares.
        rng: draws shares and partners.
    """
    count = len(targets)
    share = torch.from_numpy(rng.beta(alpha, alpha, count)).to(targets)
    other = torch.from_numpy(rng.permutation(count)).to(targets.device)
    mixed = tuple(part.lerp(part[other], (1 - share).view(-1, *[1] * (part.dim() - 1))) for part in x)
    return mixed, targets.lerp(targets[other], (1 - share)[:, None])


def mosaic(x: Tensor, targets: Tensor, rng: np.random.Generator, original: bool) -> tuple[Tensor, Tensor]:
    """Four pictures at half size in place of each.

    Args:
        x: [B, C, H, W], even sides.
        targets: [B, classes].
        rng: draws which.
        original: the labels of other four pictures, as in the public code.
    """
    four = [rng.permutation(len(x)) for _ in range(4)]
    small = F.avg_pool2d(x, 2)
    upper, lower = (torch.cat([small[four[i]], small[four[i + 1]]], dim=3) for i in (0, 2))
    named = [rng.permutation(len(x)) for _ in range(4)] if original else four
    return torch.cat([upper, lower], dim=2), sum((targets[which] for which in named), 0 * targets) / 4


def cutmix(x: Tensor, targets: Tensor, rng: np.random.Generator, original: bool) -> tuple[Tensor, Tensor]:
    """A rectangle of another picture in each, the same one in the whole batch.

    Args:
        x: [B, C, H, W].
        targets: [B, classes].
        rng: draws rectangle and partners.
        original: blend whole pictures, as the public code does under this name.
    """
    kept, other = rng.random(), rng.permutation(len(x))
    if original:
        return x.lerp(x[other], 1 - kept), targets.lerp(targets[other], 1 - kept)
    height, width = x.shape[2:]
    middles, half = rng.random(2) * (height, width), (1 - kept) ** 0.5 / 2
    top, bottom = (round(np.clip(middles[0] + sign * half * height, 0, height)) for sign in (-1, 1))
    left, right = (round(np.clip(middles[1] + sign * half * width, 0, width)) for sign in (-1, 1))
    mixed = x.clone()
    mixed[:, :, top:bottom, left:right] = x[other][:, :, top:bottom, left:right]
    return mixed, targets.lerp(targets[other], (bottom - top) * (right - left) / (height * width))
