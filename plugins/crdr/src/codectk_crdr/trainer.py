"""Training: rate and distortion."""

import math
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from codectk.checkpoint import Checkpoint
from codectk.dataset import find_data
from codectk.train import Run
from codectk_crdr.data import draw
from codectk_crdr.model import CompressionModel
from codectk_crdr.options import ModelOptions, TrainOptions
from codectk_crdr.start import linear_start

DISTRIBUTION = "codectk-crdr"


class CrdrTrainer:
    """Trainer of all stages."""

    def __init__(self, options: TrainOptions, run: Run) -> None:
        self.options, self.run = options, run
        self.train_data, self.val_data = find_data(options.data, options.val_data, ("image/rgb8",), run.message)
        architecture = {name: getattr(options, name) for name in ModelOptions.model_fields}
        self.model_options = ModelOptions(**architecture)
        self.model = CompressionModel(self.model_options)
        run.keep(model=self.model)

    def train(self) -> None:
        """The plan."""
        run, options = self.run, self.options
        for module in self.model.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.to(memory_format=torch.channels_last)
        load = self._batches("train")
        if not run.finished("start"):
            if options.start == "linear":
                crops = torch.cat([self._batches("start")(i) for i in range(16)])
                linear_start(self.model, crops, options.lambda_a)
            run.finish("start")
        named = dict(self.model.named_parameters())
        quantiles = [p for name, p in named.items() if name.endswith("quantiles")]
        rest = [p for name, p in named.items() if not name.endswith("quantiles")]
        optimizer = torch.optim.Adam(rest, options.lr)
        auxiliary = torch.optim.Adam(quantiles, 1e-3)
        self.model.train()
        for step, x in run.steps("train", options.total_iter, load, optimizer=optimizer, auxiliary=auxiliary):
            q = torch.from_numpy(run.rng("q", step).uniform(0, options.levels - 1, len(x))).float()
            with run.autocast():
                out = self.model(x.contiguous(memory_format=torch.channels_last), q)
            bpp = out.bits / x[0, 0].numel()
            mse = (out.x_hat - x).square().mean((1, 2, 3)) / 4
            weight = self._weight(q)
            loss = ((150 * mse + weight * bpp) / weight**options.balance).mean()
            for group in optimizer.param_groups:
                group["lr"] = options.lr * _schedule(step, options)
            optimizer.zero_grad()
            run.backward(loss)
            norm = run.clip_gradients(rest, 1.0)
            optimizer.step()
            auxiliary.zero_grad()
            aux = self.model.aux_loss()
            aux.backward()  # type: ignore[no-untyped-call]
            auxiliary.step()
            if run.wants_log:
                run.log(loss=float(loss.detach()), aux=float(aux.detach()), norm=norm)
                for level in range(options.levels):
                    near = (q - level).abs() <= 0.5
                    if near.any():
                        rounded = out.rounded_bits[near].mean() / x[0, 0].numel()
                        psnr = -10 * mse[near].detach().log10().mean()
                        run.log(**{f"bpp_{level}": float(rounded), f"psnr_{level}": float(psnr)})

    def _weight(self, q: Tensor) -> Tensor:
        table = torch.tensor(self.options.lambda_a).log()
        left = q.floor().long().clamp(max=len(table) - 2)
        return (table[left] + (q - left) * (table[left + 1] - table[left])).exp()

    def _batches(self, key: str) -> Callable[[int], Tensor]:
        options, size = self.options, self.options.batch_size
        per_epoch = len(self.train_data) // size

        def load(step: int) -> Tensor:
            epoch, position = divmod(step, per_epoch)
            order = self.run.rng(key, "order", epoch).permutation(len(self.train_data))
            return torch.stack(
                [
                    draw(
                        self.train_data[int(order[position * size + i])].x,
                        options.image_size,
                        options.smallest_scale,
                        self.run.rng(key, "picture", step, i),
                    )
                    for i in range(size)
                ]
            )

        return load

    @torch.no_grad()
    def export(self) -> Checkpoint:
        """Weights."""
        tensors = {name: value.detach().cpu().float().numpy() for name, value in self.model.state_dict().items()}
        training: dict[str, Any] = {"options": self.options.changed(), "seed": self.run.options.seed}
        return Checkpoint(
            tensors=tensors,
            codec="crdr",
            distribution=DISTRIBUTION,
            version=version(DISTRIBUTION),
            bitstream_version=1,
            config=self.model_options.changed(),
            training=training,
            licence="that of the training data",
        )


def _schedule(step: int, options: TrainOptions) -> float:
    """Factor of the learning rate: up linearly, then down along half a cosine."""
    up = min(1.0, (step + 1) / (options.warmup + 1))
    return up * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / options.total_iter)))
