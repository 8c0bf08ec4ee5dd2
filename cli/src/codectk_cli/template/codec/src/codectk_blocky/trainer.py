"""Learning the transform: fewer bits at the same error."""

from typing import Any

import numpy as np
import torch
from codectk.checkpoint import Checkpoint
from codectk.dataset import find_data
from codectk.train import Run
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from codectk_blocky.codec import VALUES, step_size, to_blocks
from codectk_blocky.options import TrainOptions
from codectk_blocky.start import checkpoint, dct_weights

QUALITIES = (10, 91)


# --8<-- [start:model]
class Transform(nn.Module):
    """g_a, kept orthonormal while it is learned, so that errors of y are errors of x. It starts from the DCT."""

    def __init__(self) -> None:
        super().__init__()
        self.g_a: Any = orthogonal(nn.Linear(VALUES, VALUES, bias=False))
        self.g_a.weight = torch.from_numpy(dct_weights().tensors["g_s"].copy())

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        """Bits per value that y takes once it is rounded; the error is the same for every orthonormal transform.

        Args:
            x: blocks (B, N, 192) around zero.
            step: quantiser's step of each picture, (B, 1, 1).
        """
        # The logarithm of each value, not of their spread: few large values among zeros are cheap.
        bits: Tensor = 0.5 * torch.log2(1 + (self.g_a(x) / step).square())
        return bits.mean()


# --8<-- [end:model]


# --8<-- [start:trainer]
class BlockyTrainer:
    """Trainer of the transform.

    Args:
        options: data and schedule.
        run: device, log and saved states.

    Raises:
        InputError: there are no pictures.
        OptionsError: the batch cannot be divided among the processes.
    """

    def __init__(self, options: TrainOptions, run: Run) -> None:
        self.options, self.run = options, run
        self.share = run.share(options.batch_size)
        self.pictures, self.held_out = find_data(options.data, options.val_data, ("image/rgb8",))
        self.model = Transform()
        run.keep(model=self.model)

    def train(self) -> None:
        """One phase."""
        run, options = self.run, self.options
        if run.finished("transform"):
            return
        model = run.setup(self.model)
        optimizer = torch.optim.Adam(self.model.parameters(), lr=options.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
        parts: dict[str, Any] = {"model": self.model, "optimizer": optimizer, "schedule": schedule}
        for _, (x, step) in run.steps("transform", options.steps, self.load, **parts):
            loss = model(x.to(run.device), step.to(run.device))
            optimizer.zero_grad()
            run.backward(loss)
            optimizer.step()
            schedule.step()
            if run.wants_log:
                run.log(loss=float(loss.detach()))
        run.finish("transform")

    def load(self, step: int) -> tuple[Tensor, Tensor]:
        """This process's crops of a step and their quantiser steps; the same for the same step."""
        crops, steps = [], []
        for item in self.share:
            rng = self.run.rng("crop", step, item)
            crops.append(self.crop(rng))
            steps.append(step_size(int(rng.integers(*QUALITIES))))
        return torch.stack(crops), torch.tensor(steps).reshape(-1, 1, 1)

    def crop(self, rng: np.random.Generator) -> Tensor:
        """A random crop of a random picture as blocks (N, 192); small pictures are continued by their edges."""
        x = self.pictures[int(rng.integers(len(self.pictures)))].x
        side = self.options.crop
        x = np.pad(x, [(0, max(0, side - length)) for length in x.shape[:2]] + [(0, 0)], mode="edge")
        top, left = (int(rng.integers(length - side + 1)) for length in x.shape[:2])
        return torch.from_numpy(to_blocks(x[top : top + side, left : left + side])).float()

    def export(self) -> Checkpoint:
        """The transform, and how it came about."""
        g_s = self.model.g_a.weight.detach().cpu().numpy().copy()  # torch multiplies by the transpose of what it keeps
        training = {"options": self.options.changed(), "seed": self.run.options.seed}
        return checkpoint(np.ascontiguousarray(g_s.T), g_s, training)


# --8<-- [end:trainer]
