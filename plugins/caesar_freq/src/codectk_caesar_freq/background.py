"""What a variable usually looks like on its grid, learned from its past: a mean and principal components.

    frames ─ - mean ─ coefficients of the components ─ rounded ─┬─ stream
                                                                └─ mean + components ─> base;  x - base is coded

Empirical orthogonal functions, Lorenz 1956. A base is made of integers, products and one addition: the same everywhere.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codectk.checkpoint import Checkpoint
from codectk.container import Reader, varint
from codectk.errors import ContainerError, WeightsError
from codectk_caesar_freq import native
from codectk_caesar_freq.architecture import BACKGROUND, BackgroundConfig, parts_of
from codectk_caesar_freq.native import Array, Doubles, Integers
from codectk_caesar_freq.specials import Mask

MOST_MODES = 256
COEFFICIENT_STEPS = 1 << 14
WORTH = 0.9
"""A background is tried where what it leaves has at most this part of the values' own variance."""

Place = tuple[int, int, int, int]
"""Where a block lies: first row and column, and the height and width of the whole field."""


@dataclass(frozen=True)
class Background:
    """One variable on one grid.

    Attributes:
        mean: float32 (H, W).
        modes: int16 (K, H, W), components in the order of their variance.
        unit: what 1 in modes is, for a coefficient of 1.
    """

    mean: NDArray[np.float32]
    modes: NDArray[np.int16]
    unit: float

    def part(self, place: Place, shape: native.Shape) -> "Background":
        """The part under a block."""
        rows, columns = slice(place[0], place[0] + shape[1]), slice(place[1], place[1] + shape[2])
        return Background(self.mean[rows, columns], self.modes[:, rows, columns], self.unit)

    def coefficients(self, x: Array, special: Mask | None, count: int) -> tuple[Integers, float]:
        """Those that fit frames (T, H, W) best, int32 (T, count), and their step."""
        difference = x.astype(np.float64) - self.mean
        if special is not None:
            difference[special] = 0
        modes = self.modes[:count].reshape(count, self.mean.size).astype(np.float64)
        if not count:
            return np.zeros((len(x), 0), np.int32), 1.0
        gram = modes @ modes.T + 1e-9 * np.eye(count)
        found = np.linalg.solve(gram, modes @ difference.reshape(len(x), -1).T).T / self.unit
        step = float(np.abs(found).max()) / COEFFICIENT_STEPS or 1.0
        return np.rint(found / step).astype(np.int32), step

    def base(self, q: Integers, step: float) -> Doubles:
        """The base of frames whose coefficients are given, float64 (T, H, W)."""
        count = q.shape[1]
        modes = self.modes[:count].reshape(count, self.mean.size).astype(np.float64)
        # Below 2^53, so that the order of the sum does not matter: 256 components of 15 bits times 31 bits.
        sums = q.astype(np.float64) @ modes
        sums *= step * self.unit
        return sums.reshape(len(q), *self.mean.shape) + self.mean


class Backgrounds:
    """All of a weights file."""

    def __init__(self, entries: tuple[Background, ...]) -> None:
        self.entries = entries

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> "Backgrounds":
        """From weights with that part; none from weights without.

        Raises:
            WeightsError: the part is damaged.
        """
        config = parts_of(checkpoint).get(BACKGROUND)
        count = config.count if isinstance(config, BackgroundConfig) else 0
        return cls(tuple(_entry(checkpoint, i) for i in range(count)))

    def best(self, x: Array, special: Mask | None, place: Place) -> int | None:
        """The number of the background that leaves least of a block, if any is worth it."""
        shape = (x.shape[0], x.shape[1], x.shape[2])
        there = [(i, entry) for i, entry in enumerate(self.entries) if entry.mean.shape == place[2:]]
        if not there:
            return None
        left = {}
        usual = _variance(x - _mean(x, special), special)
        for i, entry in there:
            part = entry.part(place, shape)
            q, step = part.coefficients(x, special, len(part.modes))
            left[i] = _variance(x - part.base(q, step), special)
        found = min(left, key=lambda i: left[i], default=None)
        return found if found is not None and left[found] < WORTH * usual else None

    def encode(self, number: int, count: int, x: Array, special: Mask | None, place: Place) -> tuple[bytes, Doubles]:
        """Bytes that stand for a base with so many components, and the base."""
        part = self.entries[number].part(place, (x.shape[0], x.shape[1], x.shape[2]))
        q, step = part.coefficients(x, special, count)
        stream = native.encode_planes(q.reshape(1, len(x), count), boxes=[_box(len(x), count)]) if count else b""
        return varint(number) + varint(count) + struct.pack("<d", step) + stream, part.base(q, step)

    def decode(self, data: bytes, shape: native.Shape, place: Place, source: str) -> Doubles:
        """The base that bytes stand for.

        Raises:
            ContainerError: they do not fit these weights and this field.
        """
        reader = Reader(data, 0, len(data), source)
        number, count = reader.varint(1 << 16), reader.varint(MOST_MODES)
        (step,) = struct.unpack("<d", reader.bytes(8))
        good = number < len(self.entries) and self.entries[number].mean.shape == place[2:]
        if not good or count > len(self.entries[number].modes) or not np.isfinite(step):
            raise ContainerError(
                f"{source} needs a background that the weights lack.", "Name the weights it was made with."
            )
        part = self.entries[number].part(place, shape)
        q = np.zeros((shape[0], 0), np.int32)
        if count:
            stream = reader.bytes(len(data) - reader.at)
            q = native.decode_planes(stream, (1, shape[0], count), boxes=[_box(shape[0], count)]).reshape(
                shape[0], count
            )
        return part.base(q, step)


def fit(frames: Array, count: int) -> Background:
    """The background of frames (T, H, W), float64; missing values filled in before.

    Args:
        frames: at least one.
        count: of components, at most; there are fewer than frames.
    """
    mean = frames.mean(axis=0).astype(np.float32)
    left = (frames - mean).reshape(len(frames), -1)
    values, vectors = np.linalg.eigh(left @ left.T)
    kept = [i for i in np.argsort(-values)[:count] if values[i] > 1e-12 * max(values.max(), 1e-300)][: len(frames) - 1]
    modes = (vectors[:, kept].T @ left) / np.sqrt(values[kept])[:, None] if kept else np.zeros((0, left.shape[1]))
    unit = float(np.abs(modes).max()) / np.iinfo(np.int16).max if kept else 1.0
    return Background(mean, np.rint(modes / unit).astype(np.int16).reshape(len(kept), *mean.shape), unit)


def tensors_of(backgrounds: Backgrounds) -> dict[str, NDArray[Any]]:
    """The tensors of a weights file."""
    found: dict[str, NDArray[Any]] = {}
    for i, entry in enumerate(backgrounds.entries):
        parts: dict[str, NDArray[Any]] = {"mean": entry.mean, "modes": entry.modes, "unit": np.array([entry.unit])}
        found |= {f"{BACKGROUND}.{i}.{name}": tensor for name, tensor in parts.items()}
    return found


def _entry(checkpoint: Checkpoint, i: int) -> Background:
    mean, modes, unit = (checkpoint.tensors.get(f"{BACKGROUND}.{i}.{name}") for name in ("mean", "modes", "unit"))
    good = (
        mean is not None
        and modes is not None
        and unit is not None
        and [t.dtype.name for t in (mean, modes, unit)] == ["float32", "int16", "float64"]
        and mean.ndim == 2
        and mean.size > 0
        and modes.shape[1:] == mean.shape
        and len(modes) <= MOST_MODES
        and unit.shape == (1,)
    )
    if not good:
        raise WeightsError(f"The weights' background {i} is missing or damaged.", "Train it again.")
    return Background(mean, modes, float(unit[0]))  # type: ignore[arg-type, index]


def _mean(x: Array, special: Mask | None) -> float:
    return float((x if special is None else x[~special]).astype(np.float64).mean())


def _variance(x: Doubles, special: Mask | None) -> float:
    return float(np.square(x if special is None else x[~special]).mean())


def _box(frames: int, count: int) -> native.Box:
    return (0, 0, 0), (1, frames, count), (-1, -1, -1)
