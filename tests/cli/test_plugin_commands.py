"""Commands that plugins bring: `codectk WORD COMMAND`."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from codectk.specs import BUILT_IN_COMMANDS
from codectk_cli.main import COMMANDS

from .conftest import Run, mistakes, program

Plugin = Callable[..., dict[str, str]]

TOY = """
from codectk.hookspecs import hookimpl
from codectk.specs import CommandSpec

CODECTK_API = 1

@hookimpl
def codectk_commands():
    merge = {"target": "toy_inside:merge", "options": "toy_inside:MergeOptions"}
    return [
        CommandSpec(name="toy_box.merge_all", summary="one file of several", **merge),
        CommandSpec(name="toy_box.count", summary="how long", target="toy_inside:count", options="toy_inside:Count"),
        CommandSpec(name="toy_box.rows", summary="a table", target="toy_inside:rows"),
        CommandSpec(name="toy_box.mute", summary="says nothing", target="toy_inside:mute"),
        CommandSpec(name="toy_box.lost", summary="is not there", target="toy_inside:lost", options="toy_nowhere:X"),
    ]
"""

INSIDE = """
from pathlib import Path

from codectk.errors import InputError
from codectk.options import Options, option

class MergeOptions(Options):
    first: Path = option(help="File to begin with.")
    out: Path = option(cli="-o", help="File to write.")
    times: int = option(1, ge=1, help="How often.")

def merge(options):
    if not options.first.is_file():
        raise InputError(f"{options.first} is not there.", "Check the path.")
    text = options.first.read_text() * options.times
    options.out.write_text(text)
    return {"written": options.out, "characters": len(text), "share": 1 / 3}

class Count(Options):
    path: Path = option(cli="FILE", help="What to read.")
    times: int = option(1, ge=1, help="How often.")

def count(options):
    return {"characters": len(options.path.read_text()) * options.times}

def rows(options):
    return {"count": 2, "letters": [{"name": "alpha", "place": 1}, {"name": "beta", "place": 2}]}

def mute(options):
    return None
"""


@pytest.fixture
def toy(tmp_path: Path, plugin: Plugin) -> dict[str, str]:
    environment = plugin("toy-box", TOY)
    (tmp_path / "site" / "toy_inside.py").write_text(INSIDE)
    (tmp_path / "a.txt").write_text("abc")
    return environment


def clashing(name: str) -> str:
    """A plugin with one command of that name, which says which plugin it is from."""
    return (
        "from codectk.hookspecs import hookimpl\nfrom codectk.specs import CommandSpec\nCODECTK_API = 1\n"
        f"@hookimpl\ndef codectk_commands():\n    return [CommandSpec(name={name!r}, summary='s', "
        "target=__name__ + ':run')]\ndef run(options):\n    return {'from': __name__}\n"
    )


def test_the_registry_knows_the_words_of_all_built_in_commands() -> None:
    assert list(COMMANDS) == list(BUILT_IN_COMMANDS)


def test_an_option_named_without_a_dash_stands_without_a_flag(codectk: Run, toy: dict[str, str]) -> None:
    for words in (("a.txt", "--times", "2"), ("--times", "2", "a.txt")):
        assert codectk("toy-box", "count", *words, env=toy).stdout == "characters: 6\n"
    assert "[OPTIONS] FILE" in codectk("toy-box", "count", "--help", env=toy).stdout
    missing = codectk("toy-box", "count", env=toy)
    assert (missing.returncode, "Missing argument 'FILE'" in missing.stderr) == (2, True)
    assert codectk("toy-box", "count", "--path", "a.txt", env=toy).returncode == 2


@pytest.mark.parametrize("words", [("toy-box", "merge-all"), ("toy_box", "merge_all")])
def test_a_command_does_its_work_and_says_what_it_did(
    tmp_path: Path, codectk: Run, toy: dict[str, str], words: tuple[str, str]
) -> None:
    done = codectk(*words, "--first", "a.txt", "-o", "b.txt", "--times", 2, env=toy)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["written: b.txt", "characters: 6", "share: 0.333333"]
    assert (tmp_path / "b.txt").read_text() == "abcabc"


def test_what_it_did_is_json_for_programs(codectk: Run, toy: dict[str, str]) -> None:
    done = codectk("toy-box", "merge-all", "--first", "a.txt", "-o", "b.txt", "--json", env=toy)
    assert json.loads(done.stdout) == {"written": "b.txt", "characters": 3, "share": 1 / 3}


def test_rows_are_shown_as_a_table(codectk: Run, toy: dict[str, str]) -> None:
    lines = [line.split() for line in codectk("toy-box", "rows", env=toy).stdout.splitlines()]
    assert lines[:2] == [["count:", "2"], ["letters"]]
    assert [line for line in lines if len(line) == 2][1:] == [["name", "place"], ["alpha", "1"], ["beta", "2"]]


def test_its_options_are_flags_with_help_and_bounds(codectk: Run, toy: dict[str, str]) -> None:
    out = " ".join(codectk("toy-box", "merge-all", "--help", env=toy).stdout.split())
    assert "One file of several. Options: --json What was done as JSON, for programs. --first PATH" in out
    assert "File to begin with. [required]" in out
    assert "--times INTEGER How often. [≥1; default: 1]" in out
    done = codectk("toy-box", "merge-all", "--first", "a.txt", "-o", "b.txt", "--times", 0, env=toy)
    assert "Option 'times'" in mistakes(done)


def test_an_option_that_must_be_given_is_named(codectk: Run, toy: dict[str, str]) -> None:
    assert "--out" in mistakes(codectk("toy-box", "merge-all", "--first", "a.txt", env=toy))
    assert "--first" in mistakes(codectk("toy-box", "merge-all", env=toy))


def test_what_goes_wrong_is_told_in_words(codectk: Run, toy: dict[str, str]) -> None:
    missing = codectk("toy-box", "merge-all", "--first", "none.txt", "-o", "b.txt", env=toy)
    assert "none.txt is not there" in mistakes(missing)
    assert "returned NoneType, not a mapping" in mistakes(codectk("toy-box", "mute", env=toy))
    assert "pip install --upgrade toy-box" in mistakes(codectk("toy-box", "lost", env=toy))
    assert "Did you mean 'toy_box.merge_all'" in mistakes(codectk("toy-box", "merge-al", env=toy))


def test_help_lists_what_plugins_add_without_importing_it(tmp_path: Path, codectk: Run, toy: dict[str, str]) -> None:
    (tmp_path / "site" / "toy_inside.py").write_text("raise RuntimeError('imported')")
    everything = " ".join(codectk("--help", env=toy).stdout.split())
    _, _, added = everything.partition("Commands of plugins:")
    assert "toy-box count, lost, merge-all, mute, rows: Commands of toy-box." in added
    group = codectk("toy-box", "--help", env=toy)
    assert "one file of several" in group.stdout
    assert "Commands of toy-box." in group.stdout
    assert "one file of several" in codectk("list", "commands", env=toy).stdout
    assert "Commands of plugins" not in codectk("--help", env={**toy, "CODECTK_PLUGINS": "classic"}).stdout


def test_info_shows_a_command_with_its_options(codectk: Run, toy: dict[str, str]) -> None:
    out = codectk("info", "toy-box.merge-all", env=toy).stdout
    assert "--first" in out
    assert json.loads(codectk("info", "toy_box.merge_all", "--json", env=toy).stdout)["what"] == "command"


def test_of_two_plugins_with_one_command_neither_wins(codectk: Run, plugin: Plugin) -> None:
    plugin("one-box", clashing("box.run"))
    environment = plugin("two-box", clashing("box.run"))
    done = codectk("box", "run", env=environment)
    assert done.returncode == 1
    assert "Say which: one-box/box.run or two-box/box.run" in done.stderr
    assert codectk("one-box/box", "run", env=environment).stdout == "from: one_box\n"
    assert codectk("two_box/box", "run", env=environment).stdout == "from: two_box\n"


def test_a_built_in_command_wins_over_a_plugins(codectk: Run, plugin: Plugin) -> None:
    environment = plugin("sly-box", clashing("doctor.run"))
    assert "Check this installation" in codectk("doctor", "--help", env=environment).stdout
    assert codectk("doctor", "run", env=environment).returncode == 2
    assert codectk("sly-box/doctor", "run", env=environment).stdout == "from: sly_box\n"
    assert "built-in command: use sly-box/doctor.run" in codectk("plugins", env=environment).stdout


def test_a_broken_plugin_takes_no_command_of_others(codectk: Run, toy: dict[str, str], plugin: Plugin) -> None:
    environment = plugin("broken-box", "raise RuntimeError('I never load')\n")
    done = codectk("toy-box", "merge-all", "--first", "a.txt", "-o", "b.txt", env=environment)
    assert done.returncode == 0
    assert done.stderr.count("broken-box") == 1
    assert "merge-all" in codectk("--help", env=environment).stdout
    unknown = codectk("broken-box", "run", env=environment)
    assert unknown.returncode == 2
    assert unknown.stderr.count("import of broken_box failed") == 1
    strict = codectk("--strict-plugins", "toy-box", "mute", env=environment)
    assert "I never load" in mistakes(strict)


def test_built_in_commands_are_found_without_asking_plugins() -> None:
    script = (
        "import sys\nimport codectk.registry\ncodectk.registry.Registry.__init__ = None\n"
        "from codectk_cli.main import _run\nsys.exit(_run(['new_plugin', '--help']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_shell_completes_them(toy: dict[str, str]) -> None:
    def complete(words: str) -> str:
        count = str(len(words.split()) if words.endswith(" ") else len(words.split()) - 1)
        environment = {**toy, "_CODECTK_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count}
        done = subprocess.run([program()], env=environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    assert "plain,toy-box" in complete("codectk toy")
    assert "plain,merge-all" in complete("codectk toy-box ")
    assert "plain,--times" in complete("codectk toy-box merge-all --t")
    assert "file," in complete("codectk toy-box merge-all --first ")
    assert "error" not in complete("codectk toy-box bogus --")
