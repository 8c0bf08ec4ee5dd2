"""Batches, made ahead of time by threads."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any


def ahead(load: Callable[[int], Any], steps: range, workers: int) -> Iterator[Any]:
    """`load(step)` for each step in order.

    Args:
        load: step → batch.
        steps: which.
        workers: number of threads; with 0 each batch is made when it is asked for.
    """
    if workers == 0:
        yield from map(load, steps)
        return
    with ThreadPoolExecutor(workers) as pool:
        rest = iter(steps)
        waiting: deque[Future[Any]] = deque(pool.submit(load, step) for step in islice(rest, 2 * workers))
        try:
            while waiting:
                batch = waiting.popleft().result()
                waiting.extend(pool.submit(load, step) for step in islice(rest, 1))
                yield batch
        finally:
            for future in waiting:
                future.cancel()
