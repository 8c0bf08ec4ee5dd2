"""`codectk train` with options in groups: dotted flags, `--set`, files that build on others, short flags."""

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Run, mistakes

PLUGIN = """
from codectk.options import FloatList, Options, option
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

@hookimpl
def codectk_trainers():
    return [TrainerSpec(name="tiny", summary="for a test", target="codectk_tiny:Trainer", options="codectk_tiny:Tiny")]
"""


@pytest.fixture
def tiny(plugin: Callable[..., dict[str, str]], codectk: Run) -> Callable[..., dict[str, str]]:
    """Run `codectk train tiny … --dry-run`; returns what was set."""
    environment = plugin("codectk-tiny", PLUGIN)

    def run(*words: object) -> dict[str, str]:
        done = codectk("train", "tiny", *words, "--dry-run", env=environment)
        assert done.returncode == 0, done.stderr
        lines = [line.removesuffix("  (set)") for line in done.stdout.splitlines() if line.endswith("  (set)")]
        return dict(line.split(": ", 1) for line in lines)

    run.environment = environment  # type: ignore[attr-defined]
    return run


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
        (["-ti", "5", "-b4"], {"total_iter": "5", "batch_size": "4"}),
        (["-ti=5", "--total_iter", "6"], {"total_iter": "6"}),
        (["--set", "total-iter=7", "-ti", "6"], {"total_iter": "7"}),
    ],
)
def test_options_of_groups_are_dotted_flags_and_settings(
    tiny: Callable[..., dict[str, str]], words: list[str], shown: dict[str, str]
) -> None:
    assert shown.items() <= tiny(*words).items()


def test_flags_win_over_a_file_that_wins_over_what_it_builds_on(
    tmp_path: Path, tiny: Callable[..., dict[str, str]]
) -> None:
    (tmp_path / "base.yaml").write_text("optim: {lr: 1, clip_max_norm: 2, amsgrad: true}\nrate: {}\nseed: 7\n")
    (tmp_path / "mine.yaml").write_text("_base_: base.yaml\noptim: {lr: 3, clip_max_norm: 4}\nlog-every: 5\n")
    assert tiny("--config", "mine.yaml", "--optim.lr", "6", "--set", "rate=null") == {
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
def test_a_mistake_in_a_group_is_one_line(
    tmp_path: Path, codectk: Run, tiny: Callable[..., dict[str, str]], words: list[str], part: str
) -> None:
    (tmp_path / "mine.yaml").write_text("_base_: nothing.yaml\n")
    environment = tiny.environment  # type: ignore[attr-defined]
    assert part in mistakes(codectk("train", "tiny", *words, env=environment))


def test_help_shows_dotted_flags_with_unit_and_default(codectk: Run, tiny: Callable[..., dict[str, str]]) -> None:
    out = codectk("train", "tiny", "--help", env=tiny.environment).stdout  # type: ignore[attr-defined]
    shown = " ".join(out.split())
    assert "--optim.clip-max-norm NUMBER Largest norm of gradients. [L2; default: 1.0]" in shown
    assert "--optim.betas LIST" in shown
    assert "--rate.target NUMBER" in shown
    assert "-lr, --optim.lr" in shown
