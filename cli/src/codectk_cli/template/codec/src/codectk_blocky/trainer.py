"""Learning the transform: fewer bits at the same error."""

import math

import numpy as np
import torch
from codectk.checkpoint import Checkpoint
from codectk.dataset import find_data
from codectk.train import Run
from torch import Tensor, nn

from codectk_blocky.codec import step_size, to_blocks
from codectk_blocky.options import TrainOptions
from codectk_blocky.start import checkpoint, dct_weights

QUALITIES = (10, 91)


# --8<-- [start:model]
class Transform(nn.Module):
    """g_a and g_s as parameters, which start from the DCT."""

    def __init__(self) -> None:
        super().__init__()
        start = dct_weights().tensors
        self.g_a = nn.Parameter(torch.from_numpy(start["g_a"].copy()))
        self.g_s = nn.Parameter(torch.from_numpy(start["g_s"].copy()))

    def forward(self, x: Tensor, step: Tensor, lmbda: float) -> Tensor:
        """Rate plus distortion in bits per value.

        Args:
            x: blocks (B, N, 192) around zero.
            step: quantiser's step of each picture, (B, 1, 1).
        """
        y = x @ self.g_a
        y_hat = y + (torch.rand_like(y) - 0.5) * step  # as rounding would, but with a gradient
        # Bits of a coefficient with this spread over all blocks, quantised finely; smooth down to zero.
        spread = y.square().mean(1, keepdim=True) / step.square()
        rate = 0.5 * torch.log2(1 + 2 * math.e * math.pi * spread).mean()
        # At the optimum of a uniform quantiser one bit is worth 2 ln 2 · step²/12 of squared error.
        distortion = ((x - y_hat @ self.g_s).square() / step.square()).mean() * 6 / math.log(2)
        return rate + lmbda * distortion


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
        for _, (x, step) in run.steps("transform", options.steps, self.load, model=self.model, optimizer=optimizer):
            loss = model(x.to(run.device), step.to(run.device), options.lmbda)
            optimizer.zero_grad()
            run.backward(loss)
            optimizer.step()
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
        g_a, g_s = (parameter.detach().cpu().numpy().copy() for parameter in (self.model.g_a, self.model.g_s))
        return checkpoint(g_a, g_s, {"options": self.options.changed(), "seed": self.run.options.seed})


# --8<-- [end:trainer]
