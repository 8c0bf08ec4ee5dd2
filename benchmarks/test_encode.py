"""How fast frappe encodes with its default weights, beside AVIF and JPEG of Pillow: array in memory to file bytes.

`CODECTK_PICTURES` names a folder of pictures; without it a bundled photo serves.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from codectk.arrays import ArrayInfo
from codectk.compression import load_codec
from codectk.dataset import sample_photos
from codectk.images import read_image
from codectk.inputs import find_inputs

FRAME = (1080, 1920)


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """Pictures of 1080 x 1920 pixels, mosaics of smaller ones."""
    folder = os.environ.get("CODECTK_PICTURES")
    paths = find_inputs(Path(folder)) if folder else sample_photos("val")
    pictures = [read_image(path).x for path in paths]
    wide = [x for x in pictures if x.shape[1] >= x.shape[0]][:6]
    found = []
    for first in range(0, len(wide), 3):
        rows = [np.tile(x, (4, 8, 1))[: FRAME[0] // 2, : FRAME[1]] for x in wide[first : first + 2]] * 2
        found.append(np.ascontiguousarray(np.concatenate(rows[:2])))
    return found


def timed(work: Callable[[np.ndarray], object], frames: list[np.ndarray], runs: int = 5) -> list[float]:
    times = []
    for frame in frames:
        work(frame)
        for _ in range(runs):
            start = time.perf_counter()
            work(frame)
            times.append(time.perf_counter() - start)
    return times


@pytest.mark.parametrize(
    ("settings", "quality"),
    [
        ({"step": 6.0, "threads": 1}, 22),
        ({"step": 6.0, "threads": 1, "effort": "fast"}, 22),
        ({"threads": 1}, 60),
        ({"threads": 2}, 60),
        ({"threads": 2, "effort": "fast"}, 60),
    ],
)
def test_encode_beside_classic_codecs(
    frames: list[np.ndarray], ratio: Callable[..., float], settings: dict[str, object], quality: int
) -> None:
    """Settings of like bits per pixel; the classic codecs run on one thread."""
    info, size = ArrayInfo("image/rgb8", frames[0].shape), frames[0].shape[0] * frames[0].shape[1]

    def measure(name: str, values: dict[str, object], runs: int) -> tuple[list[float], float]:
        codec = load_codec(name)
        options = codec.encode_options(values)
        times = timed(lambda frame: codec.compress(frame, info, options), frames, runs)
        return times, float(np.mean([8 * len(codec.compress(frame, info, options)) / size for frame in frames]))

    mine, bpp = measure("frappe", settings, 9)
    speed = size / 1e6 / float(np.median(mine))
    words = " ".join(f"{k}={v}" for k, v in settings.items())
    for name in ("avif", "jpeg"):
        theirs, peer_bpp = measure(name, {"quality": quality}, 2)
        ratio(f"frappe {words}, {bpp:.3f} bpp, {speed:.0f} MP/s", mine, f"{name} at {peer_bpp:.3f} bpp", theirs)


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource")
def test_memory_of_a_large_photo(tmp_path: Path, frames: list[np.ndarray], report: Callable[[str], None]) -> None:
    """Peak memory of `codectk compress` on 48 megapixels, over that of an interpreter that does nothing."""
    x = np.tile(frames[0], (6, 5, 1))[:6000, :8000]
    (tmp_path / "large.ppm").write_bytes(b"P6 8000 6000 255\n" + x.tobytes())
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"

    def peak(*words: str) -> float:
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return float(done.stdout) / 1024

    nothing = peak(sys.executable, "-c", "pass")
    whole = peak(sys.executable, "-m", "codectk_cli", "compress", "large.ppm", "-c", "frappe")
    report(f"compressing 48 megapixels: {whole - nothing:.0f} MiB above an interpreter that does nothing")
