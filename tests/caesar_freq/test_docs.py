"""What the page and the README of the plugin show works as it is written."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import codectk_caesar_freq
from codectk.inputs import read_array
from codectk_caesar_freq.bounds import OPTIONS
from codectk_caesar_freq.options import EncodeOptions
from codectk_cli.main import _run

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "caesar_freq.md").read_text()
README = (ROOT / "plugins" / "caesar_freq" / "README.md").read_text()
SAMPLES = Path(codectk_caesar_freq.__file__).parent / "samples"


def run(commands: list[str]) -> None:
    for command in commands:
        assert _run(shlex.split(command, comments=True)[1:]) == 0, command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in SAMPLES.glob("*.npz"):
        shutil.copy(path, tmp_path)
    shutil.copy(SAMPLES / "temperature.npz", tmp_path / "field.npz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_page_run_in_their_order(folder: Path) -> None:
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    commands = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    assert len(commands) == 8
    run(commands)
    x, x_hat = (read_array(folder / name).x for name in ("temperature.npz", "again.npz"))
    assert np.abs(x.astype(float) - x_hat).max() <= 1e-3 * (float(x.max()) - float(x.min()))
    elevation = codectk_caesar_freq.open_field(folder / "elevation.ctk")
    with elevation:
        assert (np.load(folder / "part.npy") == elevation[10:20, ::2]).all()


def test_the_commands_of_the_readme_run_in_their_order(folder: Path) -> None:
    commands = [line.strip() for line in README.splitlines() if line.startswith("    codectk ")]
    assert len(commands) == 4
    run(commands)
    assert np.load(folder / "part.npy").shape == (4, 24, 32)


def test_the_page_names_every_bound_and_every_option() -> None:
    for name in EncodeOptions.model_fields:
        assert f"`--{name.replace('_', '-')}" in PAGE, name
    for name in OPTIONS:
        assert f"| `--{name.replace('_', '-')} " in PAGE, name
