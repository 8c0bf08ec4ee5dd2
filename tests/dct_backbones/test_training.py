"""Trainings of seconds: every network, what they write, and what they start from."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image

from codectk.checkpoint import Checkpoint
from codectk.errors import InputError, WeightsError
from codectk.options import RunOptions
from codectk.train import Run
from codectk_dct_backbones.classifier import MEAN, NETWORK, load_classifier
from codectk_dct_backbones.compressed_trainer import CompressedTrainer
from codectk_dct_backbones.data.batches import Batch
from codectk_dct_backbones.evaluation import evaluate
from codectk_dct_backbones.model import build
from codectk_dct_backbones.plan import Plan
from codectk_dct_backbones.rgb_trainer import RgbTrainer
from codectk_dct_backbones.statistics import load
from codectk_dct_backbones.train_options import CompressedOptions, RgbOptions
from codectk_dct_backbones.training import ClassifierTrainer, average, make_optimizer

from .pictures import TINY, Listen, folder, jpeg, picture, run

VARIANTS = ("reconstruction", "block-stem", "luma-fusion", "luma-fusion-pruned", "full-grid")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    folder(root / "train", {"blue": 8, "green": 8})
    folder(root / "val", {"blue": 3, "green": 4})
    return root


def tiny(data: Path, **values: Any) -> dict[str, Any]:
    return {**TINY, "train_dirs": [str(data / "train")], "val_dir": str(data / "val"), **values}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def results(path: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((path / "results.json").read_text())
    return made


def trainer(folder_: Path, values: dict[str, Any], kind: Any = CompressedOptions) -> ClassifierTrainer:
    with Run(folder_, RunOptions(device="cpu", workers=0)) as made:
        return ClassifierTrainer(kind.parse(values), made)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains_and_its_weights_are_all_that_using_it_needs(
    data: Path, tmp_path: Path, variant: str
) -> None:
    run("compressed", tiny(data, variant=variant, coeff_count=12, epochs=1), tmp_path / "run")
    loaded = load_classifier(Checkpoint.open(tmp_path / "run" / "weights.safetensors"), "cpu")
    assert loaded.classes == ("blue", "green")
    assert (loaded.architecture.variant, loaded.architecture.budget.luma) == (variant, 12)
    assert (loaded.preparation.statistics is None) == (variant == "reconstruction")
    pixels = torch.from_numpy(np.asarray(picture(1, size=(32, 32))).transpose(2, 0, 1).copy())[None]
    assert loaded.logits(pixels).shape == (1, 2)


@pytest.mark.parametrize("model", ["resnet34", "cspdarknet53", "efficientvit_m4"])
def test_every_rgb_backbone_trains_by_its_preset(data: Path, tmp_path: Path, model: str) -> None:
    values = tiny(data, model=model, image_size=64, epochs=1, channel_scale=0.07)
    run("rgb", values, tmp_path / "run")
    loaded = load_classifier(Checkpoint.open(tmp_path / "run" / "weights.safetensors"), "cpu")
    assert (loaded.architecture.model, loaded.preparation.statistics) == (model, None)
    assert loaded.logits(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape == (2, 2)


@pytest.mark.parametrize("extra", [{}, {"compression_keep_original": True}])
def test_the_rgb_trainer_trains_on_coefficients_too(data: Path, tmp_path: Path, extra: dict[str, Any]) -> None:
    values = tiny(data, input_format="compressed", compressed_backbone="luma-fusion", compression_coeff_window=3)
    run("rgb", {**values, "epochs": 1, **extra}, tmp_path / "run")
    checkpoint = Checkpoint.open(tmp_path / "run" / "weights.safetensors")
    assert checkpoint.config["trim"] is False and MEAN in checkpoint.tensors


def test_it_learns_what_can_be_learned(data: Path, tmp_path: Path) -> None:
    run(
        "compressed",
        tiny(data, variant="full-grid", epochs=10, lr=0.01, channel_scale=0.1, image_size=64, schedule="cosine"),
        tmp_path / "run",
    )
    made = results(tmp_path / "run")
    assert made["top1"] == 1.0 and made["count"] == 7 and made["loss"] < 0.5
    table = rows(tmp_path / "run" / "eval_result.csv")
    assert [row["epoch"] for row in table] == [str(k) for k in range(1, 11)]
    assert float(table[-1]["top1"]) == made["top1"] and table[-1]["pictures"] == "7"


def test_steps_are_taken_at_the_rate_of_the_plan(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    take = torch.optim.SGD.step

    def spy(optimizer: torch.optim.SGD, *arguments: Any) -> Any:
        seen.extend(group["lr"] for group in optimizer.param_groups)
        return take(optimizer, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    values = tiny(data, epochs=4, warmup_epochs=2, lr_milestones=[1], lr=0.01, variant="block-stem", batch_size=8)
    run("compressed", values, tmp_path / "run")
    assert seen == pytest.approx([0.005, 0.005, 0.01, 0.01, 0.01, 0.01, 0.001, 0.001])
    assert [float(row["lr"]) for row in rows(tmp_path / "run" / "eval_result.csv")] == pytest.approx(seen[::2])


def test_what_is_reported_is_what_the_weights_do(data: Path, tmp_path: Path) -> None:
    values = tiny(data, variant="block-stem", coeff_count=5, input="recomputed", eval_only=True)
    run("compressed", tiny(data, variant="block-stem", coeff_count=5, input="recomputed"), tmp_path / "run")
    run("compressed", {**values, "pretrained": str(tmp_path / "run")}, tmp_path / "again")
    same = ("loss", "top1", "top5", "count")
    assert [results(tmp_path / "again")[k] for k in same] == [results(tmp_path / "run")[k] for k in same]
    weights = [Checkpoint.open(tmp_path / name / "weights.safetensors") for name in ("run", "again")]
    assert weights[0].digest == weights[1].digest
    assert [made.training["epochs"] for made in weights] == [2, 0]
    assert not (tmp_path / "again" / "eval_result.csv").exists()


@pytest.mark.parametrize("size", [1, 3, 4, 7])
def test_evaluation_weighs_every_picture_alike_whatever_the_batches(tmp_path: Path, size: int) -> None:
    """The public RGB trainer takes the mean of the batches' means."""
    torch.manual_seed(0)
    network, x, labels = torch.nn.Linear(3, 6), torch.randn(7, 3), torch.arange(7) % 6
    parts = [Batch((x[i : i + size],), labels[i : i + size]) for i in range(0, 7, size)]
    with Run(tmp_path, RunOptions(device="cpu")) as made:
        found = evaluate(network, parts, lambda batch: batch.x[0], made)
    logits = network(x)
    assert found.count == 7
    assert found.loss == pytest.approx(float(F.cross_entropy(logits, labels).detach()), rel=1e-6)
    assert found.top1 == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert found.top5 == pytest.approx(1 - float((logits.argmin(1) == labels).float().mean()))


def test_without_data_it_trains_on_patterns_and_says_so(tmp_path: Path) -> None:
    listen = Listen()
    values = {"variant": "full-grid", "channel_scale": 0.05, "epochs": 1, "max_train_images": 64, "max_val_images": 16}
    run("compressed", values, tmp_path / "run", watcher=listen)
    assert any("generated" in message and "--train-dirs" in message for message in listen.messages)
    assert results(tmp_path / "run")["count"] == 16


def test_files_are_read_as_they_are_where_all_are_jpeg(data: Path, tmp_path: Path) -> None:
    values = tiny(data, variant="block-stem")
    assert trainer(tmp_path / "1", values).from_files
    assert not trainer(tmp_path / "2", {**values, "input": "recomputed"}).from_files
    assert not trainer(tmp_path / "3", {**values, "compat": "original"}).from_files
    png = folder(tmp_path / "png", {"blue": 8, "green": 8}, ".png")
    mixed = {**values, "train_dirs": [*values["train_dirs"], str(png)]}
    assert not trainer(tmp_path / "4", mixed).from_files
    assert trainer(tmp_path / "5", {**mixed, "input": "jpeg"}).from_files
    assert not trainer(tmp_path / "6", tiny(data), RgbOptions).from_files


def test_pictures_that_are_no_jpeg_are_skipped_where_jpeg_is_asked_for(data: Path, tmp_path: Path) -> None:
    root = folder(tmp_path / "more", {"blue": 4, "green": 4})
    (root / "blue" / "0.jpg").write_bytes(b"nothing")
    picture(0).save(root / "green" / "0.jpg", "PNG")
    listen = Listen()
    values = tiny(data, variant="block-stem", train_dirs=[str(root)], epochs=1)
    run("compressed", values, tmp_path / "run", watcher=listen)
    assert results(tmp_path / "run")["skipped"] == 2
    assert sum("skipped" in message for message in listen.messages) == 2


def test_where_coefficients_are_computed_changes_nothing(data: Path, tmp_path: Path) -> None:
    values = tiny(data, variant="luma-fusion", coeff_count=9, input="recomputed", epochs=1)
    digests = {
        run("compressed", {**values, "dct_device": place}, tmp_path / f"{place}{threads}", workers=threads).digest
        for place, threads in (("auto", 0), ("cpu", 0), ("cpu", 2))
    }
    assert len(digests) == 1


def test_weights_stay_as_often_as_asked_for(data: Path, tmp_path: Path) -> None:
    run("compressed", tiny(data, epochs=5, save_every=2, save_best=True), tmp_path / "run")
    kept = sorted(path.name for path in (tmp_path / "run").glob("*.safetensors"))
    best = results(tmp_path / "run")["best"]
    assert kept == [
        *("checkpoint_0002.safetensors", "checkpoint_0004.safetensors"),
        *("model_best.safetensors", "weights.safetensors"),
    ]
    assert Checkpoint.open(tmp_path / "run" / "model_best.safetensors").training["epochs"] == best["epoch"]
    assert best["top1"] == max(float(row["top1"]) for row in rows(tmp_path / "run" / "eval_result.csv"))


def test_weights_hold_no_paths_but_names(data: Path, tmp_path: Path) -> None:
    checkpoint = run("compressed", tiny(data, epochs=1), tmp_path / "run")
    assert str(tmp_path.parent) not in json.dumps(checkpoint.about())
    assert checkpoint.training["options"]["train_dirs"] == ["train"]


def test_a_network_starts_from_weights_of_its_own_kind_with_another_head(data: Path, tmp_path: Path) -> None:
    values = tiny(data, variant="block-stem", coeff_count=4, epochs=1)
    before = run("compressed", values, tmp_path / "run")
    root = folder(tmp_path / "three", {"a": 4, "b": 4, "c": 4})
    made = trainer(
        tmp_path / "r", {**values, "train_dirs": [str(root)], "val_dir": None, "pretrained": tmp_path / "run"}
    )
    state = made.model.state_dict()
    assert len(state["head.weight"]) == 3
    same = [name for name in state if not name.startswith("head.")]
    assert all(np.array_equal(state[name].numpy(), before.tensors[NETWORK + name]) for name in same)


@pytest.mark.parametrize("variant", ["reconstruction", "block-stem", "full-grid"])
def test_coefficients_start_from_the_network_for_pixels(data: Path, tmp_path: Path, variant: str) -> None:
    before = run("rgb", tiny(data, epochs=1), tmp_path / "rgb")
    made = trainer(tmp_path / "r", tiny(data, variant=variant, pretrained=tmp_path / "rgb"))
    name = next(name for name in before.tensors if name.endswith("res_layers.3.blocks.2.branch2b.conv.weight"))
    wanted = [v for k, v in made.model.state_dict().items() if k.endswith("res_layers.3.blocks.2.branch2b.conv.weight")]
    wanted += [
        v for k, v in made.model.state_dict().items() if k.endswith("res_layers.2.blocks.2.branch2b.conv.weight")
    ]
    assert any(
        v.shape == before.tensors[name].shape and np.array_equal(v.numpy(), before.tensors[name]) for v in wanted
    )


def test_weights_of_another_variant_are_refused(data: Path, tmp_path: Path) -> None:
    run("compressed", tiny(data, variant="block-stem", epochs=1), tmp_path / "run")
    with pytest.raises(WeightsError, match="variant block-stem, not full-grid"):
        trainer(tmp_path / "r", tiny(data, variant="full-grid", pretrained=tmp_path / "run"))


OTHERWISE: dict[str, tuple[dict[str, Any], str]] = {
    "range": ({"range_mode": "full"}, "trained with range_mode studio"),
    "statistics": ({"dct_stats": "none"}, "trained with other --dct-stats"),
    "share of chroma": ({"coeff_count_cb": 5, "coeff_count_cr": 3}, "trained with 4 4 4 coefficients"),
}


@pytest.mark.parametrize(("values", "reason"), OTHERWISE.values(), ids=OTHERWISE)
def test_weights_are_not_evaluated_on_what_they_have_not_learned(
    data: Path, tmp_path: Path, values: dict[str, Any], reason: str
) -> None:
    """Tensors fit, so that figures would be wrong without a word; training may well go on so, and tells."""
    usual = tiny(data, variant="block-stem", coeff_count=4, epochs=1)
    run("compressed", usual, tmp_path / "run")
    other = {**usual, **values, "pretrained": str(tmp_path / "run")}
    with pytest.raises(WeightsError, match=reason):
        trainer(tmp_path / "e", {**other, "eval_only": True})
    listen = Listen()
    with Run(tmp_path / "t", RunOptions(device="cpu", workers=0), watcher=listen) as made:
        ClassifierTrainer(CompressedOptions.parse(other), made)
    told = any("they were trained with" in message for message in listen.messages)
    assert told == ("dct_stats" not in values)


def test_weights_are_not_evaluated_with_labels_of_other_classes(data: Path, tmp_path: Path) -> None:
    run("compressed", tiny(data, variant="block-stem", epochs=1), tmp_path / "run")
    for name, counts in (("other", {"blue": 4, "red": 4}), ("more", {"a": 4, "b": 4, "c": 4})):
        values = {"train_dirs": [str(folder(tmp_path / name, counts))], "val_dir": None, "eval_only": True}
        with pytest.raises(WeightsError, match="other classes"):
            trainer(tmp_path / "e", {**tiny(data, variant="block-stem"), **values, "pretrained": tmp_path / "run"})


def test_a_network_for_pixels_is_evaluated_on_coefficients_without_training(tmp_path: Path) -> None:
    """Its layers see the same pictures, here grey ones, which lose no chroma, but for a resize of 37 or 40 px."""
    for part in ("train", "val"):
        folder(tmp_path / part, {"dark": 6, "light": 6})
    for path in tmp_path.rglob("*.jpg"):
        with Image.open(path) as image:
            image.convert("L").convert("RGB").save(path, quality=95)
    values = tiny(tmp_path, epochs=1)
    run("rgb", values, tmp_path / "rgb")
    start = {"variant": "reconstruction", "eval_only": True, "pretrained": str(tmp_path / "rgb")}
    run("compressed", {**values, **start, "input": "recomputed"}, tmp_path / "coefficients")
    pixels, coefficients = results(tmp_path / "rgb"), results(tmp_path / "coefficients")
    assert coefficients["loss"] == pytest.approx(pixels["loss"], rel=0.02)
    assert coefficients["count"] == pixels["count"] == 12


@pytest.mark.parametrize("damage", ["codec", "architecture", "classes", "shape", "statistics"])
def test_weights_that_are_no_classifier_are_refused(data: Path, tmp_path: Path, damage: str) -> None:
    good = run("compressed", tiny(data, variant="block-stem", epochs=1), tmp_path / "run")
    wrong = {
        "codec": replace(good, codec="frappe"),
        "architecture": replace(good, config={**good.config, "architecture": {"variant": "rgb"}}),
        "classes": replace(good, config={**good.config, "classes": [1, 2]}),
        "shape": replace(good, tensors={**good.tensors, NETWORK + "head.weight": np.zeros((3, 2), np.float32)}),
        "statistics": replace(good, tensors={**good.tensors, MEAN: np.zeros(3, np.float32)}),
    }
    with pytest.raises(WeightsError):
        load_classifier(wrong[damage], "cpu")


def test_averaged_weights_are_what_is_evaluated_and_kept(data: Path, tmp_path: Path) -> None:
    values = tiny(data, variant="block-stem", lr=0.05)
    plain, averaged = (run("compressed", {**values, "ema": e}, tmp_path / str(e)) for e in (0.0, 0.99))
    assert plain.digest != averaged.digest
    one, other = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    other(torch.randn(5, 2))
    average(one, other, 0.75)
    assert torch.allclose(one.running_var, 0.75 + 0.25 * other.running_var)  # type: ignore[operator, arg-type]
    assert one.num_batches_tracked == other.num_batches_tracked == 1


def test_biases_and_norms_decay_only_where_all_parameters_do() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    for decay, expected in (("all", [(5, 0.5)]), ("weights", [(1, 0.5), (3, 0.0)])):
        groups = make_optimizer(model, Plan(weight_decay=0.5, decay=decay)).param_groups  # type: ignore[arg-type]
        found = [(len(group["params"]), group["weight_decay"]) for group in groups]
        assert found == ([(4, 0.5)] if decay == "all" else expected)
    assert make_optimizer(model, Plan(nesterov=True)).defaults["nesterov"]
    assert isinstance(make_optimizer(model, Plan(optimizer="rmsprop")), torch.optim.RMSprop)


@pytest.mark.parametrize(("compat", "smoothing"), [("none", 0.1), ("original", 0.0)])
def test_labels_are_smoothed_beside_mixup(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compat: str, smoothing: float
) -> None:
    """The public code drops the smoothing where it mixes."""
    seen: list[float] = []
    kept = F.cross_entropy

    def spy(*args: Any, **kwargs: Any) -> torch.Tensor:
        seen.extend([kwargs["label_smoothing"]] if "label_smoothing" in kwargs else [])
        return kept(*args, **kwargs)

    monkeypatch.setattr(F, "cross_entropy", spy)
    values = tiny(data, model="resnet34", mixup=0.2, label_smoothing=0.1, epochs=1, compat=compat)
    run("rgb", values, tmp_path / "run")
    assert {*seen} == {smoothing}


def test_statistics_are_measured_and_taken(data: Path, tmp_path: Path) -> None:
    values = {"train_dirs": [str(data / "train"), str(data / "val")], "image_size": 32, "batch_size": 5}
    checkpoint = run("stats", values, tmp_path / "stats")
    path = tmp_path / "stats" / "statistics.csv"
    measured = load(path, "studio")
    assert np.allclose(measured.mean, checkpoint.tensors[MEAN]) and results(tmp_path / "stats")["skipped"] == 0
    assert results(tmp_path / "stats")["blocks"] == 23 * 16
    made = trainer(tmp_path / "r", tiny(data, variant="block-stem", dct_stats=str(path), range_mode="full"))
    assert made.statistics is not None and made.statistics.range_mode == "full"
    assert np.allclose(made.statistics.mean[0, 0], (measured.mean[0, 0] - 128) * 255 / 219, rtol=1e-4)
    with pytest.raises(InputError, match="no-such"):
        trainer(tmp_path / "s", tiny(data, variant="block-stem", dct_stats="no-such.csv"))


def test_statistics_do_not_depend_on_batches(data: Path, tmp_path: Path) -> None:
    values = {"train_dirs": [str(data / "train")], "image_size": 32}
    a, b = (run("stats", {**values, "batch_size": size}, tmp_path / str(size)) for size in (3, 16))
    assert np.allclose(a.tensors[MEAN], b.tensors[MEAN], atol=1e-4)


def test_the_precision_of_products_is_put_back(data: Path, tmp_path: Path) -> None:
    before = torch.get_float32_matmul_precision()
    run("compressed", tiny(data, epochs=1, matmul_precision="medium"), tmp_path / "run")
    assert torch.get_float32_matmul_precision() == before


def test_new_layers_are_drawn_by_kaimings_rule(data: Path) -> None:
    """The public code leaves stems, and all of the pruned network, to torch's default."""
    for variant in ("block-stem", "luma-fusion-pruned"):
        options = CompressedOptions.parse(tiny(data, variant=variant, channel_scale=1.0))
        torch.manual_seed(0)
        model = build(options.architecture(2))
        weights = [p for name, p in model.named_parameters() if p.dim() == 4 and "fusion" in name]
        for weight in weights:
            fan_out = weight.shape[0] * weight.shape[2] * weight.shape[3]
            assert float(weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.2)


@pytest.mark.parametrize(
    ("compat", "classes", "deviation"), [("none", 2, 0.0625), ("none", 2000, 0.0316), ("original", 2, 1.0)]
)
def test_logits_of_few_classes_begin_small(compat: str, classes: int, deviation: float) -> None:
    options = RgbOptions.parse({"channel_scale": 1.0, "compat": compat})
    head = build(options.architecture(classes)).head
    assert float(head.weight.detach().std()) == pytest.approx(deviation, rel=0.1)


def test_grey_and_cmyk_pictures_are_no_trouble(data: Path, tmp_path: Path) -> None:
    root = folder(tmp_path / "more", {"blue": 3, "green": 4})
    (root / "blue" / "grey.jpg").write_bytes(jpeg(picture(3).convert("L")))
    picture(4).convert("CMYK").save(root / "green" / "cmyk.jpg")
    values = tiny(data, variant="block-stem", train_dirs=[str(root)], epochs=1)
    for kind, skipped in (("recomputed", 0), ("jpeg", 1)):  # CMYK files have no three planes to read
        run("compressed", {**values, "input": kind}, tmp_path / kind)
        assert results(tmp_path / kind)["skipped"] == skipped


def test_what_reconstruction_has_no_use_for_is_told_by_both_trainers(data: Path, tmp_path: Path) -> None:
    table = tmp_path / "s.csv"
    load("imagenet").save(table)
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (RgbTrainer, {"input_format": "compressed"}, "--dct-stats is of no use"),
        (CompressedTrainer, {}, "--dct-stats is of no use"),
        (CompressedTrainer, {"coeff_count": 9}, "coefficients that are left out are zeros"),
    ]
    for i, (kind, values, words) in enumerate(cases):
        listen, model = Listen(), RgbOptions if kind is RgbTrainer else CompressedOptions
        with Run(tmp_path / str(i), RunOptions(device="cpu", workers=0), watcher=listen) as made:
            kind(model.parse(tiny(data, dct_stats=str(table), **values)), made)
        assert any(words in message for message in listen.messages), words


def test_parts_of_steps_are_timed_where_asked_for(data: Path, tmp_path: Path) -> None:
    names = [f"seconds_{part}" for part in ("waiting", "preparation", "forward", "backward", "update")]
    for wanted in (True, False):
        values = tiny(data, variant="block-stem", epochs=1, profile_steps=wanted)
        run("compressed", values, tmp_path / str(wanted), log_every=2)
        logged = {row["name"]: float(row["value"]) for row in rows(tmp_path / str(wanted) / "log.csv")}
        assert [name for name in logged if name.startswith("seconds_")] == (names if wanted else [])
        assert all(0 < logged[name] < 60 for name in names if wanted)


def test_channels_may_lie_last_in_memory(data: Path, tmp_path: Path) -> None:
    run("compressed", tiny(data, variant="full-grid", epochs=1), tmp_path / "run", channels_last=True)
    assert results(tmp_path / "run")["count"] == 7


def test_sides_of_training_pictures_change_every_ten_steps(data: Path, tmp_path: Path) -> None:
    """The public code assigns new transforms that its loaders never see."""
    values = tiny(data, model="cspdarknet53", image_size=64, multi_scale=True)
    batches = trainer(tmp_path / "r", values, RgbOptions).batches
    sides = [batches.load(step).x[0].shape[2] for step in (0, 9, 10, 20, 30, 40)]
    assert sides[0] == sides[1] and len({*sides}) > 2 and {*sides} <= {*range(320, 609, 32)}
    assert next(batches.evaluation()).x[0].shape[2] == 64
