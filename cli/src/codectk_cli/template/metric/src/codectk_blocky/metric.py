"""The mean absolute error."""

import numpy as np
from codectk.arrays import Array, ArrayInfo
from codectk.metric import Mean


class BlockyMetric(Mean):
    """Mean absolute difference in grey levels; 0 for equal pictures. Corpus value: mean over pictures."""

    name = "blocky"

    def measure(self, x: Array, x_hat: Array, info: ArrayInfo) -> float:
        """mean |x - x_hat|."""
        return float(np.abs(x.astype(np.int16) - x_hat.astype(np.int16)).mean())
