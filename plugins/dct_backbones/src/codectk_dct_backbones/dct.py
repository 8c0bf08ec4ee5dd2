"""The orthonormal 8 x 8 DCT of planes as one strided convolution, and its inverse as one transposed convolution.

Blocks are `[B, n, H / 8, W / 8]`; channel `8 * u + v` is horizontal frequency `u`, vertical frequency `v`:

    c[8 u + v] = sum over y, x of A[v, y] A[u, x] plane[y, x],  A[k, n] = a_k cos(pi (n + 1/2) k / 8)

with `a_0 = sqrt(1 / 8)` and `a_k = sqrt(2 / 8)`: JPEG's transform without its shift of 128.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from threading import RLock

import torch
import torch.nn.functional as F  # noqa: N812, torch's own name for it
from torch import Tensor
from torch.backends import cudnn

BLOCK = 8
"""Side of a block in pixels."""

_TF32 = RLock()


@cache
def basis(dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
    """The 64 pictures that a block is a sum of, `[64, 1, 8, 8]` by channel, row and column. Not to be changed."""
    with torch.inference_mode(False):  # or who asks first decides whether others can train through it
        k = torch.arange(BLOCK, dtype=torch.float64, device="cpu")  # whatever the default device is
        a = torch.cos(math.pi * (k + 0.5) * k[:, None] / BLOCK) * math.sqrt(2 / BLOCK)
        a[0] = math.sqrt(1 / BLOCK)
        return torch.einsum("vy,ux->uvyx", a, a).reshape(-1, 1, BLOCK, BLOCK).to(device, dtype)


def forward(planes: Tensor, channels: Sequence[int] | None = None) -> Tensor:
    """Coefficients of planes.

    Args:
        planes: `[B, H, W]` of float32 or float64; H and W are multiples of 8.
        channels: which coefficients, in which order; all 64 if None. Others are not computed.

    Returns:
        `[B, n, H / 8, W / 8]`, of the planes' type and on their device.
    """
    kernel = _kernel(None if channels is None else tuple(channels), planes.dtype, planes.device)
    if not len(kernel):
        return planes.new_zeros(len(planes), 0, planes.shape[1] // BLOCK, planes.shape[2] // BLOCK)
    with exact(planes):
        return F.conv2d(planes[:, None], kernel, stride=BLOCK)


def inverse(blocks: Tensor, channels: Sequence[int] | None = None) -> Tensor:
    """Planes from coefficients; those that are not given are 0.

    Args:
        blocks: `[B, n, h, w]` of float32 or float64.
        channels: what the n channels hold; all 64 in their order if None.

    Returns:
        `[B, 8 h, 8 w]`, neither rounded nor clipped.
    """
    kernel = _kernel(None if channels is None else tuple(channels), blocks.dtype, blocks.device)
    if not len(kernel):
        return blocks.new_zeros(len(blocks), BLOCK * blocks.shape[2], BLOCK * blocks.shape[3])
    with exact(blocks):
        return F.conv_transpose2d(blocks, kernel, stride=BLOCK)[:, 0]


@lru_cache(maxsize=256)
def _kernel(channels: tuple[int, ...] | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    whole = basis(dtype, device)
    with torch.inference_mode(False):
        return whole if channels is None else whole[list(channels)]


@contextmanager
def exact(x: Tensor) -> Iterator[None]:
    """Full precision whatever the networks around compute in, so that every device gives the same coefficients."""
    if x.is_meta:  # shapes alone, and autocast knows no such device
        yield
        return
    with torch.autocast(x.device.type, enabled=False):
        if not x.is_cuda:
            yield
            return
        with _TF32:  # or a second thread would take the first one's setting for the caller's
            before = cudnn.allow_tf32
            cudnn.allow_tf32 = False
            try:
                yield
            finally:
                cudnn.allow_tf32 = before
