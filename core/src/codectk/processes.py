"""The processes that train together: each one's device, how they part, and what asks them to stop."""

import gc
import os
import signal
from collections.abc import Iterable
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

from codectk.device import pick_device


def join(device: str, world_size: int) -> Any:
    """Meet the other processes, if there are any; returns the torch device of this one.

    Raises:
        OptionsError: there is no such device.
    """
    if world_size == 1:
        return pick_device(device)
    import torch
    import torch.distributed as dist

    name = "cpu" if device == "cpu" or not torch.cuda.is_available() else "cuda"
    if name == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    dist.init_process_group("nccl" if name != "cpu" else "gloo")
    return pick_device(name)


def leave(wrapped: Iterable[Any]) -> None:
    """Part from the other processes.

    Args:
        wrapped: DistributedDataParallel modules. One that outlives the process group aborts the interpreter at its end:
            the group's threads still run when it is torn down. So the modules let go of the group first, whoever else
            holds on to them.
    """
    import torch.distributed as dist

    for module in wrapped:
        module.reducer = module.logger = module.process_group = None
    gc.collect()
    dist.destroy_process_group()


class StopSignals:
    """SIGINT and SIGTERM as a wish to stop, which is met after the step; asked twice, it is met at once.

    Attributes:
        number: the signal that came; 0 for none.
    """

    def __init__(self) -> None:
        self.number = 0
        self._handlers: dict[int, Any] = {}

    def catch(self) -> None:
        """Listen from now on, in the main thread: Python hears signals there alone."""
        if current_thread() is main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._on_signal)

    def release(self) -> None:
        """Leave signals to whoever had them before."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt
        self.number = number
