"""Learning how the pixels to the left, above, and above to the left predict a pixel."""

import numpy as np
import torch
from codectk.checkpoint import Checkpoint
from codectk.dataset import find_data
from codectk.train import Run
from torch import Tensor, nn

from codectk_blocky.options import TrainOptions

NEIGHBOURS = 3


class Predictor(nn.Module):
    """One weight for each neighbour; it starts from the mean of two."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.5, 0.5, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        """Mean square error of the prediction, for pictures (B, H, W, 3)."""
        neighbours = torch.stack([x[:, 1:, :-1], x[:, :-1, 1:], x[:, :-1, :-1]], dim=-1)
        return (x[:, 1:, 1:] - neighbours @ self.weights).square().mean()


class BlockyTrainer:
    """Trainer of the predictor.

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
        self.model = Predictor()
        run.keep(model=self.model)

    def train(self) -> None:
        """One phase."""
        run, options = self.run, self.options
        if run.finished("predictor"):
            return
        model = run.setup(self.model)
        optimizer = torch.optim.Adam(self.model.parameters(), lr=options.learning_rate)
        for _, x in run.steps("predictor", options.steps, self.load, model=self.model, optimizer=optimizer):
            loss = model(x.to(run.device))
            optimizer.zero_grad()
            run.backward(loss)
            optimizer.step()
            if run.wants_log:
                run.log(loss=float(loss.detach()))
        run.finish("predictor")

    def load(self, step: int) -> Tensor:
        """This process's crops of a step, float (B, H, W, 3) in 0 to 1; the same for the same step."""
        return torch.stack([self.crop(self.run.rng("crop", step, item)) for item in self.share])

    def crop(self, rng: np.random.Generator) -> Tensor:
        """A random crop of a random picture; small pictures are continued by their edges."""
        x = self.pictures[int(rng.integers(len(self.pictures)))].x
        side = self.options.crop
        x = np.pad(x, [(0, max(0, side - length)) for length in x.shape[:2]] + [(0, 0)], mode="edge")
        top, left = (int(rng.integers(length - side + 1)) for length in x.shape[:2])
        return torch.from_numpy(x[top : top + side, left : left + side].astype(np.float32) / 255)

    def export(self) -> Checkpoint:
        """The weights, and how they came about."""
        return Checkpoint(
            tensors={"weights": self.model.weights.detach().cpu().numpy().copy()},
            codec="blocky",
            distribution="codectk-blocky",
            version="0.1.0",
            bitstream_version=1,
            config={},
            training={"options": self.options.changed(), "seed": self.run.options.seed},
        )
