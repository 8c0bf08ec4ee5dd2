"""Coefficients in all forms in which loaders hand them over, as one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from codectk.errors import InputError
from codectk_dct_backbones.budget import COEFFICIENTS, Budget, channels
from codectk_dct_backbones.pipeline import Coefficients

FORMS = "Feed Coefficients(y, cb, cr), or (y, (cb, cr)) with y [B, n, H / 8, W / 8] and cb, cr [B, n, H / 16, W / 16]."


def as_coefficients(payload: Any, device: torch.device | str | None = None) -> Coefficients:
    """The coefficients of a batch, as float32.

    Args:
        payload: `Coefficients`, `(y, cb, cr)` or `(y, (cb, cr))`; `(y, chroma)` with chroma `[B, 2, n, h, w]` or
            `[2, B, n, h, w]`, the former where B is 2; or any of the last two with the pictures themselves behind,
            `((y, (cb, cr)), rgb)`. Tuples may be lists. Without B, all tensors are of one picture.
        device: where they are wanted; by default where they are.

    Raises:
        InputError: these are pixels or something else, or sizes do not fit together.
    """
    planes = [plane.to(device, torch.float32) for plane in _planes(payload)]
    planes = [plane[None] if plane.ndim == 3 else plane for plane in planes]
    y, cb, cr = planes
    if not all(plane.ndim == 4 for plane in planes):
        raise InputError(f"Coefficients have shapes {_shapes(planes)}.", FORMS)
    batch, rows, columns = len(y), y.shape[2], y.shape[3]
    if any((len(c), 2 * c.shape[2], 2 * c.shape[3]) != (batch, rows, columns) for c in (cb, cr)):
        raise InputError(f"Blocks of Y, Cb and Cr do not fit together: {_shapes(planes)}.", FORMS)
    return Coefficients(y, cb, cr)


def select(coefficients: Coefficients, budget: Budget) -> Coefficients:
    """The budget's channels, in its order, of trimmed coefficients or of those with all 64.

    Raises:
        InputError: there is another number of channels.
    """
    names = ("luma", "Cb", "Cr")
    parts = zip(names, coefficients, budget.counts, strict=True)
    return Coefficients(*(_select(name, blocks, count) for name, blocks, count in parts))


def _select(name: str, blocks: Tensor, count: int) -> Tensor:
    depth = blocks.shape[1]
    if depth == count:
        return blocks
    if depth != COEFFICIENTS:
        raise InputError(
            f"This network reads {count} coefficients of {name}, but blocks hold {depth}.",
            f"Feed {count}, in the order of the budget, or all {COEFFICIENTS}.",
        )
    return blocks[:, list(channels(count))]


def _planes(payload: Any) -> list[Tensor]:
    if isinstance(payload, Tensor):
        raise InputError(
            f"This classifier reads coefficients, but got one tensor {list(payload.shape)}, as of pixels.", FORMS
        )
    if isinstance(payload, Sequence) and len(payload) == 2 and _is_sequence(payload[0]):
        payload = payload[0]  # the pictures lie behind
    parts = list(payload) if isinstance(payload, Sequence) else []
    if len(parts) == 2 and isinstance(parts[0], Tensor):
        y, chroma = parts
        parts = [y, *(chroma if _is_sequence(chroma) else _unstacked(chroma, y))]
    if len(parts) != 3 or not all(isinstance(part, Tensor) for part in parts):
        raise InputError(f"This classifier reads coefficients, but got another {type(payload).__name__}.", FORMS)
    return parts


def _unstacked(chroma: Any, y: Tensor) -> Sequence[Tensor]:
    if not isinstance(chroma, Tensor) or chroma.ndim != y.ndim + 1:
        return []
    if chroma.ndim == 5 and chroma.shape[1] == 2 and len(chroma) == len(y):
        return chroma.unbind(1)
    return chroma.unbind(0) if len(chroma) == 2 else []


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _shapes(planes: Sequence[Tensor]) -> str:
    return ", ".join(str(list(plane.shape)) for plane in planes)
