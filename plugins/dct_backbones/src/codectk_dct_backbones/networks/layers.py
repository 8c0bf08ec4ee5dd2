"""What several backbones are made of."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from codectk.errors import InputError


class Residual(nn.Module):
    """x + m(x)."""

    def __init__(self, m: nn.Module) -> None:
        super().__init__()
        self.m = m

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        out: Tensor = x + self.m(x)
        return out


def projection(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, SiLU, as all stems for coefficients have them."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2 if stride == 1 else 0, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(inplace=True),
    )


def kaiming(modules: Iterable[nn.Module]) -> None:
    """Kaiming-normal weights by outputs, with the gain of ReLU, and biases of 0, in convolutions and linear layers."""
    for module in modules:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def check_pixels(x: object) -> Tensor:
    """A batch of RGB pictures, `[B, 3, H, W]`.

    Raises:
        InputError: it is something else, such as coefficients.
    """
    if not isinstance(x, Tensor):
        raise InputError(
            "This classifier takes pixels, not coefficients.",
            "Feed [B, 3, H, W], or build a variant that reads coefficients.",
        )
    if x.ndim != 4 or x.shape[1] != 3:
        raise InputError(f"A classifier of pixels got a tensor {list(x.shape)}.", "Feed [B, 3, H, W].")
    return x if x.is_floating_point() else x.to(torch.float32)
