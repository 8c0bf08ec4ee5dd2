"""The eight ways to lay a picture: those of EXIF's orientation, and flips."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Turn(NamedTuple):
    """How a stored picture is shown: its axes perhaps swapped, after its rows and columns were perhaps reversed.

    Pixel (y, x) shown is pixel (y', x') stored, (y', x') = (x, y) if transposed, else (y, x), counted from the other
    end of the rows if `rows_back`, of the columns if `columns_back`.

    Attributes:
        transposed: whether rows become columns.
        rows_back: whether stored rows are taken from the last to the first.
        columns_back: the same for stored columns.
    """

    transposed: bool = False
    rows_back: bool = False
    columns_back: bool = False

    @property
    def mirrored(self) -> "Turn":
        """The same, then left and right swapped."""
        if self.transposed:
            return self._replace(rows_back=not self.rows_back)
        return self._replace(columns_back=not self.columns_back)

    @property
    def upside_down(self) -> "Turn":
        """The same, then top and bottom swapped."""
        if self.transposed:
            return self._replace(columns_back=not self.columns_back)
        return self._replace(rows_back=not self.rows_back)

    def shape(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns shown of those stored, and the other way round."""
        return (columns, rows) if self.transposed else (rows, columns)


ORIENTATIONS = {
    1: Turn(False, False, False),
    2: Turn(False, False, True),
    3: Turn(False, True, True),
    4: Turn(False, True, False),
    5: Turn(True, False, False),
    6: Turn(True, True, False),
    7: Turn(True, True, True),
    8: Turn(True, False, True),
}
"""What EXIF's numbers ask for."""


@cache
def sources(turn: Turn) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Where each coefficient of a turned block comes from, and its sign.

    Returns:
        index in the stored block and sign, (64,), of the shown block's coefficients; both in natural order 8 v + u.
    """
    v, u = np.divmod(np.arange(64, dtype=np.int32), 8)
    row, column = (u, v) if turn.transposed else (v, u)
    odd = row * turn.rows_back + column * turn.columns_back
    return 8 * row + column, (1 - 2 * (odd % 2)).astype(np.float32)
