"""Published weights through the installed program: imported, used, and plain words for what cannot be."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import GOLDEN, Run, mistakes

CONV = GOLDEN / "published" / "conv"
FILES = (CONV / "config.json", CONV / "FRAPPE_pytorch_model.safetensors")

Plugin = Callable[..., dict[str, str]]

IMPORTER = """
from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec

CODECTK_API = 1

def importer(files, options):
    return {"files": files}

@hookimpl
def codectk_codecs():
    kinds = ("image/rgb8",)
    return [CodecSpec(name="odd", summary="o", target="odd_thing:X", kinds=kinds, importer="odd_thing:importer")]
"""


def test_a_picture_goes_through_imported_weights_to_the_published_pixels(tmp_path: Path, codectk: Run) -> None:
    done = codectk("import-weights", "frappe", *FILES, "-o", "w.safetensors", "--channels", "3", "4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(f"w.safetensors  {(tmp_path / 'w.safetensors').stat().st_size} bytes")
    for words in (
        ("compress", CONV / "input.png", "-w", "w.safetensors", "-o", "x.ctk"),
        ("compress", CONV / "input.png", "-w", "w.safetensors", "-o", "y.ctk", "--channels", "3"),
        ("decompress", "x.ctk", "y.ctk", "-w", "w.safetensors", "--device", "cpu"),
    ):
        done = codectk(*words)
        assert done.returncode == 0, done.stderr
    for name, n in (("x.png", 4), ("y.png", 3)):
        with Image.open(tmp_path / name) as image:
            shown = np.asarray(image).transpose(2, 0, 1)
        exact = (np.load(CONV / "expected.npz")[f"recon.n{n}"].astype(np.float64) + 1) * 127.5
        assert np.abs(shown - exact).max() < 0.502
    refused = mistakes(codectk("compress", CONV / "input.png", "-w", "w.safetensors", "--channels", "2"))
    assert "Choose --channels from 3, 4" in refused


def test_the_terms_of_the_weights_are_those_that_are_given(codectk: Run) -> None:
    for number, (words, licence) in enumerate((((), "as published"), (("--licence", "CC-BY-4.0"), "CC-BY-4.0"))):
        done = codectk("import-weights", "frappe", "--channels", "1", *FILES, "-o", f"{number}.safetensors", *words)
        assert done.returncode == 0, done.stderr
        assert json.loads(codectk("info", f"{number}.safetensors", "--json").stdout)["licence"] == licence


def test_what_is_there_is_not_replaced_without_force(tmp_path: Path, codectk: Run) -> None:
    out = tmp_path / "w.safetensors"
    out.write_text("mine")
    assert "exists already" in mistakes(codectk("import-weights", "frappe", *FILES, "-o", out))
    assert out.read_text() == "mine"
    assert codectk("import-weights", "frappe", *FILES, "-o", out, "--force").returncode == 0
    assert out.stat().st_size > 100_000


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("jpeg", *FILES), "Codec jpeg imports no weights. What does here: crdr, frappe, dct_backbones.compressed"),
        (("frape", *FILES), "Did you mean 'frappe'?"),
        (("dct_backbones.rgp", *FILES), "There is no trainer named 'dct_backbones.rgp'. Did you mean"),
        (("dct_backbones.stats", *FILES), "Trainer dct_backbones.stats imports no weights."),
        (("frappe", FILES[0]), "Name CONFIG.json and MODEL.safetensors."),
        (("frappe", *FILES[::-1]), "in this order: CONFIG.json MODEL.safetensors"),
        (("frappe", "nothing.json", FILES[1]), "nothing.json does not exist"),
        (("frappe", *FILES, "--channels", "5"), "Choose --channels from 1 to 4"),
        (("frappe", *FILES, "--channels", "all"), "'channels' in the command line"),
    ],
    ids=[
        "no importer",
        "misspelt",
        "misspelt trainer",
        "trainer without",
        "one file",
        "swapped",
        "missing",
        "untrained",
        "a word",
    ],
)
def test_mistakes_are_told_with_the_next_step_and_write_nothing(
    tmp_path: Path, codectk: Run, words: tuple[object, ...], told: str
) -> None:
    assert told in mistakes(codectk("import-weights", *words, "-o", "w.safetensors"))
    assert not list(tmp_path.iterdir())


def test_without_an_output_or_files_the_usage_is_shown(codectk: Run) -> None:
    for words in (("frappe", *FILES), ("frappe", "-o", "w.safetensors"), ()):
        done = codectk("import-weights", *words)
        assert done.returncode == 2
        assert "Usage: codectk import-weights" in done.stderr


def test_help_shows_the_options_of_the_codec_that_is_named(codectk: Run) -> None:
    assert "--channels" not in codectk("import-weights", "--help").stdout
    assert "--channels" in codectk("import-weights", "frappe", "--help").stdout
    assert "--licence" in codectk("import-weights", "nothing-like-it", "--help").stdout


def test_an_importer_that_returns_something_else_is_told_as_its_fault(codectk: Run, plugin: Plugin) -> None:
    environment = plugin("odd-thing", IMPORTER)
    told = mistakes(codectk("import-weights", "odd", FILES[0], "-o", "w.safetensors", env=environment))
    assert "returned dict, not a Checkpoint" in told
    assert "odd-thing" in told
