"""What this distribution brings to codectk. Imports nothing heavy: every command loads this module."""

from codectk.hookspecs import hookimpl
from codectk.specs import MetricSpec

CODECTK_API = 1

METRIC = MetricSpec(
    name="blocky",
    summary="mean absolute error",
    target="codectk_blocky.metric:BlockyMetric",
    unit="levels",
    direction="lower",
    kinds=("image/gray8", "image/rgb8"),
)


@hookimpl
def codectk_metrics() -> list[MetricSpec]:
    """The metric."""
    return [METRIC]
