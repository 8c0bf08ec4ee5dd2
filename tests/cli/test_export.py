"""`codectk export`, and decode options of `codectk decompress`, on small weights of crdr."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from codectk_crdr.export import checkpoint
from codectk_crdr.model import CompressionModel
from codectk_crdr.options import ModelOptions

from .conftest import Run, mistakes

TINY = {
    "context": "none",
    "attention": False,
    "levels": 2,
    "latent_channels": 8,
    "hyper_channels": 4,
    "encoder_width": 4,
    "encoder_middle": 4,
    "decoder_width": 4,
    "decoder_middle": 4,
    "blocks": 1,
    "condition_channels": 4,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Float weights, as training writes them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "trained.safetensors"
    checkpoint(CompressionModel(ModelOptions.parse(TINY)).eval(), {"steps": 7}).save(path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for i in range(4):
        smooth = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(smooth).resize((60, 90), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def test_exported_weights_open_files_and_say_what_they_cost(
    codectk: Run, trained: Path, pictures: Path, photo: Path
) -> None:
    done = codectk("export", trained, "-o", "w.safetensors", "--data", pictures, "--crop", "64")
    assert done.returncode == 0, done.stderr
    cost = float(done.stdout.split("bits_over_float:")[1])
    assert 0.9 < cost < 1.1
    assert codectk("compress", photo, "-w", "w.safetensors", "-q", "0.5").returncode == 0
    assert "same_machine" not in codectk("info", "photo.ctk").stdout
    for name, words in (("plain", ()), ("zero", ("-b", "0")), ("high", ("--beta", "3.84"))):
        done = codectk("decompress", "photo.ctk", "-w", "w.safetensors", "-o", f"{name}.png", *words)
        assert done.returncode == 0, done.stderr
    plain, zero, high = (np.asarray(Image.open(photo.parent / f"{n}.png")) for n in ("plain", "zero", "high"))
    assert np.array_equal(plain, zero)
    assert not np.array_equal(zero, high)
    wrong = codectk("decompress", "photo.ctk", "-w", "w.safetensors", "-b", "6", "-o", "x.png")
    assert "'realism'" in mistakes(wrong)


def test_export_says_what_is_wrong(codectk: Run, trained: Path, weights: Path, tmp_path: Path) -> None:
    assert "need no export" in mistakes(codectk("export", weights, "-o", "x.safetensors"))
    assert "does not exist" in mistakes(codectk("export", "nothing.safetensors", "-o", "x.safetensors"))
    Path(tmp_path / "there.safetensors").write_bytes(b"")
    assert "exists already" in mistakes(codectk("export", trained, "-o", "there.safetensors"))
    assert not (tmp_path / "x.safetensors").exists()


def test_decompress_knows_no_options_of_other_codecs(codectk: Run, photo: Path) -> None:
    assert codectk("compress", photo, "-c", "png").returncode == 0
    done = codectk("decompress", "photo.ctk", "--realism", "1")
    assert done.returncode == 2
    assert "--realism" in done.stderr
