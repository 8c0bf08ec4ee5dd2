"""The networks: sizes of all published variants, knobs, and the probability models of training."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from torch import Tensor

from codectk_crdr.entropy import FactorizedPrior, gaussian_bits, lower_bound, straight_through, uniform_noise
from codectk_crdr.export import as_tensor
from codectk_crdr.model import CompressionModel
from codectk_crdr.options import MAX_BETA, ModelOptions
from codectk_crdr.transforms import Attention, Bottleneck, InterpolatedGain, fourier

from .tiny import CONTEXTS, photo, tiny_model, tiny_options

PARTS = {
    "elic_charm": (7_337_792, 10_716_483, 4_199_168, 5_776_896, 11_712, 96_989_440, 125_031_491),
    "interp_ca_elic_charm": (7_357_632, 10_740_803, 4_199_168, 5_776_896, 11_712, 96_989_440, 125_075_651),
    "beta_cond_interp_ca_elic_charm": (7_357_632, 13_378_115, 4_199_168, 5_776_896, 11_712, 96_989_440, 127_712_963),
    "elic_hyperprior": (7_337_792, 10_716_483, 1_881_024, 2_950_528, 11_712, 0, 22_897_539),
    "interp_ca_elic_hyperprior": (7_357_632, 10_740_803, 1_881_024, 2_950_528, 11_712, 0, 22_941_699),
    "beta_cond_interp_ca_elic_hyperprior": (7_357_632, 13_378_115, 1_881_024, 2_950_528, 11_712, 0, 25_579_011),
}
"""Published variants: parameters of g_a, g_s, h_a, h_s, the model of z, the context, and all."""


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("variant", PARTS)
def test_every_variant_has_the_published_number_of_parameters_in_every_part(variant: str) -> None:
    options = ModelOptions(
        context="channel" if variant.endswith("charm") else "none",
        levels=5 if "interp" in variant else 1,
        realism="beta" in variant,
    )
    with torch.device("meta"):
        model = CompressionModel(options)
    parts = (model.encoder, model.decoder, model.hyperencoder, model.hyperdecoder)
    parts += (model.entropy_model_z, model.context_model)
    assert (*map(count, parts), count(model)) == PARTS[variant]


def test_a_new_gain_changes_nothing() -> None:
    x, gain = torch.randn(2, 6, 3, 4), InterpolatedGain(5, 6)
    for q in (0.0, 1.3, 4.0):
        assert torch.allclose(gain(x, torch.tensor([q])), x, atol=1e-6)


def test_between_levels_gains_are_interpolated_before_the_softplus() -> None:
    x, gain = torch.randn(5, 6, 3, 4), InterpolatedGain(5, 6)
    with torch.no_grad():
        gain.weight.copy_(torch.arange(5.0).view(5, 1, 1, 1, 1).expand_as(gain.weight))
        gain.bias.copy_(10 * torch.arange(5.0).view(5, 1, 1, 1, 1).expand_as(gain.bias))
    q = torch.tensor([0.0, 0.25, 1.0, 2.875, 4.0])
    wanted = torch.log1p(q.exp()).view(5, 1, 1, 1) * x + 10 * q.view(5, 1, 1, 1)
    assert torch.allclose(gain(x, q), wanted, rtol=1e-5)
    for i in range(5):
        assert torch.allclose(gain(x[i : i + 1], q[i : i + 1]), wanted[i : i + 1], rtol=1e-5)


@pytest.mark.parametrize("attention", [False, True])
def test_weights_of_one_rate_give_the_same_in_a_model_of_many_at_every_quality(attention: bool) -> None:
    one = tiny_model(levels=1, realism=False, attention=attention)
    many = tiny_model(levels=5, realism=False, attention=attention)
    left = many.load_state_dict(one.state_dict(), strict=False)
    assert not left.unexpected_keys
    assert left.missing_keys
    assert all("interp_ca_list" in name for name in left.missing_keys)
    x = as_tensor(photo(64, 64))
    wanted = one(x)
    for q in (0.0, 1.7, 4.0):
        found = many(x, torch.tensor([q]))
        assert torch.allclose(found.x_hat, wanted.x_hat, atol=1e-4)
        assert torch.allclose(found.bits, wanted.bits, rtol=1e-4)


def test_features_of_a_realism_are_the_stated_ones() -> None:
    middle, zero = fourier(torch.tensor([2.56, 0.0]))
    assert torch.allclose(middle, torch.tensor([0.0] * 10 + [1.0] * 10), atol=1e-4)
    assert torch.allclose(zero[:4], torch.tensor([-0.8415, -0.9093, 0.7568, -0.9894]), atol=1e-4)
    assert torch.allclose(fourier(torch.tensor([MAX_BETA]))[0, 10:12], torch.tensor([1.0, 2.0]).cos())


@torch.no_grad()
def test_realism_changes_the_synthesis_alone() -> None:
    model = tiny_model()
    for module in model.decoder.modules():
        if isinstance(module, Bottleneck):
            module.proj_3.weight.normal_()
    x, q = as_tensor(photo(64, 64)), torch.tensor([1.0])
    zero, high = (model(x, q, torch.tensor([beta])) for beta in (0.0, 4.0))
    assert not torch.allclose(zero.x_hat, high.x_hat, atol=1e-4)
    for name in ("y", "z_hat", "y_hat", "bits"):
        assert torch.equal(getattr(zero, name), getattr(high, name))
    names = {name.split(".")[0] for name, _ in model.named_parameters() if "proj_" in name or "mlp" in name}
    assert names == {"decoder"}
    assert torch.equal(model(x, q).x_hat, zero.x_hat), "without a realism it is 0"


@pytest.mark.parametrize("context", CONTEXTS)
def test_quality_changes_the_transforms_alone(context: str) -> None:
    """What selects probabilities does not see q."""
    model = tiny_model(context=context)
    x = as_tensor(photo(64, 64))
    with torch.no_grad():
        for gain in model.encoder.interp_ca_list:
            gain.weight += torch.linspace(-1, 1, 3).view(3, 1, 1, 1, 1)
    y = [model.encoder(x, torch.tensor([q])) for q in (0.0, 2.0)]
    assert not torch.allclose(*y, atol=0.1)
    names = {name.split(".")[0] for name, _ in model.named_parameters() if "interp_ca" in name}
    assert names == {"encoder", "decoder"}


def test_a_condition_enters_after_the_activations() -> None:
    """With nothing but the first projection, its value comes through all that follows it, negative as it may be."""
    block = Bottleneck(2, 2, 1)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        block.proj_1.bias.fill_(-3)
        for i in range(2):
            block.conv[2].weight[i, i, 1, 1] = -1
            block.conv[4].weight[i, i] = 1
    x = torch.randn(1, 2, 3, 3)
    assert torch.allclose(block(x, torch.zeros(1, 1, 1, 1)), x + 3)
    assert torch.allclose(block(x), x)


def test_attention_is_the_trunk_times_the_mask() -> None:
    module = Attention(2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.conv.bias.fill_(math.log(3))  # sigmoid 0.75; units of zero weights change nothing
    x = torch.randn(1, 2, 3, 3)
    assert torch.allclose(module(x), 1.75 * x)


def test_new_decoders_with_realism_start_small() -> None:
    decoder = CompressionModel(tiny_options(decoder_width="64", decoder_middle="32")).decoder
    weights = {name: p for name, p in decoder.named_parameters() if "interp" not in name}
    spread = torch.cat([p.flatten() for name, p in weights.items() if name.endswith("weight")]).std()
    assert math.isclose(spread.item(), 0.02, rel_tol=0.02)
    assert not any(bool(p.any()) for name, p in weights.items() if name.endswith("bias"))


def test_the_first_auxiliary_loss_is_the_stated_one() -> None:
    """7919, give or take 4 with the random start values of the biases."""
    losses = []
    for seed in range(16):
        torch.manual_seed(seed)
        losses.append(FactorizedPrior(192).aux_loss().item())
    assert math.isclose(np.mean(losses), 7919, abs_tol=3)


def test_the_auxiliary_loss_moves_the_quantiles_alone_and_the_rate_all_else() -> None:
    prior = FactorizedPrior(3)
    prior.aux_loss().backward()
    assert [name for name, p in prior.named_parameters() if p.grad is not None] == ["quantiles"]
    prior.quantiles.grad = None
    prior.bits(torch.randn(1, 3, 4, 4)).sum().backward()
    assert [name for name, p in prior.named_parameters() if p.grad is None] == ["quantiles"]


def test_probabilities_of_all_values_add_up_to_one() -> None:
    torch.manual_seed(0)
    prior = FactorizedPrior(4)
    for factor in prior.factors:
        torch.nn.init.uniform_(factor, -1, 1)
    values = torch.arange(-400.0, 401).view(1, 1, -1, 1).expand(1, 4, -1, 1) + 0.3
    total = torch.exp2(-prior.bits(values)).sum((0, 2, 3))
    assert torch.allclose(total, torch.ones(4), atol=1e-4)


def test_bits_of_y_are_those_of_a_gaussian_with_bounds() -> None:
    v, means, scales = np.array([0.3, -2.0, 5.0, 90.0]), np.array([0.1, 1.0, 5.2, 0.0]), np.array([0.5, 3.0, -1.0, 1.0])
    sigma = np.maximum(scales, 0.11)
    likelihood = ndtr((v + 0.5 - means) / sigma) - ndtr((v - 0.5 - means) / sigma)
    wanted = -np.log2(np.maximum(likelihood, 1e-9))
    found = gaussian_bits(*(torch.from_numpy(a) for a in (v, means, scales)))
    assert np.allclose(found.numpy(), wanted)


def test_a_bound_lets_gradients_pass_that_lead_back_above_it() -> None:
    x = torch.tensor([0.05, 0.05, 0.5], requires_grad=True)
    (lower_bound(x, 0.11) * torch.tensor([1.0, -1.0, 1.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, -1, 1]


def test_values_are_rounded_from_an_offset_and_gradients_pass() -> None:
    x = torch.tensor([0.2, 1.9, -3.4], requires_grad=True)
    offset = torch.tensor(0.25, requires_grad=True)
    out = straight_through(x, offset)
    assert torch.allclose(out, torch.tensor([0.25, 2.25, -3.75]))
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1, 1]
    assert offset.grad is None or float(offset.grad) == 0


def test_noise_stands_for_rounding_errors() -> None:
    torch.manual_seed(0)
    noise = uniform_noise(torch.full((10_000,), 3.0)) - 3
    assert float(noise.abs().max()) <= 0.5
    assert math.isclose(float(noise.var()), 1 / 12, rel_tol=0.05)


@pytest.mark.parametrize("context", CONTEXTS)
def test_training_has_rates_with_noise_and_gradients_for_every_parameter(context: str) -> None:
    model = tiny_model(context=context).train().requires_grad_(True)
    x = as_tensor(photo(64, 64))
    knobs: list[Any] = [torch.tensor([0.5]), torch.tensor([1.0])]
    out = model(x, *knobs)
    assert not torch.equal(out.bits, out.rounded_bits)
    assert torch.allclose(out.bits, out.rounded_bits, rtol=0.1)
    (out.bits.sum() + out.x_hat.square().sum()).backward()
    still = {name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())}
    assert still == {"entropy_model_z.quantiles"}
    model.eval()
    rounded: Tensor = model(x, *knobs).bits
    assert torch.equal(rounded, model(x, *knobs).rounded_bits)
