"""The context network of the fitted wavelet: how large a quantised value will be, from the magnitudes around it.

    logarithms of 24 magnitudes around, and of the means of rows ─ 16 hidden units ─ level ─> adaptive chances
                                                                                     └ which begin as they were trained

Everything is integers (`native/context.h` does the arithmetic), so that encoder and decoder agree on every machine.
Each kind of pass has weights of its own. A small relative of the hyperpriors of learned image codecs (Ballé et al.,
2018): it chooses tables, and no weights can break a bound.
"""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from codectk.checkpoint import Checkpoint
from codectk.errors import WeightsError
from codectk_caesar_freq.architecture import CONTEXTS, parts_of
from codectk_caesar_freq.native import FEATURES, ContextWeights, Doubles

KINDS, HIDDEN, MODELS, LEVELS, UNARY, PER_LEVEL, SIGN_CONTEXTS = 27, 16, 7, 48, 14, 18, 9
"""As in context.h and symbols.h."""

MOST_LOG, LOG_ONE = 24576, 2048
"""The largest logarithm, and what stands for an octave."""

LEVEL_ONE = 32
"""What stands for a level in the network's output."""

MOST_SCALE = 2048
"""The largest number that stands for an octave in a hidden unit."""

AT_ONCE = 1 << 17

MODEL_OF_KIND = tuple(6 if kind < 9 else (3 if kind < 18 else 0) + kind // 3 % 3 for kind in range(KINDS))
SHIFTS = tuple(max(level // 3 - 4, 0) for level in range(LEVELS))
"""Low bits that are set apart at a level."""

LEAST_CHANCE, MOST_SEEN = 32, 126

_TYPES = {
    "inner": (np.int16, (KINDS, FEATURES + 1, HIDDEN)),
    "outer": (np.int16, (KINDS, HIDDEN)),
    "offset": (np.int16, (KINDS,)),
    "starts": (np.uint16, (MODELS, LEVELS, PER_LEVEL)),
    "signs": (np.uint16, (MODELS, SIGN_CONTEXTS)),
    "seen": (np.int32, (1,)),
}


@dataclass(frozen=True)
class Contexts:
    """Weights of the network and chances to begin with.

    Attributes:
        inner: int16 (KINDS, FEATURES + 1, HIDDEN), in 2^-16; of each kind of pass, the last row is added as it is.
        outer: int16 (KINDS, HIDDEN), in 2^-16.
        offset: int16 (KINDS,), levels in 1/LEVEL_ONE, as is the output.
        starts: uint16 (MODELS, LEVELS, PER_LEVEL), chances of a 1 in 1/65536.
        signs: uint16 (MODELS, SIGN_CONTEXTS), chances of a minus.
        seen: int32 (1,), how many decisions those chances count for.

    Raises:
        WeightsError: types or shapes are others, or numbers out of their range.
    """

    inner: NDArray[np.int16]
    outer: NDArray[np.int16]
    offset: NDArray[np.int16]
    starts: NDArray[np.uint16]
    signs: NDArray[np.uint16]
    seen: NDArray[np.int32]

    def __post_init__(self) -> None:
        for name, (dtype, shape) in _TYPES.items():
            tensor = getattr(self, name)
            if tensor.dtype != dtype or tensor.shape != shape:
                raise _damaged(f"{name} is {tensor.dtype} {tensor.shape}")
            object.__setattr__(self, name, np.ascontiguousarray(tensor))  # its address goes to the compiled part
        if max(reach(self.inner, self.outer, self.offset)) > np.iinfo(np.int16).max:
            raise _damaged("its sums leave 16 bits")
        if not 0 <= int(self.seen[0]) <= MOST_SEEN:
            raise _damaged(f"seen is {int(self.seen[0])}")

    @cached_property
    def native(self) -> ContextWeights:
        """For the compiled part; valid as long as this object."""
        names = ("inner", "outer", "offset", "starts", "signs")
        return ContextWeights(*(getattr(self, name).ctypes.data for name in names), int(self.seen[0]))

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> "Contexts | None":
        """From weights with that part; None from weights without.

        Raises:
            WeightsError: the part is damaged.
        """
        if CONTEXTS not in parts_of(checkpoint):
            return None
        found = {name: checkpoint.tensors.get(f"{CONTEXTS}.{name}") for name in _TYPES}
        absent = next((name for name, tensor in found.items() if tensor is None), None)
        if absent is not None:
            raise _damaged(f"there is no {absent}")
        return cls(**found)  # type: ignore[arg-type]

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """The tensors of a weights file."""
        return {f"{CONTEXTS}.{field.name}": getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Network:
    """The network alone; attributes as in `Contexts`."""

    inner: NDArray[np.int16]
    outer: NDArray[np.int16]
    offset: NDArray[np.int16]

    def levels(self, features: NDArray[np.int16], kinds: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The levels that the compiled part chooses.

        Args:
            features: (N, FEATURES), see `native.context_examples`.
            kinds: (N,).
        """
        levels = np.empty(len(kinds), np.int64)
        for kind in np.unique(kinds):
            (places,) = np.nonzero(kinds == kind)
            for part in np.array_split(places, len(places) // AT_ONCE + 1):
                x = features[part].astype(np.int32)
                hidden = np.repeat(self.inner[kind, -1:].astype(np.int32), len(part), axis=0)
                for i in range(FEATURES):
                    hidden += (x[:, i : i + 1] * self.inner[kind, i].astype(np.int32)) >> 16
                products = (np.maximum(hidden, 0) * self.outer[kind].astype(np.int32)) >> 16
                levels[part] = (products.sum(axis=1) + self.offset[kind]) // LEVEL_ONE
        clipped: NDArray[np.int64] = levels.clip(0, LEVELS - 1)
        return clipped


def as_integers(inner: Doubles, bias: Doubles, outer: Doubles, offset: Doubles) -> Network:
    """A network of floating-point weights in integers of 16 bits.

    Args:
        inner: (KINDS, HIDDEN, FEATURES), octaves per octave.
        bias: (KINDS, HIDDEN), octaves.
        outer: (KINDS, HIDDEN), levels per octave.
        offset: (KINDS,), levels.
    """
    # Each hidden unit has its own scale, the largest at which neither it nor its weights leave 16 bits.
    most = np.iinfo(np.int16).max - 2 * FEATURES
    octaves = np.abs(inner).sum(axis=2) * MOST_LOG / LOG_ONE + np.abs(bias)
    scale = np.minimum(most / np.maximum(octaves, 1e-9), MOST_SCALE)
    scale = np.minimum(scale, most / np.maximum(65536 / LOG_ONE * np.abs(inner).max(axis=2), 1e-9))
    first = np.rint(65536 / LOG_ONE * scale[:, None] * inner.transpose(0, 2, 1))
    # Products lose half a unit each, and levels half a level, since both are rounded down.
    last = np.rint(scale * bias + FEATURES / 2)
    second = np.rint(outer * LEVEL_ONE * 65536 / scale).clip(-most, most)
    third = np.rint((offset + 0.5) * LEVEL_ONE + HIDDEN / 2).clip(-most, most)
    whole = np.concatenate([first, last[:, None]], axis=1)
    return Network(whole.astype(np.int16), second.astype(np.int16), third.astype(np.int16))


def starts_of(levels: NDArray[np.int64], kinds: NDArray[np.uint8], magnitudes: NDArray[np.int32]) -> NDArray[np.uint16]:
    """Chances of all decisions by how they came out: (MODELS, LEVELS, PER_LEVEL), in 1/65536.

    Args:
        levels, kinds, magnitudes: of examples, (N,).
    """
    yes, all_ = np.full((MODELS, LEVELS, PER_LEVEL), 0.4), np.full((MODELS, LEVELS, PER_LEVEL), 0.8)
    models, shifts = np.array(MODEL_OF_KIND)[kinds], np.array(SHIFTS)[levels]
    high = magnitudes >> shifts
    for digit in range(UNARY):
        there = high >= digit
        np.add.at(all_[..., digit], (models[there], levels[there]), 1)
        np.add.at(yes[..., digit], (models[there], levels[there]), high[there] > digit)
    there = shifts > 0
    where = models[there], levels[there], UNARY + np.minimum(high[there], PER_LEVEL - UNARY - 1)
    np.add.at(all_, where, 1)
    np.add.at(yes, where, magnitudes[there] >> (shifts[there] - 1) & 1)
    chances = np.rint(65536 * yes / all_).clip(LEAST_CHANCE, 65536 - LEAST_CHANCE)
    made: NDArray[np.uint16] = chances.astype(np.uint16)
    return made


def reach(inner: NDArray[np.int16], outer: NDArray[np.int16], offset: NDArray[np.int16]) -> tuple[int, int]:
    """How far from 0 hidden units and outputs may get, whatever the magnitudes are."""
    weights = np.abs(inner.astype(np.int64))
    hidden = ((weights[:, :-1] * MOST_LOG >> 16) + 1).sum(axis=1) + weights[:, -1]
    output = ((np.abs(outer.astype(np.int64)) * hidden >> 16) + 1).sum(axis=1) + np.abs(offset.astype(np.int64))
    return int(hidden.max()), int(output.max())


def _damaged(reason: str) -> WeightsError:
    return WeightsError(f"The weights' part {CONTEXTS} is damaged: {reason}.", "Train it again.")
