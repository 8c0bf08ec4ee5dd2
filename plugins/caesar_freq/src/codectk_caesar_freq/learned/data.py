"""Fields to train on, [V, S, T, H, W], and the windows that are cut out of them.

file ─ variable, section ─┬─ first 80 % of the frames: random windows, crops, flips
                          └─ last 20 %: windows one after the other, to validate on (all frames of val_data, if given)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codectk.arrays import missing
from codectk.errors import InputError
from codectk.fields import is_field, read_field
from codectk.inputs import find_inputs
from codectk.train import Run
from codectk_caesar_freq.train_options import DataOptions, PhaseOptions

RANK = 5
HELD_OUT = 0.2
LEAST_ERROR = 1e-6
"""Smallest error of keyframes in training, of the window's range."""
VALIDATION_ERROR = 1e-3

Window = NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """One variable in one section.

    Attributes:
        name: of the file.
        frames: (T, H, W), in the file's type.
        fill: what stands for missing values.
    """

    name: str
    frames: NDArray[Any]
    fill: float | None = None


class Fields:
    """The fields of a run.

    Args:
        options: where they lie, what is used of them, and the size of windows.
        run: source of randomness.
        cell: sides of crops are multiples of it.

    Attributes:
        train: sources by file.
        val: windows (T, H, W) by file, normalised.
        fingerprint: a short digest of all values.

    Raises:
        InputError: a file is missing, damaged or something else, or holds too few frames.
    """

    def __init__(self, options: PhaseOptions, run: Run, cell: int) -> None:
        self.options, self.run, self.cell = options, run, cell
        train = read_sources(Path(options.train_data), options)
        if options.val_data is None:
            pairs = [split(source) for source in train]
            train, val = [pair[0] for pair in pairs], [pair[1] for pair in pairs if len(pair[1].frames)]
        else:
            val = read_sources(Path(options.val_data), options)
        self.train = _by_file(train)
        digest = sha256()
        for source in [*train, *val]:
            digest.update(np.ascontiguousarray(source.frames).tobytes())
        self.fingerprint = digest.hexdigest()[:16]
        places = [(source, first) for source in val for first in self._firsts(len(source.frames))]
        if not places:
            raise InputError("No frames are left to validate on.", "Name others with --val-data.")
        chosen = np.linspace(0, len(places) - 1, min(len(places), options.val_windows)).round().astype(int)
        self.val = [(places[i][0].name, self._middle(*places[i])) for i in chosen]

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which about every frame and place is seen once."""
        size, n = self.options.training_size, self.options.n_frame
        shapes = [source.frames.shape for sources in self.train.values() for source in sources]
        windows: int = sum(max(1, t // n) * max(1, h * w // size**2) for t, h, w in shapes)
        return max(1, math.ceil(windows / self.options.batch_size))

    def state_dict(self) -> dict[str, str]:
        """Which fields these are."""
        return {"fingerprint": self.fingerprint}

    def load_state_dict(self, state: dict[str, str]) -> None:
        """Compare with the run's.

        Raises:
            ValueError: the run began with other fields.
        """
        if state["fingerprint"] != self.fingerprint:
            raise ValueError("its data are not those that the run began with")

    def batches(self) -> Callable[[int], Tensor]:
        """step → this process's part of the batch, (B, T, H, W), normalised; all of one file, so all of one size."""
        run, options = self.run, self.options
        share, names = run.share(options.batch_size), list(self.train)

        def load(step: int) -> Tensor:
            sources = self.train[names[int(run.rng("file", step).integers(len(names)))]]
            return torch.from_numpy(np.stack([self._draw(sources, run.rng("window", step, i)) for i in share]))

        return load

    def _side(self, length: int) -> int:
        """Of a crop of a field with such a side."""
        return min(self.options.training_size, math.ceil(length / self.cell) * self.cell)

    def _draw(self, sources: list[Source], rng: np.random.Generator) -> Window:
        source, n = sources[int(rng.integers(len(sources)))], self.options.n_frame
        frames = source.frames
        size = [self._side(side) for side in frames.shape[1:]]
        first = int(rng.integers(max(1, len(frames) - n + 1)))
        places = [int(rng.integers(max(1, side - s + 1))) for side, s in zip(frames.shape[1:], size, strict=True)]
        x = _cut(frames, first, n, places, size)
        if self.options.augment:
            axes = [axis for axis in range(3) if rng.random() < 0.5]
            x = np.flip(x, tuple(axes))
            if size[0] == size[1] and rng.random() < 0.5:
                x = x.swapaxes(1, 2)
        return normalised(x, source.fill)

    def _firsts(self, count: int) -> range:
        """First frames of windows one after the other, in so many frames."""
        return range(0, max(1, count - self.options.n_frame + 1), self.options.n_frame)

    def _middle(self, source: Source, first: int) -> Window:
        """A window from the middle of each frame."""
        size = [self._side(side) for side in source.frames.shape[1:]]
        places = [max(0, side - s) // 2 for side, s in zip(source.frames.shape[1:], size, strict=True)]
        return normalised(_cut(source.frames, first, self.options.n_frame, places, size), source.fill)


def decoded(x: Tensor, interpo_rate: int, errors: Tensor, noise: Tensor) -> Tensor:
    """Keyframes as a decoder has them: with an error.

    Args:
        x: windows (B, T, H, W).
        interpo_rate: frames from one keyframe to the next.
        errors: (B,) largest errors.
        noise: of the keyframes' shape (B, K, H, W), in [-1, 1].
    """
    return x[:, ::interpo_rate] + noise * errors.view(-1, 1, 1, 1)


def normalised(x: NDArray[Any], fill: float | None = None) -> Window:
    """A window less its mean, over its range; in double precision, so that a small range beside the mean stays.

    Args:
        x: values.
        fill: what stands for missing ones; these become the mean, as do those that are not finite.
    """
    good = ~missing(x, fill)
    if not good.any():
        return np.zeros(x.shape, np.float32)
    values = x[good].astype(np.float64)
    low, high, mean = values.min(), values.max(), values.mean()
    made: Window = ((np.where(good, x, mean) - mean) / ((high - low) or 1.0)).astype(np.float32)
    return made


def read_sources(path: Path, options: DataOptions) -> list[Source]:
    """All variables and sections of a file, or of the fields in a folder, as far as options choose them.

    Raises:
        InputError: there is no such file, it is damaged or something else, or the choice is empty.
    """
    paths = [found for found in find_inputs(path) if is_field(found)]
    if not paths:
        raise InputError(f"{path} holds no fields.", "Name a file or folder of them, such as .npz.")
    found: list[Source] = []
    for file in paths:
        field = read_field(file)
        x = field.x.reshape((1,) * (RANK - field.x.ndim) + field.x.shape)
        chosen, fill = _chosen(x, options, file), field.info.fill_value
        found += [Source(file.name, chosen[v, s], fill) for v in range(len(chosen)) for s in range(chosen.shape[1])]
    return found


def _chosen(data: NDArray[Any], options: DataOptions, path: Path) -> NDArray[Any]:
    if options.variable_idx:
        if max(options.variable_idx) >= len(data):
            raise InputError(
                f"{path} has {len(data)} variables, so none is number {max(options.variable_idx)}.",
                "Change --variable-idx; numbers begin at 0.",
            )
        data = data[list(options.variable_idx)]
    if options.section_range:
        data = data[:, slice(*options.section_range)]
    if options.frame_range:
        data = data[:, :, slice(*options.frame_range)]
    if not data.size:
        raise InputError(f"Nothing is left of {path}.", "Change --section-range or --frame-range.")
    return data


def split(source: Source) -> tuple[Source, Source]:
    """The frames to train on, and the last ones to validate on."""
    count = len(source.frames)
    kept = count - math.ceil(count * HELD_OUT) if count > 1 else count
    parts = (source.frames[:kept], source.frames[kept:])
    return Source(source.name, parts[0], source.fill), Source(source.name, parts[1], source.fill)


def _by_file(sources: list[Source]) -> dict[str, list[Source]]:
    found: dict[str, list[Source]] = {}
    for source in sources:
        found.setdefault(f"{source.name} {source.frames.shape[1:]}", []).append(source)
    return found


def _cut(frames: NDArray[Any], first: int, n: int, places: list[int], size: list[int]) -> NDArray[Any]:
    """A window; frames and rows that are not there are mirrored."""
    part = frames[first : first + n, places[0] : places[0] + size[0], places[1] : places[1] + size[1]]
    return np.pad(part, [(0, want - have) for want, have in zip((n, *size), part.shape, strict=True)], mode="symmetric")
