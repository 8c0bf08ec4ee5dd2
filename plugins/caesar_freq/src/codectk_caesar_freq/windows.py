"""Blocks whose frames between keyframes are predicted, and corrected within the bound.

    T ─ windows of n_frame frames that share their first and last ─ per window the cheapest of
        direct, skip (the keyframe before), linear (in time), student (one step), teacher (diffusion)
    kept frames: keyframes of predicted windows, all frames of direct ones, and what is left at the end ─> a block
    other frames - prediction from decoded keyframes ─> another block

    body    u8 n_frame, u8 interpo_rate, varint windows, one byte for each; the two blocks,
            each as three varint lengths and bytes

Predictions have the same bits on every machine (see `learned.exact`), so that the bound holds wherever a file opens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codectk.container import Reader, varint
from codectk.errors import ContainerError
from codectk_caesar_freq import native
from codectk_caesar_freq.native import Array, Doubles
from codectk_caesar_freq.specials import Mask
from codectk_caesar_freq.weights import Learned

METHODS = ("direct", "skip", "linear", "student", "teacher")
DIRECT = METHODS.index("direct")

Methods = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How a block's frames fall into windows.

    Attributes:
        frames: of the block.
        n_frame: of a window, k · interpo_rate + 1.
        interpo_rate: frames from one keyframe to the next.
    """

    frames: int
    n_frame: int
    interpo_rate: int

    @property
    def count(self) -> int:
        """Whole windows."""
        return max(0, (self.frames - 1) // (self.n_frame - 1))

    def begin(self, window: int) -> int:
        """First frame of a window."""
        return window * (self.n_frame - 1)

    def keyframes(self, window: int) -> NDArray[np.int64]:
        """Keyframes of a window."""
        return self.begin(window) + np.arange(0, self.n_frame, self.interpo_rate)

    def between(self, window: int) -> NDArray[np.int64]:
        """The other frames of a window."""
        inside = np.arange(self.n_frame)
        frames: NDArray[np.int64] = self.begin(window) + inside[inside % self.interpo_rate != 0]
        return frames

    def predicted(self, methods: Methods) -> NDArray[np.bool_]:
        """Which frames are predicted."""
        frames = np.zeros(self.frames, bool)
        for window, method in enumerate(methods):
            if method != DIRECT:
                frames[self.between(window)] = True
        return frames


def prediction(layout: Layout, methods: Methods, kept: Array, learned: Learned | None) -> Doubles:
    """The predicted frames, float64, in the order of time.

    Args:
        layout: windows.
        methods: of each window.
        kept: decoded frames that are not predicted, (frames, H, W), finite.
        learned: weights; None where no method needs them.
    """
    place = np.cumsum(~layout.predicted(methods)) - 1
    parts = [np.zeros((0, *kept.shape[1:]))]
    for window, method in enumerate(methods):
        if method != DIRECT:
            keys = kept[place[layout.keyframes(window)]].astype(np.float64)
            parts.append(_window(METHODS[method], keys, layout, window, learned))
    return np.concatenate(parts)


def _window(method: str, keys: Doubles, layout: Layout, window: int, learned: Learned | None) -> Doubles:
    rate = layout.interpo_rate
    if method in ("student", "teacher"):
        if learned is None:
            raise ContainerError(
                "The frames between keyframes need weights.", "Name those that the file was made with."
            )
        return learned.predictor.predict(keys, method, layout.n_frame, rate, seed=window)  # type: ignore[arg-type]
    frames = [t for t in range(layout.n_frame) if t % rate]
    before = keys[[t // rate for t in frames]]
    if method == "skip":
        return before
    share = np.array([t % rate / rate for t in frames])[:, None, None]
    between: Doubles = before + (keys[[t // rate + 1 for t in frames]] - before) * share
    return between


@dataclass(frozen=True)
class Body:
    """The bytes of such a block.

    Attributes:
        layout, methods: see above.
        kept, corrections: heads and groups of the two blocks; no corrections where nothing is predicted.
    """

    layout: Layout
    methods: Methods
    kept: Sequence[bytes]
    corrections: Sequence[bytes]

    def pack(self) -> bytes:
        """The bytes."""
        head = bytes([self.layout.n_frame, self.layout.interpo_rate]) + varint(len(self.methods)) + bytes(self.methods)
        parts = [*self.kept, *self.corrections]
        return head + b"".join(varint(len(part)) + part for part in parts)

    @staticmethod
    def methods_of(data: bytes) -> Methods:
        """The ways of prediction in such bytes, which are whole."""
        reader = Reader(data, 2, len(data), "the block")
        return tuple(reader.bytes(reader.varint(len(data))))

    @classmethod
    def unpack(cls, data: bytes, frames: int, source: str) -> "Body":
        """What `pack` packed.

        Raises:
            ContainerError: the bytes do not hold that.
        """
        reader = Reader(data, 0, len(data), source)
        n_frame, rate = reader.byte(), reader.byte()
        if n_frame < 2 or rate < 1 or (n_frame - 1) % rate:
            raise ContainerError(f"{source} holds windows that make no sense.", "Copy or download the file again.")
        layout = Layout(frames, n_frame, rate)
        methods = tuple(reader.bytes(reader.varint(layout.count)))
        if len(methods) != layout.count or any(method >= len(METHODS) for method in methods):
            raise ContainerError(f"{source} predicts frames in an unknown way.", "Update codectk-caesar-freq.")
        parts = [reader.bytes(reader.varint(len(data))) for _ in range(2 * native.GROUPS)]
        return cls(layout, methods, parts[: native.GROUPS], parts[native.GROUPS :])


def decode(
    body: Body,
    shape: native.Shape,
    special: Mask | None,
    learned: Learned | None,
    inner: Callable[[Sequence[bytes], native.Shape, Mask | None, bool], Array],
) -> Doubles:
    """The frames of a block, float64 (T, H, W).

    Args:
        body: see there.
        shape: (T, H, W).
        special: values that nothing is coded for.
        learned: weights.
        inner: decodes a block from its parts; the last argument says whether it holds corrections.
    """
    predicted = body.layout.predicted(body.methods)
    x = np.zeros(shape)
    kept_shape = (int((~predicted).sum()), shape[1], shape[2])
    kept = inner(body.kept, kept_shape, None if special is None else special[~predicted], False)
    x[~predicted] = kept
    if predicted.any():
        rest = (int(predicted.sum()), shape[1], shape[2])
        left = inner(body.corrections, rest, None if special is None else special[predicted], True)
        x[predicted] = prediction(body.layout, body.methods, kept, learned) + left
    return x
