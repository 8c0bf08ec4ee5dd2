"""`codectk doctor`"""

import os
import platform
import re
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import click

from codectk.registry import get_registry


@click.command("doctor")
def command() -> int:
    """Check this installation; every line that is not ok says what to do."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("Python", _python),
        ("packages", _packages),
        ("plugins", _plugins),
        ("torch", _torch),
        ("round trip", _round_trip),
        ("temporary folder", _temporary_folder),
    ]
    failed = 0
    for name, check in checks:
        try:
            click.echo(f"{click.style('ok', fg='green')}    {name}: {check()}")
        except Exception as error:  # a check that breaks is a finding
            failed += 1
            click.echo(f"{click.style('FAIL', fg='red')}  {name}: {error}")
    return 1 if failed else 0


def _python() -> str:
    return f"{platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores"


def _packages() -> str:
    """Versions of codectk's own distributions, of all plugins, and of what they require."""
    own = ["codectk", "codectk-core", *(plugin.distribution for plugin in get_registry().plugins)]
    needed = {name: user for user in own for name in [user, *_requirements(user)]}
    found, missing = [], []
    for name, user in needed.items():
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(f"{name} is missing; run `pip install --upgrade {user}`")
    if missing:
        raise RuntimeError("; ".join(missing))
    return ", ".join(found)


def _requirements(distribution: str) -> list[str]:
    """Names of what a distribution always requires; extras and other markers are left out."""
    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        return []
    names = (re.match(r"[\w.-]+", line) for line in lines if ";" not in line)
    return [name.group() for name in names if name]


def _plugins() -> str:
    registry = get_registry()
    if registry.problems:
        names = ", ".join(p.distribution for p in registry.problems)
        raise RuntimeError(f"{names} did not load; `codectk plugins` shows why")
    return ", ".join(f"{p.distribution} {p.version}" for p in registry.plugins)


def _torch() -> str:
    try:
        import torch
    except ImportError:
        return "not installed; only codecs without networks work"
    if not torch.cuda.is_available():
        return f"{torch.__version__}, no CUDA device, {torch.get_num_threads()} threads on the CPU"
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return f"{torch.__version__}, CUDA: {names}"


def _round_trip() -> str:
    """Every codec that needs no weights of the user codes a small picture and opens it again."""
    import numpy as np

    from codectk.arrays import ArrayInfo
    from codectk.compression import decompress, load_codec

    x = np.arange(17 * 23 * 3, dtype=np.uint8).reshape(17, 23, 3)
    tried = []
    for registered in get_registry().codecs():
        spec = registered.spec
        if "image/rgb8" not in spec.kinds or (spec.needs_weights and not spec.default_weights):
            continue
        data = load_codec(registered.full_name).compress(x, ArrayInfo("image/rgb8", x.shape)).data
        x_hat, _ = decompress(data)
        if x_hat.shape != x.shape or (spec.lossless and not np.array_equal(x, x_hat)):
            raise RuntimeError(
                f"{registered.full_name} does not give back its input; reinstall {registered.distribution}"
            )
        tried.append(spec.name)
    return ", ".join(tried) or "no codec without weights is installed"


def _temporary_folder() -> str:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "probe").write_bytes(b"x" * (1 << 20))
    return tempfile.gettempdir()
