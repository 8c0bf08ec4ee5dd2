"""Options of the trainers: the guide's commands, presets and their schedules, what is refused before data is read."""

import math
from pathlib import Path
from typing import Any

import pytest

from codectk.errors import OptionsError
from codectk.options import Options, RunOptions
from codectk.recipes import merged, read_recipe
from codectk.registry import get_registry
from codectk.specs import TrainerSpec
from codectk_cli.commands.train import _gather, _trainer_command
from codectk_cli.main import dashes
from codectk_dct_backbones.budget import Budget
from codectk_dct_backbones.plan import PRESETS
from codectk_dct_backbones.train_options import CompressedOptions, RgbOptions

DATA = {"train_dirs": ["one"], "val_dir": "v"}
SHARDS = ["--train-dirs", "imagenet1k0", "imagenet1k1", "imagenet1k2", "imagenet1k3", "--val-dir", "imagenet1kvalid"]


def command(name: str, *words: str) -> tuple[Any, RunOptions]:
    """Options of `codectk train dct_backbones.NAME …`."""
    registered = get_registry().find(TrainerSpec, f"dct_backbones.{name}")
    made = _trainer_command(registered)
    with made.make_context(name, list(words), token_normalize_func=dashes) as context:
        options, run_options, _, _ = _gather(context, registered, registered.load(registered.spec.options))
    return options, run_options


def compressed(**values: Any) -> CompressedOptions:
    return CompressedOptions.parse({**DATA, **values})


def rgb(**values: Any) -> RgbOptions:
    return RgbOptions.parse({**DATA, **values})


def test_the_guides_command_for_coefficients_means_what_it_says() -> None:
    words = ["--variant", "luma-fusion", "--coeff-window", "4", "--range-mode", "studio", "--epochs", "100"]
    more = ["--batch-size", "256", "--amp", "--channels-last", "--output-dir", "out", "--workers", "8", "--save-best"]
    options, run = command("compressed", *SHARDS, *words, *more, "--save-every", "5", "--seed", "1337")
    assert options.train_dirs == tuple(Path(f"imagenet1k{i}") for i in range(4))
    assert (options.val_dir, options.budget()) == (Path("imagenet1kvalid"), Budget(16, 16, 16))
    assert (run.channels_last, run.workers, run.seed, run.save_every) == (True, 8, 1337, 300.0)
    plan = options.plan()
    assert (plan.epochs, plan.batch_size, plan.image_size, plan.resize, plan.amp) == (100, 256, 256, 296, True)
    assert (options.save_every, options.save_best, options.trim, options.normalises) == (5, True, True, True)


def test_the_guides_command_for_rgb_backbones_means_what_it_says() -> None:
    words = ["--model", "resnet34", "--input-format", "compressed", "--compression-coeff-window", "4"]
    more = ["--compression-range-mode", "studio", "--compressed-backbone", "luma-fusion", "--num-workers", "3"]
    options, run = command("rgb", *SHARDS, *words, *more, "--no-amp", "--dataset-progress", "--output-dir", "o")
    architecture = options.architecture(1000)
    assert (architecture.variant, architecture.budget, architecture.range_mode) == (
        "luma-fusion",
        Budget(16, 16, 16),
        "studio",
    )
    assert (options.trim, options.plan().amp, options.show_progress, run.workers) == (False, False, True, 3)


def test_without_options_the_trainers_do_what_the_public_ones_do() -> None:
    plan, options = compressed().plan(), compressed()
    assert (plan.epochs, plan.lr, plan.momentum, plan.weight_decay, plan.milestones) == (
        *(90, 0.1, 0.9, 1e-4),
        (30, 60, 90),
    )
    assert (plan.nesterov, plan.label_smoothing, plan.mixup, plan.ema, plan.decay) == (False, 0, 0, 0, "all")
    assert options.architecture(10).channel_scale == 1
    assert (options.budget(), options.time_limit_hours, options.save_last, options.save_every) == (
        *(Budget(), None, True),
        10,
    )


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ({"coeff_count_luma": 16}, (16, 16, 16)),
        ({"coeff_window": 4, "coeff_count_chroma": 0}, (16, 0, 0)),
        ({"coeff_count": 32, "coeff_window_cb": 2, "coeff_count_cr": 5}, (32, 4, 5)),
        ({"variant": "luma-fusion", "coeff_count_luma": 0, "coeff_window_chroma": 8}, (0, 64, 64)),
    ],
)
def test_windows_and_counts_of_all_planes_are_flags(values: dict[str, Any], counts: tuple[int, int, int]) -> None:
    assert compressed(**values).budget().counts == counts


@pytest.mark.parametrize(
    ("kind", "values", "reason"),
    [
        (rgb, {"model": "cspdarknet53", "input_format": "compressed"}, "is for resnet34"),
        (rgb, {"model": "efficientvit_m4", "input_format": "compressed"}, "is for resnet34"),
        (rgb, {"compression_range_mode": "full"}, "compression_range_mode has no meaning"),
        (rgb, {"compression_coeff_window": 8}, "compression_coeff_window has no meaning"),
        (rgb, {"compressed_backbone": "block-stem"}, "compressed_backbone has no meaning"),
        (rgb, {"compression_keep_original": True}, "compression_keep_original has no meaning"),
        (rgb, {"input": "jpeg"}, "input has no meaning"),
        (rgb, {"input_format": "compressed", "input": "jpeg", "compression_keep_original": True}, "reads no pixels"),
        (rgb, {"input_format": "compressed", "compression_coeff_window": 9}, "less than or equal to 8"),
        (rgb, {"model": "efficientvit_m4", "nesterov": True}, "RMSprop"),
        (rgb, {"model": "efficientvit_m4", "image_size": 200}, "multiples of 16"),
        (rgb, {"multi_scale": True}, "is for cspdarknet53"),
        (rgb, {"input_format": "compressed", "image_size": 200}, "multiple of 16"),
        (compressed, {"image_size": 232}, "multiple of 16"),
        (compressed, {"variant": "luma-fusion", "coeff_count": 0}, "No coefficient is kept"),
        (compressed, {"variant": "reconstruction", "coeff_count": 0}, "No coefficient is kept"),
        (
            compressed,
            {"variant": "block-stem", "coeff_count_luma": 0, "coeff_count_chroma": 9, "trim_coefficients": False},
            "without luma",
        ),
        (compressed, {"variant": "full-grid", "compat": "original"}, "no variant full-grid"),
        (compressed, {"input": "jpeg", "compat": "original"}, "compat original"),
        (compressed, {"eval_only": True}, "eval_only evaluates weights"),
        (compressed, {"train_dirs": []}, "val_dir without train_dirs"),
        (compressed, {"lr_milestones": [60, 30]}, "must rise"),
        (compressed, {"eta_min": 1e-4}, "eta_min has no meaning for schedule step"),
        (compressed, {"schedule": "cosine", "lr_milestones": [3]}, "lr_milestones has no meaning for schedule cosine"),
        (compressed, {"schedule": "cosine", "lr_gamma": 0.5}, "lr_gamma has no meaning for schedule cosine"),
        (compressed, {"schedule": "cosine", "eta_min": 0.2}, "eta_min is above lr"),
        (compressed, {"max_train_images": 255}, "255 would not fill a batch, of 256"),
        (rgb, {"model": "cspdarknet53", "max_train_images": 31}, "31 would not fill a batch, of 32"),
        (compressed, {"val_dir": "one"}, "val_dir is one of train_dirs"),
        (compressed, {"train_dirs": ["one", "two", "one"]}, "named twice"),
        (compressed, {"compile_mode": "max-autotune"}, "no meaning without compile_model"),
        (compressed, {"input": "jpeg", "dct_device": "cpu"}, "input jpeg computes no coefficients"),
        (compressed, {"coeff_window_luma": 0}, "greater than or equal to 1"),
        (compressed, {"coeff_count_cb": 65}, "less than or equal to 64"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_data_is_read(kind: Any, values: dict[str, Any], reason: str) -> None:
    with pytest.raises(OptionsError, match=reason):
        kind(**values)


def test_windows_that_the_public_code_refuses_are_taken() -> None:
    made = rgb(input_format="compressed", compression_coeff_window=5)
    assert made.architecture(2).budget == Budget(25, 25, 25)


def test_reconstruction_keeps_all_places_and_no_statistics() -> None:
    made = compressed(variant="reconstruction", coeff_count=16, dct_stats="s.csv")
    assert (made.trim, made.normalises) == (False, False)


def test_coefficients_are_normalised_in_both_trainers_but_not_in_the_original_rgb_one() -> None:
    one = {"input_format": "compressed", "compressed_backbone": "block-stem"}
    assert rgb(**one).normalises
    assert not rgb(**one, compat="original").normalises
    assert compressed(variant="block-stem", compat="original").normalises
    assert not compressed(variant="block-stem", dct_stats="none").normalises


def test_presets_hold_the_published_figures() -> None:
    shown = {
        name: (p.epochs, p.batch_size, p.image_size, p.resize, p.momentum, p.weight_decay, p.label_smoothing, p.mixup)
        for name in PRESETS
        for p in [rgb(model=name).plan()]
    }
    assert shown == {
        "resnet34": (100, 256, 224, 256, 0.9, 1e-4, 0, 0),
        "cspdarknet53": (350, 32, 256, 288, 0.937, 5e-4, 0, 0),
        "efficientvit_m4": (350, 256, 224, 256, 0.9, 1e-5, 0.1, 0.2),
    }


@pytest.mark.parametrize(("batch", "rate"), [(None, 0.00125), (256, 0.01), (64, 0.0025)])
def test_rates_of_presets_grow_with_the_batch(batch: int | None, rate: float) -> None:
    assert rgb(model="cspdarknet53", batch_size=batch).plan().lr == pytest.approx(rate)


def test_the_rate_of_the_coefficient_trainer_does_not_change_with_the_batch() -> None:
    assert compressed(batch_size=1024).plan().lr == 0.1


def test_the_rate_of_resnet_falls_at_its_milestones() -> None:
    plan = rgb().plan()
    rates = [plan.rate(epoch * 7 + 3, 7) for epoch in (0, 29, 30, 59, 60, 89, 90, 99)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001])


def test_milestones_count_from_the_end_of_the_warm_up() -> None:
    plan = compressed(warmup_epochs=10, epochs=100).plan()
    rates = {epoch: plan.rate(epoch * 5, 5) for epoch in (0, 4, 9, 10, 39, 40, 70)}
    expected = {0: 0.01, 4: 0.05, 9: 0.1, 10: 0.1, 39: 0.1, 40: 0.01, 70: 0.001}
    assert rates == pytest.approx(expected)


def test_the_rate_of_cspdarknet_burns_in_for_1000_steps_and_falls_as_a_cosine_to_its_floor() -> None:
    plan = rgb(model="cspdarknet53", batch_size=256).plan()
    assert plan.rate(0, 10**6) == pytest.approx(0.01 / 1001)
    assert plan.rate(1000, 10**6) == pytest.approx(0.01)
    middle = 1e-4 + (0.01 - 1e-4) * (1 + math.cos(math.pi * 100 / 350)) / 2
    assert plan.rate(100 * 2000, 2000) == pytest.approx(middle)
    assert 1e-4 < plan.rate(349 * 2000, 2000) < 1.01e-4 + 1e-6


def test_the_rate_of_efficientvit_falls_by_3_percent_an_epoch_after_its_warm_up() -> None:
    plan = rgb(model="efficientvit_m4").plan()
    rates = [plan.rate(epoch * 5004, 5004) for epoch in (0, 4, 5, 6, 349)]
    assert rates == pytest.approx([0.256 / 5, 0.256, 0.256, 0.256 * 0.97, 0.256 * 0.97**344])


def test_compat_original_has_the_published_fault_of_efficientvits_schedule() -> None:
    """Seen in the public code: up to 0.256, then down to 5e-5 and up to 3.6e-3 by epoch 350."""
    plan = rgb(model="efficientvit_m4", compat="original").plan()
    rates = [plan.rate(epoch * 5004, 5004) for epoch in (4, 5, 349)]
    assert rates == pytest.approx([0.256, 5.1e-5, 3.57e-3], rel=0.01)


def test_a_schedule_that_is_not_the_presets_falls_by_its_own_factor() -> None:
    """Not by that of the preset's schedule: a tenth in every epoch, or 3 percent at milestones."""
    cases = (("resnet34", "exponential", 0.97), ("efficientvit_m4", "step", 0.1), ("resnet34", "step", 0.1))
    for model, schedule, factor in cases:
        assert rgb(model=model, schedule=schedule).plan().gamma == factor
    every = rgb(schedule="exponential", compat="original").plan()
    assert [every.rate(epoch, 1) for epoch in (0, 2)] == pytest.approx([0.1, 0.1 * 0.97**2])


def test_the_rgb_trainer_warms_up_as_long_as_is_said_or_as_its_preset() -> None:
    cosine = {"schedule": "cosine", "epochs": 9, "batch_size": 256, "lr": 0.1}
    told, preset = rgb(**cosine, warmup_epochs=2).plan(), rgb(**cosine).plan()
    assert [told.rate(epoch, 1) for epoch in range(3)] == pytest.approx([0.05, 0.1, 0.1])
    assert preset.rate(0, 1) == pytest.approx(0.1)
    assert rgb(model="efficientvit_m4").plan().warmup_epochs == 5


def test_what_stays_unsaid_is_small_without_data_and_can_be_said() -> None:
    small = CompressedOptions.parse({}).plan()
    assert (small.image_size, small.batch_size, small.epochs) == (64, 32, 5)
    assert CompressedOptions.parse({}).architecture(8).channel_scale == 0.25
    assert CompressedOptions.parse({"epochs": 90, "channel_scale": 1.0}).plan().epochs == 90


@pytest.mark.parametrize("model", PRESETS)
def test_without_data_the_rate_rises_in_time_and_stays_low_enough_to_learn_by(model: str) -> None:
    """The presets' rates: 240 steps of small pictures would end within the warm-up, or diverge."""
    plan = RgbOptions.parse({"model": model}).plan()
    rates = [plan.rate(step, 48) for step in range(240)]
    assert max(rates) == pytest.approx(plan.lr)
    assert rates.index(max(rates)) <= 48
    assert plan.lr <= (0.001 if plan.optimizer == "rmsprop" else 0.0125)
    assert RgbOptions.parse({"model": model, "lr": 0.256, "warmup_epochs": 3}).plan().warmup_epochs == 3


@pytest.mark.parametrize(("trainer", "recipe"), [("rgb", "modern"), ("compressed", "modern"), ("compressed", "sweep")])
def test_recipes_go_together_with_the_presets(trainer: str, recipe: str) -> None:
    registered = get_registry().find(TrainerSpec, f"dct_backbones.{trainer}")
    model: type[Options] = registered.load(registered.spec.options)
    values = merged([model, RunOptions], read_recipe(registered.spec.recipes, recipe))[0]
    plan: Any = model.parse(values)
    if recipe == "modern":
        assert (plan.plan().schedule, plan.plan().nesterov, plan.plan().label_smoothing) == ("cosine", True, 0.1)
    else:
        assert plan.plan().rate(40, 1) == pytest.approx(0.01)
