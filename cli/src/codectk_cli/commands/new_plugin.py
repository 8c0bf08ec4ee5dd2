"""`codectk new-plugin`"""

import keyword
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import click

from codectk.errors import OptionsError, OutputError, PluginError
from codectk.specs import normalise
from codectk_cli.shared import load_registry

KINDS = ("codec", "trainer", "dataset", "metric")
MARKER = re.compile(r"^[ \t]*(#|<!--) --8<-- \[(start|end):\w+\].*\n", re.MULTILINE)
MAX_NAME = 40

FINISH = """
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from codectk.compression import load_codec
from codectk.registry import Registry
from codectk.testing.golden import write_golden
name, package = sys.argv[1:]
start = __import__(f"{package}.start", fromlist=["*"])
weights = start.dct_weights()
weights.save(Path("src") / package / "weights" / "default.safetensors")
registry = Registry([EntryPoint(name, f"{package}.plugin", "codectk")], strict=True)
write_golden(load_codec(name, registry=registry), Path("tests/golden"), weights=weights)
"""
"""What a codec needs besides text: the weights that ship, and the golden files, made by the plugin's own code."""


@dataclass(frozen=True)
class Names:
    """The spellings of a plugin's name.

    Attributes:
        name: what `-c` takes: `my_codec`.
        title: start of class names: `MyCodec`.
    """

    name: str
    title: str

    @property
    def package(self) -> str:
        """What Python imports."""
        return f"codectk_{self.name}"

    @property
    def distribution(self) -> str:
        """What pip installs."""
        return f"codectk-{self.name.replace('_', '-')}"

    def fill(self, text: str) -> str:
        """The template's text with this plugin's name, and without the marks of the tutorial."""
        text = MARKER.sub("", text)
        spellings = {
            "codectk-blocky": self.distribution,
            "codectk_blocky": self.package,
            "Blocky": self.title,
            "blocky": self.name,
        }
        for before, after in spellings.items():
            text = text.replace(before, after)
        # Where marks stood, blank lines are left over: two stay between functions, one between methods.
        text = re.sub(r"\n{3,}(?= )", "\n\n", re.sub(r"\n{4,}", "\n\n\n", text))
        return text.rstrip("\n") + "\n" if text else text


@click.command("new-plugin")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), default="codec", show_default=True, help="What the plugin brings.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder to make.  [default: codectk-NAME]")
def command(name: str, kind: str, out: Path | None) -> int:
    """Write a complete plugin that works: a distribution with code, tests and README.

    A codec comes with its trainer, weights and golden files.
    """
    names = _names(name)
    _refuse_taken(names)
    folder = out or Path(names.distribution)
    if folder.exists():
        raise OutputError(f"{folder} exists already.", "Name another folder with -o.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-plugin-", dir=folder.parent) as temporary:
        made = Path(temporary) / "plugin"
        _write(names, kind, made)
        if kind == "codec":
            _finish(names, made)
        made.rename(folder)
    click.echo(f"wrote {folder}: {names.distribution} with the {kind} {names.name}. Next:")
    click.echo(f"  cd {folder}\n  pip install -e '.[dev]'\n  codectk info {names.name}\n  pytest")
    return 0


def _names(given: str) -> Names:
    name = normalise(given.lower()).removeprefix("codectk_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or len(name) > MAX_NAME or keyword.iskeyword(name):
        raise OptionsError(
            f"'{given[:80]}' does not do as a name.",
            f"Take up to {MAX_NAME} letters and digits, words joined by - or _, starting with a letter.",
        )
    if name in sys.stdlib_module_names:
        raise OptionsError(f"'{name}' is the name of a module of Python.", "Choose another.")
    return Names(name, "".join(word.capitalize() for word in name.split("_")))


def _refuse_taken(names: Names) -> None:
    """What is installed keeps its name.

    Raises:
        OptionsError: something installed has it.
    """
    for registered in load_registry().everything():
        if normalise(registered.spec.name).partition(".")[0] == names.name:
            what = f"{registered.spec.kind_of_thing} {registered.spec.name} of {registered.distribution}"
            raise OptionsError(f"'{names.name}' is taken by {what}.", "Choose another name.")
    try:
        distribution(names.distribution)
    except PackageNotFoundError:
        if find_spec(names.package) is None:
            return
    raise OptionsError(f"A distribution {names.distribution} is installed already.", "Choose another name.")


def _write(names: Names, kind: str, folder: Path) -> None:
    template = Path(str(files("codectk_cli"))) / "template" / kind
    for source in _sources(template):
        target = folder / names.fill(source.relative_to(template).as_posix()).strip()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(names.fill(source.read_text(encoding="utf-8")), encoding="utf-8")


def _sources(template: Path) -> Iterator[Path]:
    """Its files, without caches that tools leave there."""
    for path in sorted(template.rglob("*")):
        if path.is_file() and not any(
            part.startswith((".", "__pycache__")) for part in path.relative_to(template).parts
        ):
            yield path


def _finish(names: Names, folder: Path) -> None:
    paths = os.pathsep.join(filter(None, ["src", os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-B", "-c", FINISH, names.name, names.package],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise PluginError(f"The weights of the new codec could not be made: {last}", "Run `codectk doctor`.")
    shutil.rmtree(folder / "src" / names.package / "__pycache__", ignore_errors=True)
