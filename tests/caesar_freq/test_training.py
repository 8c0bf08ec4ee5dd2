"""The three trainers: data, losses, what is kept, and what they refuse."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codectk.checkpoint import Checkpoint
from codectk.errors import InputError, OptionsError, TrainingStopped, WeightsError
from codectk.options import RunOptions
from codectk.testing import TrainerConformance
from codectk.testing.trainer import Counter as Stop
from codectk.train import Run
from codectk_caesar_freq.architecture import COMPRESSOR, DIFFUSION, STUDENT, frequency_of
from codectk_caesar_freq.compressor_trainer import RateDistortion
from codectk_caesar_freq.distillation_trainer import (
    Distillation,
    DistillationTrainer,
    Halving,
    multi_resolution_error,
    spectral_error,
)
from codectk_caesar_freq.learned.data import Fields, normalised
from codectk_caesar_freq.learned.diffusion import Diffusion
from codectk_caesar_freq.learned.frequency import FrequencyTransform
from codectk_caesar_freq.learned.latents import Latents
from codectk_caesar_freq.learned.parts import load_part
from codectk_caesar_freq.plugin import codectk_trainers
from codectk_caesar_freq.train_options import CompressorOptions, DiffusionOptions, DistillationOptions
from codectk_caesar_freq.training import Best, Mean

from .small import CONFIGS, FREQUENCY, PHASE_1, PHASE_2, PHASE_3, Listen, moving_waves, part, run, write_fields


class SinglePrecision(Run):
    """A run that nothing is written for."""

    def __init__(self) -> None:
        self.options, self.device = RunOptions(), torch.device("cpu")


RUN = SinglePrecision()
SPECS = {spec.name.partition(".")[2]: spec for spec in codectk_trainers()}


def earlier(folder: Path) -> dict[str, str]:
    """Weights of phases 1 and 2 in a folder, as options of phase 3."""
    folder.mkdir(exist_ok=True)
    for name in (COMPRESSOR, DIFFUSION):
        if not (folder / f"{name}.safetensors").exists():
            part(name).save(folder / f"{name}.safetensors")
    return {
        "freq_compressor_path": str(folder / f"{COMPRESSOR}.safetensors"),
        "teacher_path": str(folder / f"{DIFFUSION}.safetensors"),
    }


class PhaseConformance(TrainerConformance):
    """The kit on fields of waves."""

    def data(self, folder: Path) -> Path:
        write_fields(folder)
        earlier(folder)
        return folder


class TestCompressor(PhaseConformance):
    spec = SPECS["compressor"]

    def options(self, data: Path) -> dict[str, Any]:
        return {**PHASE_1, "train_data": str(data)}


class TestDiffusion(PhaseConformance):
    spec = SPECS["diffusion"]

    def options(self, data: Path) -> dict[str, Any]:
        path = str(data / f"{COMPRESSOR}.safetensors")
        return {**PHASE_2, "train_data": str(data), "freq_compressor_path": path}


class TestDistillation(PhaseConformance):
    spec = SPECS["distillation"]

    def options(self, data: Path) -> dict[str, Any]:
        path = str(data / f"{COMPRESSOR}.safetensors")
        return {**PHASE_3, "train_data": str(data), "freq_compressor_path": path}


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    return write_fields(tmp_path / "fields", waves=moving_waves(variables=2), tall=moving_waves(12, 40, 9))


def fields_of(folder: Path, tmp_path: Path, **changes: Any) -> Fields:
    options = CompressorOptions.parse({**PHASE_1, "train_data": str(folder), **changes})
    return Fields(options, Run(tmp_path / "run", RunOptions(device="cpu")), 4)


def test_the_last_frames_are_held_out(tmp_path: Path) -> None:
    """The first 80 % of frames are zero, the last not, in each file."""
    data = np.zeros((1, 1, 20, 16, 16), np.float32)
    data[:, :, 16:] = np.random.default_rng(0).normal(size=(1, 1, 4, 16, 16))
    folder = write_fields(tmp_path / "fields", a=data)
    found = fields_of(folder, tmp_path)
    assert not any(found.batches()(step).any() for step in range(20))
    assert all(window.any() for _, window in found.val)


def test_all_variables_and_files_are_trained_on(fields: Path, tmp_path: Path) -> None:
    found = fields_of(fields, tmp_path)
    assert {name: len(sources) for name, sources in found.train.items()} == {
        "tall.npz (40, 9)": 1,
        "waves.npz (20, 28)": 2,
    }
    sizes = Counter(tuple(found.batches()(step).shape) for step in range(40))
    assert set(sizes) == {(2, 7, 16, 12), (2, 7, 16, 16)} and min(sizes.values()) > 8
    assert {name for name, _ in found.val} == {"tall.npz", "waves.npz"}


def test_choices_of_variables_sections_and_frames_hold(fields: Path, tmp_path: Path) -> None:
    one = fields_of(fields / "waves.npz", tmp_path, variable_idx="1", section_range="0,1", frame_range="2,12")
    (sources,) = one.train.values()
    assert np.array_equal(sources[0].frames, moving_waves(variables=2)[1, 0, 2:10])
    for changes in ({"variable_idx": "2"}, {"section_range": "1,2"}, {"frame_range": "20,30"}):
        with pytest.raises(InputError, match=r"variable|Nothing"):
            fields_of(fields / "waves.npz", tmp_path, **changes)


def test_other_data_validate_when_they_are_named(fields: Path, tmp_path: Path) -> None:
    found = fields_of(fields, tmp_path, val_data=str(fields / "tall.npz"))
    assert {name for name, _ in found.val} == {"tall.npz"}
    assert len(found.train["waves.npz (20, 28)"][0].frames) == 20, "nothing is held out"


def test_batches_depend_on_the_step_alone_and_augment(fields: Path, tmp_path: Path) -> None:
    load, again = (fields_of(fields, tmp_path).batches() for _ in range(2))
    assert torch.equal(load(3), again(3)) and not torch.equal(load(3), load(4))
    plain = fields_of(fields / "waves.npz", tmp_path, augment=False).batches()(0)
    wave = moving_waves()[0, 0]
    window = plain[0].numpy()
    assert any(
        np.allclose(window, normalised(wave[t : t + 7, y : y + 16, x : x + 16]), atol=1e-5)
        for t in range(10)
        for y in range(5)
        for x in range(13)
    )


def test_small_ranges_beside_large_means_are_kept() -> None:
    x = 300 + 1e-6 * np.random.default_rng(0).uniform(-1, 1, (3, 4, 4))
    made = normalised(x)
    assert made.dtype == np.float32 and float(np.ptp(made)) == pytest.approx(1, abs=1e-4)
    assert not normalised(np.full((2, 2, 2), 7.0)).any()


def test_missing_values_become_the_mean_and_count_for_nothing() -> None:
    x = np.array([[[1.0, 3.0, np.nan, np.inf, -999.0]]])
    assert normalised(x, -999.0).tolist() == [[[-0.5, 0.5, 0, 0, 0]]]
    assert not normalised(np.full((1, 2, 2), np.nan)).any()


def test_fields_of_other_formats_and_ranks_are_taken(tmp_path: Path) -> None:
    """Axes that are left out are the first ones."""
    folder = tmp_path / "fields"
    folder.mkdir()
    np.save(folder / "frames.npy", moving_waves()[0, 0])
    np.save(folder / "integers.npy", np.arange(20 * 8 * 8, dtype=np.int16).reshape(1, 20, 8, 8))
    (folder / "notes.txt").write_text("none")
    found = fields_of(folder, tmp_path)
    assert {name: sources[0].frames.shape[0] for name, sources in found.train.items()} == {
        "frames.npy (20, 28)": 16,
        "integers.npy (8, 8)": 16,
    }


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for content in (b"PK\x03\x04 nothing", b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.npz"):
            fields_of(path, tmp_path)


def figures(path: Path, name: str) -> list[float]:
    with path.open() as stream:
        return [float(row["value"]) for row in csv.DictReader(stream) if row["name"] == name]


def test_phase_1_lowers_its_loss_and_keeps_its_best(fields: Path, tmp_path: Path) -> None:
    values = {**PHASE_1, "train_data": str(fields), "epochs": 12, "save_freq": 5, "lr": 1e-2}
    folder, listen = tmp_path / "out", Listen()
    made = run("compressor", folder, values, watcher=listen)
    losses = figures(folder / "log.csv", "val_loss")
    assert min(losses) < 0.7 * losses[0]
    names = {path.name for path in folder.glob("*.safetensors")}
    kept = {"checkpoint_epoch_5.safetensors", "checkpoint_epoch_10.safetensors"}
    assert names == {"weights.safetensors", "best_model.safetensors", "final_model.safetensors", *kept}
    assert made.digest == Checkpoint.open(folder / "best_model.safetensors").digest
    results = json.loads((folder / "results.json").read_text())
    assert set(results["validation"]) == {"waves.npz", "tall.npz"}
    assert any("best" in message for message in listen.messages)


def test_the_rate_counts_when_the_best_is_chosen() -> None:
    """The same network is worse where bits weigh more; with rounded latents a figure is the same each time."""
    network = load_part(part(COMPRESSOR), COMPRESSOR).eval()
    transform, x = FrequencyTransform("haar", 2), torch.randn(1, 7, 16, 16)
    small, large = (
        RateDistortion(
            RUN, network, transform, CompressorOptions.parse({**PHASE_1, "train_data": "x", "lambda_bpp": v})
        )  # type: ignore[arg-type]
        .eval()
        .measure(x, torch.zeros_like(x))
        for v in (0.0, 1.0)
    )
    assert float(large["loss"] - small["loss"]) == pytest.approx(float(small["bpp"]))
    assert small["loss"] == small["mse"]


def test_planes_that_are_not_coded_pass_unchanged() -> None:
    """A field without low frequencies comes out as the network's answer to zeros, and nothing else is lost."""
    network = load_part(part(COMPRESSOR), COMPRESSOR).eval()
    transform = FrequencyTransform("haar", 2)
    objective = RateDistortion(RUN, network, transform, CompressorOptions.parse({**PHASE_1, "train_data": "x"})).eval()  # type: ignore[arg-type]
    planes = torch.randn(1, 7, 16, 4, 4)
    planes[:, :, :3] = 0
    zeros = objective(torch.zeros(1, 7, 16, 16))
    assert float(objective(transform.inverse(planes))["mse"]) == pytest.approx(float(zeros["mse"]), rel=1e-4)


def test_best_weights_come_out_not_the_last(fields: Path, tmp_path: Path) -> None:
    """With a learning rate that spoils the network, validation picks an early epoch."""
    values = {**PHASE_1, "train_data": str(fields), "epochs": 6, "lr": 0.5}
    made = run("compressor", tmp_path / "out", values)
    losses = figures(tmp_path / "out" / "log.csv", "val_loss")
    assert made.training["epochs"] == 1 + int(np.argmin(losses))
    final = Checkpoint.open(tmp_path / "out" / "final_model.safetensors")
    assert (final.digest == made.digest) == (made.training["epochs"] == 6)


def test_networks_compute_in_the_precision_of_the_run(fields: Path, tmp_path: Path) -> None:
    paths = earlier(tmp_path / "earlier")
    only = {"freq_compressor_path": paths["freq_compressor_path"]}
    for phase, values in (("diffusion", {**PHASE_2, **only}), ("distillation", {**PHASE_3, **only})):
        digests = set()
        for precision in ("float32", "bfloat16"):
            settings = {**values, "train_data": str(fields), "epochs": 1}
            digests.add(run(phase, tmp_path / phase / precision, settings, precision=precision).digest)
        assert len(digests) == 2


def test_the_best_of_several_offers_is_kept_with_its_state() -> None:
    best, module = Best(), torch.nn.Linear(1, 1)
    scores = [float("nan"), 3.0, 1.0, 2.0]
    for epoch, score in enumerate(scores):
        torch.nn.init.constant_(module.weight, epoch)
        best.offer(score, epoch, module)
    again = Best()
    again.load_state_dict(json.loads(json.dumps({**best.state_dict(), "weights": {}})) | {"weights": best.weights})
    assert (again.score, again.epoch, float(again.weights["weight"])) == (1.0, 2, 2.0)


def test_running_means_follow_the_weights() -> None:
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(module.weight)
    mean, newest = Mean(module, 0.9), Mean(module, 0.0)
    torch.nn.init.ones_(module.weight)
    for step in range(100):
        mean.update(module, 1000)
        newest.update(module, step)
        if step == 0:
            assert float(mean.network.weight) == pytest.approx(0.1) and float(newest.network.weight) == 1
    assert float(mean.network.weight) == pytest.approx(1, abs=1e-3)


def test_phase_2_learns_to_denoise(fields: Path, tmp_path: Path) -> None:
    values = {**PHASE_2, "train_data": str(fields / "waves.npz"), "epochs": 10, "lr": 2e-2, "val_freq": 5}
    folder = tmp_path / "out"
    made = run("diffusion", folder, {**values, **_only_compressor(tmp_path)})
    losses = figures(folder / "log.csv", "loss")
    assert np.mean(losses[-20:]) < 0.6 * np.mean(losses[:5])
    assert isinstance(load_part(made, DIFFUSION), Diffusion)
    assert made.config["window"] == {"n_frame": 7, "interpo_rate": 3, "tile": 16}
    assert {"diffusion_best.safetensors", "diffusion_final.safetensors"} < {p.name for p in folder.iterdir()}


def test_the_student_of_the_truth_beats_linear_interpolation_where_something_can_be_learned(
    fields: Path, tmp_path: Path
) -> None:
    values = {
        **PHASE_3,
        "train_data": str(fields / "waves.npz"),
        "epochs": 40,
        "lr": 1e-2,
        "val_freq": 20,
        "balance": False,
    }
    run("distillation", tmp_path / "out", {**values, **_only_compressor(tmp_path), "ema_decay": 0.9})
    results = json.loads((tmp_path / "out" / "results.json").read_text())["validation"]["waves.npz"]
    assert results["mse"] < 0.9 * results["linear"]


def test_the_teachers_samples_are_the_target_where_that_is_asked_for(tmp_path: Path) -> None:
    """A teacher that always answers zero noise and a shifted residual teaches that shift."""
    options = DistillationOptions.parse({**PHASE_3, "train_data": "x", **earlier(tmp_path), "target": "teacher"})
    latents = Latents(FREQUENCY, 3, 0.01)
    teacher = load_part(part(DIFFUSION), DIFFUSION)
    assert isinstance(teacher, Diffusion)
    torch.manual_seed(0)
    x = torch.randn(1, 7, 16, 16)
    known, residual = latents.training(x)
    objective = Distillation(RUN, torch.nn.Identity(), latents, options, teacher, 1)
    target = objective._target(known, residual)
    assert not torch.allclose(target, residual) and not target[:, :, ::3].any()
    assert Distillation(RUN, torch.nn.Identity(), latents, options, None, None)._target(known, residual) is residual
    assert not any("teacher" in name for name, _ in objective.named_parameters())


def test_halving_is_satisfied_by_a_pupil_that_takes_two_steps_in_one() -> None:
    """Where the teacher's answer does not depend on the state, it is its own perfect pupil; another is not."""
    latents, x = Latents(FREQUENCY, 3, 0.01), torch.randn(2, 7, 16, 16)

    class Constant(torch.nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, state: torch.Tensor, *rest: Any) -> torch.Tensor:
            return torch.full_like(state, self.value)

    def model(value: float) -> Diffusion:
        return Diffusion(Constant(value), 4, "x0")  # type: ignore[arg-type]

    for seed in range(4):
        torch.manual_seed(seed)
        assert float(Halving(model(0.5), model(0.5), latents, 4)(x)["loss"]) < 1e-4
        assert float(Halving(model(0.7), model(0.5), latents, 4)(x)["loss"]) == pytest.approx(0.04, abs=5e-3)


def test_additional_losses_are_what_they_say() -> None:
    torch.manual_seed(1)
    made, target = torch.randn(2, 3, 5, 8, 8), torch.randn(2, 3, 5, 8, 8)
    plain = float((made - target).square().mean())
    assert float(multi_resolution_error(target + 2, target)) == pytest.approx(4, rel=1e-5)
    assert float(multi_resolution_error(made, target)) == pytest.approx(plain * (1 + 1 / 4 + 1 / 16) / 3, rel=0.15)
    assert float(spectral_error(made, made)) == 0
    assert float(spectral_error(made, target)) < 1.3 * plain, "an orthonormal transform, so no factor of H·W"
    assert float(multi_resolution_error(made[..., :1, :1], target[..., :1, :1])) > 0


def test_a_progressive_run_that_is_stopped_goes_on_to_the_same_weights(fields: Path, tmp_path: Path) -> None:
    """Stopped in the first halving, in the second, and in the student's own training."""
    plan = {"target": "teacher", "progressive": True, "progressive_epochs": 1, "epochs": 1}
    values = {**PHASE_3, **plan, "train_data": str(fields / "tall.npz"), **earlier(tmp_path / "earlier")}
    values |= {"batch_size": 1}
    counter = Stop()
    straight = run("distillation", tmp_path / "straight", values, watcher=counter)
    phases = [row.split(",")[0] for row in (tmp_path / "straight" / "log.csv").read_text().splitlines()[1:]]
    assert list(dict.fromkeys(phases)) == ["halve_2", "halve_1", "train"] and counter.steps == 3
    for steps in (1, 2):
        folder = tmp_path / f"stopped-{steps}"
        with pytest.raises(TrainingStopped):
            run("distillation", folder, values, watcher=Stop(steps))
        assert run("distillation", folder, values, resume=True).digest == straight.digest
    alone = run("distillation", tmp_path / "alone", {**values, "progressive": False})
    assert alone.digest != straight.digest, "the halved teacher teaches something else"


@pytest.mark.parametrize("balance", [True, False])
def test_balanced_errors_are_relative_to_those_of_interpolation(tmp_path: Path, balance: bool) -> None:
    """Errors of a network that adds nothing differ less between a slow and a noisy field, and are below 1."""

    class Nothing(torch.nn.Module):
        def forward(self, known: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(known)

    options = DistillationOptions.parse({**PHASE_3, "train_data": "x", **earlier(tmp_path), "balance": balance})
    objective = Distillation(RUN, Nothing(), Latents(FREQUENCY, 3, 1e-6), options, None, None)
    slow = torch.from_numpy(normalised(moving_waves(7, 16, 16)[0, 0]))[None]
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.2, (1, 7, 16, 16)).astype(np.float32))
    errors = [float(objective(x)["mse"]) for x in (slow, noise)]
    figures = [objective.measure(x, torch.zeros_like(x)) for x in (slow, noise)]
    if balance:
        assert 0.35 * errors[1] < errors[0] < errors[1] < 1
    else:
        assert errors[0] < 0.25 * errors[1]
        assert all(float(f["loss"]) == pytest.approx(float(f["linear"])) for f in figures)
    assert all(float(f["mse"]) == pytest.approx(float(f["linear"])) for f in figures)


@pytest.mark.parametrize("flag", ["use_perceptual_loss", "use_frequency_loss"])
def test_additional_losses_can_be_switched_off(tmp_path: Path, flag: str) -> None:
    network = load_part(part(STUDENT), STUDENT)
    names = []
    for value in (True, False):
        values = {**PHASE_3, "train_data": "x", **earlier(tmp_path), flag: value}
        objective = Distillation(
            RUN, network, Latents(FREQUENCY, 3, 0.01), DistillationOptions.parse(values), None, None
        )
        names.append(set(objective(torch.randn(1, 7, 16, 16))))
    assert len(names[0] - names[1]) == 1


def test_the_guides_flags_are_taken() -> None:
    """Names and values as in its documentation, apart from what belongs to every run."""
    from codectk_cli.bridge import OptionsCommand, gather, given
    from codectk_cli.main import dashes

    common = "--train_data d --val_data v --n_frame 16 --training_size 256 --wavelet cdf97 --dct_block_size 8 "
    common += "--use_dwt --latent_channels 32 --hyper_channels 32 --low_freq_size 16 --epochs 100 --lr 1e-4 "
    common += "--save_freq 10 --batch_size 4 "
    latent = common + "--freq_compressor_path p --interpo_rate 3 "
    unet = "--unet_dim 64 --dim_mults 1 2 4 8 "
    lines: list[tuple[Any, str]] = [
        (CompressorOptions, common + "--lambda_bpp 0.01 --lambda_extra 0.01"),
        (CompressorOptions, common.replace("--use_dwt", "--no_dwt")),
        (DiffusionOptions, latent + unet + "--diffusion_steps 32"),
        (
            DistillationOptions,
            latent + unet + "--teacher_path t --teacher_steps 32 --student_base_channels 64 "
            "--student_channel_mults 1 2 4 --student_num_res_blocks 2 --use_perceptual_loss --no-use_frequency_loss",
        ),
    ]
    for model, line in lines:
        context = OptionsCommand("try", models=[model]).make_context("try", line.split(), token_normalize_func=dashes)
        options: Any = gather(model, given(context, model))
        assert options.n_frame == 16 and options.wavelet == "cdf97"
        assert options.use_dwt == ("--no_dwt" not in line)
    assert not options.use_frequency_loss and options.use_perceptual_loss


def _only_compressor(tmp_path: Path) -> dict[str, str]:
    return {"freq_compressor_path": earlier(tmp_path / "earlier")["freq_compressor_path"]}


def test_phases_2_and_3_take_the_transform_from_phase_1(fields: Path, tmp_path: Path) -> None:
    values = {**PHASE_3, "train_data": str(fields), **_only_compressor(tmp_path)}
    made = run("distillation", tmp_path / "out", {**values, "epochs": 1, "dct_block_size": 2, "hyper_channels": 4})
    assert frequency_of(made) == FREQUENCY
    for flag, value in (("wavelet", "cdf97"), ("dct_block_size", 8), ("latent_channels", 5), ("use_dwt", False)):
        with pytest.raises(OptionsError, match=f"{flag} .*not"):
            run("distillation", tmp_path / flag, {**values, flag: value})


def test_weights_that_do_not_fit_are_plain_errors(fields: Path, tmp_path: Path) -> None:
    paths = earlier(tmp_path / "earlier")
    values = {**PHASE_3, "train_data": str(fields), "target": "teacher", **paths}

    def attempt(error: type[Exception], match: str, **changes: Any) -> None:
        with pytest.raises(error, match=match):
            run("distillation", tmp_path / "out", {**values, **changes})

    attempt(InputError, "does not exist", freq_compressor_path=str(tmp_path / "none.safetensors"))
    attempt(WeightsError, "freq_compressor", freq_compressor_path=paths["teacher_path"])
    attempt(WeightsError, "diffusion", teacher_path=paths["freq_compressor_path"])
    attempt(OptionsError, "dim", unet_dim=16)
    attempt(OptionsError, "dim_mults", dim_mults="1,2,4")
    attempt(OptionsError, "teacher_steps", teacher_steps=5)
    attempt(OptionsError, "power of two", teacher_steps=3, progressive=True)
    attempt(OptionsError, "training_size", training_size=18)
    other = part(DIFFUSION, frequency=FREQUENCY.model_copy(update={"wavelet": "cdf97"}))
    other.save(tmp_path / "other.safetensors")
    attempt(WeightsError, "transform", teacher_path=str(tmp_path / "other.safetensors"))


@pytest.mark.parametrize(
    ("model", "changes", "word"),
    [
        (CompressorOptions, {"training_size": 40}, "multiple of 16"),
        (CompressorOptions, {"low_freq_size": 300}, "planes"),
        (DiffusionOptions, {"n_frame": 15}, "keyframe"),
        (DiffusionOptions, {"interpo_rate": 4}, "keyframe"),
        (DiffusionOptions, {"val_steps": 33}, "val_steps"),
        (DistillationOptions, {"target": "teacher"}, "teacher_path"),
        (DistillationOptions, {"progressive": True}, "teacher"),
        (DistillationOptions, {"student_base_channels": 12}, "multiple of 8"),
        (DistillationOptions, {"student_channel_mults": "1,0"}, "factor"),
        (DistillationOptions, {"frame_range": "5,2"}, "range"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(model: Any, changes: dict[str, Any], word: str) -> None:
    needed = {"train_data": "x", "freq_compressor_path": "y"}
    start = {name: value for name, value in needed.items() if name in model.model_fields}
    with pytest.raises(OptionsError, match=word):
        model.parse({**start, **changes})


def test_runs_on_other_data_are_not_resumed(fields: Path, tmp_path: Path) -> None:
    values = {**PHASE_1, "train_data": str(fields)}
    with pytest.raises(TrainingStopped):
        run("compressor", tmp_path / "out", values, watcher=Stop(1))
    np.savez(fields / "waves.npz", data=moving_waves() + 1)
    with pytest.raises(InputError, match="data"):
        run("compressor", tmp_path / "out", values, resume=True)


def test_dry_runs_tell_of_network_and_data(fields: Path, tmp_path: Path) -> None:
    options = DistillationOptions.parse({**PHASE_3, "train_data": str(fields), **earlier(tmp_path / "earlier")})
    lines = list(DistillationTrainer(options, Run(tmp_path / "run", RunOptions(device="cpu"))).describe())
    assert "parameters" in lines[0] and any("tall" in line for line in lines)
    assert CONFIGS[STUDENT] == options.architecture()


def test_weights_do_not_tell_of_paths(fields: Path, tmp_path: Path) -> None:
    made = run("compressor", tmp_path / "out", {**PHASE_1, "train_data": str(fields), "epochs": 1})
    assert str(tmp_path) not in json.dumps(made.about())
