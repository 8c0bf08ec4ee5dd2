"""Which device a network runs on. Imports torch when called, not before."""

from typing import TYPE_CHECKING

from codectk.errors import OptionsError

if TYPE_CHECKING:
    import torch


def pick_device(name: str) -> "torch.device":
    """The torch device that a user names.

    Args:
        name: `auto` (CUDA where there is one, else the CPU), `cpu`, `cuda` or `cuda:N`.

    Raises:
        OptionsError: there is no such device here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise OptionsError(f"'{name}' is not a device.", "Use --device auto, cpu, cuda or cuda:N.") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise OptionsError(
            f"There is no CUDA device for '{name}' here ({found} found).",
            "Use --device auto, which takes the CPU where there is no GPU.",
        )
    if device.type not in ("cpu", "cuda"):
        raise OptionsError(f"codectk does not run on '{name}'.", "Use --device auto, cpu, cuda or cuda:N.")
    return device
