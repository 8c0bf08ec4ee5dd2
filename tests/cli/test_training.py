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
from click.testing import CliRunner
from PIL import Image

from codectk.checkpoint import Checkpoint
from codectk.errors import InputError
from codectk.state import load_state
from codectk_cli.main import cli

from .conftest import Run, mistakes, program

GUIDE = [
    *("train", "frappe", "--device", "cuda:0", "--ps", *["32", "32", "32", "16", "16", "16", "8", "8", "8"]),
    *("--epochs_single", "1", "--epochs_merged", "1", "--save_checkpoint_name", "checkpoint_example.pth"),
]
SWITCHES = ("decoder_layerscale", "linear_input", "merged_decoder_noise", "merged_decoder_round")
MODEL = ["--ps", "8", "4", "--decoder_dim", "6", "--decoder_arch", "C"]
DATA = ["--batch_size", "1", "--min_size", "16", "--max_size", "16", "--device", "cpu", "--workers", "0"]
TINY = [*MODEL, *DATA, "--epochs_single", "12", "--epochs-merged", "12", "--log-every", "1", "--save-every", "1e-6"]


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


def test_every_flag_of_the_guide_is_taken_under_its_own_name(codectk: Run) -> None:
    """Numbers that differ from the defaults, so that each is seen to arrive."""
    words = {
        **{"input_channels": "3", "decoder_ps": "16", "decoder_dim": "96", "decoder_kernel_size": "5"},
        **{"decoder_arch": "CT", "decoder_mlp_ratio": "2.0", "decoder_layerscale": "true", "lam": "0.1 0.2"},
        **{"decoder_layerscale_init": "0.001", "rpe": "0.4", "encoder_arch": "LF8", "linear_input": "1"},
        **{"encoder_lr_scale": "0.2", "merged_decoder_noise": "yes", "merged_decoder_round": "false"},
        **{"epochs_single": "3", "epochs_merged": "5 6", "batch_size": "2", "min_aspect": "0.5", "max_aspect": "2.0"},
        **{"min_size": "64", "max_size": "128", "min_scale": "1.1", "max_scale": "1.9", "sc_max_lr": "0.002"},
        **{"sc_lr_pow": "3", "md_max_lr": "0.003", "md_lr_pow": "1", "min_lr": "1e-09", "grad_clip": "0.7"},
        **{"num_workers": "16", "save_checkpoint_name": "x.pth", "train_ds": "danjacobellis/LSDIR"},
        **{"val_ds": "danjacobellis/kodak", "dataset_samples": "7", "resume_checkpoint": "y.pth"},
        **{"resume_channels": "2", "device": "cpu", "ps": "16 16 8"},
    }
    flags = [word for name, value in words.items() for word in (f"--{name}", *value.split())]
    out = codectk("train", "frappe", *flags, "--dry-run").stdout
    names = {"num_workers": "workers", "train_ds": "data", "val_ds": "val_data"}
    switches = {"true": "True", "1": "True", "yes": "True", "false": "False"}
    set_ones = dict(line.removesuffix("  (set)").split(": ", 1) for line in out.splitlines() if line.endswith("(set)"))
    for name, value in words.items():
        if name == "input_channels":
            continue  # there is one number only
        shown = set_ones[names.get(name, name)]
        plain = [float(v) if v[0].isdigit() else v for v in shown.strip("[]").replace(",", "").split()]
        wanted = switches[value] if name in SWITCHES else value
        assert plain == [float(v) if v[0].isdigit() else v for v in wanted.split()], name


@pytest.mark.parametrize("recipe", ["demo", "example", "paper", "released", "joint"])
def test_every_recipe_can_be_looked_at(recipe: str) -> None:
    assert "ps: [" in looked_at("--recipe", recipe)


def looked_at(*words: str) -> str:
    """What a dry run of frappe shows, in this process, which has imported torch already."""
    done = CliRunner().invoke(cli, ["train", "frappe", *words, "--dry-run"])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--train_ds", "danjacobellis/LSDIR"], "Put its pictures into a folder"),
        (["--val_ds", "kodak"], "neither a folder nor a dataset"),
        (["--resume_checkpoint", "x"], "needs resume_channels"),
        (["--resume_checkpoint", "x", "--resume_channels", "0"], "because there is no decoder"),
        (["--resume_checkpoint", "missing.pth", "--resume_channels", "1"], "missing.pth"),
        (["--lam", "1", "2"], "lam has 2 values"),
        (["--dataset_samples", "99"], "only 7 pictures"),
    ],
)
def test_what_the_guide_cannot_have_here_is_refused_with_the_reason(
    tmp_path: Path, codectk: Run, words: list[str], part: str
) -> None:
    message = mistakes(codectk("train", "frappe", "--ps", "8", "--device", "cpu", *words))
    assert part in " ".join(message.split())
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("words", [["--ps", "32x3,16"], ["--ps=32,32,32,16"], ["--ps", "32", "32x2", "16"]])
def test_lists_are_written_in_three_ways(words: list[str]) -> None:
    assert "ps: [32, 32, 32, 16]" in looked_at(*words)


def test_a_list_ends_at_a_short_flag_but_not_at_a_negative_number(codectk: Run) -> None:
    assert "ps: [32, 16]" in codectk("train", "frappe", "--ps", "32", "16", "-n").stdout
    assert "Usage" in codectk("train", "frappe", "--ps", "32", "-h").stdout
    assert "-5" in mistakes(codectk("train", "frappe", "--ps", "8", "-5", "-n"))


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
def test_switches_take_words(words: list[str], shown: bool) -> None:
    assert f"linear_input: {shown}" in looked_at("--ps", "8", *words)


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


@pytest.mark.parametrize(
    "words", [["train", "frappe", "--ps", "8", "--device", "cpu"], ["demo"]], ids=["train", "demo"]
)
def test_a_run_folder_that_cannot_be_made_is_a_plain_mistake(tmp_path: Path, codectk: Run, words: list[str]) -> None:
    (tmp_path / "taken").write_text("a file")
    message = mistakes(codectk(*words, "--out", "taken"))
    assert "taken" in message
    assert "Unexpected" not in message


def test_an_unknown_trainer_names_the_nearest(codectk: Run) -> None:
    assert "Did you mean 'frappe'" in mistakes(codectk("train", "frape"))


def test_an_unknown_key_in_a_config_names_file_and_nearest(tmp_path: Path, codectk: Run) -> None:
    (tmp_path / "mine.yaml").write_text("ps: 8\ndecoder_dimm: 4\n")
    message = mistakes(codectk("train", "frappe", "--config", "mine.yaml"))
    assert "mine.yaml" in message
    assert "'decoder_dim'" in message


@pytest.mark.parametrize(
    ("config", "flags", "parts"),
    [
        ("decoder_dim: -5", ["--ps", "8"], ["decoder_dim", "mine.yaml", "-5"]),
        ("decoder-dim: 5\ndecoder_dim: 6", ["--ps", "8"], ["decoder_dim", "twice", "mine.yaml", "line 2"]),
        ("ps: 8\nmin_size: 600", ["--max_size", "480"], ["min_size", "mine.yaml", "the command line"]),
        ("ps: 8\nmin_size: 600", ["--max_size", "big"], ["max_size", "in the command line"]),
        ("ps: [8\ndecoder_dim: 6", [], ["mine.yaml", "line 2"]),
        ("a: &a [1]\nps: *a", [], ["mine.yaml", "aliases", "line 1"]),
        ("ps: 8\ndecoder_arch: " + "C" * 5000, [], ["decoder_arch", "mine.yaml"]),
        ("x" * (2 << 20), [], ["mine.yaml", "bytes"]),
    ],
    ids=["value", "twice", "between", "flag", "syntax", "alias", "long", "large"],
)
def test_a_mistake_in_a_config_is_one_short_line_that_names_the_source(
    tmp_path: Path, codectk: Run, config: str, flags: list[str], parts: list[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(config)
    message = mistakes(codectk("train", "frappe", "--config", "mine.yaml", *flags, "--dry-run"))
    assert all(part in message for part in parts), message
    assert len(message) < 400


def test_rules_between_options_hold_for_all_sources_together(tmp_path: Path, codectk: Run) -> None:
    (tmp_path / "mine.yaml").write_text("ps: 8\nmin_size: 600\n")
    done = codectk("train", "frappe", "--config", "mine.yaml", "--max_size", "640", "--dry-run")
    assert "min_size: 600  (set)" in done.stdout


def finished_phases(state: Path) -> list[str]:
    """Of a run that writes its state all the time; none while the file is being replaced."""
    try:
        phases: list[str] = load_state(state)["finished"]
    except InputError:
        return []
    return phases


def test_a_stopped_process_resumes_to_the_same_weights(tmp_path: Path, codectk: Run, pictures: Path) -> None:
    words = ["train", "frappe", "--data", pictures, *TINY]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    straight = codectk(*words, "--out", "straight", env=environment)
    assert straight.returncode == 0, straight.stderr
    for number in (signal.SIGINT, signal.SIGTERM):
        name = number.name
        stderr = stopped([program(), *map(str, words), "--out", name], tmp_path / name, environment, number)
        assert "Traceback" not in stderr
        assert f"--resume {name}" in stderr
        assert not (tmp_path / name / "weights.safetensors").exists()
        resumed = codectk("train", "frappe", "--resume", name, "--workers", "2", env=environment)
        assert resumed.returncode == 0, resumed.stderr
        digests = {Checkpoint.open(tmp_path / run / "weights.safetensors").digest for run in ("straight", name)}
        assert len(digests) == 1


def stopped(command: list[str], folder: Path, environment: dict[str, str], number: signal.Signals) -> str:
    """What a training says that gets a signal in its second phase, with more than half of the steps to go."""
    process = subprocess.Popen(command, cwd=folder.parent, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not finished_phases(folder / "state.safetensors"):
        time.sleep(0.01)  # states are saved all the time
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number, stderr
    return stderr


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


def test_a_batch_that_devices_cannot_share_is_refused_before_anything_starts(tmp_path: Path, codectk: Run) -> None:
    message = mistakes(codectk("train", "frappe", *MODEL, *DATA, "--devices", "2", "--out", "run"))
    assert "--batch-size" in message
    assert not (tmp_path / "run").exists()


def test_two_processes_stop_on_ctrl_c_and_resume_with_words_of_ours_only(
    tmp_path: Path, codectk: Run, pictures: Path
) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    words = ["--batch_size", "2", "--devices", "2", "--out=run", "--epochs_single", "40"]
    process = subprocess.Popen(
        [program(), "train", "frappe", "--data", str(pictures), *TINY, *words],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "run" / "log.csv"
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text().count("\n") > 1) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert [line.split()[0] for line in stderr.splitlines()] == ["training", "error:"], stderr
    assert "--resume run" in stderr
    resumed = codectk("train", "frappe", "--resume=run", env=environment)
    assert resumed.returncode == 0, resumed.stderr
    assert "elastic" not in resumed.stderr
    assert Checkpoint.open(tmp_path / "run" / "weights.safetensors").codec == "frappe"
