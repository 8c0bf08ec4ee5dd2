"""Arrays to try codecs and metrics on: made from formulas, the same on every call."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from codectk.arrays import KINDS, Array, ArrayInfo

PLAIN = {"image": (40, 56), "field": (3, 16, 24)}
"""Shape of an ordinary sample: nothing about it is difficult. Channels come on top."""

ODD = {
    "image": ((1, 2), (3, 1), (7, 5), (17, 31)),
    "field": ((7,), (5, 3), (3, 9, 7), (2, 3, 8, 5), (1, 2, 3, 5, 7)),
}

NASTY = ("constant", "tiny", "huge", "spiky", "NaN-holding")
"""What guarantees must hold on."""


def family(kind: str) -> str:
    """`"image"` or `"field"`."""
    return kind.partition("/")[0]


def array(kind: str, shape: tuple[int, ...] | None = None, seed: int = 0) -> tuple[Array, ArrayInfo]:
    """A smooth array with some noise.

    Args:
        kind: a name from `codectk.arrays.KINDS`.
        shape: H, W of an image, or the whole shape of a field; `PLAIN` if None.
        seed: other seeds give other arrays.

    Returns:
        The array and its info.
    """
    shape = PLAIN[family(kind)] if shape is None else shape
    if KINDS[kind].channels:
        shape = (*shape[:2], KINDS[kind].channels or 1)
    rng = np.random.default_rng(seed)
    grids = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    waves = [np.sin(grid / (5 + axis) + axis + seed) for axis, grid in enumerate(grids)]
    values = 0.5 + 0.4 * np.mean(waves, axis=0) + rng.normal(0, 0.02, shape)
    return _finished(values, kind)


def nasty(name: str, kind: str) -> tuple[Array, ArrayInfo]:
    """One of `NASTY` in a kind: for pictures, which cannot hold all of that, the nearest thing to it."""
    x, info = array(kind, seed=3)
    if info.is_image:
        return _nasty_picture(name, x), info
    if x.dtype.kind != "f":
        return _with_info(_nasty_integers(name, x), kind)
    y = x.astype(np.float64)
    y = {
        "constant": np.full_like(y, 273.15),
        "tiny": y * 1e-30,
        "huge": y * 1e30,
        "spiky": _with_spikes(y, 1e6),
        "NaN-holding": y,
    }[name]
    if name == "NaN-holding":
        y.flat[:: max(2, y.size // 9)] = np.nan
        y.flat[1], y.flat[-1] = np.inf, -np.inf
    return _with_info(y.astype(x.dtype), kind)


def _nasty_picture(name: str, x: Array) -> Array:
    top = int(np.iinfo(x.dtype.name).max)
    if name in ("constant", "tiny", "huge"):
        return np.full(x.shape, {"constant": top // 3, "tiny": 0, "huge": top}[name], x.dtype)
    if name == "spiky":
        spiky: Array = _with_spikes(np.zeros_like(x), top)
        return spiky
    return np.random.default_rng(4).integers(0, top, x.shape, x.dtype, endpoint=True)  # no NaN: noise


def _nasty_integers(name: str, x: Array) -> Array:
    limits = np.iinfo(x.dtype.name)
    if name in ("constant", "tiny", "huge"):
        return np.full(x.shape, {"constant": limits.max // 3, "tiny": limits.min, "huge": limits.max}[name], x.dtype)
    if name == "spiky":
        spiky: Array = _with_spikes(x, limits.max)
        return spiky
    # No NaN: noise over all that the type holds.
    return np.random.default_rng(4).integers(limits.min, limits.max, x.shape, x.dtype, endpoint=True)


def _with_spikes(x: Any, height: float) -> Any:
    y = x.copy()
    y.flat[:: max(2, y.size // 7)] = height
    return y


def all_layouts(x: Array) -> Iterator[tuple[str, Array]]:
    """The same values in other places of memory."""
    yield "in Fortran order", np.asfortranarray(x)
    wide = np.repeat(x, 2, axis=0)
    yield "as every second row of another array", wide[::2]
    frozen = x.copy()
    frozen.setflags(write=False)
    yield "read-only", frozen


def _finished(values: Any, kind: str) -> tuple[Array, ArrayInfo]:
    known = KINDS[kind]
    if known.value_range is None and known.dtype.startswith("float"):
        return _with_info((values * 40 - 12).astype(known.dtype), kind)
    if known.value_range is None:
        limits = np.iinfo(known.dtype)
        middle = 0 if limits.min else min(limits.max // 2, 20000)
        return _with_info((np.round((values - 0.5) * min(limits.max, 20000)) + middle).astype(known.dtype), kind)
    return np.clip(values * known.value_range[1], *known.value_range).astype(known.dtype), ArrayInfo(kind, values.shape)


def _with_info(x: Array, kind: str) -> tuple[Array, ArrayInfo]:
    finite = x[np.isfinite(x)]
    return x, ArrayInfo(kind, x.shape, (float(finite.min()), float(finite.max())))
