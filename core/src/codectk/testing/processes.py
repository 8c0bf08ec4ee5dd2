"""Fresh processes, and what a process has set for all of its parts."""

import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

TIME_LIMIT = 300.0
"""Seconds after which a fresh process is given up."""

_WATCHED = """
import json, sys
from codectk.testing import processes
before = processes.watched_state()
{work}
after = processes.shared_state()
print(json.dumps([name for name in before if before[name] != after[name]]))
"""


_TORCHS_OWN = "TORCHINDUCTOR_CACHE_DIR"
"""Set by torch itself, when the first optimizer is made."""


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
    changed: list[str] = json.loads(run_fresh(_WATCHED.format(work=work), *arguments).splitlines()[-1])
    return changed


def watched_state() -> dict[str, Any]:
    """What is shared now; if torch is imported later, what is its own is added at that moment."""
    state = shared_state()
    if "torch" not in sys.modules:
        sys.meta_path.insert(0, _TorchImport(state))
    return state


class _TorchImport(MetaPathFinder):
    """Adds to a state what the import of torch adds or changes, before the code that asked for it goes on."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = partial(self._execute, spec.loader.exec_module)  # type: ignore[method-assign]
        return spec

    def _execute(self, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        before = _plain_state()
        execute(module)
        after = _plain_state()
        self.state |= {name: after[name] for name in after if after[name] != before[name]} | _torch_state()


def shared_state() -> dict[str, Any]:
    """What code must leave as it finds it, because other code in the process relies on it."""
    return _plain_state() | (_torch_state() if "torch" in sys.modules else {})


def _plain_state() -> dict[str, Any]:
    return {
        "Python's random numbers": random.getstate(),
        "numpy's random numbers": repr(np.random.get_state()),
        "numpy's error handling": np.geterr(),
        "numpy's printing": repr(np.get_printoptions()),
        "the environment": {name: value for name, value in os.environ.items() if name != _TORCHS_OWN},
        "the working folder": str(Path.cwd()),
        "the warning filters": [repr(f) for f in warnings.filters if f[1] is None and f[2] is Warning and not f[3]],
        "the recursion limit": sys.getrecursionlimit(),
    }


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
