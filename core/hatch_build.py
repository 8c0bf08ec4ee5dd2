"""Compiles `native/*.c` into the package when a wheel is built or the folder is installed.

The library is loaded by ctypes and knows nothing of Python, so one wheel serves every Python of a platform. Where there
is no C compiler, the build brings one: zig's, which pip installs for the time of the build. With CODECTK_PURE=1, and
where compiling fails, the wheel is one for all platforms, whose entropy coder is slow and writes the same bytes.
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

LIBRARY = "src/codectk/entropy/_native.so"
FLAGS = ["-std=gnu11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden"]
ZIG = [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline", "-fno-sanitize=undefined"]


def compiler() -> list[str] | None:
    """The command of a C compiler: $CC, or one of the usual names."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


def pure() -> bool:
    """Whether the user wants a wheel without compiled parts."""
    return os.environ.get("CODECTK_PURE", "0") not in ("", "0")


class NativeBuild(BuildHookInterface):
    """See the module."""

    def dependencies(self) -> list[str]:
        """What the build needs besides hatchling."""
        return [] if pure() or compiler() else ["ziglang>=0.13"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say that the wheel belongs to this platform."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        (root / LIBRARY).unlink(missing_ok=True)
        if pure():
            return
        sources = sorted(str(path) for path in (root / "native").glob("*.c"))
        try:
            subprocess.run([*(compiler() or ZIG), *FLAGS, "-o", str(root / LIBRARY), *sources], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            self.app.display_warning(f"The entropy coder is not compiled and will be slow ({error}).")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["artifacts"].append(LIBRARY)
