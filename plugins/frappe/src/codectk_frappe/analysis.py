"""The encoder without torch: strided convolutions, companding and rounding, by `native/analysis.c`.

Shapes: picture (H, W, 3) uint8; latents of a scale group (n_s, H/p, W/p) int8.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import Array
from codectk_frappe.native import Group, library
from codectk_frappe.options import LIMIT, MAX_DEADZONE, SPARSE, ModelOptions

Int8 = NDArray[np.int8]
Float32 = NDArray[np.float32]

LANES = 8
"""Filters that are applied at once; as in analysis.c."""


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
        self.table = _linear_light() if options.linear_input else None

    def latents(self, x: Array, n: int, step: float = 1.0) -> list[Int8]:
        """Integer latents of the first `n` channels.

        Args:
            x: picture (H, W, 3) uint8; H and W are multiples of `options.multiple_of`.
            n: number of channels, 1 to N.
            step: width of the quantiser's steps; latents are divided by it before they are rounded.

        Returns:
            One int8 array (n_s, H/p, W/p) per scale group.

        Raises:
            ValueError: x is no such picture.
        """
        out = self.room(x.shape[0], x.shape[1], n)
        self.fill(out, x, 0, x.shape[0], step)
        return out

    def room(self, height: int, width: int, n: int) -> list[Int8]:
        """Arrays for the latents of a picture."""
        return [np.empty((g.count, height // g.ps, width // g.ps), np.int8) for g in self.options.groups(n)]

    def fill(self, out: list[Int8], x: Array, top: int, bottom: int, step: float) -> None:
        """Compute the latents of the pixel rows `top` to `bottom` alone, as if there were no others.

        Args:
            out: from `room`; the part that belongs to these rows is written.
            x: picture (H, W, 3) uint8, contiguous.
            top, bottom: multiples of `options.multiple_of`.
            step: see `latents`.

        Raises:
            ValueError: x is no such picture, or the rows are not within it.
        """
        cell = self.options.multiple_of
        _check_picture(x, top, bottom, cell)
        x = np.ascontiguousarray(x)
        zone = np.array([self.options.deadzone, self.options.sparse_deadzone, SPARSE, MAX_DEADZONE], np.float32)
        rounds = bool(zone[:2].any())
        parts = []
        for filters, latent in zip(self.filters, out, strict=False):
            rows = slice(top // filters.ps, bottom // filters.ps)
            shape = (len(latent), rows.stop - rows.start, latent.shape[2])
            # Fine integers have no place in a picture's latents: those of these rows are laid out like all of them.
            fine = np.empty(shape, np.int16) if rounds else None
            target = np.empty(shape, np.int8) if rounds else latent[:, rows]
            parts.append((filters.narrow(len(latent), step), target, fine))
        groups = (Group * len(parts))(*(part.group(target, fine) for part, target, fine in parts))
        error = library().frappe_analyse(
            x[top:bottom].ctypes.data,
            *(bottom - top, x.shape[1], cell),
            None if self.table is None else self.table.ctypes.data,
            *(groups, len(groups), zone.ctypes.data if rounds else None, self.options.encoder_arch == "LF8"),
        )
        if error:
            raise MemoryError("no memory for the filters")
        if rounds:
            for latent, (part, target, _) in zip(out, parts, strict=True):
                latent[:, top // part.ps : bottom // part.ps] = target


def _check_picture(x: Array, top: int, bottom: int, cell: int) -> None:
    """The C code relies on all that is refused here."""
    fits = x.dtype == np.uint8 and x.ndim == 3 and x.shape[2] == 3 and 0 <= top < bottom <= x.shape[0]
    if not fits or any(side % cell for side in (*x.shape[:2], top, bottom)):
        raise ValueError(f"rows {top} to {bottom} of {x.dtype} {x.shape} are no cells of {cell} px of a uint8 picture")


def _linear_light() -> Float32:
    """What each byte of a picture is to the filters, where they see linear light."""
    t = np.arange(256) / 255
    levels: Float32 = (2 * np.where(t <= 0.04045, t / 12.92, ((t + 0.055) / 1.055) ** 2.4) - 1).astype(np.float32)
    return levels


@dataclass(frozen=True)
class _Part:
    """The first channels of a scale group at one step, as the C code takes them."""

    ps: int
    weights: Float32
    bias: Float32
    sigma: Float32
    scale: Float32

    def group(self, out: Int8, fine: Array | None) -> Group:
        """The C structure that writes into `out`, (channels, rows, columns), by way of `fine`, of the same strides."""
        arrays = (self.weights, self.bias, self.sigma, self.scale, out)
        plane = out.strides[0] // out.itemsize
        return Group(
            self.ps, len(out), *(a.ctypes.data for a in arrays), None if fine is None else fine.ctypes.data, plane
        )


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
        vectors = -(-count // LANES)
        lanes = np.zeros((vectors * LANES, ps, ps * options.input_channels), np.float32)
        lanes[:count] = weight.transpose(0, 2, 3, 1).reshape(count, ps, -1)
        # Vector of filters; row; column and colour; filter within the vector.
        self.weights = np.ascontiguousarray(lanes.reshape(vectors, LANES, ps, -1).transpose(0, 2, 3, 1))
        self.bias = get("0.bias", count)
        if options.encoder_arch == "LF8":
            self.sigma = np.maximum(get("1.compand.sigma", count), np.float32(1e-6))
            self.gamma = np.ones(count, np.float32)
        else:
            self.sigma = np.abs(get("1.0._σ", count)) + np.float32(1e-6)
            self.gamma = get("1.2.γ", count)

    def narrow(self, count: int, step: float) -> _Part:
        """The first `count` channels, with steps of this width."""
        scale = (LIMIT * self.gamma[:count] / np.float32(step)).astype(np.float32)
        return _Part(self.ps, self.weights[: -(-count // LANES)], self.bias[:count], self.sigma[:count], scale)
