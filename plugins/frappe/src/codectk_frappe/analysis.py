"""The encoder without torch: strided convolutions, companding and rounding, by `native/analysis.c`.

Shapes: picture (H, W, 3) uint8; latents of a scale group (n_s, H/p, W/p) int8.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import Array
from codectk_frappe.native import library
from codectk_frappe.options import LIMIT, ModelOptions

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

    def latents(self, x: Array, n: int, step: float = 1.0) -> list[Int8]:
        """Integer latents of the first `n` channels.

        Args:
            x: picture (H, W, 3) uint8; H and W are multiples of `options.multiple_of`.
            n: number of channels, 1 to N.
            step: width of the quantiser's steps; latents are divided by it before they are rounded.

        Returns:
            One int8 array (n_s, H/p, W/p) per scale group.
        """
        x = np.ascontiguousarray(x)
        groups = self.options.groups(n)
        return [
            filters.apply(x, self.levels, group.count, step)
            for filters, group in zip(self.filters, groups, strict=False)
        ]


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
        self.weight = weight.transpose(2, 0, 3, 1).reshape(ps, count, -1)  # row; channel; column and colour
        self.bias = get("0.bias", count)
        self.rounding = 0.5 - options.deadzone
        self.laplace = options.encoder_arch == "LF8"
        if self.laplace:
            self.sigma = np.maximum(get("1.compand.sigma", count), np.float32(1e-6))
            self.gamma = np.ones(count, np.float32)
        else:
            self.sigma = np.abs(get("1.0._σ", count)) + np.float32(1e-6)
            self.gamma = get("1.2.γ", count)

    def apply(self, x: Array, levels: Float32, count: int, step: float) -> Int8:
        """(H, W, 3) uint8 → (count, H/p, W/p), rounded to int8."""
        ps, (height, width, _) = self.ps, x.shape
        out = np.empty((count, height // ps, width // ps), np.int8)
        weight = np.ascontiguousarray(self.weight[:, :count])
        scale = (LIMIT * self.gamma / np.float32(step)).astype(np.float32)
        parameters = (levels, weight, self.bias, self.sigma, scale)
        error = library().frappe_analyse(
            x.ctypes.data,
            *(height, width, ps),
            *(array.ctypes.data for array in parameters),
            *(self.rounding, count, self.laplace),
            out.ctypes.data,
            out[0].size,
        )
        if error:
            raise MemoryError("no memory for the filters")
        return out
