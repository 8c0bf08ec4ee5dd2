"""Fields larger than the memory that a user allows: coded, decoded and opened in parts within it.

Each test runs in a process of its own whose memory is limited once everything is loaded: a whole copy of the field in
double precision would already be too much.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")

SHAPE = (20, 500, 500)
EXTRA = 25_000_000
"""Bytes beyond what is loaded; the field has 20 MB, and work on three of its frames at once takes more."""

NETCDF = 40_000_000
"""Bytes that the library for NetCDF may keep of what it has read."""

LIMITED = f"""
import resource
from pathlib import Path

import numpy as np

import codectk.fields.npy
import codectk.fields.variable
from codectk.arrays import ArrayInfo
from codectk.compression import load_codec
from codectk.container import unpack

SHAPE = {SHAPE}
codectk.fields.npy.KEPT_BYTES = codectk.fields.variable.KEPT_BYTES = 1 << 20  # larger fields stay on disk
codectk.fields.PART_VALUES = codectk.fields.variable.PART_VALUES = 1 << 18


def limit(more=0):
    lines = Path("/proc/self/status").read_text().splitlines()
    used = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + {EXTRA} + more,) * 2)
    try:
        np.ones((2 * {EXTRA} + more) // 8)
    except MemoryError:
        return
    raise SystemExit("memory is not limited")
"""

ARRAYS = """
x = np.load("x.npy", mmap_mode="r")[:FRAMES]
loaded = load_codec("caesar_freq")


def both(x, options):
    info = ArrayInfo("field/f32", x.shape, (-2.0, 2.0))
    data = loaded.compress(x, info, loaded.encode_options({**options, "memory": "8MB"})).data
    return data, loaded.decompress(unpack(data), loaded.decode_options({"memory": "8MB"}))


both(np.array(x[:10, :70, :70]), OPTIONS)
limit()
data, x_hat = both(x, OPTIONS)
chunks = np.prod(unpack(data).header.params["chunk"])
assert chunks < 200_000 and len(data) < x.nbytes / 10, (chunks, len(data))
for a, b in zip(x, x_hat):
    assert np.abs(a - b).max() <= MOST
"""

FILES = """
from codectk_caesar_freq import open_field
from codectk_cli.main import cli


def run(*words):
    assert cli(list(words), standalone_mode=False) in (0, None), words


def both(name, ending):
    settings = ["--rel-error", "1e-1", "--memory", "8MB"]
    run("compress", name + ending, "-c", "caesar_freq", "-o", name + ".ctk", "--force", *settings)
    run("decompress", name + ".ctk", "-o", "hat_" + name + ending, "--force", "--memory", "8MB")


both("small", ENDING)
open_field("small.ctk")[0]
limit(MORE)
both("x", ENDING)
x = np.load("x.npy", mmap_mode="r")
with open_field("x.ctk") as field:
    assert np.abs(field[-1, ::7] - x[-1, ::7]).max() <= 0.3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A field of 20 MB, and a small one, as .npy and .nc."""
    import netCDF4

    place = tmp_path_factory.mktemp("memory")
    _, h, w = np.meshgrid(0, *map(np.arange, SHAPE[1:]), indexing="ij")
    x = np.concatenate([np.sin(t / 5 + h / 17) * np.cos(w / 13) + 0.2 * np.sin(h * w / 9) for t in range(SHAPE[0])])
    for name, values in (("x", x.astype(np.float32)), ("small", x[:10, :70, :70].astype(np.float32))):
        np.save(place / f"{name}.npy", values)
        with netCDF4.Dataset(place / f"{name}.nc", "w") as file:
            for dim, length in zip("thw", values.shape, strict=True):
                file.createDimension(dim, length)
            file.createVariable("u", "f4", ("t", "h", "w"), chunksizes=(1, *values.shape[1:]))[:] = values
    return place


def succeeds(folder: Path, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED + code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("options", "frames", "most"),
    [
        ({"rel_error": 1e-1}, SHAPE[0], 0.3),
        ({"nrmse": 3e-2, "wavelet": "haar"}, 3, 2.0),
        ({"eb": 3e-2, "threads": 1, "wavelet": "haar"}, 3, 2.0),
    ],
    ids=str,
)
def test_arrays_larger_than_memory_are_coded_in_parts(
    folder: Path, options: dict[str, object], frames: int, most: float
) -> None:
    succeeds(folder, f"OPTIONS, FRAMES, MOST = {options}, {frames}, {most}\n" + ARRAYS)


@pytest.mark.parametrize("ending", [".npy", ".nc"])
def test_files_larger_than_memory_are_coded_and_decoded_in_parts(folder: Path, ending: str) -> None:
    succeeds(folder, f"ENDING, MORE = {ending!r}, {NETCDF * (ending == '.nc')}\n" + FILES)
    hat = folder / f"hat_x{ending}"
    assert hat.stat().st_size > 4 * np.prod(SHAPE)
