"""Training from start to end: weights that work, files that are promised, and plain words for what cannot be done."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from codectk import container
from codectk.arrays import ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.compression import load_codec
from codectk.errors import CodectkError, InputError, TrainingDiverged
from codectk.options import RunOptions
from codectk.recipes import combine, read_recipe, recipes
from codectk.train import Run
from codectk_crdr.options import ModelOptions
from codectk_crdr.train_options import TrainOptions
from codectk_crdr.trainer import CrdrTrainer

from .trainings import REALISM, Listen, options, run, table

pytestmark = pytest.mark.usefixtures("one_thread")

VERDICT = ["d_real", "d_fake", "d_total", "out_d_real", "out_d_fake"]


def test_the_export_compresses_and_decodes_at_every_quality(tmp_path: Path, pictures: Path) -> None:
    run(tmp_path / "run", options(pictures))
    loaded = load_codec("crdr", tmp_path / "run" / "weights.safetensors")
    x = np.asarray(Image.open(pictures / "0.png"))
    info = ArrayInfo("image/rgb8", x.shape)
    for quality in (0, 1.5, 2):
        data = loaded.compress(x, info, loaded.encode_options({"quality": quality})).data
        assert loaded.decompress(container.unpack(data)).shape == x.shape


def test_training_lowers_the_loss(tmp_path: Path, pictures: Path) -> None:
    chosen = options(
        pictures, start="linear", encoder_width="12,16", decoder_width="12,16", total_iter=40, eval_pictures=0
    )
    chosen = TrainOptions.parse({**chosen.changed(), "optim": {"g_optimizer": {"lr": 5e-3}}})
    run(tmp_path / "run", chosen, log_every=10)
    losses = [float(row["distortion"]) + float(row["rate"]) for row in table(tmp_path / "run" / "log_loss.csv")]
    assert losses[-1] < 0.8 * losses[0], losses


def test_the_run_folder_holds_what_the_guide_promises(tmp_path: Path, pictures: Path) -> None:
    folder = tmp_path / "run"
    run(folder, options(pictures, total_iter=7, keep_step="2", eval_step=3), save_step=3)
    assert list(table(folder / "log_loss.csv")[0]) == ["iter", "qbpp", "distortion", "rate", "perceptual", "aux"]
    assert [row["iter"] for row in table(folder / "log_loss.csv")] == ["2", "4", "6"]
    measures = [f"{name}_{level}" for level in (1, 2, 3) for name in ("bpp", "psnr", "ms_ssim")]
    assert list(table(folder / "eval_result.csv")[0]) == ["iter", *measures]
    assert [row["iter"] for row in table(folder / "eval_result.csv")] == ["3", "6", "7"]
    assert all(row["ms_ssim_1"] == "-1.0" for row in table(folder / "eval_result.csv")), "these pictures are small"
    models = {path.name for path in (folder / "model").iterdir()}
    assert models == {f"comp_model_iter{n}.safetensors" for n in (2, 4, 6, 7)}, "3 was saved, and made way for 6"
    assert yaml.safe_load((folder / "config.yaml").read_text())["total_iter"] == 7
    assert len(list(folder.glob("train_*.log"))) == 1


def test_with_an_adversary_its_losses_are_logged_and_its_weights_kept(tmp_path: Path, pictures: Path) -> None:
    folder = tmp_path / "run"
    run(folder, options(pictures, **REALISM))
    names = ["iter", "qbpp", "aux", "distortion", "rate", "perceptual", "adv", *VERDICT]
    rows = table(folder / "log_loss.csv")
    assert list(rows[0]) == names
    assert rows[0]["perceptual"] == "" and all(rows[0][name] for name in names if name != "perceptual")
    assert float(rows[0]["adv"]) == pytest.approx(0.01 * np.log(2), rel=0.05), "without realism, and with its weight"
    assert float(rows[0]["d_total"]) == pytest.approx(np.log(2), rel=0.05)
    assert {path.name for path in (folder / "model").iterdir()} == {
        f"{kind}_iter4.safetensors" for kind in ("comp_model", "discriminator")
    }


def test_a_loss_that_is_too_large_is_skipped_and_after_fifty_in_a_row_the_run_stops(
    tmp_path: Path, pictures: Path
) -> None:
    listen = Listen()
    chosen = options(pictures, mse_weight=1e9, total_iter=100)
    with pytest.raises(TrainingDiverged, match="50 steps in a row"):
        run(tmp_path / "run", chosen, watcher=listen)
    assert any("such steps are skipped" in message for message in listen.messages)


def test_skipped_steps_change_nothing_and_count_in_the_schedule_unless_as_published(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skipped = {1, 2}
    monkeypatch.setattr(Run, "skip", lambda run, loss, above: run.step in skipped and _count(run))
    rates: dict[str, list[float]] = {}
    for compat in ("none", "original"):
        chosen = options(pictures, **REALISM, compat=compat, optim__g_scheduler__type="MultiStepLR")
        chosen = TrainOptions.parse({**chosen.changed(), "optim": {"g_scheduler": _halving()}})
        with Run(tmp_path / compat, RunOptions(device="cpu", workers=0)) as made:
            trainer = CrdrTrainer(chosen, made)
            seen: list[tuple[float, list[torch.Tensor]]] = []
            original = trainer._iterate

            def note(
                step: int, x: torch.Tensor, before: Any = original, trainer: Any = trainer, to: Any = seen
            ) -> None:
                before(step, x)
                state = [p.detach().clone() for m in (trainer.model, trainer.judge) for p in m.parameters()]
                to.append((trainer.optimizer.param_groups[0]["lr"], state))

            monkeypatch.setattr(trainer, "_iterate", note)
            trainer.train()
        for step in skipped:
            assert all(map(torch.equal, seen[step][1], seen[step - 1][1]))
        assert not all(map(torch.equal, seen[3][1], seen[2][1]))
        rates[compat] = [rate for rate, _ in seen]
    assert rates["none"][3] == pytest.approx(1e-4 / 8)
    assert rates["original"][3] == pytest.approx(1e-4 / 2)


def _halving() -> dict[str, Any]:
    return {"type": "MultiStepLR", "gamma": 0.5, "milestones": [1, 2, 3]}


def _count(run: Run) -> bool:
    run.skips += 1
    return True


def test_frozen_parts_stay_bit_for_bit(tmp_path: Path, pictures: Path) -> None:
    first = run(tmp_path / "first", options(pictures))
    frozen = ("encoder", "hyperencoder", "hyperdecoder", "entropy_model_z", "context_model")
    chosen = options(
        pictures, **REALISM, condition_start="zero", freeze=",".join(frozen), pretrained=str(tmp_path / "first")
    )
    second = run(tmp_path / "second", chosen)
    for name, tensor in second.tensors.items():
        part = name.removeprefix("model.").partition(".")[0]
        if name.startswith("tables.") or part in frozen:
            assert np.array_equal(tensor, first.tensors[name]), name
    changed = [name for name, tensor in first.tensors.items() if not np.array_equal(tensor, second.tensors[name])]
    assert changed and all(name.startswith("model.decoder.") for name in changed)


def test_a_failed_start_leaves_no_folder_behind(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CODECTK_METRIC_WEIGHTS", raising=False)
    for changes, words in (
        ({"batch_size": 64}, "batch"),
        ({"data": str(tmp_path / "typo")}, "typo"),
        ({"perceptual": "lpips"}, "--perceptual none"),
        ({"pretrained": "crdr_stage_1"}, "--recipe crdr_stage_1"),
    ):
        with pytest.raises(CodectkError, match=words):
            run(tmp_path / "run", options(pictures, **changes))
        assert not (tmp_path / "run").exists()


def test_other_pictures_are_noticed_on_resume(tmp_path: Path, pictures: Path) -> None:
    run(tmp_path / "run", options(pictures, keep_step="2"))
    Image.new("RGB", (80, 80)).save(pictures / "new.png")
    with pytest.raises(InputError, match="not those that the run began with"):
        run(tmp_path / "run", options(pictures, keep_step="2"), resume=True, start_iter=2)


def test_a_dry_run_tells_what_would_be_trained(tmp_path: Path, pictures: Path) -> None:
    chosen = options(pictures, **REALISM, freeze="encoder")
    with Run(tmp_path / "run", RunOptions(device="cpu")) as made:
        lines = list(CrdrTrainer(chosen, made).describe())
    assert any(line.startswith("encoder: ") and line.endswith("(frozen)") for line in lines)
    assert any(line.startswith("discriminator: ") for line in lines)
    assert lines[-1] == "pictures: 5 to train on, 1 to validate on"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", [path.stem for path in recipes("codectk_crdr:recipes")])
def test_every_recipe_is_valid(name: str) -> None:
    chosen = combine([TrainOptions, RunOptions], read_recipe("codectk_crdr:recipes", name))[0]
    assert isinstance(chosen, TrainOptions)
    assert chosen.architecture() == ModelOptions.parse(chosen.architecture().changed())


STAGE_2 = ((3.6, 1.8, 0.8, 0.4, 0.1), (0.08, 0.16, 0.36, 0.72, 1.2), 1.0, "none", "crdr_stage_1")
STAGE_3 = ((3.4, 1.3, 0.4, 0.12, 0.05), (0.0,) * 5, 0.390625, "hrrgan", "crdr_stage_2")
PUBLISHED = {
    "crdr_stage_1": (1, 1_000_000, (800_000,), 980_000, (0.05,), (1.5,), 1.0, "none", None),
    "crdr_stage_2": (5, 1_000_000, (800_000,), 980_000, *STAGE_2),
    "crdr_stage_3": (5, 3_000_000, (2_400_000,), 2_980_000, *STAGE_3),
    "example_1": (3, 500_000, (400_000,), 480_000, (3.6, 1.8, 0.8), (0.08, 0.16, 0.36), 1.0, "none", None),
    "example_2": (5, 1_000_000, (800_000,), 980_000, *STAGE_3),
}


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_recipes_of_published_stages_have_the_published_values(name: str) -> None:
    chosen, run_options = combine([TrainOptions, RunOptions], read_recipe("codectk_crdr:recipes", name))
    assert isinstance(chosen, TrainOptions) and isinstance(run_options, RunOptions)
    optim = chosen.optim
    schedules = [optim.g_scheduler] + ([optim.d_scheduler] if chosen.gan.type != "none" else [])
    for schedule in schedules:
        assert (schedule.type, schedule.gamma, schedule.warmup) == ("MultiStepLR", 0.1, 0)
        assert schedule.milestones == PUBLISHED[name][2]
    assert isinstance(chosen.keep_step, tuple)
    found = (chosen.levels, chosen.total_iter, optim.g_scheduler.milestones, chosen.keep_step[0])
    found += (chosen.rate.lambda_a, chosen.rate.target, chosen.perceptual_weight, chosen.gan.type, chosen.pretrained)
    assert found == PUBLISHED[name]
    shared = (chosen.batch_size, chosen.image_size, chosen.mse_weight, chosen.rate.lambda_b, chosen.beta_steps)
    assert shared == (8, 256, 150.0, 2**-6, 100)
    assert (chosen.quality, chosen.sampling, chosen.perceptual) == ("integer", "batch", "lpips")
    rates = (optim.g_optimizer.lr, optim.aux_optimizer.lr, optim.d_optimizer.lr, optim.clip_max_norm)
    assert rates == (1e-4, 1e-3, 1e-4, 1.0)
    assert (chosen.eval_step, run_options.log_every, run_options.save_step) == (10_000, 100, 5_000)


def test_checkpoints_say_how_they_came_about(tmp_path: Path, pictures: Path) -> None:
    run(tmp_path / "run", options(pictures, keep_step="3"))
    kept = Checkpoint.open(tmp_path / "run" / "model" / "comp_model_iter3.safetensors")
    assert kept.training["iterations"] == 3
    assert kept.training["options"]["levels"] == 3
    assert kept.training["options"]["data"] == "pictures"
    assert str(tmp_path) not in str(kept.about()), "paths of this machine are nobody's business"
