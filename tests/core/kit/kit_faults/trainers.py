"""A good trainer of one number, and trainers that differ from it by one fault."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codectk.checkpoint import Checkpoint
from codectk.dataset import find_data
from codectk.errors import InputError
from codectk.options import Options, option
from codectk.train import Run


class TrainOptions(Options):
    """Of all trainers here."""

    data: str = option("photos", help="Folder of pictures, or a dataset's name.")
    steps: int = option(6, ge=1, help="Steps.")


class Offset(torch.nn.Module):
    """What is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = torch.nn.Parameter(torch.zeros(1))


class GoodTrainer:
    """Moves an offset towards the mean of the pictures, with momentum."""

    version = 1

    def __init__(self, options: Any, run: Run) -> None:
        self.options, self.run = options, run
        self.pictures = self.find()
        self.model = Offset()
        run.keep(model=self.model)

    def find(self) -> Any:
        return find_data(self.options.data, None, ("image/rgb8",))[0]

    def train(self) -> None:
        if self.run.finished("all"):
            return
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        for step, mean in self.loop(optimizer):
            loss = (self.model.offset - mean).square().sum()
            optimizer.zero_grad()
            self.run.backward(loss)
            optimizer.step()
            self.run.log(loss=float(loss.detach()), step=float(step))
        self.run.finish("all")

    def loop(self, optimizer: Any) -> Iterator[tuple[int, float]]:
        return self.run.steps("all", self.options.steps, self.load, model=self.model, optimizer=optimizer)

    def load(self, step: int) -> float:
        i = int(self.run.rng("picture", step).integers(len(self.pictures)))
        return float(self.pictures[i].x.mean())

    def export(self) -> Checkpoint:
        return Checkpoint(
            tensors=self.tensors(),
            codec="GoodWeighted",
            distribution="kit-faults",
            version="1.0",
            bitstream_version=self.version,
            config={},
        )

    def tensors(self) -> dict[str, Any]:
        return {"offset": self.model.offset.detach().numpy().copy()}


class WithABadRecipe(GoodTrainer):
    """A recipe that ships names an option that is no more."""


class TakesNoSteps(GoodTrainer):
    """Loops by itself, so that nobody can watch or stop it."""

    def loop(self, optimizer: Any) -> Iterator[tuple[int, float]]:
        return ((step, self.load(step)) for step in range(self.options.steps))


class ForgetsItsMomentum(GoodTrainer):
    """Saves the model and not the optimizer."""

    def loop(self, optimizer: Any) -> Iterator[tuple[int, float]]:
        return self.run.steps("all", self.options.steps, self.load, model=self.model)


class KeepsACacheInTheData(GoodTrainer):
    """Leaves a file with the user's pictures."""

    def train(self) -> None:
        (Path(self.options.data) / "means.cache").write_text("128")
        super().train()


class SetsAFlag(GoodTrainer):
    """Wants all of torch to compute its way."""

    def train(self) -> None:
        torch.use_deterministic_algorithms(True)
        super().train()


class NamesAnotherVersion(GoodTrainer):
    """Its weights are for files of a version that nobody reads."""

    version = 7


class LeavesATensorOut(GoodTrainer):
    """Exports something else than the codec wants."""

    def tensors(self) -> dict[str, Any]:
        return {"shift": np.zeros(1, np.float32)}


class TripsOverNoData(GoodTrainer):
    """Takes the first picture of an empty list."""

    def find(self) -> Any:
        try:
            return super().find()
        except InputError:
            raise IndexError("list index out of range") from None
