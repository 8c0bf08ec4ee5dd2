"""What is special about this metric."""

import numpy as np
from codectk import ArrayInfo

from codectk_blocky.metric import BlockyMetric


def test_a_shift_by_three_levels_is_an_error_of_three() -> None:
    """In both directions, without a wrap of uint8."""
    x = np.full((4, 5, 3), 2, np.uint8)
    metric = BlockyMetric()
    metric.update(x, x + np.uint8(3), ArrayInfo("image/rgb8", x.shape))
    metric.update(x + np.uint8(3), x, ArrayInfo("image/rgb8", x.shape))
    assert metric.compute() == {"blocky": 3.0}
