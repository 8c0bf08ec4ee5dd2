"""What the codec says of a file while it is made."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from codectk.arrays import ArrayInfo
from codectk.compression import decompress, load_codec


def test_a_bound_that_only_exact_values_hold_is_told(tmp_path: Path) -> None:
    x = np.exp(np.random.default_rng(0).normal(0, 8, (4, 16, 16))).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    words = ["compress", "x.npy", "-c", "caesar_freq", "--abs-error", "1e-6"]
    program = [sys.executable, "-m", "codectk_cli"]
    done = subprocess.run([*program, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "stored without loss" in done.stderr and "abs_error 1e-06" in done.stderr
    assert np.array_equal(decompress((tmp_path / "x.ctk").read_bytes())[0], x)


def test_a_bound_that_is_held_by_other_means_is_not_talked_about() -> None:
    x = np.random.default_rng(0).normal(300, 1, (4, 16, 16)).astype(np.float32)
    codec = load_codec("caesar_freq")
    assert codec.compress(x, ArrayInfo("field/f32", x.shape), codec.encode_options({"abs_error": 0.1})).messages == ()
