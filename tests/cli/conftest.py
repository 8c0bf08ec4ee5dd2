"""The installed program as a user runs it, and files to run it on."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

GOLDEN = Path(__file__).parents[1] / "frappe" / "golden"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def program() -> str:
    """The console script of this environment."""
    found = shutil.which("codectk", path=str(Path(sys.executable).parent))
    assert found, "the distribution `codectk` is not installed in this environment"
    return found


@pytest.fixture
def codectk(tmp_path: Path) -> Run:
    """Run `codectk` in an empty folder."""

    def run(*words: object, **kwargs: object) -> "subprocess.CompletedProcess[str]":
        options: dict[str, object] = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 120, **kwargs}
        return subprocess.run([program(), *map(str, words)], check=False, **options)  # type: ignore[call-overload, no-any-return]

    return run


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A small photo-like PNG."""
    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    small.resize((61, 43), Image.Resampling.BICUBIC).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture(scope="session")
def weights() -> Path:
    """Tiny frappe weights."""
    return GOLDEN / "tiny.safetensors"


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Install a plugin of one module; returns the environment in which it is found."""

    def install(distribution: str, source: str, requires: str = "") -> dict[str, str]:
        site = tmp_path / "site"
        module = distribution.replace("-", "_")
        info = site / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n{needs}")
        (info / "entry_points.txt").write_text(f"[codectk]\n{module} = {module}\n")
        (site / f"{module}.py").write_text(source)
        return {**os.environ, "PYTHONPATH": str(site)}

    return install


def mistakes(done: "subprocess.CompletedProcess[str]") -> str:
    """The error message, after a check that it is one line in plain words and the exit code is 1."""
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return lines[0]
