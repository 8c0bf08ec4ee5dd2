"""A run that was stopped goes on to the same numbers, bit for bit."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from codectk.checkpoint import Checkpoint
from codectk.errors import InputError, TrainingStopped
from codectk.state import load_state, save_state

from .trainings import TINY, Listen, StopAfter, log, run

pytestmark = pytest.mark.usefixtures("one_thread")


# Two channels of 2 + 2 epochs with 2 steps each are 16 steps: stops within phases, at their ends, and in the last.
@pytest.mark.parametrize("steps", [1, 4, 6, 8, 11, 16])
def test_stopped_and_resumed_equals_never_stopped(tmp_path: Path, pictures: Path, steps: int) -> None:
    straight = run(tmp_path / "straight", pictures)
    with pytest.raises(TrainingStopped, match="--resume"):
        run(tmp_path / "stopped", pictures, watcher=StopAfter(steps, signal.SIGTERM if steps % 2 else signal.SIGINT))
    assert not (tmp_path / "stopped" / "weights.safetensors").exists()
    resumed = run(tmp_path / "stopped", pictures, resume=True)
    assert resumed.digest == straight.digest
    assert resumed.training["validation"] == straight.training["validation"]
    assert log(tmp_path / "stopped") == log(tmp_path / "straight")


def test_twice_stopped_also_equals_never_stopped(tmp_path: Path, pictures: Path) -> None:
    straight = run(tmp_path / "straight", pictures)
    folder = tmp_path / "stopped"
    with pytest.raises(TrainingStopped):
        run(folder, pictures, watcher=StopAfter(3, signal.SIGTERM))
    with pytest.raises(TrainingStopped):
        run(folder, pictures, resume=True, watcher=StopAfter(4, signal.SIGTERM))
    assert run(folder, pictures, resume=True).digest == straight.digest


@pytest.mark.parametrize("steps", [3, 9])
def test_starts_from_statistics_resume_exactly_too(tmp_path: Path, pictures: Path, steps: int) -> None:
    starts = {"encoder_init": "klt", "decoder_init": "previous"}
    straight = run(tmp_path / "straight", pictures, **starts)
    with pytest.raises(TrainingStopped):
        run(tmp_path / "stopped", pictures, watcher=StopAfter(steps, signal.SIGTERM), **starts)
    assert run(tmp_path / "stopped", pictures, resume=True, **starts).digest == straight.digest


def test_other_pictures_are_noticed_on_resume(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(TrainingStopped):
        run(tmp_path / "run", pictures, watcher=StopAfter(3, signal.SIGTERM))
    Image.new("RGB", (60, 50)).save(pictures / "new.png")
    with pytest.raises(InputError, match="not those that the run began with"):
        run(tmp_path / "run", pictures, resume=True)


def test_other_versions_are_told_on_resume(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(TrainingStopped):
        run(tmp_path / "run", pictures, watcher=StopAfter(3, signal.SIGTERM))
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    about["versions"]["torch"] = "1.0"
    (tmp_path / "run" / "run.json").write_text(json.dumps(about))
    listen = Listen()
    run(tmp_path / "run", pictures, resume=True, watcher=listen)
    assert any("torch 1.0 →" in message for message in listen.messages)


@pytest.mark.parametrize("spoil", ["phase", "kept", "parts", "step", "tables"])
def test_a_state_that_does_not_fit_is_refused(tmp_path: Path, pictures: Path, spoil: str) -> None:
    with pytest.raises(TrainingStopped):
        run(tmp_path / "run", pictures, watcher=StopAfter(3, signal.SIGTERM))
    path = tmp_path / "run" / "state.safetensors"
    state = load_state(path)
    if spoil == "phase":
        del state["phase"]
    elif spoil in ("kept", "parts"):
        state[spoil] = {name: {"wrong": 1} for name in state[spoil]}
    elif spoil == "tables":
        state[spoil] = {"log.csv": "many"}
    else:
        state[spoil] = "many"
    save_state(path, state)
    with pytest.raises(InputError, match="state"):
        run(tmp_path / "run", pictures, resume=True)


def test_validation_points_stay_in_tensorboard_on_resume(tmp_path: Path, pictures: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def points(folder: Path) -> list[tuple[int, float]]:
        events = EventAccumulator(str(folder))
        events.Reload()
        return [(event.step, event.value) for event in events.Scalars("val_psnr")]

    run(tmp_path / "straight", pictures)
    with pytest.raises(TrainingStopped):
        run(tmp_path / "stopped", pictures, watcher=StopAfter(8, signal.SIGTERM))
    run(tmp_path / "stopped", pictures, resume=True)
    assert points(tmp_path / "stopped") == points(tmp_path / "straight")
    assert len(points(tmp_path / "straight")) == 2


def test_two_processes_train_resume_and_write_once(tmp_path: Path, pictures: Path) -> None:
    """Through torchrun on the CPU: the same weights whether stopped or not, and clean exits."""
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import os, signal, sys
from pathlib import Path
import torch
from codectk.errors import TrainingStopped
from codectk.log import Watcher
from codectk.options import RunOptions
from codectk.registry import get_registry
from codectk.runs import train
from codectk.specs import TrainerSpec
from codectk_frappe.options import TrainOptions

torch.set_num_threads(1)
class Stop(Watcher):
    left = int(sys.argv[2])
    def step(self, done, values):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
options = TrainOptions.parse({ {**TINY, "data": str(pictures)}!r})
run_options = RunOptions(device="cpu", workers=0)
folder = Path(sys.argv[1])
try:
    train(get_registry().find(TrainerSpec, "frappe"), options, folder, run_options, folder.exists(), Stop())
except TrainingStopped:
    pass
"""
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]

    def launch(folder: str, stop: int) -> None:
        words = [*torchrun, str(tmp_path / folder), str(stop)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr

    launch("straight", -1)
    launch("stopped", 10)
    assert not (tmp_path / "stopped" / "weights.safetensors").exists()
    launch("stopped", -1)
    digests = {Checkpoint.open(tmp_path / name / "weights.safetensors").digest for name in ("straight", "stopped")}
    assert len(digests) == 1
