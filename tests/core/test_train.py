"""What a run does for a trainer, and what it leaves behind."""

import json
import re
import threading
from importlib import import_module

import pytest
import torch

from codectk import Checkpoint
from codectk.errors import InputError, OptionsError, OutputError, TrainingDiverged, TrainingStopped
from codectk.log import Watcher
from codectk.options import NoOptions, RunOptions
from codectk.registry import Registered
from codectk.run_state import STATE
from codectk.runs import CONFIG, DESCRIPTION, WEIGHTS, read_description, train
from codectk.specs import TrainerSpec
from codectk.state import load_state, save_state
from codectk.train import SCRATCH, Run


@pytest.fixture
def run(tmp_path):
    with Run(tmp_path / "run", RunOptions(device="cpu", workers=2)) as made:
        yield made


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_stops_training(run, value):
    weight = torch.ones(1, requires_grad=True)
    run.phase, run.step = "first", 7
    with pytest.raises(TrainingDiverged, match="at step 7 of phase first"):
        run.backward((weight * value).sum())
    assert weight.grad is None


def test_a_trainer_that_asks_to_stop_leaves_with_its_state_saved(run, tmp_path):
    with pytest.raises(TrainingStopped, match="at step 3"):
        for step, _ in run.steps("count", 20, lambda step: step):
            if step == 2:
                run.stop()
    assert load_state(tmp_path / "run" / STATE)["step"] == 3


def test_every_batch_is_loaded_once_and_comes_in_order(run):
    asked, lock = [], threading.Lock()

    def load(step):
        with lock:
            asked.append(step)
        return step * step

    assert list(run.steps("count", 20, load)) == [(step, step * step) for step in range(20)]
    assert sorted(asked) == list(range(20))


@pytest.mark.parametrize("workers", [0, 3])
def test_an_error_in_a_loader_thread_reaches_the_trainer(tmp_path, workers):
    def load(step):
        if step == 3:
            raise InputError("photo.png is damaged.", "Copy it again.")
        return step

    seen = []
    with (
        Run(tmp_path, RunOptions(device="cpu", workers=workers)) as run,
        pytest.raises(InputError, match=r"photo\.png"),
    ):
        for step, _ in run.steps("count", 10, load):
            seen.append(step)
    assert seen == [0, 1, 2]


def test_random_numbers_depend_on_seed_and_key_alone(run, tmp_path):
    first = run.rng("crop", 3).integers(1 << 60)
    run.rng("other").integers(1 << 60)
    torch.rand(3)
    assert run.rng("crop", 3).integers(1 << 60) == first
    others = [run.rng("crop", 4), run.rng(3, "crop"), run.rng("crop", "3")]
    assert first not in [generator.integers(1 << 60) for generator in others]
    with Run(tmp_path / "other", RunOptions(device="cpu", seed=1)) as other:
        assert other.rng("crop", 3).integers(1 << 60) != first


def test_gradients_are_clipped_together(run):
    weights = [torch.nn.Parameter(torch.tensor([3.0])), torch.nn.Parameter(torch.tensor([4.0]))]
    run.backward(sum((weight**2).sum() / 2 for weight in weights))
    assert run.clip_gradients(weights, 1.0) == pytest.approx(5)
    assert [float(weight.grad) for weight in weights] == pytest.approx([0.6, 0.8], rel=1e-4)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_networks_compute_in_the_precision_asked_for(tmp_path, precision, dtype):
    with Run(tmp_path, RunOptions(device="cpu", precision=precision)) as run, run.autocast():
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype


def test_one_process_does_all_the_work(run):
    assert run.is_main
    assert run.share(6) == range(6)
    value = torch.tensor(3.0, requires_grad=True)
    mean = run.all_reduce(value)
    assert float(mean) == 3
    assert not mean.requires_grad


def test_messages_reach_the_watcher(tmp_path):
    class Listener(Watcher):
        def message(self, text):
            heard.append(text)

    heard = []
    with Run(tmp_path, RunOptions(device="cpu"), watcher=Listener()) as run:
        run.message("skipped: photo.png is damaged.")
    assert heard == ["skipped: photo.png is damaged."]


def test_a_damaged_state_is_an_input_error(tmp_path):
    (tmp_path / STATE).write_bytes(b"rubbish")
    with pytest.raises(InputError, match=STATE):
        Run(tmp_path, RunOptions(device="cpu"), resume=True)


def test_a_device_that_is_not_here_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(OptionsError):
        Run(tmp_path / "run", RunOptions(device="nowhere"))
    assert not (tmp_path / "run").exists()


TRAINER = """
import os
import signal
import numpy as np
import torch
from codectk import Checkpoint, Options, option

class TinyOptions(Options):
    steps: int = option(4, ge=1, help="Steps.")
    stop_at: int = option(-1, help="Step at which to stop.")

class TinyTrainer:
    def __init__(self, options, run):
        self.options, self.run = options, run
        self.weight = torch.nn.Parameter(torch.zeros(2))

    def train(self):
        optimizer = torch.optim.SGD([self.weight], 0.1, momentum=0.9)
        holder = torch.nn.ParameterList([self.weight])
        load = lambda step: torch.from_numpy(self.run.rng(step).normal(size=2))
        self.run.scratch.mkdir(exist_ok=True)
        (self.run.scratch / "snapshot").touch()
        for step, target in self.run.steps("all", self.options.steps, load, holder=holder, optimizer=optimizer):
            optimizer.zero_grad()
            self.run.backward((self.weight - target).square().sum())
            optimizer.step()
            if step == self.options.stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

    def export(self):
        tensors = {"weight": self.weight.detach().numpy()}
        return Checkpoint(tensors, "tiny", "codectk-core", "1", 1, {}, {"steps": self.options.steps})
"""


@pytest.fixture
def trainer(site):
    """The tiny trainer and its option model."""
    module = site.add("tiny-trainer", TRAINER)
    spec = TrainerSpec(
        name="tiny", summary="s", target=f"{module}:TinyTrainer", options=f"{module}:TinyOptions", codec="tiny"
    )
    return Registered(spec, "codectk-core", "1"), import_module(module).TinyOptions


CPU = RunOptions(device="cpu")


def test_a_finished_run_leaves_weights_log_and_description_and_nothing_else(tmp_path, trainer):
    registered, options = trainer
    folder = tmp_path / "run"
    returned = train(registered, options(steps=3), folder, RunOptions(device="cpu", seed=5))
    opened = Checkpoint.open(folder / WEIGHTS)
    assert opened.digest == returned.digest
    names = {path.name for path in folder.iterdir() if not path.name.startswith("events.out.tfevents")}
    (log,) = (name for name in names if re.fullmatch(r"train_\d{8}_\d{6}\.log", name))
    assert names == {WEIGHTS, DESCRIPTION, CONFIG, "log.csv", log}
    about = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    assert (about["trainer"], about["distribution"], about["options"]) == ("tiny", "codectk-core", {"steps": 3})
    assert about["run_options"] == {"device": "cpu", "seed": 5}
    assert set(about["versions"]) == {"codectk-core", "torch"}


def test_a_trainer_that_was_stopped_is_resumed_to_the_same_weights(tmp_path, trainer):
    registered, options = trainer
    whole = train(registered, options(), tmp_path / "whole", CPU)
    with pytest.raises(TrainingStopped):
        train(registered, options(stop_at=1), tmp_path / "parts", CPU)
    assert read_description(tmp_path / "parts")["options"] == {"stop_at": 1}
    assert not (tmp_path / "parts" / WEIGHTS).exists()
    assert (tmp_path / "parts" / SCRATCH / "snapshot").exists()
    resumed = train(registered, options(), tmp_path / "parts", CPU, resume=True)
    assert resumed.digest == whole.digest
    assert (tmp_path / "parts" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
    assert not (tmp_path / "parts" / STATE).exists()
    assert not (tmp_path / "parts" / SCRATCH).exists()


@pytest.mark.parametrize("name", ["log.csv", "precious.txt"])
def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path, trainer, name):
    (tmp_path / name).write_text("precious", encoding="utf-8")
    with pytest.raises(OutputError, match=f"--resume {tmp_path}"):
        train(trainer[0], NoOptions(), tmp_path, CPU)
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ["precious"]


def test_an_empty_folder_is_taken(tmp_path, trainer):
    train(trainer[0], trainer[1](steps=1), tmp_path, CPU)
    assert (tmp_path / WEIGHTS).exists()


def test_weights_are_written_whole_or_not_at_all(tmp_path, trainer, monkeypatch):
    def fail(tensors, temporary, metadata):
        temporary.write_bytes(b"half of the weights")
        raise OSError(28, "No space left on device")

    registered, options = trainer
    save_every_step = RunOptions(device="cpu", save_every=1e-9)
    with monkeypatch.context() as patch:
        patch.setattr("safetensors.numpy.save_file", fail)
        with pytest.raises(OutputError, match="No space left"):
            train(registered, options(), tmp_path, save_every_step)
    assert not list(tmp_path.glob("*weights*"))
    assert not list(tmp_path.glob(".*"))
    # Training itself is not lost: the state of its last step is there.
    resumed = train(registered, options(), tmp_path, CPU, resume=True)
    assert resumed.digest == train(registered, options(), tmp_path.with_name("again"), CPU).digest


def test_what_holds_no_run_cannot_be_described(tmp_path):
    with pytest.raises(InputError, match="holds no training run"):
        read_description(tmp_path)
    (tmp_path / DESCRIPTION).write_text("{}", encoding="utf-8")
    (tmp_path / WEIGHTS).touch()
    with pytest.raises(InputError, match="is finished"):
        read_description(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"trainer":"a","options":[],"run_options":{}}', '{"options":{},"run_options":{}}', "\x00"],
)
def test_a_damaged_description_is_refused_by_name(tmp_path, content):
    (tmp_path / DESCRIPTION).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"run\.json is damaged"):
        read_description(tmp_path)


def test_the_state_is_replaced_as_a_whole(tmp_path):
    # A reader that has the old state open keeps it: the new one is another file with the same name.
    save_state(tmp_path / STATE, {"step": 1})
    with (tmp_path / STATE).open("rb") as stream:
        before = stream.read()
        save_state(tmp_path / STATE, {"step": 2})
        stream.seek(0)
        assert stream.read() == before
    assert load_state(tmp_path / STATE) == {"step": 2}
