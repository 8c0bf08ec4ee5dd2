"""Networks in integer arithmetic: the same result on every machine, device and number of threads.

A layer is a product of integers, a sum, and a change of scale:

    x int8 (h, w, C) ─ windows (h·w, K) ─ · weight int8 (K, O) ─ acc, exact ─ floor(acc·m·2^-s + c) ─ clamp ─ int8

Sums are exact, so nothing depends on their order:

- |x| and |weight| are at most 127, and `Layer` refuses weights whose sums could reach 2^31.
- Products run in int8 with int32 sums where the machine does that right (some processors saturate: `_int8_is_exact`
  tries it), else in float32, cut along K into pieces whose sums stay below 2^24, however they are added up.
- m < 2^16, so acc·m·2^-s has at most 47 bits and is exact in float64; the sum with c is rounded once at most, alike
  everywhere, with and without fused multiplication.

Convolutions are products of windows, never Winograd or FFT, which round even on integers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codectk.errors import WeightsError

LIMIT = 127
"""Largest magnitude of activations and weights."""

FRACTION = 10
"""Means, scales and latents are integers in units of 2^-FRACTION."""

MAX_FIXED = 1 << 22
"""Bound of such values: latents are at most 4096."""

SUM_BITS, FLOAT32_BITS = 31, 24
MAX_MULTIPLIER, MAX_SHIFT = 1 << 16, 60
PIECE_BYTES = 64 << 20
"""Windows are gathered for at most so many bytes at once."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        kernel: side of the window.
        weight: int8 (K, O), K = kernel·kernel·C in the order (row, column, channel).
        scale, offset: float64 (O,): out = floor(acc·scale + offset), the product exact by construction.
        low_scale, low_offset: the same where acc + bias is negative; None for what is no LeakyReLU.
        low, high: bounds of the output.
        threshold: acc below it is negative with the bias.
    """

    kernel: int
    weight: Tensor
    scale: Tensor
    offset: Tensor
    low: int
    high: int
    threshold: Tensor
    low_scale: Tensor | None = None
    low_offset: Tensor | None = None

    @classmethod
    def load(cls, arrays: Arrays, name: str, kernel: int, inputs: int, outputs: int, device: torch.device) -> "Layer":
        """Check and make the layer `name` from `{name}.weight`, `.bias`, `.multiplier`, `.shift` and `.kind`.

        Raises:
            WeightsError: an array is missing, of another type or shape, or could make sums that are not exact.
        """
        count = kernel * kernel * inputs
        wanted = {"weight": (np.int8, (outputs, count)), "bias": (np.int32, (outputs,)), "kind": (np.uint8, ())}
        wanted |= dict.fromkeys(("multiplier", "low_multiplier"), (np.int32, (outputs,)))
        wanted |= {"shift": (np.uint8, (outputs,))}
        found = {key: _array(arrays, f"{name}.{key}", dtype, shape) for key, (dtype, shape) in wanted.items()}
        weight, bias, shift = found["weight"].astype(np.int64), found["bias"].astype(np.int64), found["shift"]
        sums = np.abs(weight).sum(1) * LIMIT + np.abs(bias)
        if np.abs(weight).max(initial=0) > LIMIT or sums.max(initial=0) >= 1 << SUM_BITS:
            raise _unfit(f"{name} has sums of 2^{SUM_BITS} or more")
        kind = int(found["kind"])
        if kind >= len(KINDS):
            raise _unfit(f"{name} is of no known kind")
        low, high = KINDS[kind]
        for key in ("multiplier", "low_multiplier"):
            _check_scale(found[key], shift, f"{name}.{key}")

        def affine(key: str) -> tuple[Tensor, Tensor]:
            scale = np.ldexp(found[key].astype(np.float64), -shift.astype(np.int64))
            return torch.from_numpy(scale).to(device), torch.from_numpy(bias * scale + 0.5).to(device)

        leaky = kind == LEAKY
        return cls(
            kernel,
            torch.from_numpy(found["weight"].T.copy()).to(device),
            *affine("multiplier"),
            low,
            high,
            torch.from_numpy(-bias.astype(np.float64)).to(device),
            *(affine("low_multiplier") if leaky else (None, None)),
        )

    @cached_property
    def cuts(self) -> tuple[int, ...]:
        """Where float32 products are cut along K: within a piece no sum of |weight|·127 reaches 2^24."""
        total = LIMIT * np.abs(self.weight.cpu().numpy().astype(np.int64)).cumsum(0)
        cuts = [0]
        while cuts[-1] < len(total):
            before = total[cuts[-1] - 1] if cuts[-1] else 0
            within = (total[cuts[-1] :] - before).max(1)  # rises, so those that fit come first
            cuts.append(cuts[-1] + int((within < 1 << FLOAT32_BITS).sum()))
        return tuple(cuts)

    def __call__(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Output (h, w, O), or (len(rows), O) at the positions `rows` of the flattened picture alone.

        Args:
            x: int8 (h, w, C); zeros surround it.
        """
        height, width, _ = x.shape
        if self.kernel == 1:
            flat = x.reshape(height * width, -1)
            return self.finish(product(flat, self)).view(height, width, -1)
        view = windows(x, self.kernel)
        if rows is not None:
            return self.finish(product(view[rows // width, rows % width].flatten(1), self))
        step = max(1, PIECE_BYTES // (width * self.weight.shape[0]))
        pieces = [
            self.finish(product(view[top : top + step].reshape(-1, self.weight.shape[0]), self))
            for top in range(0, height, step)
        ]
        return torch.cat(pieces).view(height, width, -1)

    def finish(self, acc: Tensor) -> Tensor:
        """Sums (n, O) int32 to the layer's output: int8, or int32 for fixed point."""
        exact = acc.double()
        out = torch.addcmul(self.offset, exact, self.scale)
        if self.low_scale is not None and self.low_offset is not None:
            out = torch.where(exact < self.threshold, torch.addcmul(self.low_offset, exact, self.low_scale), out)
        return out.floor_().clamp_(self.low, self.high).to(torch.int8 if self.high <= LIMIT else torch.int32)


RELU, SIGNED, LEAKY, FIXED = range(4)
KINDS = ((0, LIMIT), (-LIMIT, LIMIT), (-LIMIT, LIMIT), (-MAX_FIXED, MAX_FIXED))
"""Bounds of what a layer gives, by its kind: after ReLU, as it is, after LeakyReLU, in fixed point."""


def windows(x: Tensor, kernel: int) -> Tensor:
    """View (h, w, kernel, kernel, C) of all windows of (h, w, C), with zeros around."""
    edge = kernel // 2
    padded = torch.nn.functional.pad(x, (0, 0, edge, edge, edge, edge))
    row, column, channel = padded.stride()
    return padded.as_strided((x.shape[0], x.shape[1], kernel, kernel, x.shape[2]), (row, column, row, column, channel))


def product(x: Tensor, layer: Layer) -> Tensor:
    """x int8 (n, K) · weight (K, O) → int32 (n, O), exact."""
    if x.device.type == "cpu" and _int8_is_exact():
        return torch._int_mm(x, layer.weight)
    return product_in_floats(x, layer)


def product_in_floats(x: Tensor, layer: Layer) -> Tensor:
    """The same in float32, in pieces along K whose sums are exact; for GPUs and processors that saturate int8."""
    total = torch.zeros(x.shape[0], layer.weight.shape[1], dtype=torch.int32, device=x.device)
    with torch.autocast(x.device.type, enabled=False):
        for start, stop in zip(layer.cuts, layer.cuts[1:], strict=False):
            piece = x[:, start:stop].float() @ layer.weight[start:stop].float()
            total += piece.to(torch.int32)
    return total


@cache
def _int8_is_exact() -> bool:
    """Whether this processor's int8 products are exact: without VNNI, sums of two may saturate at 16 bits."""
    rng = np.random.default_rng(0)
    for n, k, o in ((40, 2000, 48), (5, 37, 3)):
        a, b = (rng.integers(-LIMIT, LIMIT + 1, shape, np.int8) for shape in ((n, k), (k, o)))
        a[0], b[:, 0], a[1], b[:, 1] = LIMIT, LIMIT, -LIMIT, -LIMIT
        try:
            result = torch._int_mm(torch.from_numpy(a), torch.from_numpy(b)).numpy()
        except RuntimeError:
            return False
        if not np.array_equal(result, a.astype(np.int64) @ b.astype(np.int64)):
            return False
    return True


def requantise(fixed: Tensor, scale: Tensor) -> Tensor:
    """Fixed point int32 (…, C) to int8: floor(fixed·scale + 0.5), clamped; scale (C,) float64 of at most 16 bits."""
    return torch.addcmul(_half(fixed.device), fixed.double(), scale).floor_().clamp_(-LIMIT, LIMIT).to(torch.int8)


@cache
def _half(device: torch.device) -> Tensor:
    return torch.tensor(0.5, dtype=torch.float64, device=device)


def load_scale(arrays: Arrays, name: str, channels: int, device: torch.device) -> Tensor:
    """Scale of `requantise` from `{name}.multiplier` int32 and `{name}.shift` uint8.

    Raises:
        WeightsError: see `Layer.load`.
    """
    multiplier = _array(arrays, f"{name}.multiplier", np.int32, (channels,))
    shift = _array(arrays, f"{name}.shift", np.uint8, (channels,))
    _check_scale(multiplier, shift, name)
    return torch.from_numpy(np.ldexp(multiplier.astype(np.float64), -shift.astype(np.int64))).to(device)


def _array(arrays: Arrays, name: str, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
    array = arrays.get(name)
    if array is None or array.dtype != dtype or array.shape != shape:
        raise _unfit(f"{name} is not {np.dtype(dtype)} {shape}")
    return array


def _check_scale(multiplier: NDArray[Any], shift: NDArray[Any], name: str) -> None:
    fits = (multiplier >= 0) & (multiplier < MAX_MULTIPLIER) & (shift >= 1) & (shift <= MAX_SHIFT)
    if not fits.all():
        raise _unfit(f"{name} has a scale out of bounds")


def shuffle(x: Tensor) -> Tensor:
    """(h, w, 4·C) → (2h, 2w, C): what a layer gives for the four positions (row, column) of each."""
    height, width, channels = x.shape
    return (
        x.view(height, width, 2, 2, channels // 4).permute(0, 2, 1, 3, 4).reshape(2 * height, 2 * width, channels // 4)
    )


def _unfit(reason: str) -> WeightsError:
    return WeightsError(f"The integer networks of the weights do not fit: {reason}.", "Export them again.")
