"""Discriminators: published sizes, and what each of them sees."""

import math

import pytest
import torch
from torch import nn

from codectk_crdr.discriminators import ChannelNorm, ModuleList, PerLevel, make_discriminator, planes
from codectk_crdr.train_options import DiscriminatorOptions

LEVELS, LATENT = 5, 320

PUBLISHED = [
    ({"type": "gvae"}, 4_689_985),
    ({"type": "gvae", "norm_type": "BN"}, 4_693_697),
    ({"type": "gvae_latent", "norm_type": "BN"}, 4_704_461),
    ({"type": "module_list"}, 23_449_925),
    ({"type": "module_list", "main_ch": "64x5", "num_downscale": "4x5"}, 23_449_925),
    ({"type": "shared_backbone"}, 22_409_285),
    ({"type": "shared_head"}, 5_730_625),
    ({"type": "gvae_rate"}, 4_692_865),
    ({"type": "hific"}, 2_757_057),
    ({"type": "hific_latent", "upsample": "nearest"}, 2_773_197),
]


def small(kind: str, levels: int = 3, **changes: object) -> torch.nn.Module:
    torch.manual_seed(0)
    options = DiscriminatorOptions.parse({"type": kind, "main_ch": "4", **changes})
    return make_discriminator(options, levels, 6)


@pytest.mark.parametrize(("settings", "parameters"), PUBLISHED)
def test_parameters_are_as_many_as_published(settings: dict[str, str], parameters: int) -> None:
    with torch.device("meta"):
        made = make_discriminator(DiscriminatorOptions.parse(settings), LEVELS, LATENT)
    assert sum(p.numel() for p in made.parameters()) == parameters


@pytest.mark.parametrize(("kind", "side"), [("gvae", 16), ("hific", 34)])
def test_logits_of_a_crop_are_as_many_as_published(kind: str, side: int) -> None:
    logits = small(kind)(torch.zeros(1, 3, 256, 256), torch.zeros(1, 6, 16, 16), None)
    assert logits.shape == (1, 1, side, side)


def test_logits_keep_small_differences_in_low_precision() -> None:
    made = small("gvae")
    with torch.no_grad():
        made.main[-1].bias.fill_(200.0)
    x, y_hat = torch.rand(1, 3, 64, 64), torch.zeros(1, 6, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        logits = made(x, y_hat, None)
    assert logits.dtype == torch.float32
    assert torch.allclose(logits, made(x, y_hat, None), atol=0.02)


NORMS = {"BN": nn.BatchNorm2d, "IN": nn.InstanceNorm2d, "CN": ChannelNorm}


@pytest.mark.parametrize("norm", list(NORMS))
def test_all_convolutions_but_the_first_and_the_last_have_the_norm(norm: str) -> None:
    made = small("gvae", norm_type=norm)
    layers = [m for m in made.modules() if isinstance(m, nn.Conv2d | nn.LeakyReLU | NORMS[norm])]
    letters = "".join("C" if isinstance(m, nn.Conv2d) else "L" if isinstance(m, nn.LeakyReLU) else "N" for m in layers)
    assert letters == "CL" + "CNL" * 7 + "C"


def test_channel_norm_is_over_the_channels_of_each_position() -> None:
    x = 50 * torch.rand(2, 16, 3, 3) + 7
    normed = ChannelNorm(16)(x)
    assert torch.allclose(normed.mean(1), torch.zeros(2, 3, 3), atol=1e-4)
    assert torch.allclose(normed.var(1), torch.ones(2, 3, 3), atol=1e-3)


@pytest.mark.parametrize("kind", ["module_list", "shared_backbone", "shared_head", "gvae_rate"])
def test_those_that_know_the_rate_score_each_level_differently(kind: str) -> None:
    made = small(kind)
    x, y_hat = torch.rand(2, 3, 64, 64), torch.zeros(2, 6, 4, 4)
    low, high = (made(x, y_hat, torch.tensor([q])) for q in (0.0, 2.0))
    assert not torch.allclose(low, high)
    mixed = made(x, y_hat, torch.tensor([0.0, 2.0]))
    assert torch.allclose(mixed[0], low[0], atol=1e-6)
    assert torch.allclose(mixed[1], high[1], atol=1e-6)


@pytest.mark.parametrize("kind", ["module_list", "shared_backbone", "shared_head"])
def test_between_two_levels_both_score(kind: str) -> None:
    made = small(kind)
    assert isinstance(made, PerLevel)
    x, y_hat = torch.rand(2, 3, 64, 64), torch.zeros(2, 6, 4, 4)
    left, between, right = (made(x, y_hat, torch.tensor([q])) for q in (1.0, 1.25, 2.0))
    assert torch.allclose(between, 0.75 * left + 0.25 * right, atol=1e-6)


def test_one_hot_planes_show_the_level_to_what_is_shared() -> None:
    for kind in ("shared_backbone", "shared_head"):
        made, plain = small(kind, one_hot=True), small(kind)
        extra = sum(p.numel() for p in made.parameters()) - sum(p.numel() for p in plain.parameters())
        assert extra > 0 and extra % 27 == 0, "three more planes of 3 x 3 weights"
    assert planes(torch.tensor([0.25]), 3, torch.zeros(2, 1, 4, 4))[:, :, 0, 0].tolist() == [[0.75, 0.25, 0.0]] * 2


@pytest.mark.parametrize("kind", ["gvae_latent", "hific_latent"])
def test_those_that_see_the_latent_give_it_no_gradient(kind: str) -> None:
    made = small(kind)
    x, y_hat = torch.rand(1, 3, 64, 64, requires_grad=True), torch.rand(1, 6, 4, 4, requires_grad=True)
    logits = made(x, y_hat, None)
    logits.sum().backward()
    assert y_hat.grad is None
    assert x.grad is not None and float(x.grad.abs().sum()) > 0
    assert not torch.allclose(logits, made(x, y_hat + 5, None))


def test_stacks_of_a_list_may_differ() -> None:
    made = small("module_list", main_ch="2,4,8", num_downscale="2,2,3")
    assert isinstance(made, ModuleList)
    assert [part[0][0].out_channels for part in made.parts] == [2, 4, 8]
    assert [len(part) - 1 for part in made.parts] == [2, 2, 3]


def test_the_first_convolutions_of_hific_are_bounded() -> None:
    made = small("hific")
    for _ in range(30):
        made(torch.rand(1, 3, 64, 64), torch.zeros(1), None)
    weight = made.main[0].weight.detach().flatten(1)
    assert math.isclose(float(torch.linalg.matrix_norm(weight, 2)), 1.0, abs_tol=0.05)
