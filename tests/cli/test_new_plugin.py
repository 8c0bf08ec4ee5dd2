"""`codectk new-plugin` writes plugins that pass their own tests, ruff and mypy as they are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Run, mistakes

KINDS = ["codec", "trainer", "dataset", "metric"]


def python(*words: object, cwd: Path, site: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(params=KINDS)
def made(request: pytest.FixtureRequest, codectk: Run, tmp_path: Path) -> tuple[str, Path]:
    """A new plugin: its kind and folder."""
    done = codectk("new-plugin", "My-Odd2-one", "--kind", request.param)
    assert done.returncode == 0, done.stderr
    return request.param, tmp_path / "codectk-my-odd2-one"


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy keeps of core for the next plugin."""
    return tmp_path_factory.mktemp("types")


def test_a_new_plugin_is_installed_listed_and_passes_its_own_tests(
    made: tuple[str, Path], codectk: Run, tmp_path: Path, types: Path
) -> None:
    kind, project = made
    site = tmp_path / "site"
    words = ("install", "-q", "--no-deps", "--no-index", "--no-build-isolation", "--target", site, project)
    installed = python("pip", *words, cwd=tmp_path, site=site)
    assert installed.returncode == 0, installed.stderr
    listed = codectk("list", f"{kind}s", env={**os.environ, "PYTHONPATH": str(site)})
    assert re.search(r"my_odd2_one .* codectk-my-odd2-one +0\.1\.0", listed.stdout), listed.stdout
    assert listed.stderr == ""
    done = python("pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "tests", cwd=project, site=site)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
    mypy = ["mypy", "--strict", f"--cache-dir={types}", "src", "tests"]
    for line in (["ruff", "check", "."], ["ruff", "format", "--check", "."], mypy):
        done = python(*line, cwd=project, site=site)
        assert done.returncode == 0, (line, done.stdout, done.stderr)


def test_nothing_of_the_template_shows(made: tuple[str, Path]) -> None:
    _, project = made
    for path in project.rglob("*"):
        assert "blocky" not in path.name.lower()
        if path.suffix in (".py", ".toml", ".md"):
            text = path.read_text()
            assert "blocky" not in text.lower(), path
            assert "--8<--" not in text, path
    assert not list(project.rglob("__pycache__"))


def test_a_new_codec_compresses_trains_and_decompresses(codectk: Run, photo: Path, tmp_path: Path) -> None:
    assert codectk("new-plugin", "sample", "-o", "here").returncode == 0
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    words = ("install", "-q", "--no-deps", "--no-index", "--no-build-isolation", "--target", "site", "./here")
    assert python("pip", *words, cwd=tmp_path, site=tmp_path / "site").returncode == 0
    (tmp_path / "data").mkdir()
    for number in range(2):
        (tmp_path / "data" / f"{number}.png").write_bytes(photo.read_bytes())
    for line in (
        "compress photo.png -c sample -q 60",
        "decompress photo.ctk -o opened.png",
        "train sample --data data --steps 2 --batch-size 2 --crop 16 --out run",
        "compress photo.png -w run/weights.safetensors -o mine.ctk",
        "decompress mine.ctk -w run/weights.safetensors",
    ):
        done = codectk(*line.split(), env=environment)
        assert done.returncode == 0, (line, done.stderr)
    raw = 61 * 43 * 3
    assert (tmp_path / "photo.ctk").stat().st_size < raw / 2
    done = codectk("decompress", "mine.ctk", "-o", "other.png", env=environment)
    assert "was made with weights" in mistakes(done)


@pytest.mark.parametrize("name", ["2fast", "with space", "../up", "class", "json", "ä", "", "a" * 41, "a--b", "-x"])
def test_a_name_that_does_not_do_is_refused(codectk: Run, name: str, tmp_path: Path) -> None:
    done = codectk("new-plugin", "--", name)
    assert "name" in mistakes(done)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "owner"), [("frappe", "codectk-frappe"), ("PSNR", "codectk-core"), ("codectk-classic", "codectk-classic")]
)
def test_a_name_that_is_taken_is_refused(codectk: Run, name: str, owner: str, tmp_path: Path) -> None:
    assert owner in mistakes(codectk("new-plugin", name))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_is_left_alone(codectk: Run, tmp_path: Path) -> None:
    (tmp_path / "codectk-sample").mkdir()
    assert "exists already" in mistakes(codectk("new-plugin", "sample"))
    assert [path.name for path in tmp_path.iterdir()] == ["codectk-sample"]
    assert not list((tmp_path / "codectk-sample").iterdir())
