"""What is folded gives what the long way gives, and networks for pixels go on from what they have learned."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codectk.errors import InputError, OptionsError
from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.budget import Budget
from codectk_dct_backbones.model import build
from codectk_dct_backbones.networks.classifier import Classifier
from codectk_dct_backbones.networks.folding import DEVIATION, MEAN, ToPixels, from_rgb
from codectk_dct_backbones.networks.full_grid import FullGrid
from codectk_dct_backbones.networks.start import start_from_rgb
from codectk_dct_backbones.pipeline import Coefficients, from_pictures, to_pictures, trimmed
from codectk_dct_backbones.ranges import RangeMode
from codectk_dct_backbones.statistics import load

MODELS = ("resnet34", "cspdarknet53", "efficientvit_m4")


def photos(batch: int, side: int = 64) -> Tensor:
    """Pictures with the spectrum of photographs, and colours with a hue each; uint8."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.fft.rfft2(torch.randn(batch, 3, side, side, generator=generator))
    frequency = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]).clamp(min=1 / side)
    smooth = torch.fft.irfft2(noise / frequency**1.3, s=(side, side))
    smooth = smooth / smooth.std((1, 2, 3), keepdim=True)
    mixed = 0.3 * smooth + smooth.mean(1, keepdim=True)
    return (128 + 50 * mixed + 20 * torch.randn(batch, 3, 1, 1, generator=generator)).round().clamp(0, 255).byte()


def normalised(pictures: Tensor) -> Tensor:
    return (pictures / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)


def small(**values: Any) -> Classifier:
    torch.manual_seed(1)
    return build(Architecture.parse({"classes": 3, "channel_scale": 0.125, "image_size": 64, **values})).eval()


def settled(network: Classifier, x: Any) -> Classifier:
    """With statistics of norms that fit, so that logits are neither tiny nor huge."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.normal_(module.weight, 1, 0.1)
    with torch.no_grad():
        network.train()(x)
    return network.eval()


@pytest.mark.parametrize(
    ("range_mode", "budget"),
    list(itertools.product(("studio", "full"), (Budget(), Budget(16, 9, 3), Budget(5, 0, 0), Budget(0, 2, 64)))),
)
def test_folded_pixels_are_those_of_the_long_way(range_mode: RangeMode, budget: Budget) -> None:
    coefficients = from_pictures(photos(2), budget, range_mode)
    wanted = normalised(to_pictures(coefficients, budget, range_mode))
    assert float((ToPixels(budget, range_mode)(coefficients) - wanted).abs().max()) < 1e-4


def test_pixels_are_exact_whatever_the_precision_around() -> None:
    coefficients, to_pixels = from_pictures(photos(2)), ToPixels(Budget(), "studio")
    with torch.autocast("cpu", torch.bfloat16):
        found = to_pixels(coefficients)
    assert torch.equal(found, to_pixels(coefficients))


@pytest.mark.parametrize("range_mode", ["studio", "full"])
@pytest.mark.parametrize("model", MODELS)
def test_networks_for_pixels_give_the_same_logits_from_coefficients(model: str, range_mode: RangeMode) -> None:
    coefficients = from_pictures(photos(4), range_mode=range_mode)
    pixels = normalised(to_pictures(coefficients, range_mode=range_mode))  # what 4:2:0 leaves
    network = settled(small(model=model), pixels)
    with torch.no_grad():
        wanted, found = network(pixels), from_rgb(network, Budget(), range_mode)((coefficients.y, coefficients[1:]))
    assert float(wanted.std()) > 0.05
    assert float((found - wanted).abs().max()) < 1e-3 * max(1.0, float(wanted.std()))


@pytest.mark.parametrize("model", MODELS)
def test_reconstruction_starts_as_the_network_for_pixels(model: str) -> None:
    coefficients = from_pictures(photos(4))
    rgb = settled(small(model=model), normalised(to_pictures(coefficients)))
    network = small(model=model, variant="reconstruction")
    assert start_from_rgb(network, rgb) is None
    with torch.no_grad():
        wanted = rgb(normalised(to_pictures(coefficients)))
        assert float((network(coefficients) - wanted).abs().max()) < 1e-3 * max(1.0, float(wanted.std()))
        original = small(model=model, variant="reconstruction", compat="original")
        start_from_rgb(original, rgb)
        assert float((original(coefficients) - wanted).abs().max()) > 1e-2


def stage_2_input(rgb: Classifier, pixels: Tensor) -> Tensor:
    backbone: Any = rgb.backbone
    with torch.no_grad():
        found: Tensor = backbone.res_layers[0](backbone.stem(pixels))
    return found


@pytest.mark.parametrize("budget", [Budget(), Budget(16, 4, 4), Budget(9, 0, 0), Budget(0, 4, 4)], ids=str)
def test_full_grid_starts_near_the_network_for_pixels(budget: Budget) -> None:
    pictures = photos(32, 96)
    raw = from_pictures(pictures)
    statistics = load("imagenet")
    pixels = normalised(to_pictures(raw))
    rgb = small(channel_scale=0.25)
    network = small(channel_scale=0.25, variant="full-grid", budget=budget)
    stem: Any = network.backbone
    assert isinstance(stem, FullGrid)

    def fed(coefficients: Coefficients) -> Coefficients:
        return statistics.normalise(trimmed(coefficients, budget), budget)

    def error(few: Coefficients, pixels: Tensor) -> float:
        wanted = stage_2_input(rgb, pixels)
        with torch.no_grad():
            return float((stem.places(fed(few)).relu() - wanted).square().mean() / wanted.var())

    half = [Coefficients(*(x[i : i + 8] for x in raw)) for i in (0, 8)]
    unseen = Coefficients(*(x[16:] for x in raw))
    before = error(unseen, pixels[16:])
    left = start_from_rgb(network, rgb, half, normalise=fed)
    after = error(unseen, pixels[16:])
    assert left is not None
    assert left < 1
    assert after < before
    assert after < (0.5 if budget.luma else 1.1)  # colours alone tell little
    for name, value in rgb.state_dict().items():
        own = name.replace("backbone.", "backbone.backbone.") if name.startswith("backbone.") else name
        if not name.startswith(("backbone.conv1", "backbone.res_layers.0")):
            assert torch.equal(network.state_dict()[own], value), name


def test_training_goes_on_with_the_modes_and_momenta_of_before() -> None:
    rgb, network = small(), small(variant="full-grid").train()
    momenta = [module.momentum for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    start_from_rgb(network, rgb, [from_pictures(photos(2))])
    assert network.training
    assert all(module.training for module in network.modules())
    assert momenta == [module.momentum for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not rgb.training


def test_a_head_of_other_classes_is_not_taken_over() -> None:
    rgb, network = small(classes=4), small(variant="block-stem")
    before = network.head.weight.clone()
    start_from_rgb(network, rgb)
    assert torch.equal(network.head.weight, before)
    assert torch.equal(
        network.state_dict()["backbone.backbone.res_layers.0.blocks.0.branch2a.conv.weight"],
        rgb.state_dict()["backbone.res_layers.0.blocks.0.branch2a.conv.weight"],
    )


def test_what_does_not_fit_is_refused() -> None:
    for values in (
        {"variant": "luma-fusion-pruned", "budget": Budget(4, 4, 4)},
        {"variant": "block-stem", "channel_scale": 0.25},
    ):
        with pytest.raises(OptionsError, match="network of pixels has no"):
            start_from_rgb(small(**values), small())
    with pytest.raises(OptionsError, match="network of pixels has no"):
        start_from_rgb(small(variant="block-stem"), small(model="efficientvit_m4"))
    with pytest.raises(InputError, match="fitted to sample pictures, but there are none"):
        start_from_rgb(small(variant="full-grid"), small())
