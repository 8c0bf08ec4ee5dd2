"""The compression model: transforms, hyperprior, context and probability models together.

    x ─ g_a(q) ─ y ─┬─ h_a ─ z ─ round ─ z_hat ─ h_s ─ hyper ─┐
                    └─────────────── round(y - μ) ─── context ─┴─ y_hat ─ g_s(q, β) ─ x_hat

Training mixes two stand-ins for rounding: rates come from uniform noise, values from rounding with a straight-through
gradient (Minnen and Singh, ICIP 2020, section 3.3).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codectk_crdr.context import Part, make_context
from codectk_crdr.entropy import FactorizedPrior, gaussian_bits, straight_through, uniform_noise
from codectk_crdr.hyperprior import HyperDecoder, HyperEncoder, PlainHyperDecoder, PlainHyperEncoder
from codectk_crdr.options import ModelOptions
from codectk_crdr.transforms import Decoder, Encoder


@dataclass(frozen=True)
class Output:
    """What a forward pass gives.

    Attributes:
        x_hat: (B, 3, H, W), not clamped.
        y, y_hat, z_hat: latents; y_hat is what g_s gets.
        bits: (B,) information with noise for rounding, with gradient; outside training that of the rounded values.
        rounded_bits: (B,) information of the rounded values, without gradient.
    """

    x_hat: Tensor
    y: Tensor
    y_hat: Tensor
    z_hat: Tensor
    bits: Tensor
    rounded_bits: Tensor


class CompressionModel(nn.Module):
    """All networks of one codec; names of parameters are those of the published weights."""

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        self.options = options
        plain = options.context == "none"
        self.encoder, self.decoder = Encoder(options), Decoder(options)
        self.hyperencoder = PlainHyperEncoder(options) if plain else HyperEncoder(options)
        self.hyperdecoder = PlainHyperDecoder(options) if plain else HyperDecoder(options)
        self.entropy_model_z = FactorizedPrior(options.hyper_channels)
        self.context_model = make_context(options)
        if options.realism:
            _small_normal(self.decoder)

    def forward(self, x: Tensor, q: Tensor | None = None, beta: Tensor | None = None) -> Output:
        """Encode and decode.

        Args:
            x: (B, 3, H, W) in [-1, 1], H and W multiples of 64.
            q: (1,) or (B,) qualities in [0, levels - 1], for models with several rates.
            beta: (1,) or (B,) realisms in [0, 5.12], for models with a realism.
        """
        y = self.encoder(x, q)
        z = self.hyperencoder(y).float()
        z_hat = straight_through(z, self.entropy_model_z.medians)
        hyper = self.hyperdecoder(z_hat)
        parts: list[tuple[Part, Tensor, Tensor]] = []

        def quantise(part: Part, means: Tensor, scales: Tensor) -> Tensor:
            parts.append((part, means.float(), scales.float()))
            return straight_through(part.take(y), means.float())

        y_hat = self.context_model(hyper, quantise)
        with torch.autocast(x.device.type, enabled=False):  # probabilities need full precision
            with torch.no_grad():
                rounded = self._bits(y, z_hat, parts, noisy=False)
            bits = self._bits(y, z, parts, noisy=True) if self.training else rounded
        return Output(self.decoder(y_hat, q, beta).float(), y, y_hat, z_hat, bits, rounded)

    def aux_loss(self) -> Tensor:
        """Loss of the quantiles, from which the tables of z are made."""
        return self.entropy_model_z.aux_loss()

    def _bits(self, y: Tensor, z: Tensor, parts: list[tuple[Part, Tensor, Tensor]], noisy: bool) -> Tensor:
        total = self.entropy_model_z.bits(uniform_noise(z) if noisy else z).sum((1, 2, 3))
        for part, means, scales in parts:
            v = part.take(y)
            v = uniform_noise(v) if noisy else (v - means).round() + means
            total = total + gaussian_bits(v, means, scales).sum((1, 2, 3))
        return total


def _small_normal(decoder: nn.Module) -> None:
    """Start values of decoders with a realism: N(0, 0.02²), biases 0 (gains keep theirs)."""
    for module in decoder.modules():
        # On the meta device there is nothing to draw, and asking for it imports torch's compiler: more than a second.
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and not module.weight.is_meta:
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
