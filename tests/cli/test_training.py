"""`codectk train` as a user runs it: flags, recipes, signals, resume."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from codectk.checkpoint import Checkpoint

from .conftest import Run, mistakes, program

GUIDE = [
    *("train", "frappe", "--device", "cuda:0", "--ps", *["32", "32", "32", "16", "16", "16", "8", "8", "8"]),
    *("--epochs_single", "1", "--epochs_merged", "1", "--save_checkpoint_name", "checkpoint_example.pth"),
]
MODEL = ["--ps", "8", "4", "--decoder_dim", "6", "--decoder_arch", "C"]
DATA = ["--batch_size", "1", "--min_size", "16", "--max_size", "16", "--device", "cpu", "--workers", "0"]
TINY = [*MODEL, *DATA, "--epochs_single", "12", "--epochs-merged", "12", "--log-every", "1"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for i in range(6):
        small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        small.resize((60, 50), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has CUDA")
def test_the_guides_command_says_in_one_line_that_there_is_no_cuda(tmp_path: Path, codectk: Run) -> None:
    message = mistakes(codectk(*GUIDE))
    assert "cuda:0" in message
    assert "--device auto" in message
    assert not (tmp_path / "runs").exists()


def test_the_guides_command_is_understood_as_it_is_written(codectk: Run) -> None:
    out = codectk(*GUIDE, "--dry-run").stdout
    assert "ps: [32, 32, 32, 16, 16, 16, 8, 8, 8]  (set)" in out
    assert "epochs_merged: [1]  (set)" in out
    assert "save_checkpoint_name: checkpoint_example.pth  (set)" in out
    assert "device: cuda:0  (set)" in out


@pytest.mark.parametrize("words", [["--ps", "32x3,16"], ["--ps=32,32,32,16"], ["--ps", "32", "32x2", "16"]])
def test_lists_are_written_in_three_ways(codectk: Run, words: list[str]) -> None:
    assert "ps: [32, 32, 32, 16]" in codectk("train", "frappe", *words, "--dry-run").stdout


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--linear_input"], True),
        (["--linear-input", "true"], True),
        (["--linear_input", "0"], False),
        (["--no-linear-input"], False),
        (["--linear_input=yes"], True),
    ],
)
def test_switches_take_words(codectk: Run, words: list[str], shown: bool) -> None:
    out = codectk("train", "frappe", "--ps", "8", *words, "--dry-run").stdout
    assert f"linear_input: {shown}" in out


def test_flags_win_over_config_over_recipe_over_defaults(tmp_path: Path, codectk: Run) -> None:
    (tmp_path / "mine.yaml").write_text("epochs-single: 3\nepochs_merged: 5\ndecoder_dim: 99\n")
    words = ["train", "frappe", "--recipe", "example", "--config", "mine.yaml", "--epochs_merged", "7", "--dry-run"]
    out = codectk(*words).stdout
    assert "ps: [32, 32, 32, 16, 16, 16, 8, 8, 8]" in out, "from the recipe"
    assert "epochs_single: [3]" in out, "the file over the recipe"
    assert "epochs_merged: [7]" in out, "the flag over the file"
    assert "decoder_arch: CCCCCC" in out, "the default"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--ps", "12", "--decoder_ps", "8"], "neither divides"),
        (["--ps"], "requires an argument"),
        ([], "--ps"),
        (["--ps", "8", "--recipe", "papr"], "example"),
        (["--ps", "8", "--config", "missing.yaml"], "missing.yaml"),
        (["--ps", "8", "--data", "no-such-set"], "no-such-set"),
        (["--ps", "8", "--device", "tpu"], "--device"),
        (["--resume", "nowhere"], "nowhere"),
        (["--ps", "8", "--batch-size", "0"], "batch_size"),
    ],
)
def test_bad_training_requests_are_one_message(codectk: Run, words: list[str], part: str) -> None:
    done = codectk("train", "frappe", *words)
    assert done.returncode in (1, 2)
    assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_trainer_names_the_nearest(codectk: Run) -> None:
    assert "Did you mean 'frappe'" in mistakes(codectk("train", "frape"))


def test_an_unknown_key_in_a_config_names_file_and_nearest(tmp_path: Path, codectk: Run) -> None:
    (tmp_path / "mine.yaml").write_text("ps: 8\ndecoder_dimm: 4\n")
    message = mistakes(codectk("train", "frappe", "--config", "mine.yaml"))
    assert "mine.yaml" in message
    assert "'decoder_dim'" in message


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_stopped_process_resumes_to_the_same_weights(
    tmp_path: Path, codectk: Run, pictures: Path, number: signal.Signals
) -> None:
    words = ["train", "frappe", "--data", pictures, *TINY]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    straight = codectk(*words, "--out", "straight", env=environment)
    assert straight.returncode == 0, straight.stderr
    process = subprocess.Popen(
        [program(), *map(str, words), "--out", "stopped"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "stopped" / "log.csv"
    deadline = time.monotonic() + 60
    # The log appears when training begins; from then on a signal falls between two steps.
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number, stderr
    assert "Traceback" not in stderr
    assert "--resume stopped" in stderr
    assert not (tmp_path / "stopped" / "weights.safetensors").exists()
    resumed = codectk("train", "frappe", "--resume", "stopped", "--workers", "2", env=environment)
    assert resumed.returncode == 0, resumed.stderr
    digests = {Checkpoint.open(tmp_path / name / "weights.safetensors").digest for name in ("straight", "stopped")}
    assert len(digests) == 1


def test_resume_refuses_what_would_change_the_result(tmp_path: Path, codectk: Run, pictures: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    about = {"trainer": "frappe", "options": {"ps": [8]}, "run_options": {}, "distribution": "", "versions": {}}
    (folder / "run.json").write_text(json.dumps(about))
    message = mistakes(codectk("train", "frappe", "--resume", "run", "--decoder_dim", "5"))
    assert "--decoder-dim was 768" in message
    (folder / "weights.safetensors").write_bytes(b"x")
    assert "finished" in mistakes(codectk("train", "frappe", "--resume", "run"))


def test_weights_are_also_written_under_the_given_name(tmp_path: Path, codectk: Run, pictures: Path) -> None:
    words = ["--epochs_single", "1", "--epochs_merged", "1", "--save_checkpoint_name", "mine.pth", "--out", "run"]
    done = codectk("train", "frappe", "--data", pictures, *MODEL, *DATA, *words)
    assert done.returncode == 0, done.stderr
    assert "mine.pth in safetensors format" in done.stderr
    assert Checkpoint.open(tmp_path / "mine.pth").codec == "frappe"
    assert "is not empty" in mistakes(
        codectk("train", "frappe", "--data", pictures, "--ps", "8", "--out", "run", "--device", "cpu")
    ).replace("\n", " ")
