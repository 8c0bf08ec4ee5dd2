"""What holds for the whole workspace: clean code, typed, no forbidden words, one set of rooms per plugin."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = [
    "core",
    "cli",
    "plugins/frappe",
    "plugins/crdr",
    "plugins/caesar_freq",
    "plugins/dct_backbones",
    "plugins/classic",
]
PACKAGES = {
    "core": "codectk",
    "cli": "codectk_cli",
    "plugins/frappe": "codectk_frappe",
    "plugins/crdr": "codectk_crdr",
    "plugins/caesar_freq": "codectk_caesar_freq",
    "plugins/dct_backbones": "codectk_dct_backbones",
    "plugins/classic": "codectk_classic",
}


def sources() -> list[Path]:
    return [path for folder in DISTRIBUTIONS for path in (ROOT / folder / "src").rglob("*.py")]


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [["check", "."], ["format", "--check", "."]])
def test_ruff_finds_nothing(words: list[str]) -> None:
    done = run("ruff", *words)
    assert done.returncode == 0, done.stdout


def test_mypy_strict_finds_nothing() -> None:
    done = run("mypy", *(word for package in PACKAGES.values() for word in ("-p", package)))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("folder", DISTRIBUTIONS)
def test_every_distribution_is_typed_licensed_and_described(folder: str) -> None:
    about = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())
    assert about["build-system"]["build-backend"] == "hatchling.build"
    assert about["project"]["license"] == "Apache-2.0"
    assert (ROOT / folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert len((ROOT / folder / "README.md").read_text()) > 200
    assert (ROOT / folder / "src" / PACKAGES[folder] / "py.typed").exists()


def test_constraints_pin_every_direct_dependency() -> None:
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    for folder in DISTRIBUTIONS:
        project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
        extras = [r for group in project.get("optional-dependencies", {}).values() for r in group]
        for requirement in project["dependencies"] + extras:
            name = re.match(r"[A-Za-z0-9_.-]+", requirement).group().lower()  # type: ignore[union-attr]
            assert name in pinned or name.startswith("codectk"), f"{name} of {folder} is not in constraints.txt"


def test_no_source_reads_or_writes_pickles() -> None:
    for path in sources():
        text = path.read_text()
        if path.stem == "published":  # importers, which may open others' files with what torch holds to be safe
            text = re.sub(r"torch\.load\([^)]*weights_only=True[^)]*\)", "", text)
        assert not re.search(r"\bpickle\.\w|import pickle|torch\.load\(|torch\.save\(|allow_pickle=True", text), path


def test_nothing_depends_on_torchvision_or_what_imports_it() -> None:
    names = r"(torchvision|timm|lpips|piq|compressai|torchmetrics)\b"
    for path in sources():  # which may name them, as metrics and as where weights come from
        assert not re.search(rf"^\s*(import|from) {names}|import_module\(.{names}", path.read_text(), re.MULTILINE), (
            path
        )
    for folder in DISTRIBUTIONS:
        path = ROOT / folder / "pyproject.toml"
        assert not re.search(rf"\b{names}", path.read_text()), path


def test_only_the_training_modules_of_core_import_torch_at_the_top() -> None:
    found = {
        path.stem
        for path in (ROOT / "core" / "src").rglob("*.py")
        if re.search(r"^(import torch|from torch)", path.read_text(), re.MULTILINE)
    } - {"weights", "trunks", "lpips", "dists", "inception"}  # networks of metrics, imported on use
    assert found == {"train", "log", "state"}


def test_files_stay_readable() -> None:
    long = {str(path.relative_to(ROOT)): n for path in sources() if (n := len(path.read_text().splitlines())) > 400}
    assert not long


def test_internal_links_of_the_documents_exist() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
