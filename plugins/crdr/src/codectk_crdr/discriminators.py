"""Discriminators: maps of logits, positive where a patch looks like part of a photograph.

    picture (B, 3, H, W), y_hat (B, M, H/16, W/16), q (1,) or (B,) → logits (B, 1, h, w)

Most are stacks of stages of two 3×3 convolutions, the second of which halves the resolution; they differ in what they
see of the quality, and in what the qualities share. A quality between two levels is scored by both, weighted.

Sources: Iwai et al., "Controlling Rate, Distortion, and Realism", WACV 2024; Mentzer et al., "High-Fidelity Generative
Image Compression", NeurIPS 2020 (`hific`, channel norm).
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from codectk_crdr.train_options import DiscriminatorOptions

SLOPE = 0.2
"""Of LeakyReLU."""

LATENT_CHANNELS = 12
"""To which y_hat is reduced before it joins the picture."""

Norm = Literal["none", "BN", "IN", "CN"]


class ChannelNorm(nn.Module):
    """Mean 0 and variance 1 over the channels of each position, then a learned scale and shift."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) of the same shape."""
        mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True)
        return self.gamma * (x - mean) * torch.rsqrt(variance + 1e-3) + self.beta


_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "BN": nn.BatchNorm2d,
    "IN": nn.InstanceNorm2d,
    "CN": ChannelNorm,
}


def stage(inputs: int, outputs: int, norm: Norm, first: bool = False) -> nn.Sequential:
    """Two convolutions with LeakyReLU, the second of stride 2; the very first has no norm."""

    def layers(count: int, stride: int, bare: bool) -> list[nn.Module]:
        normed = [] if bare or norm == "none" else [_NORMS[norm](outputs)]
        return [nn.Conv2d(count, outputs, 3, stride, 1), *normed, nn.LeakyReLU(SLOPE)]

    return nn.Sequential(*layers(inputs, 1, first), *layers(outputs, 2, False))


def stages(inputs: int, width: int, depth: int, norm: Norm) -> list[nn.Module]:
    """`depth` stages, whose widths double from `width` up to eight times that."""
    widths = [width * min(8, 2**i) for i in range(depth)]
    return [
        stage(before, after, norm, first=i == 0)
        for i, (before, after) in enumerate(zip([inputs, *widths], widths, strict=False))
    ]


class Logits(nn.Conv2d):
    """The last convolution, in full precision: losses look at small differences of logits that may be large."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, h, w)."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def head(width: int, depth: int) -> Logits:
    """The last convolution after so many stages."""
    return Logits(width * min(8, 2 ** (depth - 1)), 1, 3, padding=1)


def stack(inputs: int, width: int, depth: int, norm: Norm) -> nn.Sequential:
    """GVAE(width): all stages and the last convolution; 16×16 logits of 256×256 pixels at depth 4."""
    return nn.Sequential(*stages(inputs, width, depth, norm), head(width, depth))


def planes(q: Tensor, levels: int, like: Tensor) -> Tensor:
    """One-hot planes (B, levels, H, W) of a quality; between two levels both have their share."""
    places = torch.arange(levels, device=like.device)
    shares = (1 - (q.to(like.device)[:, None] - places).abs()).clamp(min=0).to(like.dtype)
    return shares[:, :, None, None].expand(len(like), levels, *like.shape[2:])


class Discriminator(nn.Module):
    """Base: one stack that sees the picture alone.

    Args:
        options: kind and widths.
        levels: quality levels of the model.
        latent: channels of y_hat.
    """

    def __init__(self, options: DiscriminatorOptions, levels: int, latent: int) -> None:
        super().__init__()
        self.options, self.levels = options, levels
        self.build(options, levels, latent)

    def build(self, options: DiscriminatorOptions, levels: int, latent: int) -> None:
        """Make the layers."""
        self.main = stack(3, options.main_ch[0], options.num_downscale[0], options.norm_type)

    def forward(self, x: Tensor, y_hat: Tensor, q: Tensor | None) -> Tensor:
        """Logits; see the module's sketch. No gradient goes into `y_hat`."""
        return self.main(x)  # type: ignore[no-any-return]


class LatentConditional(Discriminator):
    """One stack that sees y_hat beside the picture, reduced to 12 channels and enlarged 16 times."""

    def build(self, options: DiscriminatorOptions, levels: int, latent: int) -> None:
        """Make the layers."""
        self.latent = nn.Sequential(nn.Conv2d(latent, LATENT_CHANNELS, 1), nn.LeakyReLU(SLOPE))
        self.main = self.layers(3 + LATENT_CHANNELS, options)

    def layers(self, inputs: int, options: DiscriminatorOptions) -> nn.Sequential:
        """The stack."""
        return stack(inputs, options.main_ch[0], options.num_downscale[0], options.norm_type)

    def forward(self, x: Tensor, y_hat: Tensor, q: Tensor | None) -> Tensor:
        """Logits."""
        mode = self.options.upsample
        smooth = None if mode == "nearest" else False
        seen = F.interpolate(self.latent(y_hat.detach()), size=x.shape[2:], mode=mode, align_corners=smooth)
        return self.main(torch.cat([x, seen.to(x.dtype)], dim=1))  # type: ignore[no-any-return]


class RateConditional(Discriminator):
    """One stack that sees the quality as one-hot planes beside the picture."""

    def build(self, options: DiscriminatorOptions, levels: int, latent: int) -> None:
        """Make the layers."""
        self.main = stack(3 + levels, options.main_ch[0], options.num_downscale[0], options.norm_type)

    def forward(self, x: Tensor, y_hat: Tensor, q: Tensor | None) -> Tensor:
        """Logits."""
        return self.main(torch.cat([x, planes(_quality(q), self.levels, x)], dim=1))  # type: ignore[no-any-return]


class PerLevel(Discriminator):
    """What has a part of its own for each level."""

    def forward(self, x: Tensor, y_hat: Tensor, q: Tensor | None) -> Tensor:
        """Logits."""
        quality = _quality(q).to(x.device)
        if len(quality) == 1 and quality == quality.floor():
            return self.score(x, quality, int(quality))
        quality = quality.expand(len(x))
        left, share = quality.floor().long(), quality - quality.floor()
        scores: Tensor | None = None
        for level in range(self.levels):
            weight = torch.where(left == level, 1 - share, torch.where(left + 1 == level, share, 0))
            chosen = (weight > 0).nonzero().flatten()
            if len(chosen):
                part = self.score(x[chosen], quality[chosen], level) * weight[chosen, None, None, None]
                scores = part.new_zeros(len(x), *part.shape[1:]) if scores is None else scores
                scores = scores.index_add(0, chosen, part.to(scores.dtype))
        assert scores is not None
        return scores

    def score(self, x: Tensor, q: Tensor, level: int) -> Tensor:
        """Logits of the part of one level."""
        raise NotImplementedError


class ModuleList(PerLevel):
    """A stack for each level, which may differ in width and depth."""

    def build(self, options: DiscriminatorOptions, levels: int, latent: int) -> None:
        """Make the layers."""
        widths, depths = _each(options.main_ch, levels), _each(options.num_downscale, levels)
        sizes = zip(widths, depths, strict=True)
        self.parts = nn.ModuleList(stack(3, width, depth, options.norm_type) for width, depth in sizes)

    def score(self, x: Tensor, q: Tensor, level: int) -> Tensor:
        """Logits of one stack."""
        return self.parts[level](x)  # type: ignore[no-any-return]


class SharedBackbone(PerLevel):
    """The first half of the stages is one for all levels, the rest one for each."""

    def build(self, options: DiscriminatorOptions, levels: int, latent: int) -> None:
        """Make the layers."""
        width, depth = options.main_ch[0], options.num_downscale[0]
        inputs = 3 + (levels if options.one_hot else 0)

        def whole() -> list[nn.Module]:
            return stages(inputs, width, depth, options.norm_type)

        self.shared = nn.Sequential(*whole()[: depth // 2])
        self.parts = nn.ModuleList(nn.Sequential(*whole()[depth // 2 :], head(width, depth)) for _ in range(levels))

    def score(self, x: Tensor, q: Tensor, level: int) -> Tensor:
        """Logits of one head."""
        seen = torch.cat([x, planes(q, self.levels, x)], dim=1) if self.options.one_hot else x
        return self.parts[level](self.shared(seen))  # type: ignore[no-any-return]


class SharedHead(PerLevel):
    """The first half of the stages is one for each level, the rest one for all."""

    def build(self, options: DiscriminatorOptions, levels: int, latent: int) -> None:
        """Make the layers."""
        width, depth = options.main_ch[0], options.num_downscale[0]

        def whole() -> list[nn.Module]:
            return stages(3, width, depth, options.norm_type)

        extra = levels if options.one_hot else 0
        self.parts = nn.ModuleList(nn.Sequential(*whole()[: depth // 2]) for _ in range(levels))
        self.shared = nn.Sequential(*whole()[depth // 2 :])
        self.last = Logits(head(width, depth).in_channels + extra, 1, 3, padding=1)

    def score(self, x: Tensor, q: Tensor, level: int) -> Tensor:
        """Logits through one level's first stages."""
        h = self.shared(self.parts[level](x))
        return self.last(torch.cat([h, planes(q, self.levels, h)], dim=1) if self.options.one_hot else h)  # type: ignore[no-any-return]


class Hific(Discriminator):
    """Four 4×4 convolutions, three of which halve the resolution, with spectral norm; ignores q and y_hat."""

    def build(self, options: DiscriminatorOptions, levels: int, latent: int) -> None:
        """Make the layers."""
        self.main = _hific(3, options.main_ch[0])


class HificConditional(LatentConditional):
    """The same, seeing y_hat beside the picture."""

    def layers(self, inputs: int, options: DiscriminatorOptions) -> nn.Sequential:
        """The stack."""
        return _hific(inputs, options.main_ch[0])


def _hific(inputs: int, width: int) -> nn.Sequential:
    widths = [inputs, width, 2 * width, 4 * width, 8 * width]
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(widths)):
        layers += [spectral_norm(nn.Conv2d(before, after, 4, 2 if i < 3 else 1, 2)), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, spectral_norm(Logits(widths[-1], 1, 1)))


def _quality(q: Tensor | None) -> Tensor:
    """Models of one rate have level 0 alone."""
    return torch.zeros(1) if q is None else q


def _each(values: tuple[int, ...], levels: int) -> tuple[int, ...]:
    """One value for each level."""
    return values * levels if len(values) == 1 else values


KINDS: dict[str, type[Discriminator]] = {
    "gvae": Discriminator,
    "gvae_latent": LatentConditional,
    "gvae_rate": RateConditional,
    "module_list": ModuleList,
    "shared_backbone": SharedBackbone,
    "shared_head": SharedHead,
    "hific": Hific,
    "hific_latent": HificConditional,
}


def make_discriminator(options: DiscriminatorOptions, levels: int, latent: int) -> Discriminator:
    """The discriminator that the options name; see `Discriminator` for the arguments."""
    return KINDS[options.type](options, levels, latent)
