"""The conformance kit: what every codec, trainer, dataset, metric and command must keep to, as tests to inherit.

    from codectk.testing import CodecConformance
    from codectk_mine.plugin import CODEC

    class TestMine(CodecConformance):
        spec = CODEC
        golden = Path(__file__).parent / "golden"

pytest collects the inherited tests. Each states in its name what holds. The plugin must be installed in the environment
in which its tests run. Needs pytest: `codectk-core[testing]`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codectk.testing.codec import CodecConformance
    from codectk.testing.command import CommandConformance
    from codectk.testing.dataset import DatasetConformance
    from codectk.testing.metric import MetricConformance
    from codectk.testing.trainer import TrainerConformance

_HOMES = {
    "CodecConformance": "codec",
    "CommandConformance": "command",
    "DatasetConformance": "dataset",
    "MetricConformance": "metric",
    "TrainerConformance": "trainer",
}

__all__ = ["CodecConformance", "CommandConformance", "DatasetConformance", "MetricConformance", "TrainerConformance"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'codectk.testing' has no attribute {name!r}")
    from importlib import import_module

    import pytest

    # pytest shows the values in a failed assertion only in modules that it was told of before they are imported.
    homes = ("specs", "hostile", "files", *_HOMES.values())
    pytest.register_assert_rewrite(*(f"codectk.testing.{home}" for home in homes))
    return getattr(import_module(f"codectk.testing.{_HOMES[name]}"), name)
