"""Small weights and pictures that the frappe tests share."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from codectk.checkpoint import Checkpoint
from codectk.compression import LoadedCodec, load_codec
from codectk_frappe.coder import cold_tables
from codectk_frappe.model import Encoders, merged_decoder, state_arrays
from codectk_frappe.options import ModelOptions
from codectk_frappe.shared import SharedDecoder
from codectk_frappe.start import haar_klt


def _checkpoint(tensors: dict[str, np.ndarray], options: ModelOptions) -> Checkpoint:
    return Checkpoint(
        tensors=tensors,
        codec="frappe",
        distribution="codectk-frappe",
        version="0.1.0",
        bitstream_version=1,
        config=options.changed(),
    )


def make_checkpoint(**changes: object) -> Checkpoint:
    """Weights with random numbers: nothing is learned, but every part of the codec works on them."""
    options = ModelOptions.parse({"ps": "8x2,4,2", "decoder_ps": 4, "decoder_dim": 8, "decoder_arch": "CC", **changes})
    torch.manual_seed(0)
    encoders = Encoders(options)
    with torch.no_grad():
        for name, parameter in encoders.named_parameters():
            # Latents shall span many integers, and factors differ from one.
            parameter.mul_(40 if name.endswith("0.weight") else 1.1 if "γ" in name else 1)
    tensors = state_arrays(encoders, "encoders.")
    for n in range(1, len(options.ps) + 1):
        tensors |= state_arrays(merged_decoder(options, n), f"merged.{n}.decoder.")
    return _checkpoint(tensors, options)


def make_joint_checkpoint(**changes: object) -> Checkpoint:
    """The same with one decoder for all prefixes."""
    given = {"mode": "joint", "ps": "16,8x2,4", "decoder_ps": 8, "decoder_dim": 8, "decoder_arch": "CC", **changes}
    options = ModelOptions.parse(given)
    torch.manual_seed(0)
    encoders, decoder = Encoders(options), SharedDecoder(options)
    crops = [torch.rand(4, 3, 64, 64).cumsum(3) / 32 - 1]
    haar_klt(encoders, decoder, crops, 0.2)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if "linear" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.02)
    tensors = state_arrays(encoders, "encoders.") | state_arrays(decoder, "decoder.")
    tensors |= {f"coder.{name}": table for name, table in cold_tables(options).items()}
    return _checkpoint(tensors, options)


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    return make_checkpoint()


@pytest.fixture(scope="session")
def loaded(checkpoint: Checkpoint) -> LoadedCodec:
    return load_codec("frappe", checkpoint)


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A smooth picture with some noise, (40, 56, 3) uint8."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[0:40, 0:56]
    waves = [np.sin(rows / (5 + c)) * np.cos(columns / (7 - c)) for c in range(3)]
    x = 127 + 90 * np.stack(waves, axis=2) + rng.normal(0, 6, (40, 56, 3))
    return np.clip(x, 0, 255).astype(np.uint8)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The same sums in every run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of six small pictures to train on; one is held out."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for i in range(6):
        smooth = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(smooth).resize((60, 50), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder
