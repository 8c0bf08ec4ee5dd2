"""Which coefficients of a block are kept: counts per plane, and the channels that a count stands for.

A block has 64 coefficients. Channel `8 * u + v` holds horizontal frequency `u` and vertical frequency `v`; a count `n`
stands for the first `n` channels of `ZIGZAG`, a window `w` for the count `w * w`.
"""

from dataclasses import dataclass
from math import isqrt

from codectk.errors import OptionsError

COEFFICIENTS = 64
"""Coefficients of a whole block."""


def _zigzag() -> tuple[int, ...]:
    """JPEG's scan of row-major positions; odd diagonals run downwards, even ones upwards."""
    places = ((row, column) for row in range(8) for column in range(8))
    order = sorted(places, key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]))
    return tuple(8 * row + column for row, column in order)


ZIGZAG = _zigzag()
"""Channels in the order in which counts take them.

The numbers are JPEG's scan, but channels are column-major, so entry 1 is the first vertical frequency: the scan is the
transpose of JPEG's.
"""


@dataclass(frozen=True)
class Budget:
    """How many coefficients of each plane's blocks are kept.

    Attributes:
        luma: of Y, 0 to 64.
        cb: of Cb, 0 to 64.
        cr: of Cr, 0 to 64.

    Raises:
        OptionsError: a count is not in 0 to 64, or all are 0.
    """

    luma: int = COEFFICIENTS
    cb: int = COEFFICIENTS
    cr: int = COEFFICIENTS

    def __post_init__(self) -> None:
        for name, count in (("luma", self.luma), ("Cb", self.cb), ("Cr", self.cr)):
            if not 0 <= count <= COEFFICIENTS:
                raise OptionsError(
                    f"{count} coefficients of {name} are impossible.", f"Keep between 0 and {COEFFICIENTS}."
                )
        if not any(self.counts):
            raise OptionsError(
                "No coefficient is kept: the counts of luma, Cb and Cr are all 0.", "Keep at least 1 of one plane."
            )

    @property
    def counts(self) -> tuple[int, int, int]:
        """Counts of Y, Cb and Cr."""
        return self.luma, self.cb, self.cr

    @property
    def whole(self) -> bool:
        """Whether every coefficient is kept."""
        return min(self.counts) == COEFFICIENTS

    @property
    def fraction(self) -> float:
        """Share of a 4:2:0 picture's values that is kept; Y has four blocks for each of Cb's and of Cr's."""
        return (4 * self.luma + self.cb + self.cr) / (6 * COEFFICIENTS)

    @property
    def luma_channels(self) -> tuple[int, ...]:
        """See `channels`."""
        return channels(self.luma)

    @property
    def cb_channels(self) -> tuple[int, ...]:
        """See `channels`."""
        return channels(self.cb)

    @property
    def cr_channels(self) -> tuple[int, ...]:
        """See `channels`."""
        return channels(self.cr)


def channels(count: int) -> tuple[int, ...]:
    """The channels that a count keeps, in the order of trimmed tensors: zigzag; 0 to 63 for a whole block.

    Raises:
        OptionsError: the count is not in 0 to 64.
    """
    if not 0 <= count <= COEFFICIENTS:
        raise OptionsError(f"A block has no {count} coefficients.", f"Keep between 0 and {COEFFICIENTS}.")
    return ZIGZAG[:count] if count < COEFFICIENTS else tuple(range(COEFFICIENTS))


def window(count: int) -> int | None:
    """The window that is another name of a count, 1 to 8; None if there is none."""
    root = isqrt(max(count, 0))
    return root if root and root * root == count else None


def resolve(
    *,
    coeff_window: int | None = None,
    coeff_window_luma: int | None = None,
    coeff_window_chroma: int | None = None,
    coeff_window_cb: int | None = None,
    coeff_window_cr: int | None = None,
    coeff_count: int | None = None,
    coeff_count_luma: int | None = None,
    coeff_count_chroma: int | None = None,
    coeff_count_cb: int | None = None,
    coeff_count_cr: int | None = None,
) -> Budget:
    """The budget that the options for windows and counts give together.

    What is more special wins, and a count over a window of the same plane. Chroma follows luma unless it has its own,
    Cb and Cr follow chroma; without any option all 64 are kept.

    Args:
        coeff_window: 1 to 8, for all planes; the same as a count of its square.
        coeff_window_luma: the same for Y.
        coeff_window_chroma: the same for Cb and Cr.
        coeff_window_cb: the same for Cb.
        coeff_window_cr: the same for Cr.
        coeff_count: 0 to 64, for all planes.
        coeff_count_luma: the same for Y.
        coeff_count_chroma: the same for Cb and Cr.
        coeff_count_cb: the same for Cb.
        coeff_count_cr: the same for Cr.

    Raises:
        OptionsError: a window or a count is out of bounds, or nothing is left.
    """
    base = _count("", coeff_window, coeff_count, COEFFICIENTS)
    luma = _count("_luma", coeff_window_luma, coeff_count_luma, base)
    chroma = _count("_chroma", coeff_window_chroma, coeff_count_chroma, luma)
    cb = _count("_cb", coeff_window_cb, coeff_count_cb, chroma)
    cr = _count("_cr", coeff_window_cr, coeff_count_cr, chroma)
    return Budget(luma, cb, cr)


def _count(plane: str, window: int | None, count: int | None, otherwise: int) -> int:
    if window is not None and not 1 <= window <= 8:
        raise OptionsError(f"Option 'coeff_window{plane}' is {window}.", "A window is between 1 and 8.")
    if count is not None and not 0 <= count <= COEFFICIENTS:
        raise OptionsError(f"Option 'coeff_count{plane}' is {count}.", f"A count is between 0 and {COEFFICIENTS}.")
    if count is not None:
        return count
    return otherwise if window is None else window * window
