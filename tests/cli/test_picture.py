"""`codectk info WEIGHTS --picture`: what weights look like."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codectk.checkpoint import Checkpoint
from codectk_frappe.filters import picture

from .conftest import GOLDEN, Run, mistakes

Plugin = Callable[..., dict[str, str]]

PAINTER = """
import numpy as np

from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec

CODECTK_API = 1

def grey(checkpoint):
    return np.zeros((4, 4), np.uint8)

@hookimpl
def codectk_codecs():
    return [
        CodecSpec(name=name, summary="a", target="painter:X", kinds=("image/rgb8",), picture=picture)
        for name, picture in (("painter", "painter:grey"), ("shy", None))
    ]
"""


def test_the_picture_is_a_png_of_what_the_codec_draws(tmp_path: Path, codectk: Run, weights: Path) -> None:
    done = codectk("info", weights, "--picture", "out.png")
    assert done.returncode == 0, done.stderr
    assert "out.png, 151 x 34" in done.stdout
    with Image.open(tmp_path / "out.png") as image:
        assert (image.format, image.mode) == ("PNG", "RGBA")
        assert np.array_equal(np.asarray(image), picture(Checkpoint.open(weights)))


def test_with_json_the_output_stays_one_object(codectk: Run, weights: Path) -> None:
    about = json.loads(codectk("info", weights, "--picture", "out.png", "--json").stdout)
    assert about["picture"] == "out.png, 151 x 34"
    assert about["codec"] == "frappe"


def test_what_is_there_is_not_replaced_without_force(tmp_path: Path, codectk: Run, weights: Path) -> None:
    out = tmp_path / "out.png"
    out.write_text("mine")
    assert "exists already" in mistakes(codectk("info", weights, "--picture", out))
    assert out.read_text() == "mine"
    assert codectk("info", weights, "--picture", out, "--force").returncode == 0
    assert out.read_bytes().startswith(b"\x89PNG")


def test_nothing_is_left_behind_where_the_weights_are_damaged(tmp_path: Path, codectk: Run, weights: Path) -> None:
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(damaged)
    assert "is damaged" in mistakes(codectk("info", "damaged.safetensors", "--picture", "out.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.safetensors"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((GOLDEN / "photo.ctk", "--picture", "out.png"), "photo.ctk is no weights file"),
        (("frappe", "--picture", "out.png"), "frappe does not exist"),
        ((GOLDEN / "tiny.safetensors", "--picture", "out.jpg"), "out.jpg does not end in .png"),
    ],
    ids=["file", "name", "jpg"],
)
def test_mistakes_are_told_with_the_next_step(
    tmp_path: Path, codectk: Run, words: tuple[object, ...], told: str
) -> None:
    assert told in mistakes(codectk("info", *words))
    assert not list(tmp_path.iterdir())


def test_force_alone_is_wrong_usage(codectk: Run, weights: Path) -> None:
    assert codectk("info", weights, "--force").returncode == 2


def test_codecs_that_draw_nothing_or_something_else_are_told(tmp_path: Path, codectk: Run, plugin: Plugin) -> None:
    environment = plugin("painter", PAINTER)
    for name, told in (
        ("shy", "Codec shy draws no picture of its weights."),
        ("painter", "drew uint8 (4, 4), not uint8 (height, width, 4)"),
        ("absent", "There is no codec named 'absent'"),
    ):
        Checkpoint({"t": np.zeros(3, np.float32)}, name, "painter", "1.0", 1, {}).save(tmp_path / f"{name}.safetensors")
        assert told in mistakes(codectk("info", f"{name}.safetensors", "--picture", "out.png", env=environment))
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["info", "frappe"], {"torch", "numpy", "PIL"}),
        (["info", "frappe", "--json"], {"torch", "numpy", "PIL"}),
        (["info", str(GOLDEN / "tiny.safetensors")], {"torch", "PIL", "imagecodecs", "codectk_frappe"}),
        (["info", str(GOLDEN / "tiny.safetensors"), "--picture", "out.png"], {"torch"}),
    ],
    ids=["name", "json", "weights", "picture"],
)
def test_no_more_is_imported_than_is_needed(tmp_path: Path, words: list[str], heavy: set[str]) -> None:
    script = (
        "import sys\n"
        "from codectk_cli.main import _run\n"
        f"code = _run({words!r})\n"
        f"loaded = {heavy!r} & set(sys.modules)\n"
        "sys.exit(code if not loaded else f'imported {loaded}')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
