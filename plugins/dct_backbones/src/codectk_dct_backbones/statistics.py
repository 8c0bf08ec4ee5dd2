"""Mean and deviation of every coefficient over a dataset: read, written, measured, and applied.

A file is a table of 64 rows, one a channel in natural order `8 * u + v`, below a line that names the range:

    # range_mode: studio
    channel_column_major,u_horizontal,v_vertical,y_mean,y_std,cb_mean,cb_std,cr_mean,cr_std
    0,0,0,927.077,425.763,958.823,131.793,1059.63,127.708
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from codectk.errors import InputError, OptionsError
from codectk.files import atomic_output, read_bytes
from codectk.options import packaged
from codectk_dct_backbones.budget import COEFFICIENTS, Budget, channels
from codectk_dct_backbones.ranges import DC_GAIN, FROM_FULL, Compat, Linear, RangeMode

if TYPE_CHECKING:
    from codectk_dct_backbones.pipeline import Coefficients

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

NAMES = ("imagenet",)
"""Statistics that come with the package."""

MOST_BYTES = 1 << 16
"""Larger files are refused before they are read."""

_MARK = "# range_mode: "
_COLUMNS = "channel_column_major,u_horizontal,v_vertical,y_mean,y_std,cb_mean,cb_std,cr_mean,cr_std"
_EPSILON = 1e-6
_CONSTANT = 0.01
_MOST = 4096.0


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and standard deviation of coefficients without JPEG's shift of 128.

    Attributes:
        mean: `[3, 64]`, float32: Y, Cb, Cr by channel in natural order.
        std: the same for deviations.
        range_mode: the range of the planes that they were measured on.
    """

    mean: Floats
    std: Floats
    range_mode: RangeMode

    def in_range(self, range_mode: RangeMode) -> "Statistics":
        """What the same pictures give in another range; exact, since ranges differ by a linear map."""
        if range_mode == self.range_mode:
            return self
        mean, std = self.mean.astype(np.float64), self.std.astype(np.float64)
        ways = zip(FROM_FULL[self.range_mode], FROM_FULL[range_mode], strict=True)
        for plane, (here, there) in enumerate(ways):
            for step in (here.back, there):
                _carry(mean[plane], std[plane], step)
        return Statistics(mean.astype(np.float32), std.astype(np.float32), range_mode)

    def constants(
        self, budget: Budget, trim: bool = True, compat: Compat = "none"
    ) -> tuple[tuple[Floats, Floats], ...]:
        """What to subtract and what to divide by, for the channels of Y, Cb and Cr as they stand in tensors.

        Args:
            budget: which coefficients are kept.
            trim: whether tensors hold only those, in their order, or all 64, the others as zeros.
            compat: "original" takes after trimming the entry of a channel's position, not of its frequency, and leaves
                positions alone whose frequency is not kept.

        Returns:
            For each plane mean and divisor, float32 of one length; 0 and 1 where nothing is normalised.
        """
        planes = zip(self.mean, self.std, budget.counts, strict=True)
        return tuple(_constants(mean, std, count, trim, compat) for mean, std, count in planes)

    def normalise(
        self, coefficients: "Coefficients", budget: Budget, trim: bool = True, compat: Compat = "none"
    ) -> "Coefficients":
        """`(x - mean) / (std + 1e-6)` of every coefficient that is kept.

        Args:
            coefficients: see `pipeline`; in this object's range.
            budget: see `constants`, as the others.
            trim: see `constants`.
            compat: see `constants`.
        """
        import torch

        normalised = []
        for blocks, constants in zip(coefficients, self.constants(budget, trim, compat), strict=True):
            mean, divisor = (torch.from_numpy(array)[:, None, None].to(blocks) for array in constants)
            normalised.append((blocks - mean).div_(divisor))
        return type(coefficients)(*normalised)

    def save(self, path: Path, force: bool = False) -> None:
        """Write the table.

        Raises:
            OutputError: the file exists and `force` is false, or it cannot be written.
        """
        lines = [_MARK + self.range_mode, _COLUMNS]
        for channel in range(COEFFICIENTS):
            values = (f"{table[plane, channel]:.9g}" for plane in range(3) for table in (self.mean, self.std))
            lines.append(",".join([str(channel), *map(str, divmod(channel, 8)), *values]))
        with atomic_output(path, force) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="ascii")


class Accumulator:
    """Measures statistics over any number of batches.

    Attributes:
        range_mode: the range of the planes.
        totals: `[3, 3, 64]`, float64: for Y, Cb and Cr the number of blocks, sum and sum of squares of every channel.
            Totals of several processes add up.
    """

    def __init__(self, range_mode: RangeMode) -> None:
        self.range_mode: RangeMode = range_mode
        self.totals = np.zeros((3, 3, COEFFICIENTS))

    def add(self, coefficients: "Coefficients") -> None:
        """Count a batch.

        Args:
            coefficients: all 64 channels, not normalised.
        """
        for totals, blocks in zip(self.totals, coefficients, strict=True):
            x = blocks.detach().double()
            totals[0] += x.shape[0] * x.shape[2] * x.shape[3]
            totals[1] += x.sum((0, 2, 3)).cpu().numpy()
            totals[2] += x.square().sum((0, 2, 3)).cpu().numpy()

    def merge(self, other: "Accumulator") -> None:
        """Count what another accumulator has seen.

        Raises:
            OptionsError: it has measured another range.
        """
        if other.range_mode != self.range_mode:
            raise OptionsError(
                f"Totals of range '{other.range_mode}' cannot be added to those of range '{self.range_mode}'.",
                "Measure both in one range.",
            )
        self.totals += other.totals

    def statistics(self) -> Statistics:
        """Mean and population deviation of what was counted.

        Raises:
            InputError: nothing was.
        """
        blocks, total, squares = self.totals.swapaxes(0, 1)
        if not blocks.all():
            raise InputError("There are no statistics of no pictures.", "Add at least one.")
        mean = total / blocks
        std = np.sqrt(np.maximum(squares / blocks - mean * mean, 0))
        return Statistics(mean.astype(np.float32), std.astype(np.float32), self.range_mode)


def load(name_or_path: str | Path, range_mode: RangeMode = "studio") -> Statistics:
    """Statistics from the package or from a file, for planes of a range.

    Args:
        name_or_path: "imagenet", or the path of a table.
        range_mode: what to return; converted where the table has the other range.

    Raises:
        InputError: the file is missing or not such a table.
    """
    shipped = str(name_or_path) in NAMES
    path = packaged(f"codectk_dct_backbones:stats/{name_or_path}_studio.csv") if shipped else Path(name_or_path)
    try:
        text = read_bytes(path, MOST_BYTES).decode("ascii")
        return _parse(text).in_range(range_mode)
    except ValueError as problem:
        raise InputError(
            f"{path} is no table of statistics: {problem}.",
            "Make one with `codectk train dct_backbones.stats`, or take 'imagenet'.",
        ) from None


def check_range(statistics: Statistics, range_mode: RangeMode) -> None:
    """Refuse statistics of another range.

    Raises:
        OptionsError: they were measured on the other one.
    """
    if statistics.range_mode != range_mode:
        raise OptionsError(
            f"The statistics are of range '{statistics.range_mode}', the coefficients of range '{range_mode}'.",
            "Convert the statistics with `in_range` first.",
        )


def same(one: Statistics | None, other: Statistics | None) -> bool:
    """Whether two tables, or none, normalise alike, but for rounding."""
    if one is None or other is None:
        return one is other
    one = one.in_range(other.range_mode)
    return bool(np.allclose(one.mean, other.mean, 1e-4, 1e-3) and np.allclose(one.std, other.std, 1e-4, 1e-3))


def _parse(text: str) -> Statistics:
    mark, _, table = text.partition("\n")
    mode = mark.removeprefix(_MARK).strip()
    if not mark.startswith(_MARK) or mode not in FROM_FULL:
        raise ValueError(f"its first line is not '{_MARK}studio' or '{_MARK}full'")
    names, *lines = table.splitlines() or [""]
    if names != _COLUMNS or len(lines) != COEFFICIENTS:
        raise ValueError(f"it has not {COEFFICIENTS} rows below the names of the columns")
    rows = [line.split(",") for line in lines]
    for channel, row in enumerate(rows):
        if len(row) != 9 or row[:3] != [str(channel), *map(str, divmod(channel, 8))]:
            raise ValueError(f"row {channel} is not that of channel {channel}")
    values = np.array([[float(cell) for cell in row[3:]] for row in rows]).T
    mean, std = values[0::2], values[1::2]
    if not (np.abs(mean) <= _MOST).all() or not ((std >= 0) & (std <= _MOST)).all():  # nan fails too
        raise ValueError("it holds values that no picture has")
    return Statistics(mean.astype(np.float32), std.astype(np.float32), "full" if mode == "full" else "studio")


def _carry(mean: np.ndarray, std: np.ndarray, linear: Linear) -> None:
    """Take a plane's statistics through a map of its values, in place."""
    mean[1:] *= linear.scale
    mean[0] = (mean[0] - DC_GAIN * linear.source) * linear.scale + DC_GAIN * linear.target
    std *= linear.scale


@cache
def _places(count: int, trim: bool, compat: Compat) -> tuple[np.ndarray, np.ndarray]:
    """Entries of a plane's statistics that a tensor's channels take, and which of the channels are left alone."""
    kept = channels(count)
    places = kept if trim and compat == "none" else tuple(range(count if trim else COEFFICIENTS))
    return np.array(places, np.intp), ~np.isin(places, kept)


def _constants(mean: Floats, std: Floats, count: int, trim: bool, compat: Compat) -> tuple[Floats, Floats]:
    places, alone = _places(count, trim, compat)
    shift, divisor = mean[places], std[places] + np.float32(_EPSILON)
    # A coefficient that never changes holds rounding noise; divided by nearly nothing it would drown the others.
    divisor[alone | (divisor < _CONSTANT)] = 1
    shift[alone] = 0
    return shift, divisor
