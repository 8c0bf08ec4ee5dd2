"""What every metric must keep to."""

from codectk.testing import MetricConformance

from codectk_blocky.plugin import METRIC


class TestMetric(MetricConformance):
    """The metric."""

    spec = METRIC
