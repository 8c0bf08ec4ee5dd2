"""The two ranges of values, and the linear maps from JPEG's full range to them.

`full` leaves values at 0 to 255. `studio` maps luma to 16..235 and chroma to 16..240, in the same way for every
picture; chroma is scaled about its neutral value, so grey stays 128 exactly:

    y -> y * 219 / 255 + 16        c -> (c - 128) * 224 / 255 + 128

Nothing is clipped: the map has to stay linear for coefficients of files to go the same way, and chroma of 0 leaves
16..240 by 0.4 only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

RangeMode = Literal["studio", "full"]
Compat = Literal["none", "original"]

Numbers = TypeVar("Numbers")
"""A float, an array or a tensor of them."""

NEUTRAL = 128.0
"""No colour, and the grey of a plane of which nothing is kept, in the full range."""

DC_GAIN = 8
"""The first coefficient of a block over the mean of its pixels."""


@dataclass(frozen=True)
class Linear:
    """`x -> (x - source) * scale + target` for the values of a plane in JPEG's full range.

    Attributes:
        scale: slope; also what AC coefficients are multiplied by.
        source: a value of the full range.
        target: what becomes of `source`.
    """

    scale: float = 1.0
    source: float = 0.0
    target: float = 0.0

    def values(self, x: Numbers) -> Numbers:
        """Map pixels."""
        return (x - self.source) * self.scale + self.target  # type: ignore[operator, return-value]

    def dc(self, x: Numbers) -> Numbers:
        """Map first coefficients of blocks; those of files need 1024 added before, for JPEG's shift of 128."""
        return (x - DC_GAIN * self.source) * self.scale + DC_GAIN * self.target  # type: ignore[operator, return-value]

    @property
    def back(self) -> "Linear":
        """The inverse."""
        return Linear(1 / self.scale, self.target, self.source)


_CHROMA = Linear(224 / 255, 128.0, 128.0)

FROM_FULL: Mapping[RangeMode, tuple[Linear, Linear, Linear]] = {
    "studio": (Linear(219 / 255, 0.0, 16.0), _CHROMA, _CHROMA),
    "full": (Linear(), Linear(), Linear()),
}
"""What Y, Cb and Cr go through to come from the full range into another one."""
