"""How long the parts of training steps take."""

import time
from statistics import fmean

import torch


class StepTimes:
    """Times of parts since they were last taken.

    Args:
        device: waited for at the end of each part, so that its work is counted where it belongs.
        active: without, nothing is measured and nothing waits.
    """

    def __init__(self, device: torch.device, active: bool) -> None:
        self.device, self.active = device, active
        self.spent: dict[str, list[float]] = {}
        self.last = time.perf_counter()

    def lap(self, part: str) -> None:
        """A part of a step ends here."""
        if self.active:
            before = self.last
            self.restart()
            self.spent.setdefault(part, []).append(self.last - before)

    def restart(self) -> None:
        """What came since the last part belongs to none."""
        if self.active:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.last = time.perf_counter()

    def take(self) -> dict[str, float]:
        """Mean seconds of each part, `seconds_PART`, and on CUDA `peak_memory_mib`; begins anew."""
        means = {f"seconds_{part}": fmean(times) for part, times in self.spent.items()}
        if means and self.device.type == "cuda":
            means["peak_memory_mib"] = torch.cuda.max_memory_allocated(self.device) / 2**20
        self.spent = {}
        return means
