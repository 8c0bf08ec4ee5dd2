"""Compiles `native/*.c` into the package when a wheel is built or the folder is installed.

The library is loaded by ctypes and knows nothing of Python, so one wheel serves every Python of a platform. Where there
is no C compiler, the build brings one: zig's, which pip installs for the time of the build.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY = "src/codectk_dct_backbones/_native.so"
FLAGS = ["-std=gnu11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-math-errno"]
FLAGS += ["-ffp-contract=off", "-pthread"]  # a fused multiply-add would give other values on other machines
ZIG = [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline", "-fno-sanitize=undefined"]


def compiler() -> list[str] | None:
    """The command of a C compiler: $CC, or one of the usual names."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


class NativeBuild(BuildHookInterface):
    """See the module."""

    def dependencies(self) -> list[str]:
        """What the build needs besides hatchling."""
        return [] if compiler() else ["ziglang>=0.13"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say that the wheel belongs to this platform."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        sources = sorted(str(path) for path in (root / "native").glob("*.c"))
        subprocess.run([*(compiler() or ZIG), *FLAGS, "-o", str(root / LIBRARY), *sources, "-lm"], check=True)
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["artifacts"].append(LIBRARY)
