"""Guaranteed correction of residuals in 8×8 patches, for the bound on the root mean square error of every patch.

    x - x_hat ─ patches over the bound ─ principal components ─ fewest coefficients that meet the bound ─ contexts

As in the GAE of CAESAR: coefficients are quantised in steps of twice the bound, so that keeping all of them meets it.
Other than there, the greatest coefficients are coded in the order of the components by adaptive contexts, the basis is
16-bit integers, and where few patches need a correction it is the cosine basis, which takes no bytes.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codectk.container import Reader, varint
from codectk.errors import ContainerError
from codectk_caesar_freq import native
from codectk_caesar_freq.native import Array, Doubles, Integers
from codectk_caesar_freq.specials import Mask

SIDE = 8
BASIS_ONE = 1 << 14
FITTED_FROM = 1000
"""Patches from which a basis of their own is worth its 8 KiB."""

STEP = 2.0
"""Of coefficients, over the bound: rounded to it, all of them leave just the bound."""

MOST_Q = float(1 << 30)
MARGIN = 1 - 1e-9


@dataclass(frozen=True)
class Correction:
    """What to add to a block.

    Attributes:
        chosen: bool (patches,), in the order of `patches`.
        basis: int16 (area, area), rows are components in 1/BASIS_ONE; None for the cosine basis.
        q: int32 (chosen, area).
        step: of the coefficients.
    """

    chosen: Mask
    basis: NDArray[np.int16] | None
    q: Integers
    step: float

    def apply(self, x: Doubles) -> None:
        """Add the correction to a block (T, H, W), in place."""
        grid = patches(np.zeros_like(x))
        basis = _cosines(*sides(x.shape)) if self.basis is None else self.basis
        # Products and sums of integers below 2^53: the same on every machine, in whatever order.
        grid[self.chosen] = (self.q.astype(np.float64) @ basis.astype(np.float64)) * (self.step / BASIS_ONE)
        x += joined(grid, x.shape)


def sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the patches of a block (T, H, W): those of the block where these are shorter than 8."""
    return min(SIDE, shape[1]), min(SIDE, shape[2])


def patches(x: Doubles) -> Doubles:
    """(patches, area) of a block (T, H, W); what a patch lacks at the ends of H and W is 0. Time runs fastest."""
    (t, h, w), (height, width) = x.shape, sides(x.shape)
    rows, columns = -(-h // height), -(-w // width)
    padded = np.zeros((t, rows * height, columns * width))
    padded[:, :h, :w] = x
    split = padded.reshape(t, rows, height, columns, width)
    return np.ascontiguousarray(split.transpose(1, 3, 0, 2, 4)).reshape(-1, height * width)


def joined(grid: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Undo `patches`."""
    (t, h, w), (height, width) = shape, sides(shape)
    rows, columns = -(-h // height), -(-w // width)
    split = grid.reshape(rows, columns, t, height, width).transpose(2, 0, 3, 1, 4)
    return np.ascontiguousarray(split).reshape(t, rows * height, columns * width)[:, :h, :w]


def members(chosen: Mask, shape: tuple[int, ...]) -> Mask:
    """Which values of a block (T, H, W) are in the chosen patches."""
    height, width = sides(shape)
    return joined(np.repeat(chosen[:, None], height * width, axis=1), shape)


def errors(gaps: Doubles, special: Mask | None) -> tuple[Doubles, Doubles]:
    """Sum of squared errors of each patch, and how many values it has.

    Args:
        gaps: errors of the values (T, H, W).
        special: values that do not count.
    """
    counted = np.ones(gaps.shape)
    if special is not None:
        gaps = np.where(special, 0, gaps)
        counted[special] = 0
    return (patches(gaps) ** 2).sum(axis=1), patches(counted).sum(axis=1)


def correct(x: Array, x_hat: Doubles, special: Mask | None, bound: float) -> Correction | None:
    """The correction that brings every patch's root mean square error to the bound, or None if none is needed.

    Args:
        x: original (T, H, W).
        x_hat: float64 (T, H, W), what it is to be added to.
        special: values that do not count.
        bound: in the unit of the values.
    """
    residual = (x.astype(np.float64) - x_hat) / bound
    squares, counts = errors(residual, special)
    allowed = counts * MARGIN**2
    chosen = squares > allowed
    if not chosen.any():
        return None
    if special is not None:
        residual[special] = 0
    wrong = patches(residual)[chosen]
    basis = _principal(wrong) if len(wrong) >= FITTED_FROM else None
    rows = (_cosines(*sides(x.shape)) if basis is None else basis).astype(np.float64) / BASIS_ONE
    # The rows are nearly orthonormal; the inverse makes the coefficients exact for these very rows.
    c = wrong @ np.linalg.inv(rows)
    counted = patches(np.ones(x.shape) if special is None else (~special).astype(np.float64))[chosen]
    return Correction(chosen, basis, _fewest(c, wrong, rows, counted, allowed[chosen]), STEP * bound)


def _fewest(c: Doubles, wrong: Doubles, rows: Doubles, counted: Doubles, allowed: Doubles) -> Integers:
    """The greatest coefficients of each patch, as many as its bound needs. A patch with places that do not count may
    need more than there are: all of them, then.
    """
    area = c.shape[1]
    q = np.clip(np.rint(c / STEP), -MOST_Q, MOST_Q)
    order = np.argsort(-np.abs(c), axis=1)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(area)[None], axis=1)
    by_size = np.take_along_axis(c, order, axis=1)
    kept = np.take_along_axis(q, order, axis=1) * STEP
    dropped = np.cumsum((by_size**2)[:, ::-1], axis=1)[:, ::-1]
    tail = np.concatenate([dropped[:, 1:], np.zeros((len(c), 1))], axis=1)
    enough = np.cumsum((by_size - kept) ** 2, axis=1) + tail <= (allowed * area / counted.sum(axis=1))[:, None] * MARGIN
    count = np.where(enough.any(axis=1), np.argmax(enough, axis=1) + 1, area)
    while True:
        chosen = np.where(rank < count[:, None], q, 0)
        left = (counted * (wrong - chosen @ rows * STEP) ** 2).sum(axis=1)
        short = (left > allowed) & (count < area)
        if not short.any():
            return chosen.astype(np.int32)
        count[short] += 1


def pack(correction: Correction) -> bytes:
    """The bytes of a correction."""
    chosen = correction.chosen.astype(np.int32).reshape(1, 1, -1)
    parts = [native.encode_planes(chosen, boxes=[_whole(chosen.shape)])]
    q = np.ascontiguousarray(correction.q)[None]
    parts.append(native.encode_planes(q, boxes=[_whole(q.shape)]))
    basis = b"" if correction.basis is None else correction.basis.tobytes()
    head = struct.pack("<Bd", correction.basis is not None, correction.step)
    return head + b"".join(varint(len(part)) + part for part in parts) + basis


def unpack(data: bytes, shape: native.Shape, source: str) -> Correction:
    """What `pack` packed.

    Raises:
        ContainerError: the bytes do not hold that.
    """
    reader = Reader(data, 0, len(data), source)
    own, step = struct.unpack("<Bd", reader.bytes(9))
    if own > 1 or not np.isfinite(step):
        raise ContainerError(f"{source} holds a correction of an unknown form.", "Copy or download the file again.")
    (t, h, w), (height, width) = shape, sides(shape)
    number, area = t * -(-h // height) * -(-w // width), height * width
    plane = (1, 1, number)
    chosen = native.decode_planes(reader.bytes(reader.varint(len(data))), plane, boxes=[_whole(plane)]).ravel() != 0
    rows = (1, max(int(chosen.sum()), 1), area)
    q = native.decode_planes(reader.bytes(reader.varint(len(data))), rows, boxes=[_whole(rows)])
    basis = np.frombuffer(reader.bytes(2 * area * area), np.int16).reshape(area, area) if own else None
    return Correction(chosen, basis, q.reshape(-1, area)[: int(chosen.sum())], step)


def _principal(wrong: Doubles) -> NDArray[np.int16]:
    """Principal components, greatest first."""
    _, vectors = np.linalg.eigh(wrong.T @ wrong)
    rows: NDArray[np.int16] = np.rint(vectors.T[::-1] * BASIS_ONE).astype(np.int16)
    return rows


def _cosines(height: int, width: int) -> NDArray[np.int16]:
    """The two-dimensional cosine basis, low frequencies first."""
    area = height * width
    unit = np.eye(area).reshape(area, height, width).copy()
    native.dct(unit, 1, 1)
    native.dct(unit, 2, 1)
    order = sorted(range(area), key=lambda k: (k // width + k % width, k // width))
    rows: NDArray[np.int16] = np.rint(unit.reshape(area, area).T[order] * BASIS_ONE).astype(np.int16)
    return rows


def _whole(shape: tuple[int, ...]) -> native.Box:
    return (0, 0, 0), (shape[0], shape[1], shape[2]), (-1, -1, -1)
