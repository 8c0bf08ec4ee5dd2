"""How fast the program answers."""

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

RUNS = 10


def cold(*words: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - start


def test_list_is_fast(ratio: Callable[..., float]) -> None:
    """At most 1.6 times the import of click and pluggy, plus 120 ms; runs of both alternate."""
    peers, lists = [], []
    for _ in range(RUNS):
        peers.append(cold("-c", "import click, pluggy"))
        lists.append(cold("-m", "codectk_cli", "list"))
    ratio("codectk list, all plugins", lists, "import click, pluggy", peers)
    assert median(lists) <= 1.6 * median(peers) + 0.120


def test_compress_needs_no_torch_and_starts_fast(ratio: Callable[..., float], tmp_path: object) -> None:
    peers = [cold("-c", "import torch") for _ in range(3)]
    helps = [cold("-m", "codectk_cli", "compress", "-c", "frappe", "--help") for _ in range(RUNS)]
    assert ratio("codectk compress -c frappe --help", helps, "import torch", peers) < 1
