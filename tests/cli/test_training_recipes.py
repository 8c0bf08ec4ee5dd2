"""`codectk train` with options in groups: dotted flags, `--set`, files that build on others, short flags."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from codectk.checkpoint import Checkpoint
from codectk.errors import CodectkError, InputError, OptionsError, PluginError
from codectk.options import Options, PathList, RunOptions, leaves, option
from codectk.recipes import Layer, combine
from codectk.registry import Registered
from codectk.specs import TrainerSpec
from codectk_cli.bridge import OptionsCommand, gather, given
from codectk_cli.commands.train import _trainer_command
from codectk_cli.main import dashes
from codectk_cli.reference import page
from codectk_cli.watch import TerminalWatcher

from .conftest import Run

PLUGIN = """
from codectk.options import FloatList, IntList, Options, option
from codectk.specs import TrainerSpec
import codectk.plugin
hookimpl = codectk.plugin.hookimpl
CODECTK_API = 1

class Optim(Options):
    lr: float = option(1e-4, gt=0, cli="-lr", help="Learning rate.")
    clip_max_norm: float = option(1.0, help="Largest norm of gradients.", unit="L2")
    betas: FloatList = option((0.9, 0.999), help="Of Adam.")
    amsgrad: bool = option(False, help="Another rule.")

class Rate(Options):
    target: float = option(0.5, help="Bits per pixel.")

class Tiny(Options):
    total_iter: int = option(10, ge=1, cli="-ti", help="Length.")
    batch_size: int = option(8, cli="-b", help="Crops per step.")
    optim: Optim = option(Optim(), help="Optimiser.")
    rate: Rate | None = option(None, help="Control of the rate.")
    resize: FloatList | None = option(None, help="Factors.")
    keep_step: int | IntList = option((), help="Iterations that stay.")
    fails_at: int = option(-1, help="Step at which all ends.", anytime=True)

class Trainer:
    def __init__(self, options, run):
        self.options, self.run = options, run

    def describe(self):
        run, folder = self.run, self.run.folder
        yield f"{self.options.total_iter} iterations at {self.options.optim.lr}, on {run.device}"

    def train(self):
        import torch
        network = torch.nn.Linear(1, 1)
        self.run.keep_iterations([2, 4])
        for step, _ in self.run.steps("all", self.options.total_iter, lambda step: step, network=network):
            with torch.no_grad():
                network.weight += torch.rand(1)
            if self.run.wants_log:
                self.run.log(loss=step / 4)
            if step == self.options.fails_at:
                raise ZeroDivisionError("on purpose")
        self.network = network

    def export(self):
        from codectk import Checkpoint
        return Checkpoint({"w": self.network.weight.detach().numpy()}, "tiny", "codectk-tiny", "1", 1, {}, {})

@hookimpl
def codectk_trainers():
    return [TrainerSpec(name="tiny", summary="for a test", target="codectk_tiny:Trainer", options="codectk_tiny:Tiny")]
"""


Plugin = Callable[..., dict[str, str]]
Tiny = Callable[..., str]


@pytest.fixture
def tiny(
    tmp_path: Path, plugin: Plugin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Tiny]:
    """Run `codectk train tiny …` within this process, where torch is loaded already; returns what was written."""
    plugin("codectk-tiny", PLUGIN)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.chdir(tmp_path)
    spec = TrainerSpec(name="tiny", summary="s", target="codectk_tiny:Trainer", options="codectk_tiny:Tiny")
    command = _trainer_command(Registered(spec, "codectk-tiny", "1.0"))

    def run(*words: str) -> str:
        context = command.make_context("tiny", list(words), token_normalize_func=dashes, terminal_width=120)
        with context:
            command.invoke(context)
        return capsys.readouterr().out

    yield run
    sys.modules.pop("codectk_tiny", None)


def settings(out: str) -> dict[str, str]:
    """What a dry run shows as set."""
    lines = [line.removesuffix("  (set)") for line in out.splitlines() if line.endswith("  (set)")]
    return dict(line.split(": ", 1) for line in lines)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--optim.clip-max-norm", "0.5"], {"optim.clip_max_norm": "0.5"}),
        (["--optim.clip_max_norm=0.5"], {"optim.clip_max_norm": "0.5"}),
        (["--optim.betas", "0.5", "0.9"], {"optim.betas": "[0.5, 0.9]"}),
        (["--optim.amsgrad", "-lr", "5e-3"], {"optim.amsgrad": "True", "optim.lr": "0.005"}),
        (["--no-optim.amsgrad", "--rate.target", "1"], {"rate.target": "1.0"}),
        (["--set", "optim.lr=1e-3", "rate={target: 2}", "-ti", "3"], {"optim.lr": "0.001", "rate.target": "2.0"}),
        (["--set", "optim.betas=[0.1, 0.2]", "--set", "seed=5"], {"optim.betas": "[0.1, 0.2]", "seed": "5"}),
        (["--resize", "0.5", "1", "--keep_step", "3", "4"], {"resize": "[0.5, 1.0]", "keep_step": "[3, 4]"}),
        (["--keep-step=3,4", "-ti", "5"], {"keep_step": "[3, 4]"}),
        (["-ti", "5", "-b4"], {"total_iter": "5", "batch_size": "4"}),
        (["-ti=5", "--total_iter", "6"], {"total_iter": "6"}),
        (["--set", "total-iter=7", "-ti", "6"], {"total_iter": "7"}),
    ],
)
def test_options_of_groups_are_dotted_flags_and_settings(tiny: Tiny, words: list[str], shown: dict[str, str]) -> None:
    assert shown.items() <= settings(tiny(*words, "-n")).items()


def test_flags_win_over_a_file_that_wins_over_what_it_builds_on(tmp_path: Path, tiny: Tiny) -> None:
    (tmp_path / "base.yaml").write_text("optim: {lr: 1, clip_max_norm: 2, amsgrad: true}\nrate: {}\nseed: 7\n")
    (tmp_path / "mine.yaml").write_text("_base_: base.yaml\noptim: {lr: 3, clip_max_norm: 4}\nlog-every: 5\n")
    out = tiny("--config", "mine.yaml", "--optim.lr", "6", "--set", "rate=null", "--dry-run")
    assert settings(out) == {
        **{"optim.lr": "6.0", "optim.clip_max_norm": "4.0", "optim.amsgrad": "True"},
        **{"seed": "7", "log_every": "5"},
    }


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--set", "optim.lrr=1"], "There is no option 'optim.lrr' in --set. Did you mean 'optim.lr'?"),
        (["--set", "optim.lr"], "--set optim.lr is no setting"),
        (["--set", "=1"], "is no setting"),
        (["--set", "seed=1", "seed=2"], "'seed' twice"),
        (["--set", "optim.lr=1", "optim={lr: 2}"], "'optim.lr' stands twice in --set"),
        (["--optim.lr", "0"], "Option 'optim.lr' in the command line"),
        (["--config", "mine.yaml"], "mine.yaml builds on nothing.yaml, which does not exist"),
    ],
)
def test_a_mistake_in_a_group_is_named(tmp_path: Path, tiny: Tiny, words: list[str], part: str) -> None:
    (tmp_path / "mine.yaml").write_text("_base_: nothing.yaml\n")
    with pytest.raises(OptionsError) as caught:
        tiny(*words)
    assert part in str(caught.value)


def test_help_shows_dotted_flags_with_unit_and_default(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.exceptions.Exit):
        tiny("--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "--optim.clip-max-norm NUMBER Largest norm of gradients. [L2; default: 1.0]" in shown
    assert "--optim.betas LIST" in shown
    assert "--rate.target NUMBER" in shown
    assert "-lr, --optim.lr" in shown


def test_the_guides_short_flags_are_those_of_the_run(tiny: Tiny) -> None:
    words = ["-d", "cpu", "-l", "50", "-s", "5000", "-nw", "3", "-si", "0", "-b", "2", "-ti", "7"]
    assert settings(tiny(*words, "-wb", "--wandb_dryrun", "--channels_last", "-dr")) == {
        **{"device": "cpu", "log_every": "50", "save_step": "5000", "workers": "3", "batch_size": "2"},
        **{"total_iter": "7", "use_wandb": "True", "wandb_dryrun": "True", "channels_last": "True"},
    }
    assert settings(tiny("--log_step", "4", "--num_workers", "5", "-n")) == {"log_every": "4", "workers": "5"}


@pytest.mark.parametrize("flag", ["--dry-run", "--dry_run", "-dr", "-n"])
def test_a_dry_run_shows_options_and_what_would_be_trained_and_writes_nothing(
    tmp_path: Path, tiny: Tiny, flag: str
) -> None:
    out = tiny("-d", "cuda:5", "-lr", "0.5", flag)
    assert "optim.lr: 0.5  (set)" in out
    assert out.splitlines()[-1] == "10 iterations at 0.5, on cpu"
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_debug_does_not_go_with_weights_and_biases(tmp_path: Path, tiny: Tiny) -> None:
    with pytest.raises(OptionsError, match="--use-wandb do not go together"):
        tiny("-wb", "--debug", "--out", "run")
    assert not (tmp_path / "run").exists()


def test_logged_windows_are_told_for_debugging_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for debug in (False, True):
        with TerminalWatcher(debug) as watcher:
            watcher.logged("all", 3, {"loss": 0.5})
    assert capsys.readouterr().err == "all step 3:  loss 0.5\n"


@pytest.mark.parametrize("words", [["train", "tiny", "--debug"], ["--debug", "train", "tiny"]], ids=["after", "before"])
def test_debug_shows_options_windows_and_tracebacks_at_both_places(
    codectk: Run, plugin: Plugin, words: list[str]
) -> None:
    environment = {**plugin("codectk-tiny", PLUGIN), "OMP_NUM_THREADS": "1"}
    words = [*words, "-d", "cpu", "-l", "2", "--set", "fails_at=2", "rate.target=3", "--out", "run"]
    done = codectk(*words, env=environment)
    assert done.returncode == 1
    assert "rate.target: 3.0  (set)" in done.stdout
    told = [line for line in done.stderr.splitlines() if line.startswith("all step")]
    assert told == ["all step 0:  loss 0", "all step 2:  loss 0.5"]
    assert "Traceback" in done.stderr


def test_a_run_goes_on_from_a_kept_iteration_by_its_folder_or_by_its_file(tmp_path: Path, tiny: Tiny) -> None:
    (tmp_path / "base.yaml").write_text("optim: {lr: 0.5}\nlog_step: 1\ndevice: cpu\nnum_workers: 0\n")
    (tmp_path / "mine.yaml").write_text("_base_: base.yaml\ntotal_iter: 5\n")
    file = ["--config", "mine.yaml", "--out", "run"]
    tiny(*file)
    weights = tmp_path / "run" / "weights.safetensors"
    first = Checkpoint.open(weights).digest
    assert (tmp_path / "run" / "config.yaml").read_text().startswith('# from "base.yaml"\n# from "mine.yaml"\n')
    with pytest.raises(InputError, match="is finished"):
        tiny("--resume", "run")
    for words in (["--resume", "run", "-si", "2"], [*file, "--start_iter", "4"]):
        weights.unlink()
        tiny(*words)
        assert Checkpoint.open(weights).digest == first
    tiny("--config", "run/config.yaml", "--out", "again")
    assert Checkpoint.open(tmp_path / "again" / "weights.safetensors").digest == first


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--resume", "run", "-si", "3"], "Iterations there: 2, 4."),
        (["--out", "run", "-d", "cpu", "-lr", "1", "-si", "2"], "--optim.lr was 0.0001 when run"),
        (["-si", "2"], "--resume or --out"),
        (["-si", "-1"], "start_iter"),
        (["-si", "2", "--out", "nowhere"], "nowhere holds no training run"),
        (["--resume", "run", "-si", "2", "--config", "mine.yaml"], "Leave --recipe, --config and --out out"),
    ],
)
def test_what_is_no_place_to_go_on_from_is_named(tmp_path: Path, tiny: Tiny, words: list[str], part: str) -> None:
    (tmp_path / "mine.yaml").write_text("")
    tiny("-d", "cpu", "-ti", "5", "--out", "run")
    with pytest.raises(CodectkError) as caught:
        tiny(*words)
    assert part in str(caught.value)


@pytest.mark.parametrize("flag", ["-n", "-dr", "--log-step", "--optim.lr"])
def test_a_flag_that_two_options_claim_is_a_fault_of_the_plugin(flag: str) -> None:
    class Inner(Options):
        lr: float = option(1.0, help="Learning rate.")

    class Clashing(Options):
        optim: Inner = option(Inner(), help="Optimiser.")
        other: int = option(1, cli=flag, help="Other.")

    own: list[click.Parameter] = [click.Option(["--dry-run", "-n", "-dr"])]
    command = OptionsCommand("try", params=own, models=[Clashing, RunOptions])
    with pytest.raises(PluginError, match=f"'{flag}' is defined twice"):
        command.make_context("try", [])


def test_a_trainer_may_give_a_name_of_the_runs_options_its_own_meaning() -> None:
    class Epochs(Options):
        save_every: int = option(10, help="Epochs between weights that stay.")

    command = OptionsCommand("try", models=[Epochs, RunOptions])
    context = command.make_context("try", ["--save-every", "3"])
    values = {**given(context, Epochs), **given(context, RunOptions)}
    epochs, run = combine([Epochs, RunOptions], [Layer("flags", values)])
    assert (epochs.changed(), run) == ({"save_every": 3}, RunOptions())
    assert [p.help for p in command.get_params(context) if p.name == "save_every" and isinstance(p, click.Option)] == [
        "Epochs between weights that stay. [default: 10]"
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["--dirs", "one", "with blank", "3", "--count", "1"],
        ["--dirs", "one", "with blank", "3", "--count=1"],
        ["--count", "1", "--dirs=one", "--dirs", "one", "with blank", "3"],
    ],
)
def test_a_list_of_paths_is_written_as_words_whatever_signs_they_hold(words: list[str]) -> None:
    class Folders(Options):
        dirs: PathList = option((), help="Folders.")
        count: int = option(0, help="A number.")

    context = OptionsCommand("try", models=[Folders]).make_context("try", words)
    assert gather(Folders, given(context, Folders)) == Folders(
        dirs=(Path("one"), Path("with blank"), Path("3")), count=1
    )
    for one in ("[a", "a,b", "a b", "[1]x"):
        assert Folders.parse({"dirs": one}).dirs == (Path(one),)
    assert Folders.parse({"dirs": ["a", "b"]}).changed() == {"dirs": ["a", "b"]}


def test_auto_resume_goes_on_with_the_unfinished_run_of_the_same_settings(tmp_path: Path, tiny: Tiny) -> None:
    words = ["-d", "cpu", "-ti", "5"]
    for folder, settings in (("other", ["-lr", "1"]), ("mine", [])):
        with pytest.raises(ZeroDivisionError):
            tiny(*words, *settings, "--fails-at", "3", "-s", "2", "--out", f"runs/{folder}")
    (tmp_path / "runs" / "a file").write_text("")
    tiny(*words, "--auto-resume")
    runs = {path.name: (path / "weights.safetensors").exists() for path in (tmp_path / "runs").iterdir()}
    assert runs == {"other": False, "mine": True, "a file": False}
    tiny(*words, "--auto-resume", "--output-dir", "elsewhere")
    assert (tmp_path / "elsewhere" / "weights.safetensors").exists()
    with pytest.raises(CodectkError, match="finished"):
        tiny(*words, "--auto-resume", "--out", "elsewhere")
    with pytest.raises(CodectkError, match="was 1"):
        tiny(*words, "--auto-resume", "--out", "runs/other")


def test_the_page_of_the_command_line_has_the_flags_of_every_training_run() -> None:
    part = page().partition("## Options of every training run")[2]
    assert "| `--dry-run`, `-n`, `-dr` |" in part
    assert "| `--set` `NAME=VALUE…` |" in part
    for name in leaves(RunOptions):
        assert f"`--{name.replace('_', '-')}`" in part
