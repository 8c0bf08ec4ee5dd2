"""What the README shows works as it is written."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from PIL import Image

from codectk.checkpoint import Checkpoint
from codectk.images import read_image

README = (Path(__file__).parents[2] / "README.md").read_text()
WEIGHTS = Path(__file__).parents[1] / "frappe" / "golden" / "tiny.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    (tmp_path / "FOLDER").mkdir()
    for place in ("photo.jpg", "FOLDER/one.jpg"):
        small.resize((256, 192), Image.Resampling.BICUBIC).save(tmp_path / place)
    with netCDF4.Dataset(tmp_path / "climate.nc", "w") as dataset:
        for dimension, length in {"time": 4, "lat": 6, "lon": 8}.items():
            dataset.createDimension(dimension, length)
        dataset.createVariable("t2m", "f4", ("time", "lat", "lon"))[:] = rng.standard_normal((4, 6, 8))
    return tmp_path


def test_the_python_example_runs(folder: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    subprocess.run([sys.executable, "-c", example + "\nassert x_hat.shape == picture.shape"], cwd=folder, check=True)


def test_the_command_examples_run(folder: Path) -> None:
    """All of them in their order, with tiny weights in place of the minutes of training."""
    block = README.split("## Use")[1].split("`codectk COMMAND --help`")[0]
    commands = [
        line.strip().split("#")[0].strip() for line in block.splitlines() if line.strip().startswith("codectk ")
    ]
    assert len(commands) == 18
    (folder / "run").mkdir()
    Checkpoint.open(WEIGHTS).save(folder / "run" / "weights.safetensors")
    for command in commands:
        words = shlex.split(command)[1:]
        if words[0] == "train":
            words += ["--dry-run"]
        if words[0] in ("compress", "decompress") and "-w" in words:
            words += ["--force"]
        done = subprocess.run(
            [sys.executable, "-m", "codectk_cli", *words], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
    assert (folder / "results" / "report.html").exists()
    assert (folder / "dct_backbones_check" / "photo_recon.png").exists()
    assert (folder / "same.ctk").stat().st_size < (folder / "photo.jpg").stat().st_size


# The demo with a short training; the whole is run by `.ci/run`.
SHORT_DEMO = """
import sys
from codectk_cli import bridge
from codectk_cli.main import main
gather = bridge.gather
short = {"epochs_merged": "10,10,10,10,10,10,60"}
bridge.gather = lambda model, flags, recipes, recipe: gather(model, {**flags, **short}, recipes, recipe)
sys.argv = ["codectk", "demo"]
main()
"""


def test_the_demo_does_what_it_promises(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHORT_DEMO],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )
    assert done.returncode == 0, done.stderr
    out = tmp_path / "codectk-demo"
    size = (out / "photo.ctk").stat().st_size
    x, x_hat = read_image(out / "photo.png").x.astype(float), read_image(out / "opened.png").x.astype(float)
    assert x.shape == x_hat.shape
    psnr = 10 * np.log10(255**2 / np.square(x - x_hat).mean())
    assert psnr > 22, "a photo that the training has not seen is recognisable"
    (line,) = [line for line in done.stdout.splitlines() if "opened in a fresh process" in line]
    assert [str(size), f"{8 * size / (x.shape[0] * x.shape[1]):.4f}", f"{psnr:.2f}"] == line.split()[-4:-1]
    assert "jpeg" in done.stdout
    assert "avif" in done.stdout
    assert "dB worse than" in done.stdout or "dB better than" in done.stdout
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64") == 4
    assert page.count("<svg") == 2
