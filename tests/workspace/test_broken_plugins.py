"""Broken plugins as real installed distributions: the others go on, one line says what happened and what to do."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "frappe" / "golden"

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{distribution}"
version = "1.0"

[project.entry-points.codectk]
{name} = "{module}"

[tool.hatch.build.targets.wheel]
packages = ["src/{module}"]
"""

HEADER = """
from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec

CODECTK_API = 1


def codec(name):
    return CodecSpec(name=name, summary="a codec", target="nowhere:Codec", kinds=("image/rgb8",))

"""

GOOD = HEADER + "@hookimpl\ndef codectk_codecs():\n    return [codec('good')]\n"


@dataclass(frozen=True)
class Case:
    """A broken plugin.

    Attributes:
        source: its module.
        says: what the one line holds.
        details: what `codectk plugins` holds besides.
        loads: whether its other parts still work.
    """

    source: str
    says: str
    details: str
    loads: bool = False


BROKEN = {
    "does not import": Case("import nothing_of_that_name", "import of broken failed (ModuleNotFoundError", "Traceback"),
    "raises SystemExit": Case("raise SystemExit(3)", "import of broken failed (SystemExit: 3)", "Traceback"),
    "raises in a hook": Case(
        HEADER + "@hookimpl\ndef codectk_codecs():\n    raise ValueError('on purpose')",
        "codectk_codecs failed (ValueError: on purpose)",
        "in codectk_codecs",
    ),
    "returns a wrong type": Case(
        HEADER + "@hookimpl\ndef codectk_codecs():\n    return ['broken']",
        "codectk_codecs failed (TypeError: the hook returned str, not CodecSpec)",
        "Traceback",
    ),
    "misspells a hook": Case(
        HEADER + "@hookimpl\ndef codectk_codec():\n    return [codec('broken')]",
        "there is no hook codectk_codec; did you mean codectk_codecs?",
        "Traceback",
    ),
    "has a wrong signature": Case(
        HEADER + "@hookimpl\ndef codectk_codecs(path):\n    return [codec('broken')]",
        "codectk_codecs is called without arguments, but takes path",
        "Traceback",
    ),
    "is for another API": Case(
        HEADER + "CODECTK_API = 99", "is for CODECTK_API 99; this codectk has 1: update the older of the two", "at api"
    ),
    "clashes in a name": Case(
        HEADER + "@hookimpl\ndef codectk_codecs():\n    return [codec('good'), codec('other')]",
        "codec name 'good' is taken twice: use codectk-broken/good or codectk-good/good",
        "at name",
        loads=True,
    ),
    "hangs on import": Case(
        "import time\ntime.sleep(300)", "import of broken failed (Hang: still not done after 1 s)", "time.sleep(300)"
    ),
}


def wheel(folder: Path, name: str, source: str) -> Path:
    """A wheel of one module, built as its author would build it."""
    package = folder / name / "src" / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(source)
    text = PROJECT.format(distribution=f"codectk-{name}", name=name, module=name)
    (folder / name / "pyproject.toml").write_text(text)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    subprocess.run(command, cwd=folder / name, check=True, capture_output=True)
    (built,) = (folder / name / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel(tmp_path_factory.mktemp("good"), "good", GOOD)


def install(folder: Path, *wheels: Path) -> Path:
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([*command, *map(str, wheels)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module", params=BROKEN, ids=[name.replace(" ", "-") for name in BROKEN])
def broken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, good: Path) -> tuple[Case, Path]:
    """A broken and a good plugin, installed side by side."""
    folder = tmp_path_factory.mktemp("broken")
    case = BROKEN[request.param]
    return case, install(folder / "site", wheel(folder, "broken", case.source), good)


def codectk(site: Path, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    program = shutil.which("codectk", path=str(Path(sys.executable).parent))
    assert program
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200", "CODECTK_PLUGIN_TIMEOUT": "1", **variables}
    return subprocess.run([program, *words], env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_others_go_on_and_one_line_says_what_happened(broken: tuple[Case, Path]) -> None:
    case, site = broken
    done = codectk(site, "list", "codecs")
    assert done.returncode == 0
    assert "codectk-good" in done.stdout
    assert "codectk-frappe" in done.stdout
    assert ("other" in done.stdout) == case.loads
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: plugin codectk-")
    assert case.says in line
    assert "`codectk plugins` shows details" in line


def test_codectk_plugins_shows_the_details(broken: tuple[Case, Path]) -> None:
    case, site = broken
    done = codectk(site, "plugins", "--timing")
    assert done.returncode == 1
    state = {line.split()[0]: "NOT LOADED" not in line for line in done.stdout.splitlines() if "codectk-" in line[:40]}
    assert state["broken"] == case.loads
    assert state["good"]
    assert case.details in done.stdout


def test_strict_is_an_error_in_plain_words(broken: tuple[Case, Path]) -> None:
    _, site = broken
    for done in (codectk(site, "list", CODECTK_STRICT="1"), codectk(site, "--strict-plugins", "list")):
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: Plugin codectk-")
        assert "CODECTK_BLOCK" in line


def test_a_broken_plugin_can_be_left_out(broken: tuple[Case, Path]) -> None:
    _, site = broken
    done = codectk(site, "list", "codecs", CODECTK_BLOCK="broken")
    assert (done.returncode, done.stderr) == (0, "")
    assert "codectk-good" in done.stdout


def test_a_plugin_that_hangs_is_the_slowest_in_the_timing(tmp_path: Path, good: Path) -> None:
    site = install(tmp_path / "site", wheel(tmp_path, "broken", BROKEN["hangs on import"].source), good)
    done = codectk(site, "plugins", "--timing")
    first = next(line for line in done.stdout.splitlines() if "codectk-" in line)
    assert first.split()[0] == "broken"
    assert float(first.split()[-1]) >= 1


@pytest.mark.parametrize("names", ["good,frappe", "codectk-good, codectk_frappe", "good frappe"])
def test_a_choice_of_plugins_leaves_the_others_out(tmp_path: Path, good: Path, names: str) -> None:
    site = install(tmp_path / "site", good)
    done = codectk(site, "list", CODECTK_PLUGINS=names)
    assert done.stderr == ""
    assert {word for word in done.stdout.split() if word.startswith("codectk-")} == {
        "codectk-core",
        "codectk-frappe",
        "codectk-good",
    }
    assert "left out by CODECTK_PLUGINS" in codectk(site, "plugins", CODECTK_PLUGINS=names).stdout


def test_a_block_wins_over_a_choice(tmp_path: Path, good: Path) -> None:
    site = install(tmp_path / "site", good)
    done = codectk(site, "list", "codecs", CODECTK_PLUGINS="good,frappe", CODECTK_BLOCK="frappe")
    assert "codectk-good" in done.stdout
    assert "codectk-frappe" not in done.stdout


@pytest.mark.parametrize("variable", ["CODECTK_PLUGINS", "CODECTK_BLOCK"])
def test_a_slip_in_a_choice_is_told(variable: str, tmp_path: Path) -> None:
    done = codectk(tmp_path, "list", **{variable: "frape"})
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"warning: {variable}: no installed plugin is named 'frape': "
        "caesar_freq, classic, core, crdr, dct_backbones, frappe are."
    )


def test_a_file_whose_codec_is_left_out_says_so(tmp_path: Path) -> None:
    done = codectk(
        tmp_path, "decompress", str(GOLDEN / "photo.ctk"), "-o", str(tmp_path / "x.png"), CODECTK_BLOCK="frappe"
    )
    assert done.returncode == 1
    assert "CODECTK_BLOCK leaves codectk-frappe out; change or unset it." in done.stderr


def test_a_wrong_time_limit_is_told(tmp_path: Path) -> None:
    done = codectk(tmp_path, "list", CODECTK_PLUGIN_TIMEOUT="soon")
    assert done.returncode == 1
    assert "CODECTK_PLUGIN_TIMEOUT is 'soon'" in done.stderr
