"""Losses: formulas, gradients that stop where they shall, schedules, and what options are refused."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from codectk.errors import OptionsError, WeightsError
from codectk_crdr.losses import (
    HificRateLoss,
    HificVariableRateLoss,
    RateLoss,
    adversarial,
    discriminating,
    factor,
    make_lpips,
    squared_error,
)
from codectk_crdr.train_options import RateOptions, ScheduleOptions, TrainOptions

FAKE, REAL = torch.tensor([[0.5, -1.0], [2.0, 0.25]]), torch.tensor([[1.5, 0.0], [-0.5, 3.0]])


def soft(value: Tensor) -> Tensor:
    return torch.log(1 + torch.exp(value))


def logits() -> tuple[Tensor, Tensor]:
    fake, real = (v.view(2, 1, 1, 2).clone().requires_grad_() for v in (FAKE, REAL))
    return fake, real


GENERATOR = {
    "gan": soft(-FAKE).mean(1),
    "rgan": soft(REAL - FAKE).mean(1),
    "ragan": (soft(REAL - FAKE.mean()).mean(1) + soft(REAL.mean() - FAKE).mean(1)) / 2,
    "hrrgan": soft(REAL - FAKE).mean(1),
}


@pytest.mark.parametrize("kind", list(GENERATOR))
def test_the_adversarial_term_is_the_published_one_and_moves_the_picture_alone(kind: str) -> None:
    fake, real = logits()
    term = adversarial(kind, fake, real)
    assert torch.allclose(term, GENERATOR[kind])
    term.mean().backward()
    assert real.grad is None
    assert fake.grad is not None and bool((fake.grad < 0).all()), "higher scores of x_hat lower it"


DISCRIMINATOR = {
    "gan": (soft(-REAL).mean(), soft(FAKE).mean()),
    "rgan": (soft(FAKE - REAL).mean(), soft(FAKE - REAL).mean()),
    "ragan": (soft(FAKE.mean() - REAL).mean(), soft(FAKE - REAL.mean()).mean()),
    "hrrgan": (soft(FAKE - REAL).mean(), soft(FAKE - REAL).mean()),
}


@pytest.mark.parametrize("kind", list(DISCRIMINATOR))
def test_each_half_of_the_discriminator_loss_moves_one_side_alone(kind: str) -> None:
    fake, real = logits()
    verdict = discriminating(kind, fake, real)
    halves = DISCRIMINATOR[kind]
    assert torch.allclose(torch.stack([verdict.real, verdict.fake]), torch.stack(halves))
    assert torch.allclose(verdict.total, (halves[0] + halves[1]) / 2)
    for half, moved, still in ((verdict.real, real, fake), (verdict.fake, fake, real)):
        grads = torch.autograd.grad(half, [moved, still], allow_unused=True, retain_graph=True)
        assert grads[0] is not None and float(grads[0].abs().sum()) > 0
        assert grads[1] is None


def test_before_training_the_losses_are_the_published_numbers() -> None:
    """Equal scores: the adversarial term is ln 2 times its weight, the discriminator's total is ln 2."""
    same = torch.zeros(2, 1, 4, 4)
    weight = TrainOptions().gan.weight
    assert math.isclose(weight * float(adversarial("hrrgan", same, same).mean()), 0.00027076, rel_tol=1e-4)
    assert math.isclose(float(discriminating("hrrgan", same, same).total), 0.693, abs_tol=5e-4)


def test_squared_error_is_of_values_from_0_to_1() -> None:
    x = torch.zeros(2, 3, 4, 4)
    x_hat = torch.stack([torch.full((3, 4, 4), 2 / 255), torch.full((3, 4, 4), 1.0)])
    assert torch.allclose(squared_error(x, x_hat), torch.tensor([1 / 255**2, 0.25]))


def test_the_plain_rate_has_one_weight() -> None:
    loss = RateLoss(RateOptions(type="plain", lambda_a=(0.3,)))
    assert torch.allclose(loss.weight(None, torch.tensor([0.1, 9.0]), 0), torch.tensor(0.3))


def test_hific_weighs_the_rate_by_the_side_of_the_target() -> None:
    loss = HificRateLoss(RateOptions(type="hific", lambda_a=(0.05,), target=(1.5,)))
    weights = loss.weight(None, torch.tensor([1.6, 1.5, 1.4]), 0)
    assert torch.allclose(weights, torch.tensor([0.05, 0.015625, 0.015625]))


def variable(**changes: Any) -> HificVariableRateLoss:
    given = {"lambda_a": "3.6,1.8,0.8,0.4,0.1", "target": "0.08,0.16,0.36,0.72,1.2", **changes}
    return HificVariableRateLoss(RateOptions.parse(given), 5)


def test_each_level_has_its_own_weight_and_target() -> None:
    q, qbpp = torch.tensor([0.0, 0.0, 4.0, 4.0]), torch.tensor([0.09, 0.07, 1.3, 1.1])
    assert torch.allclose(variable().weight(q, qbpp, 0), torch.tensor([3.6, 0.015625, 0.1, 0.015625]))


def test_between_levels_the_weight_goes_on_in_log_and_the_target_linearly() -> None:
    loss, q = variable(), torch.tensor([0.5, 3.75])
    expected = torch.tensor([math.sqrt(3.6 * 1.8), 0.4**0.25 * 0.1**0.75])
    assert torch.allclose(loss.upper(q, 0), expected)
    assert torch.allclose(loss.target(q, 0), torch.tensor([0.12, 1.08]))


def test_one_target_serves_all_levels() -> None:
    loss = variable(target="0")
    assert torch.allclose(loss.weight(torch.tensor([4.0]), torch.tensor([1e-6]), 0), torch.tensor([0.1]))


def test_schedules_multiply_from_their_iterations_on() -> None:
    schedule = ScheduleOptions(vals=(2.0, 1.5, 1.0), steps=(50, 60))
    assert [factor(schedule, step) for step in (0, 49, 50, 59, 60, 1000)] == [2, 2, 1.5, 1.5, 1, 1]
    loss = variable(
        lambda_schedule={"vals": [2, 1], "steps": [50]}, target_rate_schedule={"vals": [1.43, 1], "steps": [50]}
    )
    q, qbpp = torch.tensor([0.0]), torch.tensor([0.1])
    assert math.isclose(float(loss.weight(q, qbpp, 0)), 2 * 0.015625), "0.1 is below 1.43 · 0.08"
    assert math.isclose(float(loss.weight(q, qbpp, 50)), 3.6, rel_tol=1e-6)


REFUSED = [
    ({"rate.lambda_a": "3,2,1"}, "rate.lambda_a has 3 values, but there are 5 levels"),
    ({"rate.target": "0.1,0.2"}, "rate.target has 2 values"),
    ({"rate.lambda_a": "3,2,1,0.5,0.01"}, "lambda_a 0.01 is not above lambda_b"),
    ({"rate.lambda_a": "0.1,0.2,0.3,0.4,0.5"}, "lambda_a must fall"),
    ({"rate.target": "0.5,0.4,0.3,0.2,0.1"}, "target must not be negative, nor fall"),
    ({"rate.type": "hific"}, "type hific takes one lambda_a"),
    ({"rate.lambda_schedule": {"vals": [2, 1], "steps": []}}, "2 vals need 1 steps, not 0"),
    ({"rate.lambda_schedule": {"vals": [2, 1, 3], "steps": [5, 5]}}, "iterations must rise"),
    ({"gan.type": "hrrgan", "levels": 1, "rate.type": "hific", "rate.lambda_a": 1}, "hrrgan needs several levels"),
    ({"realism": True}, "realism needs a perceptual loss or a gan"),
    ({"realism": True, "gan.type": "rgan", "beta_weighting": False}, "realism needs beta_weighting"),
    ({"discriminator.main_ch": "8,8"}, "discriminator.main_ch has 2 values"),
    ({"start": "linear"}, "start linear is for models without attention"),
    ({"condition_start": "zero"}, "condition_start zero is for models with realism"),
    ({"freeze": "encoder,decodr"}, "there is no part 'decodr'"),
    ({"resize_range": "1,0.5"}, "resize_range must be two rising factors"),
    ({"subset_list": "1,2"}, "subset_list is for layout OpenImages"),
    ({"keep_step": 0}, "keep_step must be at least 1"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_options_that_cannot_work_are_refused_before_training(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError) as caught:
        TrainOptions.parse(changes)
    assert message in str(caught.value)


def test_the_published_defect_of_an_unused_knob_is_allowed_on_request() -> None:
    given = {"realism": True, "gan.type": "rgan", "beta_weighting": False, "compat": "original"}
    assert not TrainOptions.parse(given).beta_weighting


def test_lpips_without_weights_says_how_to_do_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CODECTK_METRIC_WEIGHTS", raising=False)
    for file in (None, str(tmp_path / "none.safetensors")):
        with pytest.raises(WeightsError, match="--perceptual none"):
            make_lpips(file)
