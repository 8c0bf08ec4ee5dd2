"""What the codec says of a file while it is made."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from codectk.arrays import ArrayInfo
from codectk.compression import decompress, load_codec
from codectk.errors import OptionsError


def test_a_bound_that_only_exact_values_hold_is_told(tmp_path: Path) -> None:
    x = np.exp(np.random.default_rng(0).normal(0, 8, (4, 16, 16))).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    words = ["compress", "x.npy", "-c", "caesar_freq", "--abs-error", "1e-6"]
    program = [sys.executable, "-m", "codectk_cli"]
    done = subprocess.run([*program, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "stored without loss" in done.stderr and "abs_error 1e-06" in done.stderr
    assert np.array_equal(decompress((tmp_path / "x.ctk").read_bytes())[0], x)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32"])
def test_what_a_mask_hides_comes_back_exactly(tmp_path: Path, dtype: str) -> None:
    x = np.random.default_rng(0).normal(300, 1, (4, 16, 16)).astype(np.float32)
    mask = np.ones((16, 16), dtype)
    mask[3:9, 4:7] = 0
    x[:, mask == 0] = 1e20
    np.savez(tmp_path / "m.npz", data=x, mask=mask)
    codec = load_codec("caesar_freq")
    options = codec.encode_options({"abs_error": 0.1, "mask": f"{tmp_path / 'm.npz'}:mask"})
    y = decompress(codec.compress(x, ArrayInfo("field/f32", x.shape), options).data)[0]
    assert (y[:, mask == 0] == np.float32(1e20)).all()
    assert np.abs(y - x)[:, mask != 0].max() <= 0.1


def test_a_mask_of_another_shape_is_a_plain_error(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.ones((16, 15), bool))
    x, codec = np.zeros((4, 16, 16), np.float32), load_codec("caesar_freq")
    with pytest.raises(OptionsError, match="last axes"):
        codec.compress(x, ArrayInfo("field/f32", x.shape), codec.encode_options({"mask": str(tmp_path / "m.npy")}))


def test_a_bound_that_is_held_by_other_means_is_not_talked_about() -> None:
    x = np.random.default_rng(0).normal(300, 1, (4, 16, 16)).astype(np.float32)
    codec = load_codec("caesar_freq")
    assert codec.compress(x, ArrayInfo("field/f32", x.shape), codec.encode_options({"abs_error": 0.1})).messages == ()
