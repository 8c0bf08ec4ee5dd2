"""Settings of the whole suite, made before any library reads them."""

import os
from typing import Any

import pytest

# Several test processes share the cores: threads of one that spin while they wait would stop those of the others.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first: at the end, one process would work on them while the others idle."""
    items.sort(key=lambda item: item.path.parent.name != "workspace")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Neighbours together, so that what a file prepares for its tests is made once, and no process idles at the end.

    A hook in place of `--dist`, which pytest does not know where xdist is not installed.
    """
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)
