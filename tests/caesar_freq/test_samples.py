"""Real fields: every bound holds on them, in files of the size that the method is there for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import codectk
import codectk_caesar_freq
from codectk.arrays import Array
from codectk.compression import decompress
from codectk.inputs import read_array

SAMPLES = Path(codectk_caesar_freq.__file__).parent / "samples"
NAMES = ("elevation", "temperature")


def sample(name: str) -> Array:
    return read_array(SAMPLES / f"{name}.npz").x


def round_trip(x: Array, **options: Any) -> tuple[Array, int]:
    """What a file opens to, and its bytes."""
    packed = codectk.compress(x, "caesar_freq", **options)
    return decompress(packed.data)[0], len(packed)


def patches(x: Array) -> list[Array]:
    h, w = x.shape[-2:]
    return [x[..., i : i + 8, j : j + 8] for i in range(0, h, 8) for j in range(0, w, 8)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", [1e-1, 1e-2, 1e-3, 1e-4])
def test_every_bound_holds_on_real_fields(name: str, part: float) -> None:
    x = sample(name)
    exact: NDArray[np.float64] = x.astype(np.float64)
    spread = float(exact.max() - exact.min())

    def error(**options: float) -> NDArray[np.float64]:
        x_hat: NDArray[np.float64] = round_trip(x, **options)[0].astype(np.float64)
        return np.abs(x_hat - exact)

    assert error(abs_error=part * spread).max() <= part * spread
    assert error(rel_error=part).max() <= part * spread
    assert (error(pointwise_rel=part) <= part * np.abs(exact)).all()
    assert np.sqrt((error(nrmse=part) ** 2).mean()) <= part * spread
    assert np.sqrt((error(psnr=-20 * np.log10(part)) ** 2).mean()) <= part * spread
    frames = error(eb=part).reshape(-1, *x.shape[-2:])
    assert max(np.sqrt((p**2).mean()) for frame in frames for p in patches(frame)) <= part * spread


@pytest.mark.parametrize(("name", "part", "most"), [("elevation", 1e-2, 3600), ("temperature", 1e-2, 1600)])
def test_files_of_real_fields_are_small(name: str, part: float, most: int) -> None:
    _, size = round_trip(sample(name), rel_error=part)
    assert size <= most


def test_the_fields_say_where_they_come_from() -> None:
    about = (SAMPLES / "README.md").read_text()
    for path in SAMPLES.glob("*.npz"):
        (line,) = [line for line in about.splitlines() if f"`{path.name}`" in line and line.startswith("|")]
        assert "public domain" in line or "Apache-2.0" in line
    assert {path.stem for path in SAMPLES.glob("*.npz")} == set(NAMES)
