"""`codectk info FILE`: what the file's codec says of its parts."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from .conftest import Run

Plugin = Callable[..., dict[str, str]]

TELLER = """
import sys

from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec

CODECTK_API = 1

@hookimpl
def codectk_codecs():
    return [CodecSpec(name="teller", summary="a", target="teller_inside:Teller", kinds=("field/f32",),
                      details="teller_inside:details")]
"""

INSIDE = """
import numpy as np

from codectk.codec import Codec, Encoded

class Teller(Codec):
    @classmethod
    def load(cls, checkpoint, device):
        return cls()

    def encode(self, x, info, options):
        return Encoded({"step": 2}, (x.tobytes(), b"more"))

    def decode(self, encoded, info, options):
        return np.frombuffer(encoded.segments[0], info.dtype).reshape(info.shape)

def details(header, segments):
    return {
        "step": header.params["step"],
        "codec": "a name that a line of the file has, too",
        "bits per value by part": {"values": 8 * len(segments[0]) / header.info.pixels, "more": 1 / 3},
        "variables": [{"name": "wind\\x1b[31m [/b]", "bound": 0.5}, {"name": "rain", "values": 12}],
    }
"""

FAILING = {
    "raises": "    raise ValueError('on purpose')",
    "returns no mapping": "    return [1]",
    "returns what JSON has not": "    return {'a': {1, 2}}",
    "returns NaN": "    return {'a': float('nan')}",
    "says that the file is damaged": (
        "    from codectk.errors import ContainerError\n    raise ContainerError('The parts are odd.', 'Copy it.')"
    ),
}


@pytest.fixture
def told(tmp_path: Path, codectk: Run, plugin: Plugin) -> dict[str, str]:
    """The environment of a plugin that tells, with a file of its codec."""
    environment = plugin("codectk-teller", TELLER)
    (tmp_path / "site" / "teller_inside.py").write_text(INSIDE)
    np.save(tmp_path / "field.npy", np.arange(12, dtype=np.float32).reshape(3, 4))
    done = codectk("compress", "field.npy", "-c", "teller", env=environment)
    assert done.returncode == 0, done.stderr
    return environment


def test_json_holds_what_the_codec_says_nested(codectk: Run, told: dict[str, str]) -> None:
    about = json.loads(codectk("info", "field.ctk", "--json", env=told).stdout)
    assert about["details"]["step"] == 2
    assert about["details"]["bits per value by part"] == {"values": 32.0, "more": pytest.approx(1 / 3)}
    assert [row["name"] for row in about["details"]["variables"]] == ["wind\x1b[31m [/b]", "rain"]
    assert about["codec"] == "teller"
    assert "left out" not in about


def test_mappings_are_tables_of_printable_text(codectk: Run, told: dict[str, str]) -> None:
    out = codectk("info", "field.ctk", env=told).stdout
    assert "\x1b" not in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "codec teller" in lines
    assert "codec a name that a line of the file has, too" in lines
    assert lines[lines.index("bits per value by part") :][2:4] == ["values 32", "more 0.333333"]
    assert "name bound values" in lines
    assert "wind�[31m [/b] 0.5" in lines
    assert "rain 12" in lines


@pytest.mark.parametrize("body", FAILING.values(), ids=FAILING.keys())
def test_a_codec_that_cannot_tell_is_one_line(tmp_path: Path, codectk: Run, told: dict[str, str], body: str) -> None:
    inside = INSIDE[: INSIDE.index("def details")] + f"def details(header, segments):\n{body}\n"
    (tmp_path / "site" / "teller_inside.py").write_text(inside)
    done = codectk("info", "field.ctk", "--json", env=told)
    assert done.returncode == 0
    about = json.loads(done.stdout)
    assert about["array"] == "field/f32 3 x 4"
    assert "details" not in about
    assert len(about["left out"].splitlines()) == 1
    assert about["left out"].startswith("what the segments hold")
    assert "left out" in codectk("info", "field.ctk", env=told).stdout


def test_without_the_plugin_the_header_is_shown_and_what_to_install(codectk: Run, told: dict[str, str]) -> None:
    about = json.loads(codectk("info", "field.ctk", "--json").stdout)
    assert about["codec"] == "teller"
    assert "pip install codectk-teller" in about["left out"]


def test_a_version_that_the_plugin_does_not_read_is_not_given_to_it(
    tmp_path: Path, codectk: Run, told: dict[str, str]
) -> None:
    source = TELLER.replace('summary="a"', 'summary="a", bitstream_version=2, reads=(2,)')
    (tmp_path / "site" / "codectk_teller.py").write_text(source)
    about = json.loads(codectk("info", "field.ctk", "--json", env=told).stdout)
    assert "version 1 is not read" in about["left out"]


def test_telling_imports_no_torch(tmp_path: Path, told: dict[str, str]) -> None:
    script = (
        "import sys\n"
        "from codectk_cli.main import _run\n"
        f"code = _run(['info', r'{tmp_path / 'field.ctk'}'])\n"
        "sys.exit(code or ('imported torch' if 'torch' in sys.modules else 0))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **told}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "variables" in done.stdout


def test_info_of_the_codec_names_the_function(codectk: Run, told: dict[str, str]) -> None:
    assert json.loads(codectk("info", "teller", "--json", env=told).stdout)["details"] == "teller_inside:details"
    assert "teller_inside:details" in codectk("info", "teller", env=told).stdout
