"""Frozen probability tables of z and y."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from codectk.entropy import Tables, gaussian_tables, pmf_tables, scale_levels, scale_thresholds
from codectk.errors import WeightsError
from codectk_crdr.entropy import FactorizedPrior
from codectk_crdr.integer import FRACTION

REACH = 1 << 12
"""Values of z farther from the median have no place of their own in a table."""
NEGLIGIBLE = 2.0**-22

Arrays = Mapping[str, NDArray[Any]]


@torch.no_grad()
def freeze(prior: FactorizedPrior) -> dict[str, NDArray[Any]]:
    """Integer tables from a trained prior, in double precision, and those of Gaussians: `z.…`, `y.…`, `thresholds`."""
    double = FactorizedPrior(prior.channels).double()
    double.load_state_dict({name: value.double().cpu() for name, value in prior.state_dict().items()})
    medians = double.medians.view(-1, 1, 1)
    reach = 64
    while True:
        edges = medians + torch.arange(-reach, reach + 2, dtype=torch.float64) - 0.5
        # From the lower tail, where differences of small probabilities are exact.
        logits = double.logits(edges)[:, 0]
        sign = -torch.sign(logits[:, :-1] + logits[:, 1:])
        pmfs = (torch.sigmoid(sign * logits[:, 1:]) - torch.sigmoid(sign * logits[:, :-1])).abs().numpy()
        if reach >= REACH or (1 - pmfs.sum(1)).max() < NEGLIGIBLE:
            break
        reach *= 2
    levels = scale_levels()
    tables = pmf_tables(list(pmfs), [-reach] * len(pmfs)).tensors("z") | gaussian_tables(levels).tensors("y")
    return {**tables, "thresholds": scale_thresholds(levels, FRACTION)}


class CodingTables:
    """The tables of one codec.

    Args:
        arrays: as `freeze` made them.
        channels: of z.

    Raises:
        WeightsError: they are missing or damaged.
    """

    def __init__(self, arrays: Arrays, channels: int) -> None:
        self.z, self.y = Tables.from_tensors(arrays, "z"), Tables.from_tensors(arrays, "y")
        thresholds = arrays.get("thresholds", np.empty(0))
        fits = thresholds.dtype == np.int32 and thresholds.shape == (len(self.y) - 1,)
        if not fits or (np.diff(thresholds.astype(np.int64)) < 0).any() or len(self.z) != channels:
            raise WeightsError("The probability tables do not fit the networks.", "Export the weights again.")
        self.thresholds: NDArray[np.int32] = thresholds
