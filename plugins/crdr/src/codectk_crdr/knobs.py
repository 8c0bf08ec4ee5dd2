"""Qualities and realisms that are drawn for a training step."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from codectk_crdr.options import MAX_BETA
from codectk_crdr.train_options import TrainOptions


@dataclass(frozen=True)
class Knobs:
    """What is asked of the model in a step.

    Attributes:
        q: (1,) or (B,) qualities; None for models of one rate.
        beta: (1,) or (B,) realisms; None for models without a realism.
    """

    q: Tensor | None
    beta: Tensor | None


def draw_knobs(options: TrainOptions, rng: np.random.Generator, share: range) -> Knobs:
    """Draw for the whole batch, so that several processes draw alike.

    Args:
        options: what is drawn; see `quality`, `sampling`, `beta_steps`, `beta_power`.
        rng: source of all that is random.
        share: which crops of the batch this process has.

    Returns:
        Knobs of these crops, or one for all.
    """
    alone = options.sampling == "batch"
    count = 1 if alone else options.batch_size
    chosen = slice(0, 1) if alone else slice(share.start, share.stop)
    q = beta = None
    if options.levels > 1:
        real = options.quality == "real"
        drawn = rng.uniform(0, options.levels - 1, count) if real else rng.integers(options.levels, size=count)
        q = torch.from_numpy(drawn[chosen]).float()
    if options.realism:
        n = options.beta_steps
        u = rng.integers(n + 1, size=count) / n if n else rng.uniform(size=count)
        beta = torch.from_numpy(MAX_BETA * u[chosen] ** options.beta_power).float()
    return Knobs(q, beta)
