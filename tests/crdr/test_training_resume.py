"""A run that was stopped, or goes back to a kept iteration, comes to the same numbers, bit for bit."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from codectk.checkpoint import Checkpoint
from codectk.errors import InputError, TrainingStopped

from .trainings import REALISM, TINY, Listen, StopAfter, options, run, table

pytestmark = pytest.mark.usefixtures("one_thread")


def tables(folder: Path) -> list[list[dict[str, str]]]:
    return [table(folder / name) for name in ("log_loss.csv", "eval_result.csv")]


# Windows of the log are of two steps: 3 stops within one.
@pytest.mark.parametrize("steps", [3, 4])
def test_stopped_and_resumed_equals_never_stopped(tmp_path: Path, pictures: Path, steps: int) -> None:
    chosen = options(pictures, **REALISM, eval_step=2)
    straight = run(tmp_path / "straight", chosen)
    with pytest.raises(TrainingStopped, match="--resume"):
        run(tmp_path / "stopped", chosen, watcher=StopAfter(steps, signal.SIGTERM))
    assert run(tmp_path / "stopped", chosen, resume=True).digest == straight.digest
    assert tables(tmp_path / "stopped") == tables(tmp_path / "straight")


def test_any_kept_iteration_leads_to_the_same_end(tmp_path: Path, pictures: Path) -> None:
    chosen = options(pictures, start="random", keep_step="2,3", eval_step=2)
    straight = run(tmp_path / "run", chosen)
    before = tables(tmp_path / "run")
    for iteration in (3, 2):
        again = run(tmp_path / "run", chosen, resume=True, start_iter=iteration)
        assert again.digest == straight.digest
        assert tables(tmp_path / "run") == before
    with pytest.raises(InputError, match=r"no state of iteration 5.*2, 3"):
        run(tmp_path / "run", chosen, resume=True, start_iter=5)


def test_a_linear_start_resumes_exactly_too(tmp_path: Path, pictures: Path) -> None:
    chosen = options(pictures, start="linear", encoder_width="12,16", decoder_width="12,16")
    straight = run(tmp_path / "straight", chosen)
    with pytest.raises(TrainingStopped):
        run(tmp_path / "stopped", chosen, watcher=StopAfter(2, signal.SIGINT))
    assert run(tmp_path / "stopped", chosen, resume=True).digest == straight.digest


def test_on_resume_earlier_weights_are_not_needed_any_more(tmp_path: Path, pictures: Path) -> None:
    run(tmp_path / "first", options(pictures))
    weights = tmp_path / "first" / "weights.safetensors"
    chosen = options(pictures, pretrained=str(weights))
    straight = run(tmp_path / "straight", chosen)
    with pytest.raises(TrainingStopped):
        run(tmp_path / "stopped", chosen, watcher=StopAfter(2, signal.SIGTERM))
    weights.unlink()
    assert run(tmp_path / "stopped", chosen, resume=True).digest == straight.digest


@pytest.mark.parametrize("changes", [{"channels_last": True}, {"precision": "bfloat16"}, {"workers": 2}])
def test_how_it_is_computed_changes_little_or_nothing(
    tmp_path: Path, pictures: Path, changes: dict[str, object]
) -> None:
    chosen = options(pictures, **REALISM, total_iter=2, eval_pictures=0)
    one, other = run(tmp_path / "one", chosen), run(tmp_path / "other", chosen, **changes)
    if "workers" in changes:
        assert one.digest == other.digest
    for name in one.tensors:
        if name.startswith("model."):
            assert np.allclose(one.tensors[name], other.tensors[name], atol=2e-3), name


def test_two_processes_train_one_model(tmp_path: Path, pictures: Path) -> None:
    """Both hold the same weights after every step, though one of them may not see a level at all."""
    script = tmp_path / "script.py"
    script.write_text(
        f"""
from pathlib import Path
import torch
from codectk.options import RunOptions
from codectk.train import Run
from codectk_crdr.train_options import TrainOptions
from codectk_crdr.trainer import CrdrTrainer

torch.set_num_threads(1)
options = TrainOptions.parse({ {**TINY, **REALISM, "data": str(pictures)}!r})
with Run(Path({str(tmp_path / "run")!r}), RunOptions(device="cpu", workers=0, log_every=1)) as run:
    trainer = CrdrTrainer(options, run)
    trainer.train()
    modules = [trainer.model, trainer.objective.discriminator]
    for parameter in (p for module in modules for p in module.parameters()):
        mean = run.all_reduce(parameter)
        assert torch.allclose(mean, parameter, rtol=0, atol=1e-7), "the processes differ"
    if run.is_main:
        trainer.export().save(Path({str(tmp_path / "weights.safetensors")!r}))
"""
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(script)],
            env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert Checkpoint.open(tmp_path / "weights.safetensors").codec == "crdr"
    assert [row["iter"] for row in table(tmp_path / "run" / "log_loss.csv")] == ["1", "2", "3", "4"]


def test_a_run_says_what_it_started_from(tmp_path: Path, pictures: Path) -> None:
    run(tmp_path / "first", options(pictures))
    listen = Listen()
    run(tmp_path / "second", options(pictures, pretrained="first"), watcher=listen)
    assert any(f"{tmp_path / 'first' / 'weights.safetensors'}: " in m and "tensors taken" in m for m in listen.messages)
