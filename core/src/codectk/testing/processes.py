"""Fresh processes, and what a process has set for all of its parts."""

import os
import random
import subprocess
import sys
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

TIME_LIMIT = 300.0
"""Seconds after which a fresh process is given up."""


def run_fresh(script: str, *arguments: str) -> str:
    """What a Python script prints in a process of its own, whose home, temporary and working folders are empty.

    Raises:
        AssertionError: it fails.
    """
    with tempfile.TemporaryDirectory() as empty:
        environment = {
            **os.environ,
            "HOME": empty,
            "TMPDIR": empty,
            "TEMP": empty,
            "TMP": empty,
            "XDG_CACHE_HOME": empty,
        }
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=empty,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
            check=False,
        )
    assert done.returncode == 0, f"a fresh process fails:\n{done.stderr}"
    return done.stdout


def shared_state() -> dict[str, Any]:
    """What code must leave as it finds it, because other code in the process relies on it."""
    state: dict[str, Any] = {
        "Python's random numbers": random.getstate(),
        "numpy's random numbers": repr(np.random.get_state()),
        "numpy's error handling": np.geterr(),
        "numpy's printing": repr(np.get_printoptions()),
        "the environment": dict(os.environ),
        "the working folder": str(Path.cwd()),
        "the warning filters": repr(warnings.filters),
        "the recursion limit": sys.getrecursionlimit(),
    }
    return state | (_torch_state() if find_spec("torch") else {})


def changes(before: dict[str, Any]) -> list[str]:
    """Names of what is no longer as in `before`."""
    after = shared_state()
    return [name for name, value in before.items() if after[name] != value]


def _torch_state() -> dict[str, Any]:
    import torch

    cudnn = torch.backends.cudnn
    return {
        "torch's random numbers": torch.get_rng_state().numpy().tobytes(),
        "torch's threads": torch.get_num_threads(),
        "torch's default type": torch.get_default_dtype(),
        "torch's gradients": torch.is_grad_enabled(),
        "torch's determinism": torch.are_deterministic_algorithms_enabled(),
        "torch's precision": torch.get_float32_matmul_precision(),
        "torch's cuDNN flags": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        "torch's default device": str(torch.get_default_device()),
    }
