"""Batches of coefficients from JPEG files, as `pipeline` makes them of pixels."""

from collections.abc import Sequence

import numpy as np
import torch

from codectk.errors import OptionsError
from codectk_dct_backbones.budget import Budget
from codectk_dct_backbones.jpeg.loading import Crop, load
from codectk_dct_backbones.pipeline import WHOLE, Coefficients
from codectk_dct_backbones.ranges import RangeMode
from codectk_dct_backbones.statistics import Statistics


def coefficients(
    files: Sequence[bytes],
    budget: Budget = WHOLE,
    range_mode: RangeMode = "studio",
    *,
    size: int,
    crops: Sequence[Crop | None] | None = None,
    flips: Sequence[bool] | None = None,
    trim: bool = True,
    statistics: Statistics | None = None,
) -> Coefficients:
    """Coefficients of a crop of each file; see `loading.load`, which does the work.

    Args:
        files: the bytes of each.
        budget: which coefficients are kept.
        range_mode: see `ranges`.
        size: side of the crops that are returned.
        crops: of each file; the middle if None.
        flips: whether left and right are swapped, of each file.
        trim: whether other channels are left out, or zero.
        statistics: to normalise by.

    Returns:
        Tensors on the CPU, `[B, n, size / 8, size / 8]` and twice `[B, n, size / 16, size / 16]`.

    Raises:
        InputError: a file is damaged, or of a kind that is not read.
        OptionsError: see `loading.load`; or there are no files, or another number of crops or flips.
    """
    crops, flips = crops or [None] * len(files), flips or [False] * len(files)
    if not files or not len(files) == len(crops) == len(flips):
        raise OptionsError(
            f"{len(files)} files, {len(crops)} crops and {len(flips)} flips make no batch.",
            "Give one of each for a file.",
        )
    loaded = [
        load(
            data,
            size=size,
            crop=crop,
            flip=flip,
            budget=budget,
            range_mode=range_mode,
            trim=trim,
            statistics=statistics,
            name=f"File {i} of the batch",
        )
        for i, (data, crop, flip) in enumerate(zip(files, crops, flips, strict=True))
    ]
    return Coefficients(*(torch.from_numpy(np.stack(planes)) for planes in zip(*loaded, strict=True)))
