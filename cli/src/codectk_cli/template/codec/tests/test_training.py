"""What every trainer must keep to."""

from pathlib import Path
from typing import Any

from codectk.testing import TrainerConformance

from codectk_blocky.plugin import TRAINER


class TestTrainer(TrainerConformance):
    """The trainer, on a few small pictures."""

    spec = TRAINER

    def options(self, data: Path) -> dict[str, Any]:
        """A training of a few steps."""
        return {"data": str(data), "steps": 4, "batch_size": 2, "crop": 16}
