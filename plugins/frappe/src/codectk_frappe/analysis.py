"""The encoder without torch: a strided convolution is one matrix product per scale, which numpy does from a cold start.

Shapes: picture (H, W, 3) uint8; latents of a scale group (n_s, H/p, W/p) int8.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import Array
from codectk_frappe.options import LIMIT, ModelOptions

BAND_ROWS = 256
"""Pictures are encoded in bands of about this many rows, so that memory does not grow with the picture."""

Int8 = NDArray[np.int8]
Float32 = NDArray[np.float32]


class Analysis:
    """Filters of all scale groups, ready for numpy.

    Args:
        tensors: `encoders.{s}.0.weight` (n_s, 3, p, p), `.0.bias` (n_s,) and the quantiser's scalars (n_s,).
        options: the architecture.

    Raises:
        ValueError: tensors are missing or have other shapes.
    """

    def __init__(self, tensors: Mapping[str, Array], options: ModelOptions) -> None:
        self.options = options
        self.groups = options.groups(len(options.ps))
        self.filters = [_Filters(tensors, s, g.ps, g.count, options) for s, g in enumerate(self.groups)]
        levels = np.arange(256) / 127.5 - 1
        if options.linear_input:
            t = levels / 2 + 0.5
            levels = 2 * np.where(t <= 0.04045, t / 12.92, ((t + 0.055) / 1.055) ** 2.4) - 1
        self.levels = levels.astype(np.float32)

    def latents(self, x: Array, n: int) -> list[Int8]:
        """Integer latents of the first `n` channels.

        Args:
            x: picture (H, W, 3) uint8; H and W are multiples of `options.multiple_of`.
            n: number of channels, 1 to N.

        Returns:
            One int8 array (n_s, H/p, W/p) per scale group.
        """
        height, width, _ = x.shape
        groups = self.options.groups(n)
        out = [np.empty((g.count, height // g.ps, width // g.ps), np.int8) for g in groups]
        step = max(1, BAND_ROWS // self.options.multiple_of) * self.options.multiple_of
        for top in range(0, height, step):
            band = self.levels[x[top : top + step]]
            for latent, filters, group in zip(out, self.filters, groups, strict=False):
                rows = slice(top // group.ps, (top + band.shape[0]) // group.ps)
                latent[:, rows] = filters.apply(band, group.count)
        return out


class _Filters:
    def __init__(self, tensors: Mapping[str, Array], s: int, ps: int, count: int, options: ModelOptions) -> None:
        def get(name: str, *shape: int) -> Float32:
            tensor = tensors.get(f"encoders.{s}.{name}")
            if tensor is None:
                raise ValueError(f"encoders.{s}.{name} is missing")
            if tensor.shape != shape or tensor.dtype.kind != "f":
                raise ValueError(f"encoders.{s}.{name} is {tensor.dtype} {tensor.shape}, not float {shape}")
            return tensor.astype(np.float32)

        self.ps = ps
        weight = get("0.weight", count, options.input_channels, ps, ps)
        self.matrix = np.ascontiguousarray(weight.transpose(2, 3, 1, 0).reshape(-1, count))
        self.bias = get("0.bias", count)
        self.laplace = options.encoder_arch == "LF8"
        if self.laplace:
            self.sigma = np.maximum(get("1.compand.sigma", count), np.float32(1e-6))
            self.gamma = np.ones(count, np.float32)
        else:
            self.sigma = np.abs(get("1.0._σ", count)) + np.float32(1e-6)
            self.gamma = get("1.2.γ", count)

    def apply(self, band: Float32, count: int) -> Int8:
        """(rows, W, 3) → (count, rows/p, W/p), rounded to int8."""
        ps, (rows, width, colours) = self.ps, band.shape
        patches = band.reshape(rows // ps, ps, width // ps, ps * colours).transpose(0, 2, 1, 3)
        u = patches.reshape(-1, ps * ps * colours) @ self.matrix[:, :count] + self.bias[:count]
        sigma = self.sigma[:count]
        y = LIMIT * np.sign(u) * -np.expm1(-np.abs(u) / sigma) if self.laplace else LIMIT * u / (sigma + np.abs(u))
        q: Int8 = np.clip(np.rint(self.gamma[:count] * y), -LIMIT, LIMIT).astype(np.int8)
        return q.T.reshape(count, rows // ps, width // ps)
