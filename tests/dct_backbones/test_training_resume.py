"""Trainings that are stopped, run out of time, change their data, or run in several processes."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from codectk.checkpoint import Checkpoint
from codectk.errors import InputError, TrainingStopped
from codectk.log import Watcher
from codectk.runs import SO_FAR
from codectk.state import load_state

from .pictures import TINY, Listen, folder, run

ALL: dict[str, Any] = {"variant": "luma-fusion", "mixup": 0.2, "ema": 0.9, "label_smoothing": 0.1, "epochs": 3}
"""Everything that has a state or draws something."""


class StopAfter(Watcher):
    """Asks the run to stop after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self, done: int, values: dict[str, float]) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    root = tmp_path / "data"
    folder(root / "train", {"blue": 5, "green": 4})
    folder(root / "val", {"blue": 3, "green": 2})
    return {**TINY, **ALL, "train_dirs": [str(root / "train")], "val_dir": str(root / "val")}


def table(path: Path) -> list[list[str]]:
    with (path / "eval_result.csv").open() as stream:
        return list(csv.reader(stream))


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_stopped_training_goes_on_bit_for_bit_with_any_number_of_threads(
    values: dict[str, Any], tmp_path: Path, stop: int
) -> None:
    """Stopped within an epoch, and at its end; rows of the table are neither lost nor doubled."""
    straight = run("compressed", values, tmp_path / "straight")
    with pytest.raises(TrainingStopped):
        run("compressed", values, tmp_path / "stopped", watcher=StopAfter(stop), workers=2)
    resumed = run("compressed", values, tmp_path / "stopped", resume=True)
    assert resumed.digest == straight.digest
    assert table(tmp_path / "stopped") == table(tmp_path / "straight")


def test_a_time_limit_stops_with_all_that_is_done_saved(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The public code leaves before it saves, so that even an evaluated epoch is lost."""
    straight = run("compressed", values, tmp_path / "straight")
    clock = iter(range(10**6))
    slow = SimpleNamespace(monotonic=lambda: 1800.0 * next(clock))
    monkeypatch.setattr("codectk_dct_backbones.training.time", slow)
    for _ in range(2):  # two steps fit into an hour; these are an epoch
        with pytest.raises(TrainingStopped, match="the state is saved"):
            run(
                "compressed",
                {**values, "time_limit_hours": 0.75},
                tmp_path / "limited",
                resume=(tmp_path / "limited").exists(),
            )
        done = load_state(tmp_path / "limited" / "state.safetensors")["step"]
        assert len(table(tmp_path / "limited")) == 1 + done // 2
        assert Checkpoint.open(tmp_path / "limited" / SO_FAR).training["epochs"] == done // 2
    monkeypatch.undo()
    assert (
        run("compressed", {**values, "time_limit_hours": 0}, tmp_path / "limited", resume=True).digest
        == straight.digest
    )


def test_without_a_limit_nothing_stops(values: dict[str, Any], tmp_path: Path) -> None:
    """The public code's default is one hour."""
    listen = Listen()
    run("compressed", {**values, "time_limit_hours": None}, tmp_path / "run", watcher=listen)
    assert not any("time limit of" in message for message in listen.messages)


def test_a_training_that_goes_on_no_longer_needs_the_weights_it_started_from(
    values: dict[str, Any], tmp_path: Path
) -> None:
    run("compressed", {**values, "epochs": 1}, tmp_path / "first")
    values = {**values, "pretrained": str(tmp_path / "first.safetensors")}
    (tmp_path / "first" / "weights.safetensors").rename(tmp_path / "first.safetensors")
    straight = run("compressed", values, tmp_path / "straight")
    with pytest.raises(TrainingStopped):
        run("compressed", values, tmp_path / "stopped", watcher=StopAfter(1))
    (tmp_path / "first.safetensors").unlink()
    assert run("compressed", values, tmp_path / "stopped", resume=True).digest == straight.digest


@pytest.mark.parametrize("change", ["added", "moved"])
def test_a_training_does_not_go_on_with_other_pictures(values: dict[str, Any], tmp_path: Path, change: str) -> None:
    with pytest.raises(TrainingStopped):
        run("compressed", values, tmp_path / "run", watcher=StopAfter(1))
    train = Path(values["train_dirs"][0])
    source = train / "blue" / "0.jpg"
    (train / "green" / "new.jpg").write_bytes(source.read_bytes())
    if change == "moved":
        source.unlink()
    with pytest.raises(InputError, match="not those that the run began with"):
        run("compressed", values, tmp_path / "run", resume=True)


def test_statistics_go_on_where_they_stopped(values: dict[str, Any], tmp_path: Path) -> None:
    few = {"train_dirs": values["train_dirs"], "image_size": 32, "batch_size": 2}
    straight = run("stats", few, tmp_path / "straight")
    with pytest.raises(TrainingStopped):
        run("stats", few, tmp_path / "stopped", watcher=StopAfter(3))
    assert run("stats", few, tmp_path / "stopped", resume=True).digest == straight.digest
    tables = [(tmp_path / name / "statistics.csv").read_text() for name in ("straight", "stopped")]
    assert tables[0] == tables[1]


TRAIN = """
import json, sys
from pathlib import Path
import torch
from codectk.options import RunOptions
from codectk.registry import get_registry
from codectk.runs import train
from codectk.specs import TrainerSpec
torch.set_num_threads(1)
name, values = json.loads(sys.argv[2])
registered = get_registry().find(TrainerSpec, "dct_backbones." + name)
options = registered.load(registered.spec.options).parse(values)
train(registered, options, Path(sys.argv[1]) / name, RunOptions(device="cpu", workers=0))
"""


def train_in_two_processes(name: str, values: dict[str, Any], folder: Path) -> None:
    """Processes of their own for each training: a second group of the same ones may find the first one's addresses."""
    script = folder / "train.py"
    script.write_text(TRAIN)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script), str(folder / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *words, json.dumps([name, values])],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_train_one_network_and_count_each_picture_once(values: dict[str, Any], tmp_path: Path) -> None:
    """With five pictures to evaluate, two processes have parts of unlike size; the public code pads."""
    stats = {"train_dirs": values["train_dirs"], "image_size": 32, "batch_size": 2}
    trained = {**values, "variant": "block-stem", "compat": "original", "ema": 0, "mixup": 0}
    train_in_two_processes("compressed", trained, tmp_path)
    train_in_two_processes("stats", stats, tmp_path)
    weights = Checkpoint.open(tmp_path / "two" / "compressed" / "weights.safetensors")
    results = json.loads((tmp_path / "two" / "compressed" / "results.json").read_text())
    assert results["count"] == 5
    run(
        "compressed",
        {**trained, "eval_only": True, "pretrained": str(tmp_path / "two" / "compressed")},
        tmp_path / "one",
    )
    alone = json.loads((tmp_path / "one" / "results.json").read_text())
    assert alone["loss"] == pytest.approx(results["loss"], rel=1e-5) and alone["top1"] == results["top1"]
    assert weights.config["classes"] == ["blue", "green"]
    measured = run("stats", stats, tmp_path / "stats").tensors
    together = Checkpoint.open(tmp_path / "two" / "stats" / "weights.safetensors").tensors
    assert all(
        torch.allclose(torch.from_numpy(measured[k]), torch.from_numpy(together[k]), atol=1e-4) for k in measured
    )
