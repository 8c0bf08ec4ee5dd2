"""A table at the end of the run: every benchmark as a ratio to its peer."""

import os
from collections.abc import Callable
from statistics import median

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

RATIOS: list[str] = []


@pytest.fixture
def ratio() -> Callable[[str, list[float], str, list[float]], float]:
    """Record median(a) / median(b), and show it after the run."""

    def record(name: str, a: list[float], peer: str, b: list[float]) -> float:
        value = median(a) / median(b)
        RATIOS.append(
            f"{name}: {median(a) * 1000:.1f} ms ({min(a) * 1000:.1f} to {max(a) * 1000:.1f}), "
            f"{value:.2f} times {peer} ({median(b) * 1000:.1f} ms)"
        )
        return value

    return record


@pytest.fixture
def report() -> Callable[[str], None]:
    """Show a line after the run."""
    return RATIOS.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in RATIOS:
        terminalreporter.write_line(line)
