"""What a time was measured on: versions, processor, threads, devices."""

import os
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def describe(distributions: Iterable[str] = ()) -> dict[str, Any]:
    """A description of this process and its machine, for JSON.

    What is not loaded is left out: a codec without torch ran without torch.

    Args:
        distributions: whose versions are given too, such as those of the plugins in use.
    """
    return {
        "versions": _versions(distributions),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        **_torch(),
    }


def _versions(distributions: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in dict.fromkeys(["codectk-core", *distributions]):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a distribution that a test made up, or a source tree
            continue
    loaded = {name: sys.modules[name] for name in ("numpy", "torch") if name in sys.modules}
    return found | {name: str(module.__version__) for name, module in loaded.items()}


def _processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _torch() -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    used = torch.cuda.is_initialized()
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if used else []
    cuda = {"cuda": torch.version.cuda} if used else {}
    return {"torch threads": torch.get_num_threads(), "device": ", ".join(names) or "cpu", **cuda}
