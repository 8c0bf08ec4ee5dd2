"""Perceptual metrics through the installed program: weights that are missing, and `_metrics.json` of each setting."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from .conftest import Run, mistakes

FOLDER = "CODECTK_METRIC_WEIGHTS"
ALEXNET = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}

ENOUGH = """
from codectk.hookspecs import hookimpl
from codectk.specs import MetricSpec

CODECTK_API = 1

class Count:
    def __init__(self, device="none"):
        self.device = device
        self.reset()
    def update(self, x, x_hat, info):
        self.n += 1
    def compute(self):
        return {"count": float(self.n) if self.device == "cpu" else -9.0}
    def reset(self):
        self.n = 0

@hookimpl
def codectk_metrics():
    spec = dict(summary="s", target="codectk_enough:Count", direction="lower", corpus=True, network=True)
    return [MetricSpec(name="count", **spec), MetricSpec(name="many", fewest=50, **spec)]
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(2)
    for name in ("a", "b"):
        small = Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8))
        small.resize((48, 40), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder


def made(folder: Path) -> dict[str, str]:
    """The environment in which weights of LPIPS, filled with small numbers, are found."""
    rng = np.random.default_rng(0)
    state = {}
    for number, (k, shape) in enumerate(ALEXNET.items()):
        state[f"features.{k}.weight"] = rng.normal(0, 0.05, shape).astype(np.float32)
        state[f"features.{k}.bias"] = np.zeros(shape[0], np.float32)
        state[f"lin{number}.model.1.weight"] = np.ones((1, shape[0], 1, 1), np.float32)
    save_file(state, folder / "lpips_alex.safetensors")
    return {**os.environ, FOLDER: str(folder)}


def test_lpips_is_a_column_and_stands_in_the_summary_of_each_setting(tmp_path: Path, codectk: Run, data: Path) -> None:
    words = ["-c", "jpeg:quality=10,90", "--metric", "psnr", "--metric", "lpips", "--pictures", "0", "--device", "cpu"]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = made(tmp_path) | {"TMPDIR": str(temporary)}
    done = codectk("evaluate", *words, "--data", data, "--out", "out", env=environment)
    assert done.returncode == 0, done.stderr
    assert not list(temporary.iterdir())
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    for quality in (10, 90):
        mine = [row for row in rows if row["setting"] == f"quality={quality}"]
        summary = json.loads((tmp_path / "out/files/jpeg" / f"quality-{quality}" / "_metrics.json").read_text())
        assert list(summary) == ["bpp", "PSNR", "LPIPS"]
        for name, column in (("bpp", "bpp"), ("PSNR", "psnr"), ("LPIPS", "lpips")):
            assert summary[name] == pytest.approx(np.mean([row[column] for row in mine]))
    coarse, fine = (np.mean([r["lpips"] for r in rows if r["setting"] == f"quality={q}"]) for q in (10, 90))
    assert coarse > fine > 0


def test_missing_weights_are_one_line_before_anything_is_done(tmp_path: Path, codectk: Run, data: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != FOLDER}
    done = codectk("evaluate", "-c", "png", "--metric", "fid", "--data", data, "--out", "out", env=environment)
    message = mistakes(done)
    assert FOLDER in message
    assert "inception.safetensors" in message
    assert not (tmp_path / "out").exists()


def test_a_metric_of_sets_is_in_the_table_and_one_that_has_too_few_files_is_named(
    tmp_path: Path, codectk: Run, data: Path, plugin: object
) -> None:
    environment = plugin("codectk-enough", ENOUGH)  # type: ignore[operator]
    (data / "c.png").write_bytes(b"broken")
    words = ["-c", "png", "-c", "jpeg:quality=50", "--metric", "count", "--metric", "many", "--device", "cpu"]
    done = codectk("evaluate", *words, "--data", data, "--out", "out", "--pictures", "1", env=environment)
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning:")]
    assert any("many is not measured. 2 files are too few: it takes 50." in line for line in warnings)
    assert any("BD-rates need a metric of single files" in line for line in warnings)
    assert len(warnings) == 2, "one line for each reason, not for each setting"
    assert "2.0000" in done.stdout, "the two files that could be read, measured on the device that was named"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<th>count</th>" in page
    assert json.loads((tmp_path / "out" / "bd_rate.json").read_text()) == []


def test_without_torch_the_line_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from codectk.errors import OptionsError\nfrom codectk.evaluate import make_metric\n"
        "try:\n    make_metric('lpips')\nexcept OptionsError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert 'pip install "codectk-core[train]"' in done.stdout, done.stderr


def test_the_snippet_of_the_document_makes_weights_from_published_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    page = (Path(__file__).parents[2] / "docs" / "perceptual.md").read_text()
    (snippet,) = (block.partition("\n```")[0] for block in page.split("```python\n")[1:])
    heads = {f"lin{k}.model.1.weight": torch.ones(1, shape[0], 1, 1) for k, shape in enumerate(ALEXNET.values())}
    trunk = {f"features.{k}.weight": torch.ones(shape) for k, shape in ALEXNET.items()}
    trunk |= {f"features.{k}.bias": torch.zeros(shape[0]) for k, shape in ALEXNET.items()}
    torch.save(trunk | {"classifier.1.weight": torch.ones(9, 9)}, tmp_path / "alexnet-owt-7be5be79.pth")
    torch.save(heads, tmp_path / "alex.pth")
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "perceptual.md", "exec"), {})
    from codectk.perceptual.lpips import Lpips

    network = Lpips(tmp_path / "lpips_alex.safetensors")
    assert bool((network.features[0].weight == 1).all())
    assert (tmp_path / "lpips_alex.safetensors").stat().st_size < 10.1e6, "the classifier stays away"
