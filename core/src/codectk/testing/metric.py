"""What every metric must keep to."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import isnan
from typing import ClassVar

import numpy as np

from codectk.arrays import KINDS, Array, ArrayInfo
from codectk.metric import Metric
from codectk.specs import MetricSpec
from codectk.testing import samples
from codectk.testing.processes import changed_by
from codectk.testing.specs import SpecConformance

NOISE = (0.01, 0.05, 0.2)
"""Spreads of added noise, as parts of the value range: each is plainly worse than the one before."""

MEASURE = """
from codectk.registry import get_registry
from codectk.specs import MetricSpec
from codectk.testing import samples
registered = get_registry().find(MetricSpec, sys.argv[1])
x, info = samples.array(sys.argv[2])
metric = registered.load(registered.spec.target)()
metric.update(x, x.copy(), info)
metric.compute()
"""

Pair = tuple[Array, Array, ArrayInfo]


class MetricConformance(SpecConformance):
    """Tests of one metric.

    Attributes:
        spec: its `MetricSpec`.
    """

    spec: ClassVar[MetricSpec]

    def kinds(self) -> Sequence[str]:
        """The kinds that the metric takes."""
        return self.spec.kinds or tuple(KINDS)

    def made(self) -> Metric:
        """A new object of the metric."""
        metric: Metric = self.registered().load(self.spec.target)()
        return metric

    def value(self, *pairs: Pair) -> float:
        """What a new object says after these pairs."""
        metric = self.made()
        for x, x_hat, info in pairs:
            metric.update(x.copy(), x_hat.copy(), info)
        (value,) = metric.compute().values()
        return float(value)

    def _pairs(self) -> Iterator[Pair]:
        for kind in self.kinds():
            x, info = samples.array(kind)
            yield x, _noisy(x, info, NOISE[1]), info

    def test_it_answers_one_number_under_its_name(self) -> None:
        """That name is the column in results."""
        for pair in self._pairs():
            metric = self.made()
            metric.update(*pair)
            result = metric.compute()
            assert list(result) == [self.spec.name], f"the answer is named {', '.join(result)}"
            assert isinstance(result[self.spec.name], float) and not isnan(result[self.spec.name])

    def test_equal_arrays_are_perfect(self) -> None:
        """Whatever they hold, it is the same number for all, and no NaN."""
        for kind in self.kinds():
            found = {self.value((x, x.copy(), info)) for x, info in (samples.array(kind), samples.array(kind, seed=1))}
            assert len(found) == 1 and not any(map(isnan, found)), f"{kind}: equal arrays give {sorted(found)}"

    def test_worse_arrays_are_worse_in_the_direction_that_it_declares(self) -> None:
        """Each step of added noise counts."""
        for kind in self.kinds():
            x, info = samples.array(kind)
            values = [self.value((x, y, info)) for y in (x.copy(), *(_noisy(x, info, spread) for spread in NOISE))]
            better = 1 if self.spec.direction == "higher" else -1
            for before, after in pairwise(values):
                assert better * before > better * after, (
                    f"{kind}: more noise gives {values}, {self.spec.direction} is better"
                )

    def test_the_value_over_two_pairs_lies_between_theirs(self) -> None:
        """It is a mean or an extreme, so that it does not grow with the number of files."""
        for kind in self.kinds():
            x, info = samples.array(kind)
            pairs = [(x, _noisy(x, info, spread), info) for spread in NOISE[:2]]
            low, high = sorted(self.value(pair) for pair in pairs)
            both = self.value(*pairs)
            slack = 1e-9 * max(abs(low), abs(high))
            assert low - slack <= both <= high + slack, f"{kind}: {low} and {high} together give {both}"

    def test_asking_does_not_change_the_answer(self) -> None:
        """`compute` may be called twice."""
        for pair in self._pairs():
            metric = self.made()
            metric.update(*pair)
            assert metric.compute() == metric.compute(), "compute changes what it answers"

    def test_reset_forgets(self) -> None:
        """After it, the metric answers as a new one does."""
        for kind in self.kinds():
            x, info = samples.array(kind)
            metric = self.made()
            metric.update(x, _noisy(x, info, NOISE[2]), info)
            metric.compute()
            metric.reset()
            metric.update(x, _noisy(x, info, NOISE[0]), info)
            (value,) = metric.compute().values()
            assert value == self.value((x, _noisy(x, info, NOISE[0]), info)), "reset keeps something"

    def test_small_arrays_are_measured(self) -> None:
        """Down to one value."""
        for kind in self.kinds():
            x, info = samples.array(kind, (1, 1) if samples.family(kind) == "image" else (1,))
            assert not isnan(self.value((x, x.copy(), info))), f"{kind}: one value gives NaN"

    def test_its_input_is_left_as_it_was(self) -> None:
        """Neither array is written to."""
        for x, y, info in self._pairs():
            before = x.copy(), y.copy()
            metric = self.made()
            metric.update(x, y, info)
            metric.compute()
            assert np.array_equal(x, before[0]) and np.array_equal(y, before[1]), "the metric changes its input"

    def test_nothing_else_in_the_process_is_changed(self) -> None:
        """Seeds, threads, flags, environment."""
        changed = changed_by(MEASURE, self.registered().full_name, self.kinds()[0])
        assert not changed, f"the metric changes {', '.join(changed)}"


def _noisy(x: Array, info: ArrayInfo, spread: float) -> Array:
    """Noise of that standard deviation, as a part of the value range; the same pattern at every spread."""
    low, high = info.value_range or (0.0, 1.0)
    noise = np.random.default_rng(5).normal(0, spread * (high - low), x.shape)
    noisy = x.astype(np.float64) + noise
    y: Array = (noisy if x.dtype.kind == "f" else np.clip(np.round(noisy), low, high)).astype(x.dtype)
    return y
