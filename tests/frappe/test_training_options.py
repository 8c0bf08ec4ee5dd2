"""Options of training: the guide's names and defaults, lists per channel, recipes, refusals with the reason."""

import math

import pytest

from codectk.errors import OptionsError
from codectk.recipes import read_yaml, recipe_path, recipes
from codectk_frappe.options import PER_CHANNEL, TrainOptions, at

from .trainings import TINY


def test_short_lists_go_on_with_their_last_value() -> None:
    assert [at((1.0, 2.0), i) for i in range(4)] == [1.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"min_size": 30, "max_size": 31}, "no multiple of 8"),
        ({"min_scale": 2.0, "max_scale": 1.0}, "min_scale"),
        ({"sc_lr_pow": "1.5"}, "sc_lr_pow"),
        ({"lam": ""}, "lam"),
        ({"epochs_single": "two"}, "epochs_single"),
    ],
)
def test_impossible_training_options_are_refused_with_the_reason(changes: dict[str, object], words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        TrainOptions.parse({**TINY, **changes})


GUIDE = {
    **{"input_channels": 3, "decoder_dim": 768, "decoder_kernel_size": 3, "decoder_arch": "CCCCCC"},
    **{"decoder_mlp_ratio": 4.0, "decoder_layerscale": False, "decoder_layerscale_init": 1e-6, "lam": (0.008,)},
    **{"rpe": (0.3,), "encoder_arch": "SC8", "linear_input": False, "encoder_lr_scale": (0.3,)},
    **{"merged_decoder_noise": False, "merged_decoder_round": True, "epochs_single": (2,), "epochs_merged": (4,)},
    **{"batch_size": 1, "min_aspect": 1.0, "max_aspect": 1.0, "min_size": 480, "max_size": 480, "min_scale": 1.0},
    **{"max_scale": 2.0, "sc_max_lr": (5e-5,), "sc_lr_pow": (2,), "md_max_lr": (5e-4,), "md_lr_pow": (2,)},
    **{"min_lr": 1e-8, "grad_clip": 1.5, "dataset_samples": None, "resume_checkpoint": None, "resume_channels": None},
}


def test_defaults_are_those_of_the_guide() -> None:
    options = TrainOptions.parse({"ps": "32x3,16x3"})
    assert {name: getattr(options, name) for name in GUIDE} == GUIDE
    assert options.pitch == 32
    assert options.mode == "progressive"
    assert options.jitter == 0.4
    assert not options.flips
    assert (options.encoder_init, options.decoder_init) == ("random", "random")


@pytest.mark.parametrize("name", PER_CHANNEL)
def test_a_list_may_be_as_long_as_the_channels_but_not_longer(name: str) -> None:
    assert len(getattr(TrainOptions.parse({**TINY, name: "1,2"}), name)) == 2
    with pytest.raises(OptionsError, match=f"{name} has 3 values, but ps has 2 channels"):
        TrainOptions.parse({**TINY, name: "1,2,3"})


@pytest.mark.parametrize("name", ["sc_lr_pow", "md_lr_pow"])
@pytest.mark.parametrize("power", ["1.5", "1,2.25"])
def test_a_power_whose_double_is_not_even_is_refused_with_the_reason(name: str, power: str) -> None:
    with pytest.raises(OptionsError, match=rf"{name}.*exponent (3|4\.5) would not be even"):
        TrainOptions.parse({**TINY, name: power})
    assert TrainOptions.parse({**TINY, name: "3.0"}).changed()[name] == [3]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resume_checkpoint": "x"}, "needs resume_channels"),
        ({"resume_channels": 1}, "needs resume_checkpoint"),
        ({"resume_checkpoint": "x", "resume_channels": 0}, "at least 1, not 0, because"),
        ({"resume_checkpoint": "x", "resume_channels": 3}, "above the 2 channels"),
        ({"resume_checkpoint": "x", "resume_channels": 1, "mode": "joint"}, "not for joint"),
    ],
)
def test_a_resume_that_cannot_be_is_refused_with_the_reason(changes: dict[str, object], words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        TrainOptions.parse({**TINY, **changes})


def recipe(name: str) -> TrainOptions:
    return TrainOptions.parse(read_yaml(recipe_path("codectk_frappe:recipes", name)), name)


def test_recipes_hold_the_known_schedules() -> None:
    assert {path.stem for path in recipes("codectk_frappe:recipes")} >= {
        "demo",
        "example",
        "paper",
        "released",
        "joint",
    }
    example, paper, released = (recipe(name) for name in ("example", "paper", "released"))
    assert example.ps == (32,) * 3 + (16,) * 3 + (8,) * 3
    assert (example.epochs_single, example.epochs_merged) == ((1,), (1,))
    assert paper.ps == (32,) * 4 + (16,) * 3 + (8,) * 3 + (4,) * 3
    assert (paper.epochs_single, paper.epochs_merged) == ((2,), (4,))
    assert released.ps == (32,) * 3 + (16,) * 6 + (8,) * 3 + (4,) * 6 + (2,) * 3
    assert (released.pitch, released.decoder_dim, released.decoder_arch) == (8, 768, "C" * 12)
    assert released.decoder_layerscale
    for epochs, first in ((released.epochs_single, 2), (released.epochs_merged, 4)):
        assert (len(epochs), epochs[0], epochs[-1]) == (21, first, 7)
        assert list(epochs) == sorted(epochs)
    assert sum(math.prod(s) for s in released.decoder_shapes(21).values()) == 57_554_883
