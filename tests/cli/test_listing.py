"""What is installed, shown without importing what is heavy."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Run, mistakes, program

Plugin = Callable[..., dict[str, str]]

ODD = """
from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec, TrainerSpec

CODECTK_API = 1

@hookimpl
def codectk_codecs():
    kinds = ("image/rgb8",)
    return [
        CodecSpec(name="odd", summary="odd [/b] one", target="odd_thing:Nothing", kinds=kinds),
        CodecSpec(name="odder", summary="", target="odd_inside:X", kinds=kinds, encode_options="odd_inside:Options"),
    ]

@hookimpl
def codectk_trainers():
    return [TrainerSpec(name="odd", summary="", target="odd_thing:Nothing", options="odd_inside:Options")]
"""


def test_list_shows_all_four_kinds_with_distribution_and_version(codectk: Run) -> None:
    done = codectk("list")
    assert done.returncode == 0
    for words in (("codec", "frappe", "codectk-frappe", "0.1.0"), ("codec", "jpeg", "codectk-classic")):
        assert any(all(word in line for word in words) for line in done.stdout.splitlines()), words
    for words in (("trainer", "frappe"), ("dataset", "photos", "codectk-core"), ("metric", "psnr")):
        assert any(all(word in line for word in words) for line in done.stdout.splitlines()), words


def test_info_shows_what_a_codec_guarantees(codectk: Run) -> None:
    assert json.loads(codectk("info", "jpegls", "--json").stdout)["guarantees"] == [
        {"option": "near", "metric": "max_error"}
    ]
    assert '"metric": "max_error"' in codectk("info", "jpegls").stdout


def test_list_of_one_kind_as_json(codectk: Run) -> None:
    found = json.loads(codectk("list", "codecs", "--json").stdout)
    assert {item["kind"] for item in found} == {"codec"}
    names = {item["name"] for item in found}
    assert {"frappe", "jpeg", "webp", "avif", "jpeg2000", "png", "jpegls"} <= names
    assert all(item["distribution"] and item["version"] and item["summary"] for item in found)


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["--help"],
        ["plugins"],
        ["info", "frappe"],
        ["info", "jpeg"],
        ["train", "--help"],
        ["train", "frappe", "--help"],
        ["compress", "-c", "frappe", "--help"],
        ["compress", "-c", "caesar_freq", "--help"],
        ["info", "caesar_freq"],
        ["evaluate", "--help"],
        ["demo", "--help"],
    ],
    ids=" ".join,
)
def test_looking_around_never_imports_torch(words: list[str]) -> None:
    script = (
        "import sys\n"
        "from codectk_cli.main import _run\n"
        f"code = _run({words!r})\n"
        "heavy = {'torch', 'scipy', 'matplotlib', 'imagecodecs'} & set(sys.modules)\n"
        "sys.exit(code if not heavy else f'imported {heavy}')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_info_describes_a_codec_with_its_options(codectk: Run) -> None:
    out = codectk("info", "jpeg").stdout
    assert "--quality" in out
    assert "codectk-classic" in out


def test_info_of_something_unknown_names_the_next_step(codectk: Run) -> None:
    assert "codectk list" in mistakes(codectk("info", "nothing-like-it"))


def test_info_of_a_file_needs_no_plugin(tmp_path: Path, codectk: Run, photo: Path) -> None:
    assert codectk("compress", photo, "-c", "jpeg").returncode == 0
    done = codectk("info", "photo.ctk", "--json", env={**os.environ, "CODECTK_PLUGINS": "codectk-core"})
    assert (done.returncode, done.stderr) == (0, "")
    about = json.loads(done.stdout)
    assert "CODECTK_PLUGINS leaves codectk-classic out" in about["left out"]
    assert about["codec"] == "jpeg"
    assert about["array"] == "image/rgb8 43 x 61 x 3"
    assert about["bytes"] == (tmp_path / "photo.ctk").stat().st_size
    assert about["bpp"] == pytest.approx(8 * about["bytes"] / (43 * 61), abs=1e-3)


def test_info_of_weights_shows_codec_and_digest(codectk: Run, weights: Path) -> None:
    about = json.loads(codectk("info", weights, "--json").stdout)
    assert about["codec"] == "frappe"
    assert len(about["digest"]) == 64
    assert about["config"]["ps"] == [8, 8, 4, 2]


def test_plugins_says_loaded_and_exits_zero(codectk: Run) -> None:
    done = codectk("plugins")
    assert done.returncode == 0
    assert "codectk-frappe" in done.stdout
    assert "NOT LOADED" not in done.stdout


def test_a_broken_plugin_is_one_line_and_the_rest_works(codectk: Run, plugin: Plugin) -> None:
    environment = plugin("broken-thing", "raise RuntimeError('I never load')\n")
    done = codectk("list", env=environment)
    assert done.returncode == 0
    assert "frappe" in done.stdout
    assert done.stderr.count("broken-thing") == 1
    assert "codectk plugins" in done.stderr
    details = codectk("plugins", env=environment)
    assert details.returncode == 1
    assert "I never load" in details.stdout
    assert "NOT LOADED" in details.stdout
    strict = mistakes(codectk("--strict-plugins", "list", env=environment))
    assert "broken-thing" in strict


def test_parts_of_a_plugin_that_do_not_load_are_told_as_its_fault(
    tmp_path: Path, codectk: Run, plugin: Plugin, photo: Path
) -> None:
    environment = plugin("odd-thing", ODD, requires="no-such-dist>=1")
    (tmp_path / "site" / "odd_inside.py").write_text("raise SystemExit('I leave')\n")
    assert "odd [/b] one" in codectk("list", env=environment).stdout
    assert "odd-thing" in codectk("plugins", env=environment).stdout
    for words in (
        ["compress", photo, "-c", "odd"],
        ["compress", photo, "-c", "odder"],
        ["info", "odder"],
        ["train", "odd"],
    ):
        done = codectk(*words, env=environment)
        assert "pip install --upgrade odd-thing" in mistakes(done), words
    words = ["--data", photo, "--out", "out", "--pictures", "0", "--metric", "psnr"]
    done = codectk("evaluate", *words, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning:") == 2
    doctor = codectk("doctor", env=environment)
    assert doctor.returncode == 1
    assert "no-such-dist is missing; run `pip install --upgrade odd-thing`" in doctor.stdout


def test_info_gives_one_json_document_and_prefers_names_to_folders(tmp_path: Path, codectk: Run) -> None:
    (tmp_path / "jpeg").mkdir()
    assert json.loads(codectk("info", "jpeg", "--json").stdout)["name"] == "jpeg"
    both = json.loads(codectk("info", "frappe", "--json").stdout)
    assert [about["what"] for about in both] == ["codec", "trainer"]
    (tmp_path / "other").mkdir()
    assert "is a folder" in mistakes(codectk("info", "other"))


def test_output_that_is_closed_full_or_of_few_characters_is_no_crash(tmp_path: Path, codectk: Run, photo: Path) -> None:
    closed = subprocess.run(["sh", "-c", f"'{program()}' list >&-"], capture_output=True, text=True, check=False)
    assert (closed.returncode, closed.stderr) == (0, "")
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    assert codectk("compress", photo, "-c", "jpeg", env=latin).returncode == 0
    assert "frappe" in codectk("train", "frappe", "--help", env=latin).stdout
    if Path("/dev/full").exists():
        full = subprocess.run(
            ["sh", "-c", f"'{program()}' list >/dev/full"], capture_output=True, text=True, check=False
        )
        assert "No space left" in mistakes(full)


def test_a_bar_appears_while_one_long_step_is_under_way() -> None:
    script = (
        "import sys, time\n"
        "from codectk_cli import shared\n"
        "shared.SLOW = 0.1\n"
        "with shared.progress('working', 1) as advance:\n"
        "    time.sleep(0.6)\n"
        "    advance()\n"
    )
    primary, secondary = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", script], stderr=secondary, env={**os.environ, "TERM": "xterm"})
    os.close(secondary)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(primary, 4096):
            shown += part
    os.close(primary)
    assert process.wait() == 0
    assert b"working" in shown


def test_doctor_finds_nothing_wrong_here(codectk: Run) -> None:
    done = codectk("doctor")
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout
    assert "jpeg" in done.stdout


def test_the_shell_completes_commands_and_codecs(tmp_path: Path) -> None:
    def complete(words: str) -> str:
        count = str(len(words.split()) if words.endswith(" ") else len(words.split()) - 1)
        environment = {**os.environ, "_CODECTK_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count}
        done = subprocess.run([program()], env=environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    assert "decompress" in complete("codectk dec")
    assert "frappe" in complete("codectk train fr")
    assert "jpeg2000" in complete("codectk compress -c jp")
    assert "--decoder-dim" in complete("codectk train frappe --decoder-d")
    assert "--quality" in complete("codectk compress -cjpeg --q")
    for words in ("codectk compress -c bogus --", "codectk train bogus --", "codectk compress -w missing --"):
        assert "error" not in complete(words)


def test_an_unknown_command_is_wrong_usage(codectk: Run) -> None:
    done = codectk("comprss")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(codectk: Run) -> None:
    done = codectk("--debug", "info", "nothing-like-it")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_python_dash_m_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "codectk_cli", "--version"], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "codectk, version 0.1.0"
