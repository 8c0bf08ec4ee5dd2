"""What a network costs."""

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> int:
    """Numbers that are learned."""
    return sum(value.numel() for value in model.parameters())


def macs(model: nn.Module, *inputs: Any) -> int:
    """Multiplications of a forward pass in convolutions, linear layers and products of matrices.

    Products with single numbers, such as those of batch norm or of bilinear upsampling, are left out as usual.

    Args:
        model: on any device, also "meta", where nothing is computed.
        inputs: what its forward takes, for a batch of any size.
    """
    training = model.training
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            model.eval()(*inputs)
    finally:
        model.train(training)
    return int(counter.get_total_flops()) // 2  # it counts an addition with each
