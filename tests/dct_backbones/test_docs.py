"""What the pages and the README of the plugin show works as it is written, and says what the program says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from codectk.checkpoint import Checkpoint
from codectk.options import leaves
from codectk_cli.main import _run
from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.classifier import checkpoint
from codectk_dct_backbones.coefficient_options import CoefficientOptions
from codectk_dct_backbones.jpeg.file import read
from codectk_dct_backbones.model import build
from codectk_dct_backbones.statistics import load
from codectk_dct_backbones.summary import VARIANTS, summary
from codectk_dct_backbones.tool_options import SummaryOptions
from codectk_dct_backbones.train_options import CompressedOptions, RgbOptions

from .jpeg_files import picture, saved
from .pictures import folder

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "dct_backbones.md"
TRAINING = ROOT / "docs" / "dct_backbones_training.md"
VARIANT_PAGES = {name: ROOT / "docs" / "dct_backbones" / f"{name}.md" for name in VARIANTS if name != "rgb"}
README = ROOT / "plugins" / "dct_backbones" / "README.md"

QUICK = ["--batch-sizes", "1", "--seconds", "0", "--repeats", "1", "--pictures", "1"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "photo.jpg").write_bytes(saved(picture(300, 400), quality=85))
    for name in ("TRAIN", "VAL"):
        folder(tmp_path / name, {"blue": 160, "red": 160} if name == "TRAIN" else {"blue": 2, "red": 2})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tiny() -> Checkpoint:
    """In place of the weights of a training."""
    architecture = Architecture(variant="full-grid", channel_scale=0.05, classes=2, image_size=64)
    return checkpoint(build(architecture), architecture, classes=("blue", "red"), statistics=load("imagenet"))


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


def run(lines: list[str]) -> None:
    """Each as it stands, but trainings only say what they would do, and speed is measured in a moment."""
    Path("run").mkdir(exist_ok=True)
    tiny().save(Path("run/weights.safetensors"), force=True)
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        words += ["--dry-run"] if words[0] == "train" else []
        words += QUICK if words[0] == "bench" else []
        words += ["--force"] if "check" in words else []
        assert _run(words) == 0, line


def test_the_commands_of_the_page_run_in_their_order(place: Path) -> None:
    lines = commands(PAGE)
    assert len(lines) == 9
    run(lines)
    again, before = (read((place / name).read_bytes()) for name in ("again.jpg", "photo.jpg"))
    assert all(np.array_equal(a.blocks, b.blocks) for a, b in zip(again.planes, before.planes, strict=True))
    assert (place / "dct_backbones_check" / "photo_recon.png").exists()


def test_the_python_example_runs(place: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (place / "run").mkdir()
    tiny().save(place / "run" / "weights.safetensors")
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False)
    assert done.stdout.strip() in ("blue", "red"), done.stderr


@pytest.mark.parametrize("page", [TRAINING, *VARIANT_PAGES.values()], ids=lambda page: page.stem)
def test_the_commands_of_the_other_pages_run(place: Path, page: Path) -> None:
    lines = commands(page)
    assert lines
    run(lines)


def test_the_commands_of_the_readme_run_in_their_order(place: Path) -> None:
    lines = [line.strip() for line in README.read_text().splitlines() if line.startswith("    codectk ")]
    assert len(lines) == 6
    run(lines)
    assert (place / "photo.ctk").stat().st_size < (place / "photo.jpg").stat().st_size


def test_the_training_page_names_every_option() -> None:
    text = TRAINING.read_text()
    for model in (RgbOptions, CompressedOptions):
        for name in leaves(model):
            flag = f"--{name.replace('_', '-')}"
            if name not in CoefficientOptions.model_fields:
                assert f"`{flag}`" in text or f"`{flag} " in text, flag


@pytest.mark.parametrize("variant", VARIANT_PAGES)
def test_each_page_has_the_cost_that_is_counted(variant: str) -> None:
    text = VARIANT_PAGES[variant].read_text()
    found = summary(SummaryOptions.parse({"variant": variant, "coeff_count": "64 16"}))["networks"]
    for row in found:
        cells = f"| {row['parameters']:,} | {row['GMAC']:.3f} |"
        assert cells in text, cells


def test_the_overview_has_the_cost_of_each_variant() -> None:
    text = PAGE.read_text()
    for row in summary(SummaryOptions(coeff_count=(64,)))["networks"]:
        if row["variant"] != "luma-fusion-pruned":
            name = "RGB" if row["variant"] == "rgb" else f"`{row['variant']}`"
            (line,) = (line for line in text.splitlines() if line.startswith(("| [" + name, f"| {name} |")))
            assert f"| {row['GMAC']:.2f} |" in line
