"""The integer-exact path from z to y_hat: hyper synthesis and context in the arithmetic of `integer.py`.

    symbols of z ─ + median ─ int8 ─ h_s ─ int8 ─ context ─ (means, scales) ─ code ─ symbols of y ─ y_hat

Means, scales and y_hat are integers in units of 2^-10: encoder and decoder agree on every machine. The encoder's y
itself may be floating point: it is only ever rounded into symbols.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codectk.errors import WeightsError
from codectk_crdr.context import Part
from codectk_crdr.integer import FRACTION, Layer, load_scale, requantise, shuffle
from codectk_crdr.options import ModelOptions

Arrays = Mapping[str, NDArray[Any]]

Code = Callable[[Part, Tensor, Tensor], Tensor]
"""(part, means, scales) → symbols int32, all (n, C), rows being the positions of the part in order."""

TANH_BITS = 6
"""The predicted residual is looked up in units of 2^-6, from -4 to 4."""
TANH_SIZE = 8 << TANH_BITS

UNIT = 1 << FRACTION
MAX_SYMBOL = 1 << 11
"""Symbols of y beyond are clamped: latents stay in fixed point."""


class ExactPath:
    """From symbols of z to y_hat.

    Args:
        arrays: integer arrays, names as `export.py` writes them.
        options: the architecture.
        device: where to compute.

    Attributes:
        unit: what means and scales are integers of.

    Raises:
        WeightsError: they do not fit the architecture, or could compute something that is not exact.
    """

    unit = 1 / UNIT

    def __init__(self, arrays: Arrays, options: ModelOptions, device: torch.device) -> None:
        self.device = device
        channels = options.hyper_channels
        median = arrays.get("z.median")
        if median is None or median.dtype != np.int32 or median.shape != (channels,):
            raise WeightsError("The weights lack the medians of z.", "Export them again.")
        self.medians = torch.from_numpy(median).to(device)
        self.z_scale = load_scale(arrays, "z", channels, device)
        self.hyper = _hyper(arrays, options, device)
        kinds: dict[str, type[NoContext | ChannelContext | SpaceChannelContext]] = {
            "none": NoContext,
            "channel": ChannelContext,
            "space_channel": SpaceChannelContext,
        }
        self.context = kinds[options.context](arrays, options, device)

    def run(self, z: Tensor, code: Code) -> Tensor:
        """y_hat float32 (1, M, h, w).

        Args:
            z: symbols int32 (h/4, w/4, Z).
            code: called for each part; see `Code`.
        """
        fixed = (z.to(self.device).clamp(-MAX_SYMBOL, MAX_SYMBOL) << FRACTION) + self.medians
        v = requantise(fixed, self.z_scale)
        y_hat = self.context((self.hyper[0](v), self.hyper[1](v)), code)
        return (y_hat.to(torch.float32) / UNIT).permute(2, 0, 1)[None]


def rows(part: Part, x: Tensor) -> Tensor:
    """Elements of a part of (h, w, M), as (n, C)."""
    return positions(part, x[:, :, part.start : part.stop])


def positions(part: Part, x: Tensor) -> Tensor:
    """Positions of a part of (h, w, C), as (n, C)."""
    if part.parity is not None:
        pair = [x[0::2, part.parity :: 2], x[1::2, 1 - part.parity :: 2]]
        x = torch.stack(pair, dim=1)
    return x.flatten(0, -2)


def _values(symbols: Tensor, means: Tensor) -> Tensor:
    """Fixed-point values of symbols that come from a file, and so may be anything."""
    return (symbols.clamp(-MAX_SYMBOL, MAX_SYMBOL) << FRACTION) + means


class _Sequence:
    """Layers one after the other, each shuffled to twice the resolution where it makes four positions of one."""

    def __init__(self, layers: list[tuple[Layer, bool]]) -> None:
        self.layers = layers

    def __call__(self, x: Tensor) -> Tensor:
        for layer, doubles in self.layers:
            x = shuffle(layer(x)) if doubles else layer(x)
        return x


def _hyper(arrays: Arrays, options: ModelOptions, device: torch.device) -> tuple[_Sequence, _Sequence]:
    """Networks for the hyperprior's means and scales."""
    z, latent, width = options.hyper_channels, options.latent_channels, options.hyper_width
    if options.context == "none":
        plan = [(z, z, False), (z, z, True), (z, z, False), (z, z, True)]
        shared = _sequence(arrays, "hyper", 1, plan, device)
        heads = [Layer.load(arrays, f"hyper.{name}", 3, z, latent, device) for name in ("means", "scales")]
        first, second = (_Sequence([*shared, (head, False)]) for head in heads)
        return first, second
    plan = [(z, z, True), (z, width, True), (width, latent, False)]
    first, second = (_Sequence(_sequence(arrays, f"hyper.{name}", 1, plan, device)) for name in ("means", "scales"))
    return first, second


def _sequence(
    arrays: Arrays, name: str, first: int, plan: list[tuple[int, int, bool]], device: torch.device
) -> list[tuple[Layer, bool]]:
    return [
        (Layer.load(arrays, f"{name}.{i}", 3, inputs, outputs * (4 if doubles else 1), device), doubles)
        for i, (inputs, outputs, doubles) in enumerate(plan, start=first)
    ]


class NoContext:
    """Means and scales straight from the hyperprior, in fixed point."""

    def __init__(self, arrays: Arrays, options: ModelOptions, device: torch.device) -> None:
        self.latent = options.latent_channels

    def __call__(self, hyper: tuple[Tensor, Tensor], code: Code) -> Tensor:
        """y_hat int32 (h, w, M) in units of 2^-10, from means and scales of the hyperprior, (h, w, M) each."""
        means, scales = (x.flatten(0, 1) for x in hyper)
        symbols = code(Part(0, self.latent), means, scales)
        return _values(symbols, means).view(hyper[0].shape)


class ChannelContext:
    """Slices of channels; those that see the same others are worked out in one step."""

    def __init__(self, arrays: Arrays, options: ModelOptions, device: torch.device) -> None:
        self.latent, self.width = options.latent_channels, options.latent_channels // options.slices
        self.y_scale = load_scale(arrays, "y", self.latent, device)
        table = arrays.get("y.tanh")
        if table is None or table.dtype != np.int32 or table.shape != (TANH_SIZE + 1,) or np.abs(table).max() > UNIT:
            raise WeightsError("The weights lack the table of residuals.", "Export them again.")
        self.tanh = torch.from_numpy(table).to(device)
        support = options.support_slices
        self.support = support
        first = min(support, options.slices)
        self.steps = [
            *([i] for i in range(first)),
            *([list(range(first, options.slices))] if first < options.slices else []),
        ]

        def net(kind: str, i: int) -> list[Layer]:
            inputs = self.latent + self.width * (min(i, support) + (kind == "residual"))
            plan = ((5, inputs, 224), (5, 224, 128), (3, 128, self.width))
            return [
                Layer.load(arrays, f"{kind}.{i}.{n}", kernel, c, o, device) for n, (kernel, c, o) in enumerate(plan)
            ]

        self.nets = {kind: [net(kind, i) for i in range(options.slices)] for kind in ("means", "scales", "residual")}

    def __call__(self, hyper: tuple[Tensor, Tensor], code: Code) -> Tensor:
        """y_hat int32 (h, w, M) in units of 2^-10, from means and scales of the hyperprior, (h, w, M) each."""
        height, width, _ = hyper[0].shape
        done: list[Tensor] = []
        seen: list[Tensor] = []
        for step in self.steps:
            means = self._all("means", step, torch.cat([hyper[0], *seen], dim=2))
            scales = self._all("scales", step, torch.cat([hyper[1], *seen], dim=2))
            part = Part(step[0] * self.width, (step[-1] + 1) * self.width)
            symbols = code(part, means.flatten(0, 1), scales.flatten(0, 1))
            values = _values(symbols, means.flatten(0, 1)).view(height, width, -1)
            for n, i in enumerate(step):
                value = values[:, :, n * self.width : (n + 1) * self.width]
                scale = self.y_scale[i * self.width : (i + 1) * self.width]
                inputs = torch.cat([hyper[0], *seen, requantise(value, scale)], dim=2)
                value = value + self._residual(inputs, i)
                done.append(value)
            if len(seen) < self.support:
                seen.append(requantise(done[-1], scale))
        return torch.cat(done, dim=2)

    def _all(self, kind: str, step: list[int], x: Tensor) -> Tensor:
        """First layers of all slices of a step see the same windows."""
        return torch.cat([_chain(self.nets[kind][i], x) for i in step], dim=2)

    def _residual(self, x: Tensor, i: int) -> Tensor:
        v = _chain(self.nets["residual"][i], x)
        index = ((v + (1 << (FRACTION - TANH_BITS - 1))) >> (FRACTION - TANH_BITS)) + TANH_SIZE // 2
        return self.tanh[index.clamp(0, TANH_SIZE).long()]


class SpaceChannelContext:
    """Groups of channels, each in two passes of a checkerboard."""

    def __init__(self, arrays: Arrays, options: ModelOptions, device: torch.device) -> None:
        self.groups, self.device = options.groups, device
        self.y_scale = load_scale(arrays, "y", options.latent_channels, device)
        (wide, narrow), (high, low) = options.context_widths, options.aggregation_widths
        self.channel: list[list[Layer]] = []
        self.spatial: list[Layer] = []
        self.aggregation: list[list[Layer]] = []
        for k, size in enumerate(self.groups):
            start = sum(self.groups[:k])
            plans = {"spatial": [(5, size, 2 * size)]}
            if k:
                plans["channel"] = [(5, start, wide), (5, wide, narrow), (5, narrow, 2 * size)]
            inputs = 2 * options.latent_channels + 2 * size * (2 if k else 1)
            plans["aggregation"] = [(1, inputs, high), (1, high, low), (1, low, size)]
            nets = {
                kind: [
                    Layer.load(arrays, f"{kind}.{k}.{n}", kernel, c, o, device) for n, (kernel, c, o) in enumerate(plan)
                ]
                for kind, plan in plans.items()
            }
            nets["aggregation"].append(Layer.load(arrays, f"aggregation.{k}.3", 1, low, size, device))
            self.channel.append(nets.get("channel", []))
            self.spatial.append(nets["spatial"][0])
            self.aggregation.append(nets["aggregation"])

    def __call__(self, hyper: tuple[Tensor, Tensor], code: Code) -> Tensor:
        """y_hat int32 (h, w, M) in units of 2^-10, from means and scales of the hyperprior, (h, w, M) each."""
        height, width, _ = hyper[0].shape
        both = torch.cat(hyper, dim=2)
        numbers = torch.arange(height * width, device=self.device).view(height, width, 1)
        done = torch.empty(height, width, sum(self.groups), dtype=torch.int32, device=self.device)
        seen = torch.zeros(height, width, sum(self.groups), dtype=torch.int8, device=self.device)
        for k, size in enumerate(self.groups):
            start = sum(self.groups[:k])
            known = both
            if k:
                known = torch.cat([both, _chain(self.channel[k], seen[:, :, :start])], dim=2)
            for parity in (0, 1):
                part = Part(start, start + size, parity)
                where = positions(part, numbers)[:, 0]
                group = seen[:, :, start : start + size]
                if parity:
                    spatial = self.spatial[k](group, where)
                else:
                    spatial = torch.zeros(len(where), 2 * size, dtype=torch.int8, device=self.device)
                inputs = torch.cat([known.flatten(0, 1)[where], spatial], dim=1)
                means, scales = self._aggregate(k, inputs)
                values = _values(code(part, means, scales), means)
                done.view(height * width, -1)[where, start : start + size] = values
                scale = self.y_scale[start : start + size]
                seen.view(height * width, -1)[where, start : start + size] = requantise(values, scale)
        return done

    def _aggregate(self, k: int, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second, means, scales = self.aggregation[k]
        v = second(first(x[None]))
        return means(v)[0], scales(v)[0]


def _chain(layers: list[Layer], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x
