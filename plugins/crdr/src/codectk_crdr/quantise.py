"""From trained floating-point networks to the integer ones of `exact.py`.

Calibration runs the float model on pictures and keeps, for each channel of each tensor that becomes int8, how large it
gets: see `typical`. A channel's scale maps that to 127. The scale of the inputs goes into the weights, whose rows are
then rounded to int8, each with a scale of its own.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codectk_crdr.context import ChannelContext, SpaceChannelContext
from codectk_crdr.exact import MAX_SYMBOL, TANH_BITS, TANH_SIZE, UNIT
from codectk_crdr.hyperprior import SLOPE, HyperDecoder
from codectk_crdr.integer import FIXED, LEAKY, LIMIT, MAX_MULTIPLIER, MAX_SHIFT, RELU, SIGNED
from codectk_crdr.model import CompressionModel

Float = NDArray[np.float64]
SMALLEST = 1e-4
"""Least range of a channel: what never happened on the calibration pictures is not blown up."""
SUM_LIMIT = (1 << 31) - 1
COMMON, RARE = 0.95, 8.0
"""A channel's range is what this share of the pictures stays below, but at least the largest over the second number."""


class Ranges:
    """How large the channels of each module's input and output get.

    Attributes:
        inputs, outputs: (C,) of each convolution.
        y_hat: (M,).
    """

    def __init__(self, model: CompressionModel) -> None:
        self.inputs: dict[nn.Module, Float] = {}
        self.outputs: dict[nn.Module, Float] = {}
        self.y_hat: Float = np.zeros(0)
        self._seen: dict[tuple[nn.Module, str], list[Float]] = {}
        self._handles = [
            module.register_forward_hook(self._see)
            for part in (model.hyperdecoder, model.context_model)
            for module in part.modules()
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        ]

    def _see(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._seen.setdefault((module, "in"), []).append(largest(inputs[0]))
        self._seen.setdefault((module, "out"), []).append(largest(output))

    def close(self) -> None:
        """Stop watching."""
        for handle in self._handles:
            handle.remove()

    def finish(self, y_hats: list[Float]) -> None:
        """Ranges of all that was seen, and of y_hat."""
        self.inputs = {module: typical(sizes) for (module, side), sizes in self._seen.items() if side == "in"}
        self.outputs = {module: typical(sizes) for (module, side), sizes in self._seen.items() if side == "out"}
        self.y_hat = typical(y_hats)


def largest(x: Tensor) -> Float:
    """Largest magnitude (C,) of each channel of (B, C, h, w)."""
    size: Float = x.detach().abs().amax((0, 2, 3)).double().cpu().numpy()
    return size


def typical(sizes: list[Float]) -> Float:
    """Ranges (C,) from what each picture reached.

    The odd picture may be clipped: ranges that hold everything make all others coarse. Half way, in log, from a range
    for each channel to one for all, neither inputs nor weights of a product take most of the rounding error. By
    measurement on trained weights: 0.1 % to 0.4 % of bits, against 0.3 % to 5 % for the largest value of each channel.
    """
    stacked = np.stack(sizes)
    common = np.maximum(np.quantile(stacked, COMMON, axis=0), stacked.max(0) / RARE)
    balanced: Float = np.sqrt(common * common.max())
    return balanced


@torch.no_grad()
def calibrate(model: CompressionModel, batches: Iterable[tuple[Tensor, Tensor | None]]) -> Ranges:
    """Run the model on pictures.

    Args:
        model: trained, in eval mode.
        batches: (x (B, 3, H, W) in [-1, 1], q (B,) or None).
    """
    ranges, y_hats = Ranges(model), []
    try:
        for x, q in batches:
            y = model.encoder(x, q)
            z = model.hyperencoder(y)
            medians = model.entropy_model_z.medians
            hyper = model.hyperdecoder((z - medians).round() + medians)
            y_hat = model.context_model(hyper, lambda part, means, _, y=y: (part.take(y) - means).round() + means)
            y_hats.append(largest(y_hat))
    finally:
        ranges.close()
    ranges.finish(y_hats)
    return ranges


def integer_arrays(model: CompressionModel, ranges: Ranges) -> dict[str, NDArray[Any]]:
    """Everything that `exact.ExactPath` loads.

    Args:
        model: the float model.
        ranges: from `calibrate`.
    """
    medians = model.entropy_model_z.medians.double().flatten().numpy(force=True)
    arrays: dict[str, NDArray[Any]] = {
        "z.median": np.rint(np.clip(medians, -MAX_SYMBOL, MAX_SYMBOL) * UNIT).astype(np.int32)
    }
    writer = _Writer(arrays, ranges)
    scales = writer.hyper(model.hyperdecoder)
    context = model.context_model
    if isinstance(context, ChannelContext):
        writer.channel(context, scales)
        v = np.arange(-TANH_SIZE // 2, TANH_SIZE // 2 + 1) / (1 << TANH_BITS)
        arrays["y.tanh"] = np.rint(0.5 * np.tanh(v) * UNIT).astype(np.int32)
    elif isinstance(context, SpaceChannelContext):
        writer.space_channel(context, scales)
    return arrays


class _Writer:
    def __init__(self, arrays: dict[str, NDArray[Any]], ranges: Ranges) -> None:
        self.arrays, self.ranges = arrays, ranges

    def hyper(self, networks: nn.Module) -> tuple[Float, Float] | None:
        """h_s; returns the scales of its output, for means and for scales."""
        if isinstance(networks, HyperDecoder):
            branches = {"means": networks.hd_mu, "scales": networks.hd_std}
            first = np.maximum(*(self.ranges.inputs[branch.conv1] for branch in branches.values()))
            start = self._input("z", first)
            ends = []
            for name, branch in branches.items():
                scale = start
                for i, following in ((1, branch.conv2), (2, branch.conv3)):
                    out = step(self.ranges.inputs[following])
                    self.layer(f"hyper.{name}.{i}", getattr(branch, f"conv{i}"), scale, out, RELU)
                    scale = out
                ends.append(step(self.ranges.outputs[branch.conv3]))
                self.layer(f"hyper.{name}.3", branch.conv3, scale, ends[-1], SIGNED)
            return ends[0], ends[1]
        scale = self._input("z", self.ranges.inputs[networks.conv1])  # type: ignore[index]
        for i in range(1, 5):
            out = step(self.ranges.inputs[getattr(networks, f"conv{i + 1}")])
            self.layer(f"hyper.{i}", getattr(networks, f"conv{i}"), scale, out, LEAKY)
            scale = out
        last: Any = networks.conv5
        half = last.out_channels // 2
        for name, part in (("means", slice(0, half)), ("scales", slice(half, None))):
            self.rows(f"hyper.{name}", _same(last)[part], last.bias[part], scale, None, FIXED)
        return None

    def channel(self, context: ChannelContext, hyper: tuple[Float, Float] | None) -> None:
        assert hyper is not None
        y_scale = self._input("y", self.ranges.y_hat)
        width = context.width
        nets = {
            "means": context.mean_slice_transforms,
            "scales": context.scale_slice_transforms,
            "residual": context.lrp_slice_transforms,
        }
        for kind, slices in nets.items():
            for i, net in enumerate(slices):
                seen = y_scale[: width * min(i, context.support)]
                own = y_scale[width * i : width * (i + 1)] if kind == "residual" else y_scale[:0]
                scale = np.concatenate([hyper[int(kind == "scales")], seen, own])
                self.chain(f"{kind}.{i}", [net.model[n] for n in (0, 2, 4)], scale, None)  # type: ignore[index]

    def space_channel(self, context: SpaceChannelContext, hyper: tuple[Float, Float] | None) -> None:
        assert hyper is not None
        y_scale = self._input("y", self.ranges.y_hat)
        both = np.concatenate(hyper)
        for k, size in enumerate(context.groups):
            start = sum(context.groups[:k])
            scale = both
            if k:
                net = context.channel_context[k - 1]
                out = step(self.ranges.outputs[net[4]])  # type: ignore[index]
                self.chain(f"channel.{k}", [net[n] for n in (0, 2, 4)], y_scale[:start], out)  # type: ignore[index]
                scale = np.concatenate([scale, out])
            spatial: Any = context.spatial_context[k]
            out = step(self.ranges.outputs[spatial])
            self.layer(f"spatial.{k}.0", spatial, y_scale[start : start + size], out, SIGNED)
            net = context.aggregation[k]
            last: Any = net[4]  # type: ignore[index]
            scale = np.concatenate([scale, out])
            for n, layer, following in ((0, net[0], net[2]), (1, net[2], last)):  # type: ignore[index]
                out = step(self.ranges.inputs[following])
                self.layer(f"aggregation.{k}.{n}", layer, scale, out, RELU)
                scale = out
            for n, part in ((2, slice(0, size)), (3, slice(size, None))):
                self.rows(f"aggregation.{k}.{n}", _same(last)[part], last.bias[part], scale, None, FIXED)

    def chain(self, name: str, layers: list[Any], scale: Float, end: Float | None) -> None:
        """Convolutions with ReLU between them; `end` scales the last output, or None for fixed point."""
        for n, layer in enumerate(layers):
            last = n == len(layers) - 1
            out = end if last else step(self.ranges.inputs[layers[n + 1]])
            kind = (FIXED if end is None else SIGNED) if last else RELU
            self.layer(f"{name}.{n}", layer, scale, out, kind)
            if out is not None:
                scale = out

    def layer(self, name: str, module: Any, scale: Float, out: Float | None, kind: int) -> None:
        rows = _doubled(module) if isinstance(module, nn.ConvTranspose2d) else _same(module)
        times = len(rows) // len(module.bias)
        out = None if out is None else np.tile(out, times)
        self.rows(name, rows, module.bias.repeat(times), scale, out, kind)

    def rows(self, name: str, rows: Float, bias: Tensor, scale: Float, out: Float | None, kind: int) -> None:
        """Write a layer: rows (O, window, window, C), real units per integer of the inputs (C,) and outputs (O,)."""
        weight = (rows * scale).reshape(len(rows), -1)
        unit = np.maximum(np.abs(weight).max(1) / LIMIT, 1e-12)
        whole = np.rint(weight / unit[:, None])
        shift = bias.detach().double().cpu().numpy() / unit
        room = SUM_LIMIT - LIMIT * np.abs(whole).sum(1)
        multiplier, places = dyadic(unit / (1 / UNIT if out is None else out))
        low = np.rint(multiplier * SLOPE).astype(np.int32) if kind == LEAKY else multiplier
        self.arrays |= {
            f"{name}.weight": whole.astype(np.int8),
            f"{name}.bias": np.rint(np.clip(shift, -room, room)).astype(np.int32),
            f"{name}.multiplier": multiplier,
            f"{name}.low_multiplier": low,
            f"{name}.shift": places,
            f"{name}.kind": np.array(kind, np.uint8),
        }

    def _input(self, name: str, size: Float) -> Float:
        scale = step(size)
        multiplier, places = dyadic(1 / UNIT / scale)
        self.arrays |= {f"{name}.multiplier": multiplier, f"{name}.shift": places}
        return scale


def step(size: Float) -> Float:
    """Real units per integer, for channels that get as large as `size`."""
    return np.maximum(size, SMALLEST) / LIMIT


def dyadic(factor: Float) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Positive factors as multiplier·2^-shift, multiplier below 2^16."""
    _, exponent = np.frexp(factor)
    shift = np.clip(15 - exponent, 1, MAX_SHIFT)
    multiplier = np.clip(np.rint(np.ldexp(factor, shift)), 0, MAX_MULTIPLIER - 1)
    return multiplier.astype(np.int32), shift.astype(np.uint8)


def _same(module: nn.Conv2d | nn.ConvTranspose2d) -> Float:
    """Rows (O, window, window, C) of a convolution of stride 1."""
    weight = module.weight.detach().double().cpu().numpy()
    return weight.transpose(0, 2, 3, 1)


def _doubled(module: nn.ConvTranspose2d) -> Float:
    """Rows (4·O, 3, 3, C), for four output positions of each input position, of a transposed convolution of stride 2.

    Also those (O, 3, 3, C) of one of stride 1. Output 2j + a gets input j + d through tap a + padding - 2d.
    """
    weight = module.weight.detach().double().cpu().numpy().transpose(1, 2, 3, 0)
    if module.stride[0] == 1:
        return weight[:, ::-1, ::-1]
    outputs, taps, _, inputs = weight.shape
    rows = np.zeros((2, 2, outputs, 3, 3, inputs))
    padding = int(module.padding[0])
    for a, d in np.ndindex(2, 3):
        for b, e in np.ndindex(2, 3):
            row, column = a + padding - 2 * (d - 1), b + padding - 2 * (e - 1)
            if 0 <= row < taps and 0 <= column < taps:
                rows[a, b, :, d, e] = weight[:, row, column]
    return rows.reshape(4 * outputs, 3, 3, inputs)
