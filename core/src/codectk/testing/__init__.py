"""The conformance kit: what every codec, trainer, dataset and metric must keep to, as tests to inherit.

    from codectk.testing import CodecConformance
    from codectk_mine.plugin import CODEC

    class TestMine(CodecConformance):
        spec = CODEC
        golden = Path(__file__).parent / "golden"

pytest collects the inherited tests. Every one of them states in its name what holds; `docs/conformance.md` lists them.
The plugin must be installed in the environment in which its tests run. Needs pytest: `codectk-core[testing]`.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"codectk.testing.{name}" for name in ("specs", "codec", "hostile", "trainer", "dataset", "metric"))
)

from codectk.testing.codec import CodecConformance  # noqa: E402  (assertions are rewritten on import)
from codectk.testing.dataset import DatasetConformance  # noqa: E402
from codectk.testing.metric import MetricConformance  # noqa: E402
from codectk.testing.trainer import TrainerConformance  # noqa: E402

__all__ = ["CodecConformance", "DatasetConformance", "MetricConformance", "TrainerConformance"]
