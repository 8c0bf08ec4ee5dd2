"""`codectk bench`: times of stages from real passes, results in files, a peer in the same run."""

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codectk import bench

from .conftest import Run, mistakes
from .layers import LAYERS


@pytest.fixture
def run(codectk: Run, plugin: Callable[..., dict[str, str]]) -> Run:
    environment = plugin("codectk-layers", LAYERS)

    def call(*words: object) -> "subprocess.CompletedProcess[str]":
        return codectk("bench", *words, env=environment)

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    for name, size in (("a", (40, 30)), ("b", (60, 50))):
        Image.fromarray(np.full((*size[::-1], 3), 99, np.uint8)).save(data / f"{name}.png")
    return data


def result(tmp_path: Path, out: str = "out") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / out / "bench.json").read_text())
    return found


def test_stages_rates_and_ratios_come_from_the_recorded_times(tmp_path: Path, run: Run, folder: Path) -> None:
    done = run("-c", "png", "-c", "layers", "--data", folder, "--out", "out", "--repeats", 3)
    assert done.returncode == 0, done.stderr
    found = result(tmp_path)
    assert [(s["codec"], s["file"]) for s in found["samples"]] == [
        ("png", "a.png"), ("layers", "a.png"), ("png", "b.png"), ("layers", "b.png")
    ]  # fmt: skip
    assert all(len(s[name]) == 3 for s in found["samples"] for name in ("encode", "decode", "cpu"))

    def rate(codec: str) -> float:
        of_codec = [s for s in found["samples"] if s["codec"] == codec]
        return float(sum(s["pixels"] for s in of_codec) / sum(median(s["encode"]) for s in of_codec))

    png, layers = found["speeds"]
    assert png["encode_rate"] == pytest.approx(rate("png"))
    assert layers["encode_rate"] == pytest.approx(rate("layers"))
    assert layers["peer_ratio"] == pytest.approx(rate("layers") / rate("png"))
    assert (layers["files"], layers["pixels"]) == (2, 40 * 30 + 60 * 50)
    assert layers["stages"]["analysis"] == {"median": 0.25, "p5": 0.25, "p95": 0.25}
    assert list(layers["stages"]) == ["analysis", "entropy_coding", "other"]
    rows = list(csv.DictReader((tmp_path / "out" / "bench.csv").read_text().splitlines()))
    assert [row["codec"] for row in rows] == ["png", "layers"]
    assert float(rows[1]["stage_entropy_coding_median_seconds"]) == 0.5
    assert float(rows[1]["peer_ratio"]) == layers["peer_ratio"]
    assert f"{layers['peer_ratio']:.2f}" in done.stdout
    assert "entropy coding" in done.stdout


def test_bytes_are_those_of_the_file_that_compress_writes(tmp_path: Path, codectk: Run, run: Run, folder: Path) -> None:
    assert run("-c", "jpeg:quality=40", "--data", folder / "a.png", "--out", "out").returncode == 0
    assert codectk("compress", folder / "a.png", "-c", "jpeg", "--quality", 40, "-o", "a.ctk").returncode == 0
    (speed,) = result(tmp_path)["speeds"]
    size = (tmp_path / "a.ctk").stat().st_size
    assert speed["bytes"] == size
    assert speed["bpp"] == pytest.approx(8 * size / 1200)


def test_rate_points_are_measured_when_asked_for(tmp_path: Path, run: Run, folder: Path) -> None:
    words = ["-c", "layers", "-c", "whole:planes=3,4", "--data", folder]
    assert run(*words, "--out", "one").returncode == 0
    assert [s["setting"] for s in result(tmp_path, "one")["speeds"]] == [{}, {"planes": "3"}, {"planes": "4"}]
    assert run("-c", "layers", "--data", folder, "--all-points", "--out", "all").returncode == 0
    assert [s["setting"] for s in result(tmp_path, "all")["speeds"]] == [{"planes": 2}, {"planes": 8}]


@pytest.mark.parametrize(
    ("words", "pixels"),
    [
        (["--crop", "32"], 32 * 30 + 32 * 32),
        (["--size", "100x8"], 2 * 800),
        ([], 40 * 30 + 60 * 50),
    ],
    ids=["crop", "size", "whole"],
)
def test_files_are_cut_to_size(tmp_path: Path, run: Run, folder: Path, words: list[str], pixels: int) -> None:
    assert run("-c", "layers", "--data", folder, "--out", "out", "--repeats", 1, *words).returncode == 0
    assert result(tmp_path)["speeds"][0]["pixels"] == pixels


def test_the_testbed_is_recorded(tmp_path: Path, run: Run, folder: Path, weights: Path) -> None:
    words = ["--data", folder, "--repeats", 1]
    done = run("-c", "layers", *words, "--threads", 2, "--warmup", 3, "--no-decode", "--out", "out")
    assert done.returncode == 0, done.stderr
    found = result(tmp_path)
    assert {"codectk", "codectk-core", "codectk-layers", "numpy"} == set(found["testbed"]["versions"])
    assert found["testbed"]["OMP_NUM_THREADS"] == "2"
    assert found["testbed"]["processor"] in done.stdout
    assert found["run"]["data"] == str(folder)
    assert {found["run"][name] for name in ("repeats", "threads", "warmup")} == {1, 2, 3}
    assert found["speeds"][0]["decode"] is None
    assert run("-w", weights, *words, "--device", "cpu", "--out", "torch").returncode == 0
    with_torch = result(tmp_path, "torch")["testbed"]
    assert {"codectk-frappe", "torch"} <= set(with_torch["versions"])
    assert (with_torch["torch threads"], with_torch["device"]) == (1, "cpu")


def test_results_are_not_replaced_without_force(tmp_path: Path, run: Run, folder: Path) -> None:
    words = ["-c", "png", "--data", folder, "--out", "out", "--repeats", 1]
    assert run(*words).returncode == 0
    before = (tmp_path / "out" / "bench.json").read_bytes()
    assert "--force" in mistakes(run(*words))
    assert (tmp_path / "out" / "bench.json").read_bytes() == before
    assert run(*words, "--repeats", 2, "--force").returncode == 0
    assert result(tmp_path)["run"]["repeats"] == 2


def test_without_out_nothing_is_written(tmp_path: Path, run: Run, folder: Path) -> None:
    before = set(tmp_path.rglob("*"))
    assert run("-c", "png", "--data", folder, "--repeats", 1).returncode == 0
    assert {path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts} == before


def test_a_file_that_one_codec_cannot_code_is_told_and_left_out(tmp_path: Path, run: Run, folder: Path) -> None:
    Image.fromarray(np.zeros((13, 9, 3), np.uint8)).save(folder / "c.png")
    (folder / "d.png").write_bytes(b"rubbish")
    done = run("-c", "png", "-c", "layers", "--data", folder, "--out", "out", "--repeats", 1)
    assert done.returncode == 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 3
    assert "layers on c.png: 13 rows bring bad luck" in errors[0]
    assert [(s["files"], s["failed"]) for s in result(tmp_path)["speeds"]] == [(3, 1), (2, 2)]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["-c", "jpg", "--data", "data"], "Did you mean 'jpeg'"),
        (["-c", "png", "--data", "nowhere"], "nowhere"),
        (["-c", "frappe@none.safetensors", "--data", "data"], "none.safetensors"),
        (["-c", "jpeg:quality=900", "--data", "data"], "less than or equal to 100"),
    ],
    ids=["near name", "no data", "no weights", "bounds"],
)
def test_bad_requests_are_one_message(run: Run, folder: Path, words: list[str], part: str) -> None:
    assert part in mistakes(run(*words))


def test_all_files_failing_is_a_mistake(run: Run, folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(b"rubbish")
    assert run("-c", "png", "--data", folder).returncode == 1


@pytest.mark.parametrize(
    "words", [["--crop", "8", "--size", "8x8"], ["--size", "8"], ["--size", "0x8"], ["--repeats", "0"]]
)
def test_sizes_and_counts_that_make_no_sense_are_wrong_usage(run: Run, folder: Path, words: list[str]) -> None:
    done = run("-c", "png", "--data", folder, *words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_without_codecs_all_that_work_are_measured(tmp_path: Path, run: Run, folder: Path) -> None:
    assert run("--data", folder / "a.png", "--repeats", 1, "--out", "out").returncode == 0
    codecs = [speed["codec"] for speed in result(tmp_path)["speeds"]]
    assert {"jpeg", "webp", "png", "layers"} <= set(codecs)
    assert len(codecs) == len(set(codecs))


RACER = """
from codectk.hookspecs import hookimpl
from codectk.specs import TrainerSpec

CODECTK_API = 1

@hookimpl
def codectk_trainers():
    bench = {"bench": "racer_inside:bench", "bench_options": "racer_inside:BenchOptions"}
    return [
        TrainerSpec(name="racer", summary="runs", target="racer_inside:Trainer", **bench),
        TrainerSpec(name="walker", summary="walks", target="racer_inside:Trainer"),
        TrainerSpec(name="mute", summary="says nothing", target="racer_inside:Trainer", bench="racer_inside:mute"),
    ]
"""

INSIDE = """
from codectk.options import Options, option

class BenchOptions(Options):
    laps: int = option(2, ge=1, help="Times around.")

def bench(options, conditions):
    (times,) = conditions.times([lambda: sum(range(1000))])
    rows = [{"lap": i + 1, "seconds": 0.25} for i in range(options.laps)]
    codec = conditions.weights.codec if conditions.weights else "none"
    return {"weights of": codec, "passes": len(times), "device": conditions.device, "laps": rows}

def mute(options, conditions):
    return None
"""


@pytest.fixture
def race(tmp_path: Path, codectk: Run, plugin: Callable[..., dict[str, str]]) -> Run:
    environment = plugin("codectk-racer", RACER)
    (tmp_path / "site" / "racer_inside.py").write_text(INSIDE)

    def call(*words: object) -> "subprocess.CompletedProcess[str]":
        return codectk("bench", *words, env=environment)

    return call


def test_a_trainers_networks_are_measured_by_its_plugin(tmp_path: Path, race: Run, folder: Path, weights: Path) -> None:
    words = ("-t", "racer", "--data", folder, "-w", weights, "--repeats", 3, "--device", "cpu")
    done = race(*words, "--laps", 3, "--out", "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("weights of: frappe\npasses: 3\ndevice: cpu\nlaps\n")
    found = result(tmp_path)
    assert found["results"]["laps"][2] == {"lap": 3, "seconds": 0.25}
    assert found["run"]["options"] == {"laps": 3}
    assert (found["run"]["trainer"], found["run"]["repeats"]) == ("racer", 3)
    assert {"codectk", "codectk-core", "codectk-racer"} <= set(found["testbed"]["versions"])
    assert found["testbed"]["processor"] in done.stdout
    assert "--force" in mistakes(race(*words, "--out", "out"))
    assert "--laps INTEGER" in race("-t", "racer", "--help").stdout


def test_what_a_trainer_cannot_be_asked_for_is_said(race: Run, folder: Path, weights: Path) -> None:
    assert "What does here: " in mistakes(race("-t", "walker", "--data", folder))
    assert "Did you mean 'racer'" in mistakes(race("-t", "racers", "--data", folder))
    assert "Option 'laps'" in mistakes(race("-t", "racer", "--data", folder, "--laps", 0))
    assert "returned NoneType, not a mapping" in mistakes(race("-t", "mute", "--data", folder))
    for words in (["-c", "png"], ["--crop", 8], ["--no-decode"], ["--all-points"], ["-w", weights, "-w", weights]):
        assert race("-t", "racer", "--data", folder, *words).returncode == 2, words


def test_passes_go_on_until_they_have_taken_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: float(next(clock)))  # every look takes a second
    done: list[str] = []
    conditions = bench.Conditions(Path(), warmup=2, repeats=3)
    works = [lambda: done.append("a"), lambda: done.append("b")]
    assert conditions.times(works) == [(1.0, 1.0, 1.0), (1.0, 1.0, 1.0)]
    assert done == ["a", "b"] * 5, "they take turns"
    assert len(conditions.times([lambda: None], seconds=7)[0]) == 7
