"""What long runs need: kept iterations, skipped steps, tables, more places to log to, memory formats."""

import os
import re
import signal
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import yaml

from codectk import Checkpoint
from codectk.errors import InputError, OptionsError, TrainingDiverged, TrainingStopped
from codectk.log import Watcher
from codectk.options import NoOptions, Options, RunOptions, option
from codectk.registry import Registered
from codectk.run_state import STATE, iteration_name, kept_iterations, kept_path, read_state
from codectk.runs import CONFIG, SO_FAR, WEIGHTS, dry_run, read_description, train
from codectk.specs import TrainerSpec
from codectk.state import load_state, save_state
from codectk.train import MAX_SKIPS, Run

PHASES = {"first": 4, "second": 6}


def settings(**values):
    return RunOptions.parse({"device": "cpu", "workers": 0, "log_every": 1, **values})


class Learned:
    """Weights of finished phases."""

    def __init__(self):
        self.weights = []

    def state_dict(self):
        return {"weights": self.weights}

    def load_state_dict(self, state):
        self.weights = list(state["weights"])


def batch(run, step):
    return torch.from_numpy(run.rng(step).normal(size=3).astype("f4"))


def learn(folder, disturb=lambda run, loss: loss, resume=False, wanted=(), watcher=None, above=100.0, **values):
    """Two phases with momentum and noise, and a table with a row per step; returns the weights of both."""
    with Run(folder, settings(**values), resume, watcher) as run:
        run.keep_iterations(wanted)
        learned = Learned()
        run.keep(learned=learned)
        for phase, total in PHASES.items():
            if run.finished(phase):
                continue
            network = torch.nn.Linear(3, 1, bias=False)
            optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
            for _, x in run.steps(phase, total, partial(batch, run), network=network, optimizer=optimizer):
                loss = disturb(run, (network(x + torch.randn(3)) - 1).square().sum())
                optimizer.zero_grad()
                if run.skip(loss, above):
                    continue
                run.backward(loss)
                optimizer.step()
                run.log(loss=float(loss.detach()))
                run.table("loss.csv", ["iteration", "loss"]).write(run.iteration + 1, float(loss.detach()))
            learned.weights.append(network.weight.detach().clone())
            run.finish(phase)
        run.save()
    return torch.cat(learned.weights)


def at(step, change):
    """A disturbance of one iteration."""
    return lambda run, loss: change(loss) if run.iteration == step else loss


def text(folder, name="loss.csv"):
    return (folder / name).read_text(encoding="utf-8")


def logged(folder):
    """The log without the time."""
    return [(*line.split(",")[:2], *line.split(",")[3:]) for line in text(folder, "log.csv").splitlines()]


def stop(loss):
    os.kill(os.getpid(), signal.SIGTERM)
    return loss


# --- iterations that are kept


@pytest.mark.parametrize(
    ("iteration", "name"), [(980_000, "980K"), (1000, "1K"), (999, "999"), (1500, "1500"), (0, "0"), (10, "10")]
)
def test_multiples_of_a_thousand_are_written_short(iteration, name):
    assert iteration_name(iteration) == name


def test_iterations_that_are_kept_are_found_by_their_number(tmp_path):
    for iteration in (980_000, 1_000_000, 12, 1500):
        save_state(kept_path(tmp_path, iteration), {})
    (tmp_path / "states" / "state_iterX.safetensors").touch()
    assert kept_iterations(tmp_path) == [12, 1500, 980_000, 1_000_000]


@pytest.mark.parametrize("start", [2, 4, 7])
def test_a_run_goes_on_from_any_kept_iteration_bit_for_bit(tmp_path, start):
    whole = learn(tmp_path, wanted=[2, 4, 7])
    files = [text(tmp_path), logged(tmp_path)]
    assert kept_iterations(tmp_path) == [2, 4, 7]
    again = learn(tmp_path, resume=True, start_iter=start)
    assert torch.equal(again, whole)
    assert [text(tmp_path), logged(tmp_path)] == files


def test_what_was_gone_back_to_is_the_newest_state_at_once(tmp_path):
    learn(tmp_path, wanted=range(3, 11, 3))
    assert kept_iterations(tmp_path) == [3, 6, 9]
    with pytest.raises(TrainingStopped):
        learn(tmp_path, at(6, stop), resume=True, start_iter=6)
    assert load_state(tmp_path / STATE)["total_steps"] == 7
    with Run(tmp_path, settings(start_iter=3), resume=True):
        pass  # killed before its first step
    assert load_state(tmp_path / STATE)["total_steps"] == 3


def test_an_iteration_that_was_not_kept_is_answered_with_those_that_were(tmp_path):
    learn(tmp_path, wanted=[2, 7])
    with pytest.raises(InputError) as caught:
        Run(tmp_path, settings(start_iter=5), resume=True)
    assert str(caught.value) == f"{tmp_path} holds no state of iteration 5. Iterations there: 2, 7, 10."
    with Run(tmp_path, settings(start_iter=10), resume=True) as run:
        assert run.finished("second"), "the newest state has a number too"
    with pytest.raises(InputError, match=r"Iterations there: none\."):
        Run(tmp_path / "empty", settings(start_iter=5), resume=True)
    kept_path(tmp_path, 2).write_bytes(b"rubbish")
    with pytest.raises(InputError, match=r"state_iter2\.safetensors"):
        Run(tmp_path, settings(start_iter=2), resume=True)


def test_only_a_run_that_is_resumed_goes_back(tmp_path):
    with pytest.raises(OptionsError, match="no run is resumed"):
        Run(tmp_path, settings(start_iter=5))


def test_states_are_also_saved_at_multiples_of_steps(tmp_path):
    with pytest.raises(ZeroDivisionError):
        learn(tmp_path, at(8, lambda loss: 1 / 0), save_step=3)
    assert load_state(tmp_path / STATE)["total_steps"] == 6


def test_a_state_from_before_there_were_tables_still_opens(tmp_path):
    state = {"phase": "a", "step": 3, "total_steps": 3, "finished": [], "kept": {}, "parts": {}}
    save_state(tmp_path / STATE, {**state, "log_bytes": 70, "seconds": 1.5})
    opened = read_state(tmp_path / STATE)
    assert (opened["tables"], opened["skips"]) == ({"log.csv": 70}, [0, 0])


# --- steps that are skipped


BAD = {
    "nan": lambda loss: loss * float("nan"),
    "inf": lambda loss: loss * float("inf"),
    "too large": lambda loss: loss * 0 + 101,
}


@pytest.mark.parametrize("name", BAD)
def test_a_step_with_a_bad_loss_changes_nothing_and_is_counted(tmp_path, name):
    before = []

    def disturb(run, loss):
        if run.iteration == 6:
            before.append(dict(run._parts)["network"].weight.detach().clone())
            return BAD[name](loss)
        if run.iteration == 7:
            assert torch.equal(before[0], run._parts["network"].weight)
        return loss

    weights = learn(tmp_path, disturb)
    assert torch.isfinite(weights).all()
    assert [row[2:] for row in logged(tmp_path) if row[2] == "skipped"] == [("skipped", "1.0")]
    assert len(text(tmp_path).splitlines()) == 10, "a header and nine steps"


def test_a_loss_at_the_bound_is_good(tmp_path):
    with Run(tmp_path, settings()) as run:
        assert not run.skip(torch.tensor(100.0), above=100)
        assert run.skip(torch.tensor(100.1), above=100)
        assert not run.skip(torch.tensor(1e30))
        assert run.skips == 1


def test_too_many_bad_steps_in_a_row_end_the_run_and_leave_the_last_good_state(tmp_path, monkeypatch):
    assert MAX_SKIPS == 50
    monkeypatch.setattr("codectk.train.MAX_SKIPS", 3)

    def ruined(run, loss):
        return loss * float("nan") if run.iteration >= 6 else loss

    with pytest.raises(TrainingDiverged, match=r"3 steps in a row were skipped.* nan at step 4 of phase second.*last"):
        learn(tmp_path, ruined, save_every=1e-9)
    assert load_state(tmp_path / STATE)["total_steps"] == 6, "saved after every step until the bad ones"
    assert torch.equal(learn(tmp_path, resume=True), learn(tmp_path.with_name("whole")))


def test_bad_steps_that_do_not_follow_each_other_do_not_end_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("codectk.train.MAX_SKIPS", 2)
    learn(tmp_path, lambda run, loss: loss * float("nan") if run.iteration % 2 else loss)
    assert logged(tmp_path)[-1][2:] == ("skipped", "5.0")


def test_a_run_stopped_between_bad_steps_keeps_the_state_before_them(tmp_path):
    def disturb(run, loss):
        if run.iteration == 7:
            stop(loss)
        return loss * float("nan") if run.iteration >= 6 else loss

    with pytest.raises(TrainingStopped, match="the state is that of the last save"):
        learn(tmp_path, disturb, save_every=1e-9)
    assert load_state(tmp_path / STATE)["total_steps"] == 6


def test_the_count_of_skipped_steps_survives_a_stop(tmp_path):
    def disturb(run, loss):
        if run.iteration == 5:
            stop(loss)
        return loss * float("nan") if run.iteration in (2, 8) else loss

    with pytest.raises(TrainingStopped):
        learn(tmp_path, disturb)
    learn(tmp_path, at(8, BAD["nan"]), resume=True)
    assert [row[3] for row in logged(tmp_path) if row[2] == "skipped"] == ["1.0", "2.0"]


def test_parameters_that_are_no_numbers_are_never_saved(tmp_path):
    """The loss is good, but its gradient is not: only the state itself shows it."""

    def disturb(run, loss):
        if run.iteration == 6:
            run._parts["network"].weight.data[0, 0] = float("nan")
            return loss * 0 + 1
        return loss

    with pytest.raises(TrainingDiverged, match="A parameter is no longer finite"):
        learn(tmp_path, disturb, save_every=1e-9)
    assert torch.equal(learn(tmp_path, resume=True), learn(tmp_path.with_name("whole")))


# --- tables and other files


def test_a_table_grows_row_by_row_and_is_cut_back_to_the_saved_state(tmp_path):
    lengths = []

    def disturb(run, loss):
        lengths.append((tmp_path / "loss.csv").stat().st_size if (tmp_path / "loss.csv").exists() else 0)
        if run.iteration == 8:
            raise ZeroDivisionError
        return loss

    with pytest.raises(ZeroDivisionError):
        learn(tmp_path, disturb, save_step=5)
    assert lengths[1:] == sorted(set(lengths[1:])), "each row is in the file when the next step begins"
    assert text(tmp_path).count("\n") == 9
    learn(tmp_path, resume=True)
    learn(tmp_path.with_name("whole"))
    assert text(tmp_path) == text(tmp_path.with_name("whole"))


def test_a_table_keeps_its_columns(tmp_path):
    with Run(tmp_path, settings()) as run:
        table = run.table("eval.csv", ["iter", "psnr"])
        assert run.table("eval.csv", ["iter", "psnr"]) is table
        with pytest.raises(ValueError, match="1 values for 2 columns"):
            table.write(3)
        table.write(1, 30.5)
        run.save()
    assert text(tmp_path, "eval.csv") == "iter,psnr\n1,30.5\n"
    with Run(tmp_path, settings(), resume=True) as run, pytest.raises(InputError, match=r"eval\.csv has other columns"):
        run.table("eval.csv", ["iter", "ssim"])


def test_the_log_file_tells_messages_phases_and_values(tmp_path):
    with Run(tmp_path, settings()) as run:
        run.message("before the folder is there")
        for _ in run.steps("first", 1, lambda step: step):
            run.log(loss=0.25, rate=2)
    (path,) = tmp_path.glob("train_*.log")
    lines = [line.split(" ", 1)[1] for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines == [
        "before the folder is there",
        "phase first: 0 of 1 steps are done",
        "first step 0:  loss 0.25  rate 2",
    ]


def test_a_watcher_hears_of_every_logged_window(tmp_path):
    class Listener(Watcher):
        def logged(self, phase, step, values):
            heard.append((phase, step, values))

    heard = []
    with Run(tmp_path, settings(), watcher=Listener()) as run:
        for step, _ in run.steps("first", 3, lambda step: step):
            if step == 1:
                run.log(loss=0.5)
    assert heard == [("first", 1, {"loss": 0.5})]


@pytest.mark.parametrize("asked", [{"use_wandb": True}, {"wandb_dryrun": True}])
def test_weights_and_biases_is_asked_for_in_vain_where_it_is_not_installed(tmp_path, monkeypatch, asked):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(OptionsError, match=r"wandb is not installed.*pip install wandb"):
        Run(tmp_path / "run", settings(**asked))
    assert not (tmp_path / "run").exists()


def test_weights_and_biases_gets_what_the_log_gets(tmp_path, monkeypatch):
    calls = []
    module = SimpleNamespace(
        init=lambda **given: calls.append(("init", given["mode"], given["project"], given["name"])) or module,
        log=lambda values, step: calls.append((step, values)),
        finish=lambda: calls.append("finish"),
    )
    monkeypatch.setitem(sys.modules, "wandb", module)
    learn(tmp_path / "run", use_wandb=True)
    losses = [float(row[3]) for row in logged(tmp_path / "run")[1:]]
    assert calls[0] == ("init", "online", "codectk", "run")
    assert calls[1:-1] == [(step, {"loss": loss}) for step, loss in enumerate(losses)]
    assert calls[-1] == "finish"
    calls.clear()
    learn(tmp_path / "dry", wandb_dryrun=True)
    assert calls[0] == ("init", "offline", "codectk", "dry")


def test_a_run_is_found_on_weights_and_biases_by_what_was_asked_for(tmp_path, monkeypatch):
    seen = {}
    module = SimpleNamespace(init=lambda **given: seen.update(given) or module, log=lambda *_, **__: None)
    module.finish = lambda: None
    monkeypatch.setitem(sys.modules, "wandb", module)
    asked = {"wandb_project": "p", "wandb_entity": "team", "wandb_run_name": "first try", "wandb_tags": "a,b"}
    learn(tmp_path / "run", use_wandb=True, **asked)
    names = ("project", "entity", "name", "tags", "id", "resume")
    assert [seen[name] for name in names] == ["p", "team", "first try", ["a", "b"], "run", "allow"]


def test_where_weights_and_biases_is_not_asked_for_its_options_are_said_to_have_no_effect(tmp_path):
    with Run(tmp_path, settings(wandb_tags=("a",))) as run:
        run.message("hello")
        run.save()
    (path,) = tmp_path.glob("train_*.log")
    assert "--wandb-tags has no effect without --use-wandb" in path.read_text(encoding="utf-8")


def test_weights_are_written_into_the_run_folder_in_place_of_earlier_ones(tmp_path):
    def checkpoint(value):
        return Checkpoint({"w": torch.full((2,), value).numpy()}, "tiny", "codectk-core", "1", 1, {}, {})

    with Run(tmp_path, settings()) as run:
        for value in (1.0, 2.0):
            run.write_weights("model/newest.safetensors", checkpoint(value))
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["newest.safetensors"]
    assert Checkpoint.open(tmp_path / "model" / "newest.safetensors").tensors["w"][0] == 2


# --- memory format


@pytest.mark.parametrize("last", [True, False])
def test_modules_and_pictures_have_the_memory_format_asked_for(tmp_path, last):
    with Run(tmp_path, settings(channels_last=last)) as run:
        weight = run.setup(torch.nn.Conv2d(3, 8, 3)).weight
        assert weight.is_contiguous(memory_format=torch.channels_last) == last
        x = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
        assert run.place(x).is_contiguous(memory_format=torch.channels_last) == last
        assert torch.equal(run.place(x), x)
        assert run.place(x[0]).is_contiguous()


# --- whole trainings


class Group(Options):
    lr: float = option(0.1, help="Learning rate.")
    more: int = option(2, help="More.")


class TinyOptions(Options):
    total: int = option(4, help="Steps.", anytime=True)
    group: Group = option(Group(), help="A group.")


class Tiny:
    def __init__(self, options, run):
        self.options, self.run = options, run
        self.network = torch.nn.Linear(1, 1)

    def train(self):
        self.run.keep_iterations([2])
        for _ in self.run.steps("all", self.options.total, lambda step: step, network=self.network):
            with torch.no_grad():
                self.network.weight += torch.rand(1)
            self.run.table("loss.csv", ["step"]).write(self.run.step)

    def export(self):
        tensors = {"w": self.network.weight.detach().numpy()}
        return Checkpoint(tensors, "tiny", "codectk-core", "1", 1, {}, {})

    def describe(self):
        (self.run.folder / "rubbish").mkdir(parents=True)
        yield f"{self.options.total} steps on {self.run.device}"


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(sys.modules, "tiny_long", SimpleNamespace(Tiny=Tiny, TinyOptions=TinyOptions))
    spec = TrainerSpec(name="tiny", summary="s", target="tiny_long:Tiny", options="tiny_long:TinyOptions", codec="tiny")
    return Registered(spec, "codectk-core", "1")


def test_the_configuration_of_a_run_is_a_file_that_gives_it_again(tmp_path, registered):
    sources = ["recipe base/default", "mine.yaml", "/home/someone/other.yaml"]
    options = TinyOptions.parse({"group.lr": 0.5})
    train(registered, options, tmp_path, settings(seed=3), sources=sources)
    lines = text(tmp_path, CONFIG).splitlines()
    assert lines[:3] == ['# from "recipe base/default"', '# from "mine.yaml"', '# from "other.yaml"']
    assert "/home/someone" not in text(tmp_path, CONFIG) + text(tmp_path, "run.json")
    values = yaml.safe_load(text(tmp_path, CONFIG))
    assert values["group"] == {"lr": 0.5, "more": 2}
    assert values["seed"] == 3
    assert "start_iter" not in values


def test_a_finished_run_goes_on_from_a_kept_iteration_with_its_sources_and_new_weights(tmp_path, registered):
    whole = train(registered, TinyOptions(total=6), tmp_path / "whole", settings())
    train(registered, TinyOptions(), tmp_path / "parts", settings(), sources=["mine.yaml"])
    with pytest.raises(InputError, match="is finished"):
        read_description(tmp_path / "parts")
    assert read_description(tmp_path / "parts", start_iter=2)["trainer"] == "tiny"
    longer = train(registered, TinyOptions(total=6), tmp_path / "parts", settings(start_iter=2), resume=True)
    assert longer.digest == whole.digest == Checkpoint.open(tmp_path / "parts" / WEIGHTS).digest
    assert text(tmp_path / "parts") == text(tmp_path / "whole")
    assert text(tmp_path / "parts", CONFIG).startswith('# from "mine.yaml"\ntotal: 6\n'), "as it is now"
    assert not (tmp_path / "parts" / STATE).exists()
    assert not (tmp_path / "parts" / SO_FAR).exists()


def test_a_dry_run_builds_on_the_cpu_and_leaves_nothing_behind(tmp_path, registered, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    run_options = RunOptions(device="cuda:7", use_wandb=True, start_iter=3)
    assert dry_run(registered, TinyOptions(), run_options) == ["4 steps on cpu"]
    assert not list(tmp_path.iterdir())


def test_a_trainer_that_tells_nothing_is_not_built_in_a_dry_run(registered, monkeypatch):
    monkeypatch.delattr(Tiny, "describe")
    monkeypatch.setattr(Tiny, "__init__", None)
    assert dry_run(registered, NoOptions(), RunOptions()) == []


def test_messages_about_a_log_have_the_time_they_were_told(tmp_path):
    with Run(tmp_path, settings()) as run:
        run.message("hello")
        run.save()
    (path,) = tmp_path.glob("train_*.log")
    assert re.fullmatch(r"\d\d:\d\d:\d\d hello\n", path.read_text(encoding="utf-8"))
