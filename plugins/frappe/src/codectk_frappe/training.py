"""What both modes of training share: pictures, batches, the update and the checkpoint."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codectk.arrays import Array
from codectk.checkpoint import Checkpoint
from codectk.dataset import Dataset, Sample, find_data, fingerprint
from codectk.errors import InputError, OptionsError
from codectk.train import Run
from codectk_frappe.augment import crop_size, draw
from codectk_frappe.model import Encoders
from codectk_frappe.optimizer import Adan
from codectk_frappe.options import ModelOptions, TrainOptions

DISTRIBUTION = "codectk-frappe"


class First:
    """The first samples of a dataset."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        self.dataset, self.count = dataset, count

    def __len__(self) -> int:
        """Number of samples."""
        return self.count

    def __getitem__(self, i: int) -> Sample:
        """Sample i, 0 <= i < len."""
        if not 0 <= i < self.count:
            raise IndexError(f"There are {self.count} samples, so none is number {i}.")
        return self.dataset[i]


class PictureTrainer:
    """Base of the trainers.

    Args:
        options: architecture and schedule.
        run: device, log and saved states.

    Raises:
        InputError: the data holds too few pictures.
        OptionsError: the batch cannot be divided among the processes, or more pictures are asked for than there are.
    """

    def __init__(self, options: TrainOptions, run: Run) -> None:
        self.options, self.run = options, run
        self.model_options = options.architecture()
        self.shares = run.share(options.batch_size)
        self.skipped = 0
        self.train_data, self.val_data = find_data(options.data, options.val_data, ("image/rgb8",), self._skip)
        if self.skipped:
            left = (len(self.train_data), len(self.val_data))
            run.message(
                f"{self.skipped} of {self.skipped + sum(left)} pictures skipped; {left[0]} are left to train on and "
                f"{left[1]} to validate on"
            )
        self.fingerprint = f"{fingerprint(self.train_data)} {fingerprint(self.val_data)}"
        if options.dataset_samples is not None:
            self.train_data = self._first(options.dataset_samples)
        if len(self.train_data) < options.batch_size:
            raise InputError(
                f"{len(self.train_data)} pictures do not fill a batch of {options.batch_size}.",
                "Add pictures or lower --batch-size.",
            )
        self.encoders = Encoders(self.model_options).to(run.device)

    def _skip(self, reason: str) -> None:
        """Count and tell a picture that cannot be used; large folders are read only while the training runs."""
        self.skipped += 1
        self.run.message(f"skipped ({self.skipped}): {reason}")

    def _first(self, count: int) -> Dataset:
        if count > len(self.train_data):
            raise OptionsError(
                f"dataset_samples is {count}, but there are only {len(self.train_data)} pictures to train on.",
                f"Choose --dataset-samples from 1 to {len(self.train_data)}, or leave it out.",
            )
        return First(self.train_data, count)

    @property
    def _steps_per_epoch(self) -> int:
        return len(self.train_data) // self.options.batch_size

    def _batches(self, *key: int | str) -> Callable[[int], Tensor]:
        """step → this process's part of the batch, (B, 3, h, w) in [-1, 1]; other keys give other crops."""
        per_epoch, size = self._steps_per_epoch, self.options.batch_size

        def load(step: int) -> Tensor:
            epoch, position = divmod(step, per_epoch)
            order = self.run.rng(*key, "order", epoch).permutation(len(self.train_data))
            crop = crop_size(self.options, self.run.rng(*key, "crop", step))
            pictures = [
                draw(
                    self.train_data,
                    int(order[position * size + i]),
                    crop,
                    self.options,
                    self.run.rng(*key, "picture", step, i),
                )
                for i in self.shares
            ]
            return torch.from_numpy(np.stack(pictures))

        return load

    def _update(self, optimizer: Adan, loss: Tensor, rate: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        optimizer.zero_grad()
        self.run.backward(loss)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.run.clip_gradients(parameters, self.options.grad_clip)
        optimizer.step()

    def _checkpoint(
        self, tensors: Mapping[str, Array], record: Mapping[str, Any], architecture: ModelOptions | None = None
    ) -> Checkpoint:
        return Checkpoint(
            tensors=tensors,
            codec="frappe",
            distribution=DISTRIBUTION,
            version=version(DISTRIBUTION),
            bitstream_version=1,
            config=(architecture or self.model_options).changed(),
            training={"options": self.options.changed(), "seed": self.run.options.seed, **record},
            licence="that of the training data",
        )
