"""Fresh processes, and what a process has set for all of its parts."""

import json
import os
import random
import subprocess
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

TIME_LIMIT = 300.0
"""Seconds after which a fresh process is given up."""

_WATCHED = """
import json, sys
from codectk.testing import processes
before = processes.shared_state()
{work}
after = processes.shared_state()
changed = [name for name in before if before[name] != after[name]]
print(json.dumps([changed, processes.torch_state() if "torch" in sys.modules else {{}}]))
"""

_UNTOUCHED = """
import json, torch
from codectk.testing import processes
print(json.dumps(processes.torch_state()))
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
    last_line = run_fresh(_WATCHED.format(work=work), *arguments).splitlines()[-1]
    changed, torch_after = json.loads(last_line)
    if torch_after:
        before = _untouched_torch()
        changed += [name for name, value in torch_after.items() if value != before[name]]
    return list(changed)


def shared_state() -> dict[str, Any]:
    """What code must leave as it finds it, because other code in the process relies on it."""
    return {
        "Python's random numbers": random.getstate(),
        "numpy's random numbers": repr(np.random.get_state()),
        "numpy's error handling": np.geterr(),
        "numpy's printing": repr(np.get_printoptions()),
        "the environment": dict(os.environ),
        "the working folder": str(Path.cwd()),
        "the warning filters": [repr(f) for f in warnings.filters if f[1] is None and f[2] is Warning and not f[3]],
        "the recursion limit": sys.getrecursionlimit(),
    }


def torch_state() -> dict[str, Any]:
    """The same of torch, ready for JSON. It draws random numbers: the last thing that a process does."""
    import torch

    cudnn = torch.backends.cudnn
    return {
        "torch's threads": torch.get_num_threads(),
        "torch's default type": str(torch.get_default_dtype()),
        "torch's gradients": torch.is_grad_enabled(),
        "torch's determinism": torch.are_deterministic_algorithms_enabled(),
        "torch's precision": torch.get_float32_matmul_precision(),
        "torch's cuDNN flags": [cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32],
        "torch's default device": str(torch.get_default_device()),
        # The bytes of its state have gaps that differ from process to process; what it gives next has none.
        "torch's random numbers": [torch.initial_seed(), torch.rand(4, dtype=torch.float32, device="cpu").tolist()],
    }


@cache
def _untouched_torch() -> dict[str, Any]:
    state: dict[str, Any] = json.loads(run_fresh(_UNTOUCHED))
    return state
