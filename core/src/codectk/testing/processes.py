"""Fresh processes, and what a process has set for all of its parts."""

import json
import os
import random
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

TIME_LIMIT = 300.0
"""Seconds after which a fresh process is given up."""

_WATCHED = """
import json, sys
from codectk.testing import processes
{start}
before = processes.shared_state()
{work}
after = processes.shared_state()
changed = [name for name in before if before[name] != after[name]]
print(json.dumps([changed, "torch" in sys.modules]))
"""


def run_fresh(script: str, *arguments: str) -> str:
    """What a Python script prints in a process of its own, whose home, temporary and working folders are empty.

    Raises:
        AssertionError: it fails.
    """
    with tempfile.TemporaryDirectory() as empty:
        places = dict.fromkeys(("HOME", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME"), empty)
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=empty,
            env={**os.environ, **places},
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
            check=False,
        )
    assert done.returncode == 0, f"a fresh process fails:\n{done.stderr}"
    return done.stdout


def changed_by(work: str, *arguments: str) -> list[str]:
    """What a script changes for all other code in its process: seeds, threads, flags, environment.

    It runs in a fresh process, where nothing has been changed yet, not even by the import of a module.
    """
    changed, torch_used = _watch("", work, arguments)
    if torch_used:  # it starts each process with other random numbers, so it is looked at in one where it was before
        changed, _ = _watch("import torch", work, arguments)
    return changed


def _watch(start: str, work: str, arguments: tuple[str, ...]) -> tuple[list[str], bool]:
    last_line = run_fresh(_WATCHED.format(start=start, work=work), *arguments).splitlines()[-1]
    changed, torch_used = json.loads(last_line)
    return changed, torch_used


def shared_state() -> dict[str, Any]:
    """What code must leave as it finds it, because other code in the process relies on it."""
    state = {
        "Python's random numbers": random.getstate(),
        "numpy's random numbers": repr(np.random.get_state()),
        "numpy's error handling": np.geterr(),
        "numpy's printing": repr(np.get_printoptions()),
        "the environment": dict(os.environ),
        "the working folder": str(Path.cwd()),
        "the warning filters": [repr(f) for f in warnings.filters if f[1] is None and f[2] is Warning and not f[3]],
        "the recursion limit": sys.getrecursionlimit(),
    }
    return state | (_torch_state() if "torch" in sys.modules else {})


def _torch_state() -> dict[str, Any]:
    import torch

    cudnn, generator = torch.backends.cudnn, torch.Generator()
    # The bytes of a state have gaps that may hold anything; what it would give next has none.
    generator.set_state(torch.get_rng_state())
    return {
        "torch's random numbers": torch.rand(4, generator=generator).tolist(),
        "torch's threads": torch.get_num_threads(),
        "torch's default type": str(torch.get_default_dtype()),
        "torch's gradients": torch.is_grad_enabled(),
        "torch's determinism": torch.are_deterministic_algorithms_enabled(),
        "torch's precision": torch.get_float32_matmul_precision(),
        "torch's cuDNN flags": [cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32],
        "torch's default device": str(torch.get_default_device()),
    }
