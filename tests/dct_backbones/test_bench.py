"""`codectk bench -t dct_backbones.…`: every region is measured, and accuracies are those of the network."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from codectk.bench import Conditions
from codectk.checkpoint import Checkpoint
from codectk.errors import InputError, OptionsError
from codectk_cli.main import _run
from codectk_dct_backbones import statistics
from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.benchmarking import bench
from codectk_dct_backbones.classifier import checkpoint, load_classifier
from codectk_dct_backbones.data.pixels import decode, middle
from codectk_dct_backbones.model import build
from codectk_dct_backbones.tool_options import CompressedBenchOptions, RgbBenchOptions

from .pictures import folder

SMALL: dict[str, Any] = {"image_size": 32, "seconds": 0, "batch_sizes": "1 2", "pictures": 4}
LOADING, FORWARD = "loading, ms for a picture", "forward, ms for a batch"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return folder(tmp_path / "data", {"blue": 5, "green": 4, "red": 6})


def measure(
    data: Path, weights: Checkpoint | None = None, kind: type = CompressedBenchOptions, **values: Any
) -> dict[str, Any]:
    options = kind.parse({**SMALL, **({} if weights else {"channel_scale": 0.05, "classes": 3}), **values})  # type: ignore[attr-defined]
    if weights:
        options = kind.parse({k: v for k, v in {**SMALL, **values}.items() if k != "image_size"})  # type: ignore[attr-defined]
    return bench(options, Conditions(data, weights, "cpu", repeats=2))


def trained(variant: str, classes: tuple[str, ...] = ("blue", "green", "red"), **values: Any) -> Checkpoint:
    """Weights of a network that nobody trained."""
    torch.manual_seed(0)
    architecture = Architecture.parse(
        {"variant": variant, "image_size": 32, "channel_scale": 0.05, "classes": 3, **values}
    )
    raw = variant in ("rgb", "reconstruction")
    stats = None if raw else statistics.load("imagenet", architecture.range_mode)
    return checkpoint(build(architecture), architecture, classes=classes, statistics=stats, trim=not raw)


def test_each_way_of_loading_is_a_row_beside_pixels(data: Path) -> None:
    rows = measure(data)[LOADING]
    assert [row["input"] for row in rows] == ["rgb", "recomputed", "jpeg"]
    for row in rows:
        assert row["pictures"] == 4
        assert row["pictures/s"] == pytest.approx(1e3 / (row["decode"] + row["transform"]), rel=0.05)
        assert row["of rgb's"] == pytest.approx(row["pictures/s"] / rows[0]["pictures/s"], abs=0.01)
        assert row["95 %"] >= row["decode"] > 0


def test_regions_are_apart(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("codectk.bench.time.perf_counter", lambda: clock[0])

    def takes(target: str, seconds: float) -> None:
        import pkgutil

        straight = pkgutil.resolve_name(target)

        def slow(*words: Any, **more: Any) -> Any:
            clock[0] += seconds
            return straight(*words, **more)

        monkeypatch.setattr(target.replace(":", "."), slow)

    takes("codectk_dct_backbones.data.batches:train_picture", 0.25)
    takes("codectk_dct_backbones.data.files:load", 0.125)
    takes("codectk_dct_backbones.data.preparation:from_pictures", 4.0)
    takes("codectk_dct_backbones.networks.classifier:Classifier.forward", 2.0)
    said = measure(data, variant="block-stem")
    regions = {row["input"]: (row["decode"], row["transform"]) for row in said[LOADING]}
    assert regions == {"rgb": (250, 0), "recomputed": (250, 1000), "jpeg": (125, 0)}
    assert {row["median"] for row in said[FORWARD]} == {2000}
    assert [row["pictures/s"] for row in said[FORWARD] if row["batch"] == 2] == [1, 1]


def test_forward_passes_are_measured_at_each_batch_size_beside_the_network_for_pixels(data: Path) -> None:
    rows = measure(data, variant="luma-fusion", coeff_count=9)[FORWARD]
    assert [(row["network"], row["batch"]) for row in rows] == [
        ("rgb", 1), ("luma-fusion", 1), ("rgb", 2), ("luma-fusion", 2)
    ]  # fmt: skip
    for row in rows:
        assert row["pictures/s"] == pytest.approx(1e3 * row["batch"] / row["median"], rel=0.05)
        assert row["95 %"] >= row["median"]
    assert [row["of rgb's"] for row in rows[::2]] == [1, 1]


@pytest.mark.parametrize("variant", ["reconstruction", "block-stem", "luma-fusion-pruned", "full-grid"])
@pytest.mark.parametrize(
    "values", [{"channels_last": True, "amp": True}, {"coeff_count_luma": 0, "coeff_count_chroma": 4}]
)
def test_every_variant_is_measured(data: Path, variant: str, values: dict[str, Any]) -> None:
    assert measure(data, variant=variant, batch_sizes=1, **values)[FORWARD][-1]["network"] == variant


def test_networks_for_pixels_are_measured_alone(data: Path) -> None:
    said = measure(data, kind=RgbBenchOptions, model="cspdarknet53", image_size=64)
    assert [row["input"] for row in said[LOADING]] == ["rgb"]
    assert {row["network"] for row in said[FORWARD]} == {"rgb"}
    assert said["network"] == "cspdarknet53, rgb, 64 px"


@pytest.mark.parametrize("variant", ["rgb", "reconstruction", "full-grid"])
def test_accuracies_are_those_of_the_network(tmp_path: Path, variant: str) -> None:
    data = folder(tmp_path / "data", {"blue": 5, "green": 4, "red": 6}, ".png")
    weights = trained(variant)
    found = measure(data, weights)["accuracy"]
    classifier = load_classifier(weights, "cpu")
    paths = sorted(data.glob("*/*.png"))
    pixels = [middle(decode(path.read_bytes(), path.name), 32, classifier.resize) for path in paths]
    logits = classifier.logits(torch.from_numpy(np.stack(pixels)))
    labels = [classifier.classes.index(path.parent.name) for path in paths]
    assert found["pictures"] == 15
    assert found["input"] == ("rgb" if variant == "rgb" else "recomputed")
    right = int((logits.argmax(1) == torch.tensor(labels)).sum())
    assert (found["top-1"], found["top-5"]) == (pytest.approx(right / 15), 1)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels)).item()
    assert found["loss"] == pytest.approx(loss, rel=1e-4)


def test_coefficients_of_jpeg_files_are_read_for_the_accuracy(data: Path) -> None:
    weights = trained("full-grid")
    read = measure(data, weights)["accuracy"]
    for path in data.glob("*/*.jpg"):
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    computed = measure(data, weights)["accuracy"]
    assert (read["input"], computed["input"]) == ("jpeg", "recomputed")
    assert read["loss"] == pytest.approx(computed["loss"], rel=0.3)
    assert read["loss"] != computed["loss"]


def test_classes_are_matched_by_name(data: Path) -> None:
    in_order, turned = trained("rgb"), trained("rgb", ("red", "blue", "green"))
    accuracies = [measure(data, weights)["accuracy"]["top-1"] for weights in (in_order, turned)]
    predicted = accuracies[0] * 15  # an untrained network says one class of all
    assert {round(predicted), round(accuracies[1] * 15)} <= {5, 4, 6}
    assert accuracies[0] != accuracies[1]
    with pytest.raises(InputError, match="green is no class"):
        measure(data, trained("rgb", ("blue", "grey", "red")))


def test_pictures_without_classes_are_measured_for_speed_alone(tmp_path: Path, data: Path) -> None:
    for place in (data / "red", data / "red" / "0.jpg"):
        said = measure(place, trained("full-grid"))
        assert "accuracy" not in said
        assert said[LOADING][2]["input"] == "jpeg"
    png = tmp_path / "plain.png"
    Image.new("RGB", (40, 40)).save(png)
    assert [row["input"] for row in measure(png)[LOADING]] == ["rgb", "recomputed"]


def test_damaged_pictures_are_left_out_and_counted(data: Path) -> None:
    (data / "red" / "0.jpg").write_bytes(b"rubbish")
    (data / "blue" / "0.jpg").write_bytes((data / "blue" / "1.jpg").read_bytes()[:-300])
    said = measure(data, trained("full-grid"), pictures=15)
    assert said[LOADING][2]["pictures"] == 13
    assert (said["accuracy"]["pictures"], said["accuracy"]["skipped"]) == (13, 2)
    for path in data.glob("*/*.jpg"):
        path.write_bytes(b"rubbish")
    with pytest.raises(InputError, match="None of 4 files"):
        measure(data)


def test_weights_say_what_the_network_is(data: Path) -> None:
    said = measure(data, trained("luma-fusion", budget={"luma": 9, "cb": 4, "cr": 4}))
    assert said["network"] == "resnet34, luma-fusion, 32 px"
    with pytest.raises(OptionsError, match="--coeff-count is for networks without weights"):
        measure(data, trained("luma-fusion"), coeff_count=9)


def test_the_command_shows_and_stores_it(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    trained("full-grid").save(Path("own.safetensors"))
    before = torch.get_num_threads()
    words = ["bench", "-t", "dct-backbones.compressed", "--data", "data", "-w", "own.safetensors", "--seconds", "0"]
    words += ["--batch-sizes", "1", "2", "--pictures", "2", "--repeats", "1", "--device", "cpu", "--out", "speed"]
    assert _run(words) == 0
    assert torch.get_num_threads() == before
    out = capsys.readouterr().out
    assert all(word in out for word in (LOADING, FORWARD, "accuracy", "top-1", "recomputed", "full-grid"))
    found = json.loads(Path("speed/bench.json").read_text())
    assert len(found["results"][FORWARD]) == 4
    assert found["run"]["trainer"] == "dct_backbones.compressed"
