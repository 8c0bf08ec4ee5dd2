"""What is stopped and resumed equals what was never stopped, to the last bit."""

import csv
import os
import signal
from dataclasses import dataclass, field

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from codectk.errors import TrainingDiverged, TrainingStopped
from codectk.log import Watcher
from codectk.options import RunOptions
from codectk.run_state import STATE
from codectk.state import load_state
from codectk.train import Run

PHASES = {"first": 5, "second": 4}
STEPS = [(phase, step) for phase, total in PHASES.items() for step in range(total)]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """One thread for every run: another number of threads adds in another order, which changes the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Learned:
    """The networks of finished phases, as a trainer keeps them."""

    def __init__(self):
        self.networks = []

    def state_dict(self):
        return {"networks": self.networks}

    def load_state_dict(self, state):
        self.networks = list(state["networks"])


@dataclass
class Seen(Watcher):
    """All that a run tells."""

    phases: list = field(default_factory=list)
    steps: list = field(default_factory=list)

    def phase(self, name, done, total):
        self.phases.append((name, done, total))

    def step(self, done, values):
        self.steps.append((done, values))


def do_nothing(phase, step):
    """What happens within a step of an undisturbed run."""


def learn_phase(run, phase, disturb):
    """One phase with all that has a state: network, dropout, optimizer, schedule."""
    layers = [torch.nn.Linear(3, 4), torch.nn.Dropout(0.3), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)]
    network = run.setup(torch.nn.Sequential(*layers))
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)

    def load(step):
        return torch.from_numpy(run.rng(phase, step).normal(size=(6, 3)).astype("f4"))

    parts = {"network": network, "optimizer": optimizer, "scheduler": scheduler}
    for step, x in run.steps(phase, PHASES[phase], load, **parts):
        loss = (network(x) - x.sum(dim=1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        run.backward(loss)
        run.clip_gradients(network.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if run.wants_log:
            run.log(loss=float(loss.detach()), rate=scheduler.get_last_lr()[0])
        disturb(phase, step)
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def learn(folder, disturb=do_nothing, resume=False, watcher=None, **options):
    """Both phases; returns the parameters of both networks."""
    settings = RunOptions.parse({"device": "cpu", "log_every": 2, **options})
    with Run(folder, settings, resume, watcher) as run:
        learned = Learned()
        run.keep(learned=learned)
        for phase in PHASES:
            if not run.finished(phase):
                learned.networks.append(learn_phase(run, phase, disturb))
                run.finish(phase)
    return learned.networks


def rows(folder):
    """The log without the time."""
    with (folder / "log.csv").open(newline="", encoding="utf-8") as stream:
        return [(r["phase"], r["step"], r["name"], r["value"]) for r in csv.DictReader(stream)]


def equal(one, other):
    assert len(one) == len(other) == len(PHASES)
    for a, b in zip(one, other, strict=True):
        assert list(a) == list(b)
        assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Parameters and log of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return learn(folder), rows(folder)


def send(number, at):
    """Something that sends this process a signal within one step."""

    def disturb(phase, step):
        if (phase, step) == at:
            os.kill(os.getpid(), number)

    return disturb


def test_the_log_holds_every_second_step_of_every_phase(undisturbed):
    assert [(phase, int(step)) for phase, step, name, _ in undisturbed[1] if name == "loss"] == [
        ("first", 0),
        ("first", 2),
        ("first", 4),
        ("second", 0),
        ("second", 2),
    ]
    assert [float(value) for _, _, name, value in undisturbed[1] if name == "rate"][:3] == [0.05, 0.025, 0.0125]


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_the_number_of_loader_threads_changes_nothing(tmp_path, undisturbed, workers):
    equal(learn(tmp_path, workers=workers), undisturbed[0])
    assert rows(tmp_path) == undisturbed[1]


def test_another_seed_gives_another_run(tmp_path, undisturbed):
    assert not torch.equal(learn(tmp_path, seed=1)[0]["0.weight"], undisturbed[0][0]["0.weight"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("at", [("first", 0), ("first", 2), ("first", 4), ("second", 0), ("second", 3)], ids=str)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_and_resumed_run_equals_an_undisturbed_one(tmp_path, undisturbed, number, at, workers):
    with pytest.raises(TrainingStopped) as caught:
        learn(tmp_path, send(number, at), workers=workers)
    assert caught.value.signal_number == number
    assert f"--resume {tmp_path}" in str(caught.value)
    assert load_state(tmp_path / STATE)["step"] == at[1] + 1
    equal(learn(tmp_path, resume=True), undisturbed[0])
    assert rows(tmp_path) == undisturbed[1]


def test_a_run_stopped_at_every_step_equals_an_undisturbed_one(tmp_path, undisturbed):
    for number, at in enumerate(STEPS):
        with pytest.raises(TrainingStopped):
            learn(tmp_path, send(signal.SIGTERM, at), resume=number > 0)
    equal(learn(tmp_path, resume=True), undisturbed[0])
    assert rows(tmp_path) == undisturbed[1]


def test_a_stop_asked_for_between_phases_is_taken_up_before_the_next_step(tmp_path, undisturbed):
    with Run(tmp_path, RunOptions(device="cpu", log_every=2)) as run:
        learned = Learned()
        run.keep(learned=learned)
        learned.networks.append(learn_phase(run, "first", do_nothing))
        run.finish("first")
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(TrainingStopped, match="phase second at step 0"):
            learn_phase(run, "second", do_nothing)
    equal(learn(tmp_path, resume=True), undisturbed[0])
    assert rows(tmp_path) == undisturbed[1]


class Crash(Exception):
    """Stands for whatever ends a process without warning."""


def crash(at):
    def disturb(phase, step):
        if (phase, step) == at:
            raise Crash

    return disturb


@pytest.mark.parametrize("at", [("first", 3), ("second", 0), ("second", 2)], ids=str)
def test_a_crash_after_a_save_loses_nothing_but_what_came_after_it(tmp_path, undisturbed, at):
    # With so short a time between saves, the state is that of the start of the step that crashed. Its log row is there
    # already and must not be there twice.
    with pytest.raises(Crash):
        learn(tmp_path, crash(at), save_every=1e-9)
    assert load_state(tmp_path / STATE)["step"] == at[1]
    equal(learn(tmp_path, resume=True), undisturbed[0])
    assert rows(tmp_path) == undisturbed[1]


def test_a_run_that_crashed_before_its_first_save_starts_over(tmp_path, undisturbed):
    with pytest.raises(Crash):
        learn(tmp_path, crash(("first", 3)))
    assert not (tmp_path / STATE).exists()
    equal(learn(tmp_path, resume=True), undisturbed[0])
    assert rows(tmp_path) == undisturbed[1]


def test_a_finished_phase_is_not_trained_again(tmp_path):
    with pytest.raises(TrainingStopped):
        learn(tmp_path, send(signal.SIGTERM, ("second", 1)))
    seen = Seen()
    learn(tmp_path, resume=True, watcher=seen)
    assert seen.phases == [("second", 2, 4)]
    assert [done for done, _ in seen.steps] == [3, 4]


def test_the_watcher_is_told_phases_steps_and_logged_values(tmp_path):
    seen = Seen()
    learn(tmp_path, watcher=seen)
    assert seen.phases == [("first", 0, 5), ("second", 0, 4)]
    assert [done for done, _ in seen.steps] == [1, 2, 3, 4, 5, 1, 2, 3, 4]
    assert all({"loss", "rate"} == set(values) for _, values in seen.steps)


def test_asking_twice_stops_at_once(tmp_path):
    def twice(phase, step):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path, twice)


def test_signals_are_handled_as_before_once_the_run_is_over(tmp_path):
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with Run(tmp_path, RunOptions(device="cpu")):
        assert all(signal.getsignal(n) != handler for n, handler in zip(numbers, before, strict=True))
    assert [signal.getsignal(number) for number in numbers] == before
    with pytest.raises(Crash), Run(tmp_path, RunOptions(device="cpu")):
        raise Crash
    assert [signal.getsignal(number) for number in numbers] == before


def curve(folder):
    """The loss as TensorBoard shows it, by step."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("loss")]


def test_tensorboard_shows_one_curve_over_all_phases_also_after_a_crash(tmp_path):
    learn(tmp_path / "whole")
    whole = curve(tmp_path / "whole")
    assert [step for step, _ in whole] == [0, 2, 4, 5, 7]
    with pytest.raises(Crash):
        learn(tmp_path / "parts", crash(("second", 2)), save_every=1e-9)
    with pytest.raises(TrainingStopped):
        learn(tmp_path / "parts", send(signal.SIGTERM, ("second", 2)), resume=True)
    learn(tmp_path / "parts", resume=True)
    assert curve(tmp_path / "parts") == whole


def test_divergence_keeps_the_last_good_state(tmp_path, undisturbed):
    def diverge(phase, step):
        if (phase, step) == ("second", 1):
            raise TrainingDiverged("The loss is nan.", "Lower the learning rate.")

    with pytest.raises(TrainingDiverged):
        learn(tmp_path, diverge, save_every=1e-9)
    equal(learn(tmp_path, resume=True), undisturbed[0])
