"""A table at the end of the run: every benchmark as a ratio to its peer."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("OMP_NUM_THREADS", "1")

RATIOS: list[str] = []


@pytest.fixture
def ratio() -> Callable[[str, list[float], str, list[float]], float]:
    """Record median(a) / median(b), and show it after the run."""

    def record(name: str, a: list[float], peer: str, b: list[float]) -> float:
        value = median(a) / median(b)
        RATIOS.append(
            f"{name}: {median(a) * 1000:.1f} ms ({min(a) * 1000:.1f} to {max(a) * 1000:.1f}), "
            f"{value:.3g} times {peer} ({median(b) * 1000:.1f} ms)"
        )
        return value

    return record


@pytest.fixture
def report() -> Callable[[str], None]:
    """Show a line after the run."""
    return RATIOS.append


@pytest.fixture(scope="session")
def jpeg_files() -> list[bytes]:
    """Those of the folder that CODECTK_PICTURES names; without it, twenty are made."""
    folder = os.environ.get("CODECTK_PICTURES")
    if folder is None:
        return [_made(seed) for seed in range(20)]
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    return [path.read_bytes() for path in paths]


def _made(seed: int) -> bytes:
    """A JPEG file of noise whose power falls with frequency as that of photographs does, and edges."""
    rng = np.random.default_rng(seed)
    height, width = 375, 500
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    waves = [np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) / (frequency + 0.004), (height, width))]
    waves += [
        np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) / (frequency + 0.004) ** 1.3, (height, width))
    ]
    waves += [waves[0][::-1] * 0.3 + waves[1]]
    x = np.stack([wave / wave.std() for wave in waves], -1) * 45 + 120
    x[np.mgrid[:height, :width][0] > 200 + 90 * np.sin(np.arange(width) / 60)] *= 0.6
    stream = io.BytesIO()
    Image.fromarray(np.clip(x, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90, subsampling="4:2:0")
    return stream.getvalue()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in RATIOS:
        terminalreporter.write_line(line)
