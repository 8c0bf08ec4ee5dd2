"""What transform, windows, networks, samplers and predictor compute."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pywt
import torch
from numpy.typing import NDArray

from codectk.checkpoint import Checkpoint
from codectk.entropy import Tables
from codectk.errors import InputError, OptionsError, WeightsError
from codectk_caesar_freq.architecture import COMPRESSOR, DIFFUSION, STUDENT, FrequencyConfig, WindowConfig
from codectk_caesar_freq.learned.compressor import FrequencyCompressor
from codectk_caesar_freq.learned.diffusion import GAIN, Diffusion, ladder, missing_error, seeded_noise
from codectk_caesar_freq.learned.frequency import FrequencyTransform, zigzag
from codectk_caesar_freq.learned.parts import load_part
from codectk_caesar_freq.learned.predictor import Predictor
from codectk_caesar_freq.learned.prior import FactorizedPrior
from codectk_caesar_freq.learned.student import Student
from codectk_caesar_freq.learned.unet import UNet
from codectk_caesar_freq.learned.windows import condition, interpolate, keyframes, missing

from .small import moving_waves, part

ALL: Any = pytest.mark.parametrize("wavelet", ["haar", "cdf97", "none"])


@ALL
@pytest.mark.parametrize("block", [2, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_planes_hold_all_of_a_frame(wavelet: Any, block: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    transform, x = FrequencyTransform(wavelet, block), torch.randn(2, 3, 32, 48, dtype=dtype)
    planes = transform.forward(x)
    assert planes.shape == (2, 3, transform.cell**2, 32 // transform.cell, 48 // transform.cell)
    assert torch.allclose(transform.inverse(planes), x, atol=2e-5)
    ratio = float(planes.square().sum() / x.square().sum())
    assert ratio == pytest.approx(1, abs=0.06 if wavelet == "cdf97" else 1e-5)


@ALL
def test_the_first_plane_is_the_local_mean_and_follows_the_whole_frame(wavelet: Any) -> None:
    """Not a corner of it: a change anywhere moves the first plane at that place."""
    transform = FrequencyTransform(wavelet, 4)
    flat = transform.forward(torch.full((32, 32), 3.0))
    inside = flat[0] / transform.cell
    assert torch.allclose(inside, torch.full_like(inside, 3.0), atol=1e-4)
    assert flat[1:].abs().max() < 1e-4
    x = torch.zeros(32, 32)
    x[24:, 24:] = 1
    assert transform.forward(x)[0, -1, -1] > 1
    assert transform.forward(x)[0, 0, 0].abs() < 1e-5


def test_planes_are_in_the_order_of_their_frequencies() -> None:
    assert zigzag(8)[:6] == [(0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2)]
    assert sorted(zigzag(4)) == [(u, v) for u in range(4) for v in range(4)]
    x = torch.cos(torch.pi * 3 * (2 * torch.arange(8) + 1) / 16).expand(8, 8)
    strongest = FrequencyTransform("none", 8).forward(x)[:, 0, 0].abs().argmax()
    assert zigzag(8)[int(strongest)] == (0, 3)


def test_the_wavelets_are_those_of_the_literature() -> None:
    torch.manual_seed(1)
    x = torch.randn(16, 16, dtype=torch.float64)
    for wavelet, name in (("haar", "haar"), ("cdf97", "bior4.4")):
        transform = FrequencyTransform(wavelet, 2)  # type: ignore[arg-type]
        found = transform.forward(x)
        low = transform._unblock(found[:4])
        ll, (rows, columns, both) = pywt.dwt2(x.numpy(), name, mode="periodization" if name == "haar" else "reflect")
        if name == "haar":
            bands = [low, *(transform._spread(found[i : i + 4]) for i in (4, 8, 12))]
            for mine, theirs in zip(bands, (ll, rows, columns, both), strict=True):
                assert np.allclose(mine.numpy(), theirs, atol=1e-6)
        else:  # filters of nine taps: away from the ends, up to the shift that the padding makes
            inner = low[3:6, 3:6].numpy()
            shifts = [ll[i : i + 3, j : j + 3] for i in range(len(ll) - 2) for j in range(ll.shape[1] - 2)]
            assert min(np.abs(inner - part).max() for part in shifts) < 1e-4


@ALL
def test_planes_left_out_are_zero(wavelet: Any) -> None:
    torch.manual_seed(2)
    transform = FrequencyTransform(wavelet, 2)
    planes = transform.forward(torch.randn(8, 8))
    cut = planes.clone()
    cut[3:] = 0
    assert torch.allclose(transform.inverse(planes[:3]), transform.inverse(cut))


def test_windows_begin_and_end_on_keyframes() -> None:
    assert keyframes(16, 3) == [0, 3, 6, 9, 12, 15]
    assert missing(16, 3) == [1, 2, 4, 5, 7, 8, 10, 11, 13, 14]
    for n_frame, rate in ((16, 4), (15, 3), (1, 3), (4, 0)):
        with pytest.raises(OptionsError, match="keyframe"):
            keyframes(n_frame, rate)


def test_interpolation_is_linear_in_time() -> None:
    keys = torch.tensor([0.0, 3.0, -3.0])[:, None]
    assert interpolate(keys, 3, 0)[:, 0].tolist() == pytest.approx([0, 1, 2, 3, 1, -1, -3])


def test_conditions_need_keyframes_alone_and_no_unit() -> None:
    """A field in other units has the same condition and the same residual; the missing frames do not matter."""
    torch.manual_seed(3)
    latents = torch.randn(2, 4, 7, 3, 3)
    known, scaled = (condition(v[:, :, ::3], 3) for v in (latents, 100 * latents + 7))
    assert torch.allclose(known.condition, scaled.condition, atol=1e-4)
    assert torch.allclose(known.residual(latents), scaled.residual(100 * latents + 7), atol=1e-4)
    residual = known.residual(latents)
    assert not residual[:, :, ::3].any()
    assert torch.allclose(known.latents(residual), latents, atol=1e-4)


def test_constant_windows_have_finite_conditions() -> None:
    known = condition(torch.full((1, 2, 3, 2, 2), 5.0), 3)
    assert known.condition.isfinite().all()
    assert torch.equal(known.latents(torch.zeros_like(known.linear)), torch.full((1, 2, 7, 2, 2), 5.0))


def test_the_compressor_counts_bits_of_each_sample() -> None:
    torch.manual_seed(4)
    model, x = FrequencyCompressor(3, 4, 4), torch.randn(2, 3, 5, 6, 7)
    model.eval()
    both, alone = model(x), model(x[1:])
    assert both.planes_hat.shape == x.shape
    assert torch.allclose(both.y_bits[1:], alone.y_bits) and torch.allclose(both.z_bits[1:], alone.z_bits)
    assert (both.y_bits > 0).all() and (both.z_bits > 0).all()
    noisy = [model.train()(x).y_bits for _ in range(2)]
    assert not torch.equal(*noisy), "training measures noisy latents"
    assert model.entropy_parameters(torch.randn(1, 4, 1, 2, 2) * 50, (6, 7))[1].min() >= 0.1


def test_the_compressor_has_the_published_size() -> None:
    """75,713 weights with one plane where CAESAR-Freq has one, and the published hyper networks and prior."""
    model = FrequencyCompressor(1, 32, 32)
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in model.named_children()}
    assert counts["encoder"] == 4_800 and counts["decoder"] == 4_769
    assert counts["hyper_encoder"] == 27_744 and counts["hyper_decoder"] == 36_992


def test_the_prior_is_a_distribution_whose_medians_learn() -> None:
    torch.manual_seed(5)
    prior = FactorizedPrior(3)
    places = torch.arange(-200.0, 201.0).expand(3, 1, -1)
    assert torch.allclose(prior.likelihood(places).sum(-1), torch.ones(3, 1), atol=1e-3)
    before = float(prior.extra_loss().detach())
    optimizer = torch.optim.Adam([prior.medians], 0.1)
    for _ in range(100):
        optimizer.zero_grad()
        prior.extra_loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(prior.extra_loss().detach()) < 0.1 * before + 0.1
    assert all(p.grad is None for name, p in prior.named_parameters() if name != "medians")


def test_weights_of_the_compressor_hold_frozen_tables() -> None:
    tensors = part(COMPRESSOR).tensors
    tables = {
        name.removeprefix("freq_compressor.tables."): array for name, array in tensors.items() if ".tables." in name
    }
    assert len(Tables.from_tensors(tables, "z")) == 4
    assert len(Tables.from_tensors(tables, "y")) == 128


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("mults", [(1,), (1, 2, 2)])
def test_the_student_takes_any_size_and_number_of_blocks(blocks: int, mults: tuple[int, ...]) -> None:
    student = Student(3, 8, mults, blocks)
    known = condition(torch.randn(2, 3, 3, 5, 7), 3)
    made = student(known.condition, known.mask)
    assert made.shape == (2, 3, 7, 5, 7)
    assert not made.any(), "an untrained student is linear interpolation"
    made.sum().backward()
    assert student.out[2].weight.grad is not None and student.out[2].weight.grad.any()


@pytest.mark.parametrize("name", [STUDENT, DIFFUSION])
def test_networks_see_which_frames_are_keyframes(name: str) -> None:
    network = load_part(part(name), name)
    known = condition(torch.randn(1, 4, 3, 4, 4), 3)
    other = known.mask.clone()
    other[:, :, 1] = 1

    def through(mask: torch.Tensor) -> torch.Tensor:
        if isinstance(network, Diffusion):
            times = torch.zeros(1, dtype=torch.int64)
            made: torch.Tensor = network.network(torch.zeros_like(known.condition), known.condition, mask, times)
            return made
        return network(known.condition, mask)  # type: ignore[no-any-return]

    assert not torch.allclose(through(known.mask)[:, :, 2], through(other)[:, :, 2])


@pytest.mark.parametrize("prediction", ["v", "x0", "eps"])
def test_a_perfect_network_denoises_and_samples_the_truth(prediction: Any) -> None:
    """With the network replaced by what it should say, `clean` and both samplers give back the residual."""
    torch.manual_seed(6)
    model = Diffusion(UNet(2, 8, (1,), 8, 2, 4), 8, prediction)
    known = condition(torch.randn(1, 2, 3, 4, 4), 3)
    residual = torch.randn(1, 2, 7, 4, 4).clamp(-1, 1) * (1 - known.mask)

    class Oracle(torch.nn.Module):
        def forward(self, state: torch.Tensor, c: Any, m: Any, times: torch.Tensor) -> torch.Tensor:
            signal, scale = model.rates(int(times[0]))
            x = residual * GAIN
            noise = (state - signal * x) / scale
            return {"v": signal * noise - scale * x, "x0": x, "eps": noise}[prediction]

    model.network = Oracle()  # type: ignore[assignment]
    for step in (0, 3, 6):
        state = model.noisy(residual, torch.randn_like(residual), step, known)
        assert torch.allclose(model.clean(state, known, step), residual * GAIN, atol=1e-2)
    for count in (None, 1, 3, 8):
        made = model.sample(known, lambda step: torch.randn_like(residual), count)
        assert torch.allclose(made, residual, atol=2e-2), count
        assert not made[:, :, ::3].any()


def test_the_loss_looks_at_missing_frames_alone() -> None:
    mask = condition(torch.randn(1, 2, 3, 4, 4), 3).mask
    made = torch.zeros(1, 2, 7, 4, 4)
    target = torch.where(mask.bool(), torch.tensor(100.0), torch.tensor(2.0)).expand_as(made)
    assert float(missing_error(made, target, mask)) == pytest.approx(4.0)


def test_the_schedule_is_the_published_one() -> None:
    powers = Diffusion(UNet(2, 8, (1,), 32, 2, 4), 32).get_buffer("signal_power").tolist()
    assert 1 - powers[0] == pytest.approx(0.0036, abs=5e-5)
    assert powers[-4:] == pytest.approx([0.0212, 0.0095, 0.0024, 2.4e-7], rel=0.02)
    assert all(later < earlier for earlier, later in pairwise(powers))
    assert ladder(32, 4) == [31, 23, 15, 7] and ladder(32, 32) == list(reversed(range(32)))


def test_noise_depends_on_window_and_step_and_is_nearly_normal() -> None:
    noise = seeded_noise([(1, 0), (2, 0)], (3, 16, 8, 8))
    first = noise(5)
    assert torch.equal(first, noise(5)) and torch.equal(first[1:], seeded_noise([(2, 0)], (3, 16, 8, 8))(5))
    assert not torch.equal(first[0], first[1]) and not torch.equal(first, noise(6))
    assert abs(float(first.mean())) < 0.03 and abs(float(first.std()) - 1) < 0.03
    assert first[0, 0, 0, 0, 0].item() == NOISE_BEFORE


NOISE_BEFORE = -0.39503065310418606
"""What files already written were predicted with; it must never change."""


def predictor(*names: str, tile: int = 32) -> Predictor:
    checkpoints = [part(name, window=WindowConfig(n_frame=7, interpo_rate=3, tile=tile)) for name in names]
    tensors: dict[str, NDArray[Any]] = {}
    configs: dict[str, Any] = {}
    for checkpoint in checkpoints:
        tensors |= checkpoint.tensors
        configs |= checkpoint.config["parts"]
    first = checkpoints[0]
    config = {**first.config, "parts": configs}
    return Predictor.load(Checkpoint(tensors, first.codec, first.distribution, first.version, 1, config))


def keys(height: int, width: int) -> NDArray[np.float64]:
    field = moving_waves(7, height, width)[0, 0].astype(np.float64)
    return field[::3] + np.random.default_rng(0).normal(0, 0.1, (3, height, width))


@pytest.mark.parametrize("method", ["student", "teacher"])
@pytest.mark.parametrize("size", [(33, 49), (1, 1), (5, 70), (16, 16)])
def test_predictions_of_any_size_are_reproducible(method: Any, size: tuple[int, int]) -> None:
    made = predictor(STUDENT, DIFFUSION)
    x = keys(*size)
    first = made.predict(x, method, 7, 3, seed=3)
    assert first.shape == (4, *size) and first.dtype == np.float64 and np.isfinite(first).all()
    torch.set_num_threads(1)
    assert np.array_equal(predictor(STUDENT, DIFFUSION).predict(x.astype(">f8"), method, 7, 3, seed=3), first)
    if size != (1, 1):
        assert not np.array_equal(first, made.predict(x, "linear", 7, 3)), "the network adds something"


def test_linear_prediction_is_interpolation() -> None:
    x = keys(9, 10)
    made = predictor(STUDENT).predict(x, "linear", 7, 3)
    assert np.allclose(made[0], (2 * x[0] + x[1]) / 3) and np.allclose(made[3], (x[1] + 2 * x[2]) / 3)


def test_predictions_follow_units_and_tiles() -> None:
    made = predictor(STUDENT)
    x = keys(32, 64)
    whole = made.predict(x, "student", 7, 3)
    assert np.array_equal(made.predict(x[:, :, 32:], "student", 7, 3), whole[:, :, 32:]), "tiles are independent"
    assert np.array_equal(made.predict(x * 2.0**70, "student", 7, 3), whole * 2.0**70)
    assert np.allclose(made.predict((x + 300) * 1e-6, "student", 7, 3), (whole + 300) * 1e-6, rtol=1e-9)


def test_networks_change_no_high_frequency() -> None:
    made = predictor(STUDENT)
    x = keys(32, 32)
    added = torch.from_numpy(made.predict(x, "student", 7, 3) - made.predict(x, "linear", 7, 3))
    planes = FrequencyTransform("haar", 2).forward(added)
    assert planes[:, :4].abs().max() > 1e-3
    assert planes[:, 4:].abs().max() < 1e-6


def test_the_seed_matters_to_the_teacher_unless_there_is_no_noise_to_draw() -> None:
    made, x = predictor(DIFFUSION), keys(16, 16)
    first, other = (made.predict(x, "teacher", 7, 3, seed=seed) for seed in (0, 1))
    assert not np.array_equal(first, other)
    few = made.predict(x, "teacher", 7, 3, sampling_steps=2)
    assert few.shape == first.shape and not np.array_equal(few, first)


def test_constant_fields_are_predicted_exactly() -> None:
    made = predictor(STUDENT, DIFFUSION)
    for method in made.methods:
        assert np.array_equal(made.predict(np.full((3, 5, 5), 7.25), method, 7, 3), np.full((4, 5, 5), 7.25))


def test_wrong_use_of_the_predictor_is_a_plain_error() -> None:
    made = predictor(STUDENT)
    with pytest.raises(OptionsError, match="keyframes"):
        made.predict(np.zeros((2, 4, 4)), "linear", 7, 3)
    with pytest.raises(OptionsError, match="teacher"):
        made.predict(np.zeros((3, 4, 4)), "teacher", 7, 3)
    with pytest.raises(OptionsError, match="sampling"):
        predictor(DIFFUSION).predict(np.zeros((3, 4, 4)), "teacher", 7, 3, sampling_steps=9)
    for value in (math.nan, math.inf, 1e305):
        with pytest.raises(InputError, match="finite"):
            made.predict(np.full((3, 4, 4), value), "student", 7, 3)


def damaged(name: str, **changes: Any) -> Checkpoint:
    good = part(name)
    values = {
        f: getattr(good, f) for f in ("tensors", "codec", "distribution", "version", "bitstream_version", "config")
    }
    return Checkpoint(**{**values, **changes})


def test_damaged_and_hostile_weights_are_refused() -> None:
    good = part(DIFFUSION)
    config: dict[str, Any] = good.config
    huge = {**config["parts"][DIFFUSION], "dim": 4096, "dim_mults": [64, 64, 64, 64, 64, 64]}
    schedule = "diffusion.signal_power"
    bad: list[tuple[Checkpoint, str]] = [
        (damaged(DIFFUSION, codec="crdr"), "crdr"),
        (damaged(DIFFUSION, config={**config, "frequency": {"wavelet": "db4"}}), "transform"),
        (damaged(DIFFUSION, config={**config, "frequency": 3}), "transform"),
        (damaged(DIFFUSION, config={**config, "frequency": {"dct_block_size": 2, "latent_channels": 17}}), "transform"),
        (damaged(DIFFUSION, config={**config, "window": {"tile": -1}}), "windows"),
        (damaged(DIFFUSION, config={**config, "parts": {"other": {}}}), "parts"),
        (damaged(DIFFUSION, config={**config, "parts": {DIFFUSION: {"dim": 8.5}}}), DIFFUSION),
        (damaged(DIFFUSION, config={**config, "parts": {DIFFUSION: {"dim_mults": [0]}}}), DIFFUSION),
        (damaged(DIFFUSION, config={**config, "parts": {DIFFUSION: huge}}), DIFFUSION),
        (damaged(DIFFUSION, tensors={n: t for n, t in good.tensors.items() if "stem" not in n}), DIFFUSION),
        (damaged(DIFFUSION, tensors={n: t.astype(np.float64) for n, t in good.tensors.items()}), DIFFUSION),
        (damaged(DIFFUSION, tensors={**good.tensors, schedule: good.tensors[schedule] * -1}), "schedule"),
        (damaged(DIFFUSION, tensors={**good.tensors, schedule: good.tensors[schedule][::-1]}), "schedule"),
    ]
    for checkpoint, word in bad:
        with pytest.raises(WeightsError, match=word):
            Predictor.load(checkpoint)


def test_answers_that_are_not_finite_are_refused() -> None:
    class Lost(torch.nn.Module):
        def forward(self, known: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return known * math.nan

    made = Predictor(FrequencyConfig(dct_block_size=2, latent_channels=4), WindowConfig(), Lost())
    with pytest.raises(WeightsError, match="not finite"):
        made.predict(keys(8, 8), "student", 7, 3)


def test_weights_in_half_precision_load_as_single(tmp_path: Path) -> None:
    good = part(STUDENT)
    half = {name: t.astype(np.float16) for name, t in good.tensors.items()}
    made = load_part(damaged(STUDENT, tensors=half), STUDENT)
    assert all(p.dtype == torch.float32 for p in made.parameters())


def test_a_window_of_other_length_than_trained_is_predicted() -> None:
    x = moving_waves(13, 8, 8)[0, 0, ::4].astype(np.float64)
    assert predictor(STUDENT, DIFFUSION).predict(x, "student", 13, 4).shape == (9, 8, 8)
    assert FrequencyConfig().latent_channels == 32
