"""Batches of labelled pictures; what they hold depends on the step alone.

source ─ order of the epoch ─ reader: one file ─ stacked ─ finish, in the loader's thread
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codectk.errors import CodectkError, InputError
from codectk.loading import ahead
from codectk.train import Run
from codectk_dct_backbones.data.pixels import decode, middle, train_picture
from codectk_dct_backbones.data.source import Source, balanced, fingerprint
from codectk_dct_backbones.plan import Augmentation

Arrays = tuple[NDArray[Any], ...]
Tensors = tuple[Tensor, ...]
Finish = Callable[[Tensors], Tensors]

SIDES_EVERY = 10
"""Steps between two draws of the side of training pictures."""


class Batch(NamedTuple):
    """Some pictures.

    Attributes:
        x: pixels, or Y, Cb and Cr.
        labels: [B], int64.
    """

    x: Tensors
    labels: Tensor


class Reader(Protocol):
    """Makes arrays of a file's content; raises InputError where it cannot be used."""

    def train(self, data: bytes, name: str, side: int, rng: np.random.Generator) -> Arrays:
        """A random part, changed at random."""
        ...

    def middle(self, data: bytes, name: str) -> Arrays:
        """What is evaluated."""
        ...


class PixelReader:
    """Decodes files.

    Args:
        size: side of what is evaluated.
        resize: see `pixels.middle`.
        augmentation: of training pictures.
    """

    def __init__(self, size: int, resize: int, augmentation: Augmentation) -> None:
        self.size, self.resize, self.augmentation = size, resize, augmentation

    def train(self, data: bytes, name: str, side: int, rng: np.random.Generator) -> Arrays:
        """(3, side, side) uint8; see `Reader`."""
        return (train_picture(decode(data, name), side, self.augmentation, rng),)

    def middle(self, data: bytes, name: str) -> Arrays:
        """(3, size, size) uint8; see `Reader`."""
        return (middle(decode(data, name), self.size, self.resize),)


class Files:
    """The files of a source, of which those that cannot be used are named once and left out.

    Args:
        source: files and labels.
        run: is told of what is left out.

    Attributes:
        skipped: how many were left out so far.
    """

    def __init__(self, source: Source, run: Run) -> None:
        self.source, self.run = source, run
        self._unusable: set[int] = set()
        self._lock = Lock()  # files are read by several loader threads

    def __len__(self) -> int:
        """Number of files, with those that cannot be used."""
        return len(self.source.labels)

    @property
    def skipped(self) -> int:
        """Files that could not be used so far."""
        return len(self._unusable)

    def read(self, i: int, make: Callable[[bytes, str], Arrays]) -> Arrays | None:
        """What is made of file i; None if it cannot be used."""
        if i in self._unusable:
            return None
        name = self.source.name(i)
        try:
            return make(self.source.read(i), name)
        except CodectkError as error:
            with self._lock:
                news = i not in self._unusable
                self._unusable.add(i)
            if news:
                self.run.message(f"skipped ({self.skipped}): {error.problem}")
            return None

    def read_or_next(self, i: int, make: Callable[[bytes, str], Arrays]) -> tuple[int, Arrays]:
        """What is made of file i, or of the next that can be used, and which that is.

        Raises:
            InputError: none can be used.
        """
        for offset in range(len(self)):
            j = (i + offset) % len(self)
            made = self.read(j, make)
            if made is not None:
                return j, made
        raise InputError(f"None of {len(self)} files can be used.", "The messages above say why.")


class Batches:
    """Training and evaluation batches of a run.

    Args:
        train: files to learn from.
        val: files to evaluate on.
        run: random numbers, processes and messages.
        reader: makes arrays of them.
        batch_size: over all processes.
        sides: of training pictures; one is drawn for every ten steps.
        most: how many files of each to use; None for all.
        finish: what happens to a batch's arrays in the loader's thread.

    Raises:
        InputError: there are too few files for one batch.
        OptionsError: the batch cannot be divided among the processes.
    """

    def __init__(
        self,
        train: Source,
        val: Source,
        run: Run,
        reader: Reader,
        batch_size: int,
        sides: Sequence[int],
        most: tuple[int | None, int | None] = (None, None),
        finish: Finish = lambda x: x,
    ) -> None:
        self.run, self.reader, self.batch_size, self.sides, self.finish = run, reader, batch_size, sides, finish
        chosen = [
            source.take(balanced(source.labels, count, run.rng("balanced", i)))
            for i, (source, count) in enumerate(zip((train, val), most, strict=True))
        ]
        self.train, self.val = (Files(source, run) for source in chosen)
        self.fingerprint = fingerprint(*chosen)
        self.share = run.share(batch_size)
        if len(self.train) < batch_size:
            raise InputError(
                f"{len(self.train)} pictures do not fill a batch of {batch_size}.",
                "Add pictures or lower --batch-size.",
            )
        self.per_epoch = len(self.train) // batch_size
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def _draw_order(self, epoch: int) -> NDArray[np.int64]:
        return self.run.rng("order", epoch).permutation(len(self.train))

    def load(self, step: int) -> Batch:
        """This process's part of a training batch; an epoch's last pictures, which fill no batch, are left out."""
        epoch, position = divmod(step, self.per_epoch)
        order, run = self._order(epoch), self.run
        side = int(run.rng("side", step // SIDES_EVERY).choice(self.sides))
        made = []
        for k in self.share:
            rng = run.rng("picture", step, k)

            def make(data: bytes, name: str, rng: np.random.Generator = rng) -> Arrays:
                return self.reader.train(data, name, side, rng)

            made.append(self.train.read_or_next(int(order[position * self.batch_size + k]), make))
        return self._stacked([arrays for _, arrays in made], self.train.source.labels[[i for i, _ in made]])

    def evaluation(self) -> Iterator[Batch]:
        """This process's part of all evaluation files, each once, without those that cannot be used."""
        mine = range(self.run.rank, len(self.val), self.run.world_size)
        size = len(self.share)
        for batch in ahead(
            lambda step: self._evaluated(mine[step * size : (step + 1) * size]),
            range(-(-len(mine) // size)),
            self.run.options.workers,
        ):
            if len(batch.labels):
                yield batch

    def _evaluated(self, which: Sequence[int]) -> Batch:
        read = [(i, self.val.read(i, self.reader.middle)) for i in which]
        good = [(i, arrays) for i, arrays in read if arrays is not None]
        if not good:
            return Batch((), torch.zeros(0, dtype=torch.int64))
        return self._stacked([arrays for _, arrays in good], self.val.source.labels[[i for i, _ in good]])

    def _stacked(self, arrays: Sequence[Arrays], labels: NDArray[np.int64]) -> Batch:
        x = tuple(torch.from_numpy(np.stack(parts)) for parts in zip(*arrays, strict=True))
        return Batch(self.finish(x), torch.from_numpy(labels))

    def state_dict(self) -> dict[str, str]:
        """Which files these are."""
        return {"fingerprint": self.fingerprint}

    def load_state_dict(self, state: dict[str, str]) -> None:
        """Compare with the run's.

        Raises:
            ValueError: the run began with other files.
        """
        if state["fingerprint"] != self.fingerprint:
            raise ValueError("its pictures are not those that the run began with")
