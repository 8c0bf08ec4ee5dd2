"""Quantisation tables by quality, as libjpeg makes them from the example tables of ITU-T T.81, Annex K."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from codectk_dct_backbones.native_entropy import Table

_LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)


@cache
def _tables() -> NDArray[np.uint16]:
    """[quality - 1, luma or chroma, coefficient]"""
    quality = np.arange(1, 101)[:, None, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    tables: NDArray[np.uint16] = np.clip((np.array((_LUMA, _CHROMA)) * scale + 50) // 100, 1, 255).astype(np.uint16)
    return tables


def standard(quality: int, planes: int) -> list[Table]:
    """Tables of each plane at a quality from 1 to 100: the first for luma, the others for chroma."""
    return [_tables()[quality - 1, int(plane > 0)] for plane in range(planes)]


def quality_of(tables: list[Table]) -> int | None:
    """The quality whose tables these are, or None."""
    expected = _tables()[:, [int(plane > 0) for plane in range(len(tables))]]
    found = np.flatnonzero((expected == np.stack(tables)).all((1, 2)))
    return int(found[0]) + 1 if found.size else None


def estimate(table: Table, chroma: bool) -> int:
    """The quality whose table is nearest."""
    gaps = np.abs(np.log(_tables()[:, int(chroma)]) - np.log(np.maximum(table, 1)))
    return int(np.argmin(gaps.mean(1))) + 1
