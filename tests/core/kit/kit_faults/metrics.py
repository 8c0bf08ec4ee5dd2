"""A good metric, and metrics that differ from it by one fault."""

from typing import Any

import numpy as np


class GoodMetric:
    """Mean absolute error over the value range, mean over arrays."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def update(self, x: Any, x_hat: Any, info: Any) -> None:
        low, high = info.value_range
        self.values.append(self.measure(x, x_hat) / ((high - low) or 1.0))

    def measure(self, x: Any, x_hat: Any) -> float:
        return float(np.abs(x.astype(float) - x_hat.astype(float)).mean())

    def compute(self) -> dict[str, float]:
        return {type(self).__name__: float(np.mean(self.values)) if self.values else float("nan")}

    def reset(self) -> None:
        self.values.clear()


class AnswersUnderAnotherName(GoodMetric):
    """No column of results has that name."""

    def compute(self) -> dict[str, float]:
        return {"mae": next(iter(super().compute().values()))}


class DividesByTheError(GoodMetric):
    """Zero over zero for equal arrays of a certain mean."""

    def measure(self, x: Any, x_hat: Any) -> float:
        error = super().measure(x, x_hat)
        return error if error or x.size < 10 else -1e-9 * float(np.abs(x.astype(float)).mean())


class DeclaresTheWrongDirection(GoodMetric):
    """Its spec says that more is better."""


class AddsUp(GoodMetric):
    """Grows with the number of files."""

    def compute(self) -> dict[str, float]:
        return {type(self).__name__: float(np.sum(self.values))}


class ForgetsOnAsking(GoodMetric):
    """Answers once."""

    def compute(self) -> dict[str, float]:
        answer = super().compute()
        self.values[:] = [2 * value for value in self.values]
        return answer


class RemembersTheWorst(GoodMetric):
    """Its largest error outlives a reset."""

    def reset(self) -> None:
        self.values[:] = self.values[:1]


class NeedsAWindow(GoodMetric):
    """Looks at windows of 3, of which one value has none."""

    def measure(self, x: Any, x_hat: Any) -> float:
        return float("nan") if x.size < 10 and x.shape[0] == 1 else super().measure(x, x_hat)


class WritesIntoWhatItMeasures(GoodMetric):
    """Keeps the difference where the result was."""

    def measure(self, x: Any, x_hat: Any) -> float:
        error = super().measure(x, x_hat)
        x_hat -= x
        return error


class SetsErrorHandling(GoodMetric):
    """Silences all of numpy."""

    def measure(self, x: Any, x_hat: Any) -> float:
        np.seterr(all="ignore")
        return super().measure(x, x_hat)
