"""Networks for coefficients that begin with what one for pixels has learned.

Stages are copied. The stem of full-grid, which has no counterpart, is fitted by least squares to what the first stage
of the other network gives on sample pictures:

    coefficients ─ the directions that tell most of it linearly ─ ReLU ─ least squares ─> stage 2

Half of the first layer has each direction twice, up and down, which together keep what is linear. The other half has
random mixtures of them, whose ReLUs tell what is not: with as many directions alone, a third more error is left.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812, torch's own name for it
from torch import Tensor, nn

from codectk.errors import InputError, OptionsError
from codectk_dct_backbones.budget import Budget
from codectk_dct_backbones.networks.classifier import Classifier
from codectk_dct_backbones.networks.folding import ToPixels
from codectk_dct_backbones.networks.full_grid import FullGrid
from codectk_dct_backbones.networks.inputs import as_coefficients, select
from codectk_dct_backbones.networks.resnet import BasicBlock, ResNet, Stage
from codectk_dct_backbones.pipeline import Coefficients
from codectk_dct_backbones.ranges import RangeMode

RIDGE = 1e-2
"""Of the mean square of what is regressed on."""


def start_from_rgb(
    classifier: Classifier,
    rgb: Classifier,
    samples: Sequence[Coefficients] = (),
    range_mode: RangeMode = "studio",
    normalise: Callable[[Coefficients], Any] = lambda coefficients: coefficients,
) -> float | None:
    """Copy what a classifier of pixels has learned, and fit the stem of full-grid to it.

    Args:
        classifier: reads coefficients; it is changed. The head is copied if it has as many classes.
        rgb: reads pixels; of the same backbone and widths.
        samples: for full-grid, some batches of all 64 coefficients, not normalised; a hundred pictures are enough.
        range_mode: theirs.
        normalise: makes of them what the classifier is fed with.

    Returns:
        Of full-grid: the mean square error of what stage 2 gets, over that of the best constant. None of others.

    Raises:
        OptionsError: the networks have other widths or layers.
        InputError: there are no samples for a stem that needs them.
    """
    inner = cast(nn.Module, classifier.backbone.backbone)
    known, wanted = rgb.backbone.state_dict(), inner.state_dict()
    for name, value in wanted.items():
        if name not in known or known[name].shape != value.shape:
            raise OptionsError(
                f"The network of pixels has no {name} {list(value.shape)}.",
                "Start from one of the same backbone and channel scale; luma-fusion-pruned has widths of its own.",
            )
    inner.load_state_dict({name: known[name] for name in wanted})
    if classifier.head.weight.shape == rgb.head.weight.shape:
        classifier.head.load_state_dict(rgb.head.state_dict())
    if not isinstance(classifier.backbone, FullGrid):
        return None
    if not samples:
        raise InputError("The stem of full-grid is fitted to sample pictures, but there are none.", "Give a batch.")
    modes = classifier.training, rgb.training
    classifier.eval()
    rgb.eval()
    try:
        with torch.no_grad():
            return _Fit(classifier.backbone, cast(ResNet, rgb.backbone), samples, range_mode, normalise).run()
    finally:
        classifier.train(modes[0])
        rgb.train(modes[1])


class _Fit:
    """One fit of a stem."""

    def __init__(
        self,
        stem: FullGrid,
        rgb: ResNet,
        samples: Sequence[Coefficients],
        range_mode: RangeMode,
        normalise: Callable[[Coefficients], Any],
    ) -> None:
        device = next(stem.parameters()).device
        self.stem = stem
        to_pixels = ToPixels(Budget(), range_mode).to(device)
        self.inputs: list[Coefficients] = []
        self.targets: list[Tensor] = []
        for sample in samples:
            raw = as_coefficients(sample, device)
            self.inputs.append(select(as_coefficients(normalise(raw), device), stem.budget))
            self.targets.append(F.pixel_unshuffle(_after_stage_1(rgb, to_pixels(raw)), 2))

    def run(self) -> float:
        """Fit the first layer, then the second; returns what is left of the variance."""
        if self.stem.luma is not None:
            self._luma(self.stem.luma)
        if self.stem.chroma is not None:
            self._chroma(self.stem.chroma)
        self._settle()
        return self._join()

    def _luma(self, layer: nn.Sequential) -> None:
        sums = _Sums()
        for x, target in zip(self.inputs, self.targets, strict=True):
            sums.add(F.unfold(x.y, 3, padding=1).transpose(1, 2).flatten(0, 1), _rows(target))
        weight = cast(Tensor, layer[0].weight)
        _set(weight, sums.directions(len(weight) // 2))

    def _chroma(self, layer: nn.Sequential) -> None:
        weight = cast(Tensor, layer[0].weight)
        for quarter in range(4):
            sums = _Sums()
            for x, target in zip(self.inputs, self.targets, strict=True):
                row, column = divmod(quarter, 2)
                sums.add(_rows(torch.cat(x[1:], 1)), _rows(target[:, :, row::2, column::2]))
            part = weight[quarter::4]
            _set(part, sums.directions(len(part) // 2))

    def _settle(self) -> None:
        """Measure means and variances of the first layer's outputs."""
        norms = [cast(nn.BatchNorm2d, layer[1]) for layer in (self.stem.luma, self.stem.chroma) if layer is not None]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        for x in self.inputs:
            self.stem.hidden(x)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()

    def _join(self) -> float:
        sums = _Sums()
        for x, target in zip(self.inputs, self.targets, strict=True):
            sums.add(_rows(self.stem.hidden(x)), _rows(target))
        weight = sums.solve()
        cast(Tensor, self.stem.join[0].weight).copy_(weight.T[:, :, None, None])
        norm = cast(nn.BatchNorm2d, self.stem.join[1])
        deviation = (weight * (sums.xx @ weight)).sum(0).clamp(min=0) / sums.count
        norm.running_mean.copy_(sums.x_mean @ weight)  # type: ignore[union-attr]
        norm.running_var.copy_(deviation)  # type: ignore[union-attr]
        norm.weight.copy_((deviation + norm.eps).sqrt())
        norm.bias.copy_(sums.t_mean)
        left, whole = 0.0, 0.0
        for x, target in zip(self.inputs, self.targets, strict=True):
            left += float((_rows(self.stem.join(self.stem.hidden(x))) - _rows(target)).square().sum())
            whole += float((_rows(target) - sums.t_mean).square().sum())
        return left / whole


class _Sums:
    """Sums of products, in float64, of what is regressed on, x `[N, p]`, and of targets, t `[N, m]`."""

    def __init__(self) -> None:
        self.count = 0
        self._x = self._t = self._xx = self._xt = torch.zeros((), dtype=torch.float64)

    def add(self, x: Tensor, t: Tensor) -> None:
        """More of both."""
        x, t = x.double(), t.double()
        self.count += len(x)
        self._x, self._t = self._x.to(x.device) + x.sum(0), self._t.to(x.device) + t.sum(0)
        self._xx, self._xt = self._xx.to(x.device) + x.T @ x, self._xt.to(x.device) + x.T @ t

    @property
    def x_mean(self) -> Tensor:
        """`[p]`."""
        return self._x / self.count

    @property
    def t_mean(self) -> Tensor:
        """`[m]`."""
        return self._t / self.count

    @property
    def xx(self) -> Tensor:
        """`[p, p]`, about the means."""
        return self._xx - self.count * torch.outer(self.x_mean, self.x_mean)

    def solve(self) -> Tensor:
        """The weights `[p, m]` whose sum over x is nearest to t, both about their means."""
        xx = self.xx
        ridge = RIDGE * xx.diagonal().mean().clamp(min=1e-12) * torch.eye(len(xx), dtype=xx.dtype, device=xx.device)
        xt = self._xt - self.count * torch.outer(self.x_mean, self.t_mean)
        weights: Tensor = torch.linalg.solve(xx + ridge, xt)
        return weights

    def directions(self, most: int) -> Tensor:
        """The sums over x that tell most of t: reduced-rank regression.

        Returns:
            `[k, p]`, best first; k at most `most` and no more than there are. The standard deviation of each is that of
            what it tells of t.
        """
        weights = self.solve()
        values, vectors = torch.linalg.eigh(weights.T @ self.xx @ weights / self.count)
        kept = min(most, int((values > 1e-9 * values[-1]).sum()))
        directions: Tensor = (weights @ vectors.flip(1)[:, :kept]).T
        return directions


def _rows(x: Tensor) -> Tensor:
    """`[B, c, h, w]` → `[B h w, c]`."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _set(weight: Tensor, directions: Tensor) -> None:
    """Rows of a kernel: a quarter of directions, a quarter of their opposites, then random mixtures of all."""
    pairs = min(len(directions), len(weight) // 4)
    mixtures = torch.randn(len(weight) - 2 * pairs, len(directions)).to(directions) @ directions
    rows = torch.cat((directions[:pairs], -directions[:pairs], mixtures))
    weight.copy_(rows.reshape(weight.shape))


def _after_stage_1(rgb: ResNet, pixels: Tensor) -> Tensor:
    """What the last ReLU of the first stage gets, `[B, t, H / 4, W / 4]`."""
    x = rgb.stem(pixels)
    *before, last = cast(Stage, rgb.res_layers[0]).blocks
    for block in before:
        x = block(x)
    return cast(BasicBlock, last).before_activation(x)
