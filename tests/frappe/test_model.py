"""The networks are those of the method: counts, names, formulas, shapes."""

import math
from typing import get_origin

import numpy as np
import pytest
import torch

from codectk.errors import OptionsError
from codectk_frappe.analysis import Analysis
from codectk_frappe.model import (
    ConvBlock,
    Encoders,
    LaplaceCDF,
    ScaleEncoder,
    Softsign,
    TransformerBlock,
    linear_light,
    merged_decoder,
    single_decoder,
    state_arrays,
    to_grid,
)
from codectk_frappe.options import ModelOptions, ScaleGroup, TrainOptions

RELEASED = {
    "ps": "32x3,16x6,8x3,4x6,2x3",
    "decoder_ps": 8,
    "decoder_arch": "C" * 12,
    "decoder_layerscale": True,
}


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_released_shape_has_the_published_parameter_counts() -> None:
    options = ModelOptions.parse(RELEASED)
    with torch.device("meta"):
        decoder, encoders = merged_decoder(options, 21), Encoders(options)
        block = ConvBlock(options, 768)
    assert parameters(decoder) == 57_554_883
    assert parameters(encoders) == 14_745 + 2 * 21
    assert parameters(block) == 4_732_416


@pytest.mark.parametrize(("ps", "pitch", "inputs"), [("32x3,16x3,8x3", 32, 63), ("32x3,16x6,8x3,4x6,2x3", 8, 84)])
def test_decoder_inputs_count_unshuffled_channels(ps: str, pitch: int, inputs: int) -> None:
    options = ModelOptions.parse({"ps": ps, "decoder_ps": pitch, "decoder_dim": 8})
    with torch.device("meta"):
        assert merged_decoder(options, len(options.ps))[0].in_channels == inputs


def test_parameter_names_are_those_of_the_published_weights() -> None:
    options = ModelOptions.parse({"ps": "8,4", "decoder_dim": 8, "decoder_arch": "CT", "decoder_layerscale": True})
    encoder_names = set(state_arrays(Encoders(options), "encoders."))
    assert encoder_names == {
        f"encoders.{s}.{name}" for s in (0, 1) for name in ("0.weight", "0.bias", "1.0._σ", "1.2.γ")
    }
    decoder_names = set(state_arrays(merged_decoder(options, 2), ""))
    assert {
        "0.weight",
        "1.main.0.weight",
        "1.main.1.bias",
        "1.main.2.weight",
        "1.main.4.bias",
        "1.scale.γ",
    } <= decoder_names
    assert {
        "2.norm1.weight",
        "2.attn.qkv.weight",
        "2.attn.proj.bias",
        "2.mlp.0.weight",
        "2.mlp.3.bias",
    } <= decoder_names
    assert {"3.weight", "4.weight"} <= decoder_names
    assert "2.attn.qkv.bias" not in decoder_names


def test_lf8_names_and_values_follow_the_laplace_distribution() -> None:
    options = ModelOptions.parse({"ps": "8", "decoder_dim": 8, "encoder_arch": "LF8"})
    assert "encoders.0.1.compand.sigma" in state_arrays(Encoders(options), "encoders.")
    u = torch.tensor([[-100.0, -1.0, 0.0, 3.0, 500.0]]).view(1, 1, 1, 5)
    laplace = torch.distributions.Laplace(0.0, 42.0)
    expected = 254 * laplace.cdf(u) - 127
    assert torch.allclose(LaplaceCDF(1)(u), expected, atol=1e-4)


def test_softsign_maps_its_scale_to_half_of_the_range() -> None:
    y = Softsign(1)(torch.tensor([126.0, -126.0, 1e9]).view(1, 1, 1, 3)).detach().flatten()
    assert y.tolist() == pytest.approx([63.5, -63.5, 127.0], abs=1e-3)


def test_noise_is_added_before_the_factor_and_only_in_training() -> None:
    options = ModelOptions.parse({"ps": "4", "decoder_dim": 8})
    encoder = ScaleEncoder(options, 4, 1)
    with torch.no_grad():
        encoder[1][2].γ.fill_(10.0)
    x = torch.zeros(1, 3, 64, 64)
    quiet = encoder.eval()(x)
    noisy = encoder.train()(x)
    assert torch.equal(quiet, encoder.eval()(x))
    spread = (noisy - quiet).detach().abs().max()
    assert 2.5 < float(spread) <= 5.0, "noise of half a step, times the factor of 10"


def test_finer_latents_are_unshuffled_and_coarser_ones_repeated() -> None:
    fine = torch.arange(16.0).view(1, 1, 4, 4)
    coarse = torch.tensor([[[[5.0]]]])
    grid = to_grid([coarse, fine], [ScaleGroup(8, 0, 1), ScaleGroup(2, 1, 2)], 4)
    assert grid.shape == (1, 5, 2, 2)
    assert torch.equal(grid[0, 0], torch.full((2, 2), 5.0))
    for r in range(2):
        for k in range(2):
            assert torch.equal(grid[0, 1 + 2 * r + k], fine[0, 0, r::2, k::2])


def test_a_size_that_comes_back_opens_a_new_group() -> None:
    groups = ModelOptions.parse({"ps": "8,8,4,8"}).groups(4)
    assert [(g.ps, g.start, g.end) for g in groups] == [(8, 0, 2), (4, 2, 3), (8, 3, 4)]
    assert [(g.ps, g.start, g.end) for g in ModelOptions.parse({"ps": "32x3,16x3,8x3"}).groups(5)] == [
        (32, 0, 3),
        (16, 3, 5),
    ]


@pytest.mark.parametrize("arch", ["CC", "CT"])
def test_conv_blocks_with_layerscale_start_almost_as_identity(arch: str) -> None:
    options = ModelOptions.parse({"ps": "8", "decoder_dim": 16, "decoder_arch": arch, "decoder_layerscale": True})
    x = torch.randn(2, 16, 5, 6)
    assert torch.allclose(ConvBlock(options, 16)(x), x, atol=1e-4)
    assert TransformerBlock(options, 16)(x).shape == x.shape


def test_linear_light_follows_the_srgb_curve() -> None:
    x = torch.tensor([-1.0, 0.0, 1.0])
    t = 0.5
    assert linear_light(x).tolist() == pytest.approx([-1.0, 2 * ((t + 0.055) / 1.055) ** 2.4 - 1, 1.0], abs=1e-6)


@pytest.mark.parametrize("changes", [{}, {"encoder_arch": "LF8"}, {"linear_input": True}])
def test_the_numpy_encoder_gives_the_networks_integers(changes: dict[str, object], photo: np.ndarray) -> None:
    options = ModelOptions.parse({"ps": "8x2,4,2", "decoder_dim": 8, **changes})
    torch.manual_seed(1)
    encoders = Encoders(options).eval()
    with torch.no_grad():
        for group in encoders:
            group[0].weight.mul_(30)
        x = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 127.5 - 1
        companded = encoders.latents(x, 4)
    latents = Analysis(state_arrays(encoders, "encoders."), options).latents(photo, 4)
    for mine, theirs in zip(latents, companded, strict=True):
        away_from_edges = ((theirs[0] - theirs[0].floor() - 0.5).abs() > 1e-3).numpy()
        rounded = theirs[0].round().clamp(-127, 127).numpy()
        assert away_from_edges.mean() > 0.9
        assert np.array_equal(mine[away_from_edges], rounded[away_from_edges])


def test_a_filters_place_is_found_and_filled() -> None:
    options = ModelOptions.parse({"ps": "8x2,4", "decoder_dim": 8})
    encoders, single = Encoders(options), ScaleEncoder(options, 8, 1)
    before = encoders[0][0].weight[0].clone()
    encoders.adopt(1, single)
    assert torch.equal(encoders[0][0].weight[1], single[0].weight[0])
    assert torch.equal(encoders[0][0].weight[0], before)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ps": "12", "decoder_ps": 8}, "neither divides"),
        ({"ps": "8", "decoder_kernel_size": 4}, "odd"),
        ({"ps": "8", "decoder_arch": "CX"}, "decoder_arch"),
        ({"ps": "0"}, "every value must be at least 1, not 0"),
        ({"ps": "8,257"}, "every value must be at most 256, not 257"),
        ({"ps": "256,255", "decoder_ps": 1}, "common multiple of all patch sizes passes 4096"),
        ({"ps": "256", "decoder_ps": 1, "input_channels": 4}, "input_channels"),
        ({}, "missing"),
        ({"ps": "8", "encoder_arch": "XX"}, "SC8"),
    ],
)
def test_impossible_architectures_are_refused_with_the_reason(values: dict[str, object], words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        ModelOptions.parse(values)


def test_large_patches_of_usual_kinds_are_accepted() -> None:
    assert ModelOptions.parse({"ps": "256,64,1"}).multiple_of == 256
    assert ModelOptions.parse({"ps": "128,96,80", "decoder_ps": 16}).multiple_of == 1920


def test_the_number_of_colours_may_be_written_as_text() -> None:
    assert ModelOptions.parse({"ps": "8", "input_channels": "3"}).input_channels == 3


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("epochs_single", "2,-5", "at least 0, not -5"),
        ("epochs_merged", "-1", "at least 0, not -1"),
        ("sc_max_lr", "-1", "at least 0, not -1"),
        ("md_max_lr", "1e-3,-1e-9", "at least 0, not -1e-09"),
        ("sc_lr_pow", "0", "at least 1, not 0"),
        ("md_lr_pow", "2,-3", "at least 1, not -3"),
        ("encoder_std", "8,0", "above 0, not 0"),
        ("lam", "-3", "at least 0, not -3"),
        ("rpe", "-0.1", "at least 0, not -0.1"),
        ("encoder_lr_scale", [1, -1], "at least 0, not -1"),
        ("lam", "nan", "finite"),
    ],
)
def test_every_element_of_a_list_keeps_its_bounds(name: str, values: object, words: str) -> None:
    with pytest.raises(OptionsError, match=f"'{name}'.*{words}"):
        TrainOptions.parse({"ps": "8", name: values})


def test_bounds_leave_lists_as_they_are_and_name_them_in_the_field() -> None:
    options = TrainOptions.parse({"ps": "8x2,4", "epochs_single": 0, "lam": "0", "sc_lr_pow": [1, 2]})
    assert (options.ps, options.epochs_single, options.lam, options.sc_lr_pow) == ((8, 8, 4), (0,), (0.0,), (1, 2))
    field = TrainOptions.model_fields["lam"]
    assert get_origin(field.annotation) is tuple
    assert [m.ge for m in field.metadata if hasattr(m, "ge")] == [0]


def test_a_batch_whose_latents_have_no_spread_is_refused_with_the_size_that_has() -> None:
    one = {"ps": "8,4", "decoder_ps": 4, "decoder_kernel_size": 1, "min_size": 8, "max_size": 64}
    with pytest.raises(OptionsError, match=r"a single latent of patch size 8.*raise min_size to 16 or batch_size to 2"):
        TrainOptions.parse(one)
    assert TrainOptions.parse({**one, "min_size": 16}).smallest_crop == 16
    assert TrainOptions.parse({**one, "batch_size": 2}).smallest_crop == 8


@pytest.mark.parametrize("arch", ["C", "T", "cTCt"])
@pytest.mark.parametrize("layerscale", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {"ps": "8"},
        {"ps": "8,4x2,2", "decoder_ps": 4, "decoder_mlp_ratio": 2.7},
        {"ps": "4,2", "decoder_kernel_size": 5, "encoder_arch": "LF8"},
    ],
)
def test_shapes_are_known_without_the_network(arch: str, layerscale: bool, changes: dict[str, object]) -> None:
    options = ModelOptions.parse({"decoder_dim": 6, "decoder_arch": arch, "decoder_layerscale": layerscale, **changes})
    for n in range(1, len(options.ps) + 1):
        with torch.device("meta"):
            state = merged_decoder(options, n).state_dict()
        assert options.decoder_shapes(n) == {name: tuple(tensor.shape) for name, tensor in state.items()}


def test_the_throw_away_decoder_takes_one_channel() -> None:
    options = ModelOptions.parse({"ps": "8,4", "decoder_ps": 8, "decoder_dim": 8})
    assert single_decoder(options, 0)[0].in_channels == 1
    assert single_decoder(options, 1)[0].in_channels == 4
    assert math.prod(merged_decoder(options, 2)(torch.zeros(1, 5, 2, 2)).shape) == 3 * 16 * 16
