"""Encoding with weights: a base from a background, or frames between keyframes from networks, and what that leaves.

Whatever is predicted, a block is taken only if it is smaller than the one without predictions.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from codectk.errors import CodectkError
from codectk_caesar_freq import encoding, fitted, windows
from codectk_caesar_freq.architecture import COMPRESSOR
from codectk_caesar_freq.blocks import BACKGROUND_BASE, LATENTS, Block, Method, decoded
from codectk_caesar_freq.bounds import Bound, Reached
from codectk_caesar_freq.encoding import Work, size_of, unit_of
from codectk_caesar_freq.native import Doubles
from codectk_caesar_freq.specials import Mask
from codectk_caesar_freq.weights import Learned
from codectk_caesar_freq.windows import DIRECT, METHODS, Body, Layout, Methods

MODES: dict[str, tuple[str, ...]] = {
    "diffusion": ("skip", "linear", "student", "teacher"),
    "single_step": ("skip", "linear", "student"),
}
"""What frames between keyframes are predicted by."""

FORCED_LATENTS = "latents"

MOST_PREDICTED = 1e150
"""Squares of larger values overflow."""

COUNTS = (0, 4, 16, 64, 256)
"""Numbers of components to try."""


@np.errstate(invalid="ignore")  # NaN among the special values may be signalling ones
def encode(work: Work, mode: str, layout: Layout, forced: str | None = None) -> tuple[Block, Reached]:
    """The smallest block that keeps to the bound, with the weights' help.

    Args:
        work: what to encode.
        mode: see `MODES`; with weights, backgrounds are tried in all but `transform`.
        layout: windows of frames.
        forced: predict in this way, whatever it costs: all windows, or by latents in mode `learned`.

    Raises:
        CodectkError: see `encoding.encode`.
    """
    if (mode == "transform" and forced != FORCED_LATENTS) or not _predictable(work):
        return encoding.encode(work)
    best: tuple[Block, Reached] | None = None
    if forced is None or (mode not in MODES and forced != FORCED_LATENTS):
        best = encoding.encode(work)
    for candidate in _candidates(work, mode, layout, forced):
        try:
            block = candidate()
            found = work.checked(block) if block is not None else None
        except CodectkError:  # a stream larger than its values, or a window that nothing can be predicted from
            continue
        if found and (best is None or size_of(found[0]) < size_of(best[0])):
            best = found
    return best if best is not None else encoding.encode(work)


def _predictable(work: Work) -> bool:
    valid = work.valid
    if work.bound.meaning == "relative" or not valid.size:
        return False
    return max(abs(float(valid.min())), abs(float(valid.max()))) <= MOST_PREDICTED


def needs_weights(block: Block, frames: int) -> bool:
    """Whether a block of so many frames is decoded with weights."""
    if block.method == Method.FITTED and fitted.has_contexts(block.body):
        return True
    if block.method != Method.WINDOWS:
        return bool(block.base)
    body = Body.unpack(block.body, frames, "the block")
    inner = (Block.unpack(parts, "the block") for parts in (body.kept, body.corrections) if any(parts))
    return any(method >= METHODS.index("student") for method in body.methods) or any(
        needs_weights(part, frames) for part in inner
    )


def _candidates(work: Work, mode: str, layout: Layout, forced: str | None) -> Iterator[Callable[[], Block | None]]:
    if mode in MODES and layout.count:
        yield lambda: _windows(work, MODES[mode], layout, forced)
    if work.learned is not None and _tries_latents(work.learned, mode, forced):
        yield partial(_over_latents, work, work.learned)
    if work.learned is None or forced is not None:
        return
    number = work.learned.backgrounds.best(work.x, work.special, work.place)
    if number is None:
        return
    most = len(work.learned.backgrounds.entries[number].modes)
    for count in sorted({min(count, most) for count in COUNTS}):
        yield partial(_over_background, work, work.learned, number, count)


def _tries_latents(learned: Learned, mode: str, forced: str | None) -> bool:
    return mode == "learned" and COMPRESSOR in learned.parts and forced in (None, FORCED_LATENTS)


def _over_latents(work: Work, learned: Learned) -> Block | None:
    packed, base = learned.latents.encode(fitted.filled(work.x.astype(np.float64), work.special))
    left = _correction(work, work.x.astype(np.float64) - base, work.special)
    return None if left is None else replace(left, base=bytes([LATENTS]) + packed)


def _over_background(work: Work, learned: Learned, number: int, count: int) -> Block | None:
    packed, base = learned.backgrounds.encode(number, count, work.x, work.special, work.place)
    left = _correction(work, work.x.astype(np.float64) - base, work.special)
    return None if left is None else replace(left, base=bytes([BACKGROUND_BASE]) + packed)


def _correction(work: Work, left: Doubles, special: Mask | None) -> Block | None:
    """A block of what predictions leave, whose special values are told elsewhere; None if there is no room for it."""
    greatest = float(np.abs(work.valid).max()) if work.x.dtype.kind == "f" else float(work.valid.max())
    bound = work.bound.value * (1 - 1e-9) - unit_of(work, greatest) / 2
    if not bound > 0:
        return None
    whole = left if special is None else np.where(special, 0, left)
    inner = Work(whole, special, Bound(work.bound.meaning, bound), work.plan, learned=work.learned)
    block, _ = encoding.encode(inner)
    return None if block.exact else replace(block, specials=b"")


def _windows(work: Work, ways: tuple[str, ...], layout: Layout, forced: str | None) -> Block | None:
    known = work.learned.predictor.methods if work.learned else ()
    there = [METHODS.index(way) for way in ways if way in ("skip", "linear") or way in known]
    if forced is not None:
        methods: Methods = (METHODS.index(forced),) * layout.count
    else:
        methods = tuple(_cheapest(work, window, there, layout) for window in range(layout.count))
    if all(method == DIRECT for method in methods):
        return None
    return _block(work, layout, methods)


def _cheapest(work: Work, window: int, there: list[int], layout: Layout) -> int:
    """The way to predict a window that takes the fewest bytes."""
    begin = layout.begin(window)
    frames = slice(begin, begin + layout.n_frame)
    part = replace(
        work,
        x=np.ascontiguousarray(work.x[frames]),
        special=None if work.special is None else np.ascontiguousarray(work.special[frames]),
    )
    alone = replace(layout, frames=layout.n_frame)
    sizes = {DIRECT: size_of(encoding.encode(part)[0])}
    for method in there:
        try:
            block = _block(part, alone, (method,))
        except CodectkError:
            continue
        if block is not None:
            sizes[method] = size_of(block)
    return min(sizes, key=lambda method: sizes[method])


def _block(work: Work, layout: Layout, methods: Methods) -> Block | None:
    predicted = layout.predicted(methods)
    kept_work = _some(work, ~predicted)
    kept_block = replace(encoding.encode(kept_work)[0], specials=b"")
    context = replace(kept_work.context(work.x.dtype), special=kept_work.special)
    kept = decoded(kept_block, context)
    guess = windows.prediction(layout, methods, kept, work.learned)
    rest = _some(work, predicted)
    left = _correction(rest, rest.x.astype(np.float64) - guess, rest.special)
    if left is None:
        return None
    return Block(Method.WINDOWS, Body(layout, methods, kept_block.pack(), left.pack()).pack())


def _some(work: Work, frames: Mask) -> Work:
    special = None if work.special is None else np.ascontiguousarray(work.special[frames])
    return replace(
        work, x=np.ascontiguousarray(work.x[frames]), special=special if special is not None and special.any() else None
    )
