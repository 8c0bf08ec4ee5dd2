"""Networks have the published layers: counts of parameters and multiplications, shapes, and gradients everywhere."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codectk.errors import InputError, OptionsError
from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.budget import Budget, channels
from codectk_dct_backbones.model import build
from codectk_dct_backbones.networks.classifier import Classifier
from codectk_dct_backbones.networks.cost import macs, parameters
from codectk_dct_backbones.networks.cspdarknet import CSPDarknet
from codectk_dct_backbones.networks.efficientvit import EfficientViT, LocalWindowAttention
from codectk_dct_backbones.networks.resnet import ResNet
from codectk_dct_backbones.pipeline import Coefficients

from .blocks import blocks_of, random_blocks

PRUNED = (
    (64, 21_807_016, 3.561, 4.651),
    (36, 12_364_984, 2.003, 2.616),
    (32, 11_015_406, None, None),
    (16, 5_583_816, 0.890, 1.163),
    (4, 1_462_744, 0.223, 0.291),
    (1, 399_504, 0.056, 0.073),
)
SCALED = ((0.9, 17.73, 3.772), (0.8, 14.08, 2.971), (0.7, 10.80, 2.287), (0.6, 8.00, 1.674), (0.5, 5.60, 1.165))
"""Channel scale, million parameters, GMAC at 256 of luma-fusion."""

ORIGINAL = {
    "reconstruction": (21_822_920, 4.004, 5.230),
    "block-stem": (21_835_784, 3.570, 4.662),
    "luma-fusion": (21_835_784, 3.561, 4.651),
    "luma-fusion-pruned": (21_807_016, 3.561, 4.651),
}
STEM = 28_768
"""Parameters of the stem for pixels, which block-stem and luma-fusion do not use."""


def made(**values: Any) -> Classifier:
    """Shapes alone."""
    with torch.device("meta"):
        return build(Architecture.parse(values))


def gmacs(network: nn.Module, side: int, pixels: bool = False) -> float:
    x = torch.zeros(1, 3, side, side, device="meta") if pixels else blocks_of(side, device="meta")
    return macs(network, x) / 1e9


@pytest.mark.parametrize(
    ("model", "count", "cost"),
    [
        ("resnet34", 21_821_128, {224: 3.916, 256: 5.115}),
        ("cspdarknet53", 27_607_912, {256: 5.550}),
        ("efficientvit_m4", 8_803_460, {224: 0.299}),
    ],
)
def test_networks_for_pixels_have_the_published_parameters_and_cost(
    model: str, count: int, cost: dict[int, float]
) -> None:
    network = made(model=model)
    assert parameters(network) == count
    for side, wanted in cost.items():
        assert gmacs(network, side, pixels=True) == pytest.approx(wanted, abs=6e-4)


def test_layers_of_cspdarknet_have_the_published_parameters() -> None:
    with torch.device("meta"):
        layers = CSPDarknet().layers
    assert [parameters(layer) for layer in layers] == [7040, 230912, 1413632, 7614464, 14692352, 2624512]


def test_stages_have_the_published_cost() -> None:
    with torch.device("meta"):
        network = ResNet()
    x = torch.zeros(1, 64, 56, 56, device="meta")
    for stage, wanted in zip(network.res_layers, (0.706, 0.873, 1.336, 0.642), strict=True):
        assert macs(stage, x) / 1e9 == pytest.approx(wanted, abs=6e-4)
        x = stage(x)
    stem = macs(network.conv1, torch.zeros(1, 3, 224, 224, device="meta"))  # type: ignore[arg-type]
    assert stem / 1e9 == pytest.approx(0.358, abs=6e-4)


@pytest.mark.parametrize("variant", ORIGINAL)
def test_the_original_variants_have_the_published_parameters_and_cost(variant: str) -> None:
    count, *cost = ORIGINAL[variant]
    network = made(variant=variant, compat="original")
    assert parameters(network) == count
    for side, wanted in zip((224, 256), cost, strict=True):  # the inverse transform costs 0.004 more as a convolution
        assert gmacs(network, side) == pytest.approx(wanted, abs=5e-3 if variant == "reconstruction" else 6e-4)


@pytest.mark.parametrize("variant", ["block-stem", "luma-fusion"])
def test_the_unused_stem_is_dropped(variant: str) -> None:
    luma_kernel = 3 * 64 * 64 if variant == "luma-fusion" else 0  # 2x2 instead of 1x1
    assert parameters(made(variant=variant)) == ORIGINAL[variant][0] - STEM + luma_kernel
    assert parameters(made(variant=variant, compat="original").backbone.backbone.conv1) == STEM  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize(("n", "count", "at_224", "at_256"), PRUNED)
def test_pruned_networks_have_the_published_parameters_and_cost(
    n: int, count: int, at_224: float | None, at_256: float | None
) -> None:
    network = made(variant="luma-fusion-pruned", compat="original", budget=Budget(n, n, n))
    assert parameters(network) == count
    for side, wanted in ((224, at_224), (256, at_256)):
        assert wanted is None or gmacs(network, side) == pytest.approx(wanted, abs=6e-4)


@pytest.mark.parametrize(("scale", "millions", "cost"), SCALED)
def test_scaled_networks_have_the_published_parameters_and_cost(scale: float, millions: float, cost: float) -> None:
    network = made(variant="luma-fusion", compat="original", channel_scale=scale)
    assert parameters(network) / 1e6 == pytest.approx(millions, abs=6e-3)
    assert gmacs(network, 256) == pytest.approx(cost, abs=6e-4)


def test_all_luma_blocks_cost_next_to_nothing() -> None:
    more = gmacs(made(variant="luma-fusion"), 224) - gmacs(made(variant="luma-fusion", compat="original"), 224)
    assert more == pytest.approx(0.0024, abs=1e-4)


def test_full_grid_costs_less_than_pixels_and_than_block_stem() -> None:
    network = made(variant="full-grid")
    assert parameters(network) < 21_821_128
    assert parameters(network) / 1e6 == pytest.approx(21.7, abs=0.05)
    assert gmacs(network, 256) <= 3.9
    assert gmacs(network, 256) < gmacs(made(variant="block-stem"), 256)


@pytest.mark.parametrize("classes", [1, 10])
@pytest.mark.parametrize("model", ["resnet34", "cspdarknet53", "efficientvit_m4"])
def test_classes_and_widths_are_chosen(model: str, classes: int) -> None:
    network = build(Architecture.parse({"model": model, "classes": classes, "channel_scale": 0.1, "image_size": 64}))
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, classes)


def test_features_have_the_published_resolutions() -> None:
    with torch.device("meta"):
        network, x = EfficientViT(), torch.zeros(1, 3, 224, 224)
        x = network.patch_embed(x)
        for stage, shape in ((network.blocks1, (128, 14)), (network.blocks2, (256, 7)), (network.blocks3, (384, 4))):
            x = stage(x)
            assert tuple(x.shape) == (1, shape[0], shape[1], shape[1])
        assert CSPDarknet()(torch.zeros(1, 3, 256, 256)).shape == (1, 1024, 8, 8)
        assert ResNet()(torch.zeros(1, 3, 232, 232)).shape == (1, 512, 8, 8)


def test_efficientvit_takes_one_size_and_says_so() -> None:
    with pytest.raises(InputError, match="built for 64 x 64 pixels, not 96 x 64"):
        EfficientViT(64, 0.1)(torch.zeros(1, 3, 96, 64))


def test_attention_in_windows_sees_its_window_alone() -> None:
    torch.manual_seed(0)
    attention = LocalWindowAttention(16, 14).eval()
    nn.init.ones_(attention.attn.proj[1].bn.weight)  # type: ignore[union-attr, arg-type]
    x = torch.randn(1, 16, 14, 14)
    changed = x.clone()
    changed[:, :, 0, 0] += 1
    differs = (attention(x) - attention(changed)).abs().amax(1)[0] > 1e-6
    assert differs[:7, :7].all()
    assert not differs[7:].any()
    assert not differs[:, 7:].any()


def test_attention_in_windows_that_do_not_divide_the_grid_keeps_its_size() -> None:
    assert LocalWindowAttention(16, 10)(torch.zeros(1, 16, 10, 10)).shape == (1, 16, 10, 10)


def small(**values: Any) -> Classifier:
    torch.manual_seed(1)
    return build(Architecture.parse({"classes": 3, "channel_scale": 0.125, "image_size": 64, **values}))


BUDGETS = (Budget(), Budget(16, 9, 4), Budget(5, 0, 0), Budget(0, 3, 0), Budget(1, 1, 1))
VARIANTS = ("reconstruction", "block-stem", "luma-fusion", "luma-fusion-pruned", "full-grid")


@pytest.mark.parametrize(("variant", "budget"), list(product(VARIANTS, BUDGETS)), ids=str)
def test_gradient_reaches_every_parameter(variant: str, budget: Budget) -> None:
    network = small(variant=variant, budget=budget)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1) if not parameter.any() else None
    network(random_blocks(2, 64, budget)).square().sum().backward()
    untouched = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not untouched


def test_gradient_does_not_reach_the_stem_of_the_original() -> None:
    network = small(variant="block-stem", compat="original")
    network(random_blocks(2, 64, Budget())).square().sum().backward()
    assert {n.split(".")[2] for n, p in network.named_parameters() if p.grad is None} == {"conv1"}


def seen_luma_blocks(variant: str, compat: str = "none") -> Tensor:
    """Which of 8x8 luma blocks change the features."""
    network = small(variant=variant, compat=compat).eval()
    same = Coefficients(*(x.repeat(64, 1, 1, 1) for x in random_blocks(1, 64, Budget())))
    changed = same._replace(y=same.y.clone())
    for i in range(64):
        changed.y[i, :, i // 8, i % 8] += 1
    differs: Tensor = (network(changed) != network(same)).any(1)
    return differs.view(8, 8)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_luma_block_changes_the_output(variant: str) -> None:
    assert seen_luma_blocks(variant).all()


def test_the_original_leaves_three_luma_blocks_of_four_out() -> None:
    seen = seen_luma_blocks("luma-fusion", "original")
    assert seen[::2, ::2].all()
    assert int(seen.sum()) == 16


@pytest.mark.parametrize("variant", VARIANTS)
def test_new_layers_begin_by_the_rule_of_kaiming(variant: str) -> None:
    torch.manual_seed(0)
    network = build(Architecture.parse({"variant": variant, "classes": 100}))
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and not name.endswith("refine.3") and name not in READERS:
            wanted = (2 / (module.out_channels * module.kernel_size[0] ** 2)) ** 0.5
            assert float(module.weight.detach().std()) == pytest.approx(wanted, rel=0.15), name
    assert not network.head.bias.any()


READERS = [f"backbone.{name}.0" for name in ("luma", "chroma", "luma_proj", "luma_down", "chroma_proj")]
"""Convolutions that take coefficients."""


@pytest.mark.parametrize("variant", ["block-stem", "luma-fusion", "luma-fusion-pruned", "full-grid"])
def test_high_frequencies_begin_with_small_weights(variant: str) -> None:
    torch.manual_seed(0)
    budget = Budget(luma=64, cb=10, cr=6)
    network = build(Architecture(variant=variant, budget=budget, classes=10))  # type: ignore[arg-type]
    found = {name: module for name, module in network.named_modules() if name in READERS}
    assert len(found) == 2
    kept = [[*range(64)], [*channels(10), *channels(6)]]
    for (name, module), order in zip(sorted(found.items(), key=lambda item: "chroma" in item[0]), kept, strict=True):
        assert isinstance(module, nn.Conv2d), name
        deviations = module.weight.detach().square().mean((0, 2, 3)).sqrt()
        falls = torch.tensor([(1 + channel // 8 + channel % 8) ** 2 for channel in order])
        leveled = deviations * falls
        assert torch.allclose(leveled, leveled.mean().expand(len(order)), rtol=0.5), name
        kaiming = (2 / (module.out_channels * module.kernel_size[0] ** 2)) ** 0.5
        assert float(deviations.square().mean().sqrt()) == pytest.approx(kaiming, rel=0.3), name


def test_the_original_gives_all_frequencies_the_same_weights() -> None:
    torch.manual_seed(0)
    network = build(Architecture(variant="block-stem", compat="original"))
    deviations = network.state_dict()["backbone.luma_proj.0.weight"].std((0, 2, 3))
    assert float(deviations.min() / deviations.max()) > 0.5


def test_the_original_leaves_pruned_networks_to_torch() -> None:
    torch.manual_seed(0)
    network = build(Architecture.parse({"variant": "luma-fusion-pruned", "compat": "original"}))
    weight = network.state_dict()["backbone.backbone.res_layers.3.blocks.1.branch2a.conv.weight"]
    assert float(weight.std()) == pytest.approx((1 / (3 * 9 * 512)) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": "cspdarknet53", "variant": "block-stem"}, "block-stem replaces the stem of resnet34"),
        ({"variant": "full-grid", "compat": "original"}, "no variant full-grid"),
        ({"model": "efficientvit_m4", "image_size": 100}, "multiples of 16"),
        ({"budget": {"luma": 0, "cb": 0, "cr": 0}}, "No coefficient is kept"),
        ({"variant": "fullgrid"}, "variant"),
        ({"widht": 3}, "widht"),
    ],
)
def test_what_cannot_be_built_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        Architecture.parse(values)


@pytest.mark.parametrize("values", [{}, {"variant": "full-grid", "budget": Budget(16, 4, 4), "classes": 7}])
def test_architectures_survive_json(values: dict[str, Any]) -> None:
    architecture = Architecture.parse(values)
    assert Architecture.parse(architecture.changed()) == architecture
