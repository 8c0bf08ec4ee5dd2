"""Adan and the learning-rate bump of FRAPPE's training."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Adan(torch.optim.Optimizer):
    """Adaptive Nesterov momentum, without restart, in its proximal form.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: decay of gradient, gradient difference, and squared look-ahead gradient.
        eps: added to the denominator.
        weight_decay: proximal, after the step.

    Source: Xie et al., Adan: Adaptive Nesterov Momentum Algorithm, arXiv:2208.06677, with betas as one minus theirs.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "step": 0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            group["step"] += 1
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                _update(params, [self._state(p) for p in params], group)

    def _state(self, p: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[p]
        if not state:
            state |= {name: torch.zeros_like(p) for name in ("m", "v", "n")}
            state["previous"] = p.grad.clone()  # type: ignore[union-attr]
        return state


def _update(params: list[Tensor], states: list[dict[str, Tensor]], group: dict[str, Any]) -> None:
    """Equations of the paper's algorithm 1, on lists of tensors at once."""
    b1, b2, b3 = group["betas"]
    step, lr = group["step"], group["lr"]
    gradients = [p.grad for p in params if p.grad is not None]
    m, v, n, previous = ([s[name] for s in states] for name in ("m", "v", "n", "previous"))
    difference = torch._foreach_sub(gradients, previous)
    torch._foreach_lerp_(m, gradients, 1 - b1)
    torch._foreach_lerp_(v, difference, 1 - b2)
    ahead = torch._foreach_add(gradients, difference, alpha=b2)
    torch._foreach_mul_(n, b3)
    torch._foreach_addcmul_(n, ahead, ahead, value=1 - b3)
    denominator = torch._foreach_sqrt(n)
    torch._foreach_div_(denominator, math.sqrt(1 - b3**step))
    torch._foreach_add_(denominator, group["eps"])
    torch._foreach_addcdiv_(params, m, denominator, value=-lr / (1 - b1**step))
    torch._foreach_addcdiv_(params, v, denominator, value=-lr * b2 / (1 - b2**step))
    if group["weight_decay"]:
        torch._foreach_div_(params, 1 + lr * group["weight_decay"])
    torch._foreach_copy_(previous, gradients)


def learning_rate(step: int, total: int, min_lr: float, max_lr: float, power: int) -> float:
    """A bump: `min_lr` at both ends of the phase, `max_lr` in its middle; a larger power makes the top flatter."""
    return min_lr + (max_lr - min_lr) * (1 - math.cos(math.pi * step / total) ** (2 * power))


def warm_then_cool(step: int, total: int, max_lr: float) -> float:
    """Learning rate that rises for the first 3 % of a phase and then falls to zero as half a cosine."""
    warm = max(1, round(0.03 * total))
    return max_lr * min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * max(0, step - warm) / max(1, total - warm)))
