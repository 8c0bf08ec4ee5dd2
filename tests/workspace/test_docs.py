"""The documents build without a warning, say what the program says, and work as they are written."""

import inspect
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codectk import hookspecs
from codectk.registry import HOOKS
from codectk_cli.reference import page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TEMPLATE = ROOT / "cli" / "src" / "codectk_cli" / "template"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages, built with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def text_of(path: Path) -> str:
    """What a reader sees of a page."""
    return " ".join(re.sub(r"<[^>]+>", "", path.read_text()).split())


def test_every_page_is_reached_from_the_menu(site: Path) -> None:
    named = (ROOT / "mkdocs.yml").read_text()
    for path in DOCS.rglob("*.md"):
        assert f": {path.relative_to(DOCS).as_posix()}" in named, path


def test_every_hook_has_a_page_that_says_what_its_specification_says(site: Path) -> None:
    specified = {name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction) if name.startswith("codectk_")}
    assert specified == set(HOOKS)
    pages = {path.stem: path for path in (DOCS / "hooks").glob("*.md")}
    assert {f"codectk_{name}" for name in pages} == specified
    for hook, spec_type in HOOKS.items():
        shown = text_of(site / "hooks" / hook.removeprefix("codectk_") / "index.html")
        function = getattr(hookspecs, hook)
        assert " ".join((function.__doc__ or "").split()) in shown, f"the page of {hook} says something else"
        parameters = list(inspect.signature(function).parameters)
        assert parameters == [], "the pages say that hooks are called without arguments"
        for field in fields(spec_type):
            assert field.name in shown, f"the page of {hook} lacks {field.name}"


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("codec", "codectk.codec:Codec"),
        ("trainer", "codectk.train:Run"),
        ("dataset", "codectk.dataset:Dataset"),
        ("metric", "codectk.metric:Metric"),
        ("options", "codectk.options:Options"),
    ],
)
def test_every_protocol_has_a_page_with_all_its_methods(site: Path, name: str, target: str) -> None:
    from codectk.specs import resolve

    shown = text_of(site / "protocols" / name / "index.html")
    for method, function in vars(resolve(target)).items():
        if inspect.isfunction(function) and not method.startswith("_"):
            assert method in shown
            assert re.split("[`\n]", function.__doc__ or "?")[0] in shown, f"the page of {name} lacks {method}"


def test_the_page_of_the_command_line_is_what_the_program_writes() -> None:
    assert (DOCS / "command_line.md").read_text() == page(), "python -m codectk_cli.reference > docs/command_line.md"


def test_the_table_of_checks_is_that_of_the_kit() -> None:
    done = subprocess.run(
        [sys.executable, "tests/core/kit/table.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (DOCS / "conformance.md").read_text().endswith("-->\n\n" + done.stdout), "python tests/core/kit/table.py"


def test_the_examples_of_the_ecosystem_run_in_their_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    small.resize((160, 120), Image.Resampling.BICUBIC).save(tmp_path / "photo.jpg")
    (tmp_path / "FOLDER").mkdir()
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "ecosystem.md").read_text(), re.DOTALL)
    assert len(blocks) == 4
    script = "\n".join(blocks)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "image/rgb8 by jpeg" in done.stdout
    assert re.search(r"avif .*\d", done.stdout)


def snippet(reference: str) -> str:
    """A section of a file of the template, as the page shows it."""
    path, _, section = reference.partition(":")
    text = (TEMPLATE / path).read_text()
    if section:
        found = re.search(rf"--8<-- \[start:{section}\]\n(.*?)[^\n]*--8<-- \[end:{section}\]", text, re.DOTALL)
        assert found, reference
        text = found.group(1)
    return re.sub(r"^[ \t]*# --8<-- \[.*\n", "", text, flags=re.MULTILINE)


def test_a_reader_of_the_tutorial_has_a_plugin_that_works(tmp_path: Path) -> None:
    """Every block goes into its file, every command runs, in the order of the page; pip installs without a network."""
    project, site = tmp_path / "project", tmp_path / "site"
    (project / "src" / "codectk_blocky").mkdir(parents=True)
    (project / "README.md").write_text("A codec.\n")
    (project / "src" / "codectk_blocky" / "py.typed").touch()
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    small.resize((61, 43), Image.Resampling.BICUBIC).save(project / "photo.png")
    paths = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{project / 'src'}:{site}",
    }
    install = f"pip install -q --no-deps --no-index --no-build-isolation --target {site} ."
    blocks = re.findall(r"```(\w+)(?: title=\"(.*?)\")?\n(.*?)```", (DOCS / "tutorial.md").read_text(), re.DOTALL)
    for language, title, body in blocks:
        if title:
            (reference,) = re.findall(r'--8<-- "(.*?)"', body)
            path = project / title
            path.parent.mkdir(parents=True, exist_ok=True)
            before = path.read_text().rstrip("\n") + "\n\n\n" if path.exists() else ""
            path.write_text(before + snippet(reference))
            continue
        assert language == "sh"
        for line in body.strip().splitlines():
            command = install if line == "pip install -e ." else line
            done = subprocess.run(
                command,
                shell=True,
                cwd=project,
                env={**os.environ, **paths},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert (project / "mine.png").exists()
    assert len(list((project / "tests" / "golden").glob("*.ctk"))) == 1
    for written in (project / "src" / "codectk_blocky").glob("*.py"):
        whole = snippet(f"codec/src/codectk_blocky/{written.name}")
        assert "".join(written.read_text().split()) == "".join(whole.split()), f"{written.name} is not shown whole"
