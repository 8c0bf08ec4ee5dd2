"""Trainer of backgrounds: the mean and the principal components of each variable on its grid.

fields ─ the first 80 % of the frames ─ mean, principal components ─> weights
       └ the last 20 %: how much of their variance about their own mean is left
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import missing
from codectk.checkpoint import Checkpoint
from codectk.errors import InputError
from codectk.train import Run
from codectk_caesar_freq.architecture import BACKGROUND, BackgroundConfig, config_of
from codectk_caesar_freq.background import Background, Backgrounds, fit, tensors_of
from codectk_caesar_freq.learned.data import Source, read_sources, split
from codectk_caesar_freq.learned.parts import make_checkpoint
from codectk_caesar_freq.train_options import BackgroundOptions

MOST_FRAMES = 1024
"""Frames that components are computed from; of more, every second or third."""


class BackgroundTrainer:
    """Trainer of backgrounds.

    Args:
        options: which data, how many components.
        run: log and saved states.

    Raises:
        InputError: data are missing or damaged.
    """

    def __init__(self, options: BackgroundOptions, run: Run) -> None:
        self.options, self.run = options, run
        sources = read_sources(Path(options.train_data), options)
        if options.val_data is None:
            pairs = [split(source) for source in sources]
            self.train_sources, self.val_sources = [a for a, _ in pairs], [b for _, b in pairs]
        else:
            self.train_sources, self.val_sources = sources, read_sources(Path(options.val_data), options)
        self.found = Backgrounds(())

    def describe(self) -> Iterator[str]:
        """What would be trained, for `--dry-run`."""
        for source in self.train_sources:
            yield f"{source.name}: {len(source.frames)} frames of {source.frames.shape[1:]}"

    def train(self) -> None:
        """All variables, one after the other: the result is exact, there is nothing to go on with."""
        found, left = [], {}
        by_place = list(zip(self.train_sources, self.val_sources, strict=False))
        for i, (source, held_out) in enumerate(by_place):
            entry = fit(_frames(source), self.options.modes)
            share = _left(entry, held_out)
            left[f"{i} {source.name}"] = share
            if share <= self.options.max_left:
                found.append(entry)
        if not found:
            raise InputError(
                "No variable looks like its past: nothing is worth keeping.", "Raise --max-left, or name other data."
            )
        self.found = Backgrounds(tuple(found))
        self.run.results = {"left of the variance": left}

    def export(self) -> Checkpoint:
        """The weights."""
        config = BackgroundConfig(count=len(self.found.entries))
        record = {
            "sources": [source.name for source in self.train_sources],
            "modes": self.options.modes,
            "results": self.run.results,
        }
        return make_checkpoint(tensors_of(self.found), config_of(None, None, **{BACKGROUND: config}), record)


def _left(entry: Background, source: Source) -> float:
    """What a background leaves of other frames' variance about their mean; 1 where there are none on its grid."""
    if source.frames.shape[1:] != entry.mean.shape or not len(source.frames):
        return 1.0
    x = _frames(source)
    q, step = entry.coefficients(x, None, len(entry.modes))
    return float(np.square(x - entry.base(q, step)).mean() / max(np.var(x), 1e-300))


def _frames(source: Source) -> NDArray[np.float64]:
    """Frames with the mean in place of missing values, float64."""
    chosen = source.frames[:: len(source.frames) // MOST_FRAMES + 1]
    x, absent = chosen.astype(np.float64), missing(np.asarray(chosen), source.fill)
    x[absent] = x[~absent].mean() if not absent.all() else 0
    return x
