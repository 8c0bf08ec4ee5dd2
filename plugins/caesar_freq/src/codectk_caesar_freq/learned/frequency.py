"""The fixed transform: one wavelet level, block DCT of its low band, and every coefficient in a plane of its frequency.

    frame (H, W) ─ wavelet ─┬─ LL ─ DCT of N×N blocks ─ N² planes (h, w) in zig-zag order
                            └─ LH, HL, HH ─ position in N×N blocks ─ N² planes each

h = H / (2N), w = W / (2N) with a wavelet, H / N and W / N without. Nothing is lost: there are as many coefficients as
samples, and the transform is orthonormal (nearly, with CDF 9/7). In double precision the results have the same bits on
every machine (`exact.py`).

Sources: Haar and DCT of CAESAR-Freq; CDF 9/7 by lifting after Daubechies and Sweldens, 1998. CAESAR-Freq leaves the DCT
coefficients in place, so that its slice of "low frequencies" is a corner of the picture; planes mend that.
"""

import math
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from codectk_caesar_freq.learned import exact
from codectk_caesar_freq.learned.layers import is_exact

Wavelet = Literal["haar", "cdf97", "none"]

LIFTING = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
"""Of CDF 9/7: predict, update, predict, update."""
LOW_GAIN = 1.1496043988602418
"""√2 / K with K = 1.230174104914001, which makes the transform nearly orthonormal."""

BASIS_BITS = 30
"""Fractional bits of the DCT's matrix, which cosines of different libraries agree on."""


class FrequencyTransform:
    """Frames to planes and back.

    Args:
        wavelet: of the one level, or none.
        block: N, side of the DCT's blocks.

    Attributes:
        cell: pixels on each side that share a place in the planes; sides of frames must be multiples of it.
        planes: number of planes, cell².
        low: number of planes that hold the low band, N².
    """

    def __init__(self, wavelet: Wavelet = "haar", block: int = 8) -> None:
        self.wavelet, self.block = wavelet, block
        self.cell = block if wavelet == "none" else 2 * block
        self.planes, self.low = self.cell**2, block**2

    def forward(self, frames: Tensor) -> Tensor:
        """(…, H, W) → (…, cell², h, w)."""
        if self.wavelet == "none":
            return self._blocks(frames)
        low, *details = _analyse(frames, self.wavelet)
        return torch.cat([self._blocks(low), *(self._regroup(band) for band in details)], dim=-3)

    def inverse(self, planes: Tensor) -> Tensor:
        """(…, P, h, w) → (…, H, W); planes that are left out at the end are zero."""
        count = planes.shape[-3]
        zeros = planes.new_zeros(*planes.shape[:-3], self.planes - count, *planes.shape[-2:])
        groups = torch.cat([planes, zeros], dim=-3).tensor_split(self.planes // self.low, dim=-3)
        low = self._unblock(groups[0])
        if self.wavelet == "none":
            return low
        lh, hl, hh = (self._spread(group) for group in groups[1:])
        return _synthesise((low, lh, hl, hh), self.wavelet)

    def _regroup(self, band: Tensor) -> Tensor:
        """(…, hN, wN) → (…, N², h, w), by position in the block."""
        n = self.block
        h, w = band.shape[-2] // n, band.shape[-1] // n
        split = band.reshape(*band.shape[:-2], h, n, w, n).movedim(-3, -4).movedim(-1, -3)
        return split.reshape(*band.shape[:-2], n * n, h, w)

    def _spread(self, planes: Tensor) -> Tensor:
        """The inverse of `_regroup`."""
        n, (h, w) = self.block, planes.shape[-2:]
        split = planes.reshape(*planes.shape[:-3], n, n, h, w).movedim(-3, -1).movedim(-4, -3)
        return split.reshape(*planes.shape[:-3], h * n, w * n)

    def _blocks(self, band: Tensor) -> Tensor:
        return _map_planes(_basis(self.block), self._regroup(band))

    def _unblock(self, planes: Tensor) -> Tensor:
        return self._spread(_map_planes(_basis(self.block).T, planes))


def _map_planes(matrix: Tensor, planes: Tensor) -> Tensor:
    """(P, N²) · (…, N², h, w) → (…, P, h, w)."""
    matrix, vectors = matrix.to(planes), planes.flatten(-2)
    made: Tensor = exact.product(matrix, vectors) if is_exact(planes) else matrix @ vectors
    return made.view(*made.shape[:-1], *planes.shape[-2:])


@cache
def _basis(n: int) -> Tensor:
    """Rows are the block DCT-II's coefficients in zig-zag order, columns positions in the block; float64."""
    rows = [
        [math.sqrt((1 if k == 0 else 2) / n) * math.cos(math.pi * k * (2 * i + 1) / (2 * n)) for i in range(n)]
        for k in range(n)
    ]
    dct = torch.tensor(rows, dtype=torch.float64)
    whole = torch.einsum("ui,vj->uvij", dct, dct).reshape(n * n, n * n)
    order = torch.tensor([u * n + v for u, v in zigzag(n)])
    scale = 2.0**BASIS_BITS
    return torch.round(whole[order] * scale) / scale


def zigzag(n: int) -> list[tuple[int, int]]:
    """(row, column) of the n×n frequencies from low to high, as JPEG orders them."""
    places = [(u, v) for u in range(n) for v in range(n)]
    return sorted(places, key=lambda place: (sum(place), place[1] if sum(place) % 2 == 0 else place[0]))


def _analyse(x: Tensor, wavelet: Wavelet) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """LL, LH (rows differ), HL (columns differ) and HH of (…, H, W)."""
    if wavelet == "haar":
        a, b, c, d = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
        top, bottom, left, right = a + b, c + d, a - b, c - d
        return (top + bottom) / 2, (top - bottom) / 2, (left + right) / 2, (left - right) / 2
    low, high = _lift(x)
    (ll, lh), (hl, hh) = (tuple(part.mT for part in _lift(band.mT)) for band in (low, high))
    return ll, lh, hl, hh


def _synthesise(bands: tuple[Tensor, Tensor, Tensor, Tensor], wavelet: Wavelet) -> Tensor:
    """(…, H, W) from its bands."""
    ll, lh, hl, hh = bands
    if wavelet == "haar":
        top, bottom, left, right = ll + lh, ll - lh, hl + hh, hl - hh
        cells = [(top + left) / 2, (top - left) / 2, (bottom + right) / 2, (bottom - right) / 2]
        upper, lower = (torch.stack(cells[i : i + 2], dim=-1).flatten(-2) for i in (0, 2))
        return torch.stack([upper, lower], dim=-2).flatten(-3, -2)
    low, high = _unlift(ll.mT, lh.mT).mT, _unlift(hl.mT, hh.mT).mT
    return _unlift(low, high)


def _lift(x: Tensor) -> tuple[Tensor, Tensor]:
    """Low and high band of the last dimension, of even length, mirrored at its ends."""
    even, odd = x[..., ::2], x[..., 1::2]
    for i in (0, 2):
        odd = odd + LIFTING[i] * (even + _after(even))
        even = even + LIFTING[i + 1] * (_before(odd) + odd)
    return even * LOW_GAIN, odd / LOW_GAIN


def _unlift(low: Tensor, high: Tensor) -> Tensor:
    """The inverse of `_lift`."""
    even, odd = low / LOW_GAIN, high * LOW_GAIN
    for i in (2, 0):
        even = even - LIFTING[i + 1] * (_before(odd) + odd)
        odd = odd - LIFTING[i] * (even + _after(even))
    return torch.stack([even, odd], dim=-1).flatten(-2)


def _after(x: Tensor) -> Tensor:
    return torch.cat([x[..., 1:], x[..., -1:]], dim=-1)


def _before(x: Tensor) -> Tensor:
    return torch.cat([x[..., :1], x[..., :-1]], dim=-1)
