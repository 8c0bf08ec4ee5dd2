"""Training: `Run` owns device, processes, log, saved states, resume and signals; a trainer owns everything learned.

A trainer writes its plan as phases. Each phase is a loop over `Run.steps`; what must survive an interruption is handed
to `steps` (for the phase) or to `keep` (for the whole run):

    def train(self):
        if not run.finished("decoder"):
            model, optimizer = …
            for step, batch in run.steps("decoder", total, load, model=model, optimizer=optimizer):
                loss = …
                run.backward(loss)
                optimizer.step()
            self.result.decoder = model
            run.finish("decoder")

Batches come from `load(step)`, a pure function of the step that draws from `run.rng(...)`. So a resumed run sees the
same data as an uninterrupted one, whatever the number of loader threads.
"""

import gc
import hashlib
import json
import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import Any, Protocol, Self

import numpy as np
import torch
import torch.distributed as dist

from codectk.checkpoint import Checkpoint
from codectk.device import pick_device
from codectk.errors import InputError, OptionsError, TrainingDiverged, TrainingStopped
from codectk.log import TrainingLog, Watcher
from codectk.options import RunOptions
from codectk.state import load_state, save_state

STATE = "state.safetensors"
SCRATCH = "scratch"

_START: dict[str, Any] = {
    **{"phase": None, "step": 0, "total_steps": 0, "finished": [], "kept": {}, "parts": {}},
    **{"log_bytes": 0, "seconds": 0.0},
}
"""The state of a run that has not begun; a saved one has the same keys."""


class Trainer(Protocol):
    """Trains one method. Derive from nothing; a class with these methods is a trainer."""

    def __init__(self, options: Any, run: "Run") -> None:
        """Check options and data; build nothing large yet."""
        ...

    def train(self) -> None:
        """Carry out the plan, written in terms of `run`."""
        ...

    def export(self) -> Checkpoint:
        """Weights as `compress -w` reads them."""
        ...


class Stateful(Protocol):
    """Anything whose state can be saved: modules, optimizers, a trainer's own record."""

    def state_dict(self) -> dict[str, Any]:
        """Nested dicts, lists and tuples of tensors, numbers, strings and None."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Take on a state."""
        ...


class Run:
    """One training run. Use it as a context manager, so that Ctrl-C and SIGTERM are caught while it is open.

    Args:
        folder: where log and state are kept; made when there is something to write.
        options: device, seed and the like.
        resume: continue from the state in `folder`, if there is one.
        watcher: told about progress.

    Attributes:
        device: torch device of this process.
        scratch: folder for what a trainer keeps on disk until the run is finished; then it is deleted.
        rank, world_size: number of this process, and of all (set by torchrun).
        step: step of the current phase.
        results: what a trainer has measured, ready for JSON, to be written beside the weights; None for nothing.

    Raises:
        OptionsError: there is no such device.
        InputError: the state in `folder` is damaged.
    """

    def __init__(
        self, folder: Path, options: RunOptions | None = None, resume: bool = False, watcher: Watcher | None = None
    ) -> None:
        self.folder, self.scratch = folder, folder / SCRATCH
        self.options = options or RunOptions()
        self.watcher = watcher or Watcher()
        self.rank, self.world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.device = self._join_processes()
        self.phase, self.step, self._total = "", 0, 0
        self.results: dict[str, Any] | None = None
        self._stop_signal = 0
        self._wrapped: list[Any] = []
        self._kept: dict[str, Stateful] = {}
        self._parts: dict[str, Stateful] = {}
        self._finished: list[str] = []
        self._values: dict[str, float] = {}
        self._handlers: dict[int, Any] = {}
        self._log: TrainingLog | None = None
        # A run that was killed before its first save starts from the beginning.
        self._resumed = _read_state(folder / STATE) if resume and (folder / STATE).exists() else dict(_START)
        self._finished += self._resumed["finished"]
        self._steps_before: int = self._resumed["total_steps"] - self._resumed["step"]
        self._resumed_log = (self._resumed["log_bytes"], self._resumed["total_steps"])
        self._saved_at = time.monotonic()
        self._started_at = self._saved_at - self._resumed["seconds"]
        self._seed("start", 0)

    def __enter__(self) -> Self:
        if current_thread() is main_thread():  # Python hears signals there alone
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._on_signal)
        cudnn = torch.backends.cudnn
        self._arithmetic = (cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32)
        cudnn.deterministic, cudnn.benchmark = True, False
        cudnn.allow_tf32 = self.options.precision != "float32"
        return self

    def __exit__(self, *exception: object) -> None:
        cudnn = torch.backends.cudnn
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = self._arithmetic
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._log is not None:
            self._log.close()
        if self.world_size > 1:
            self._leave_processes()

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    @property
    def seconds(self) -> float:
        """Time that the run has taken so far, over all interruptions."""
        return float(time.monotonic() - self._started_at)

    def setup(self, module: torch.nn.Module) -> torch.nn.Module:
        """The module on the run's device, wrapped for several processes where there are several.

        Call the result in training; save and export the module that went in.
        """
        module = module.to(self.device)
        if self.world_size == 1 or not any(p.requires_grad for p in module.parameters()):
            return module
        wrapped = torch.nn.parallel.DistributedDataParallel(module)
        self._wrapped.append(wrapped)
        return wrapped

    def backward(self, loss: torch.Tensor) -> None:
        """Gradients of a scalar loss.

        Raises:
            TrainingDiverged: the loss is NaN or infinite; the last saved state is kept.
        """
        if not math.isfinite(float(loss.detach())):
            raise TrainingDiverged(
                f"The loss is {float(loss.detach())} at step {self.step} of phase {self.phase}.",
                "Start a new run with a lower learning rate"
                + (f"; {self.folder / STATE} holds the last saved state." if (self.folder / STATE).exists() else "."),
            )
        loss.backward()  # type: ignore[no-untyped-call]

    def clip_gradients(self, parameters: Iterable[torch.nn.Parameter], max_norm: float) -> float:
        """Scale all gradients together to an L2 norm of at most `max_norm`; returns the norm before."""
        return float(torch.nn.utils.clip_grad_norm_(list(parameters), max_norm))

    def autocast(self) -> AbstractContextManager[Any]:
        """Context in which networks compute in the run's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16")

    def all_reduce(self, value: torch.Tensor) -> torch.Tensor:
        """Mean over all processes, without gradient."""
        mean = value.detach().clone()
        if self.world_size > 1:
            dist.all_reduce(mean)
            mean /= self.world_size
        return mean

    def barrier(self) -> None:
        """Wait until all processes are here, for example before they read what the main one wrote."""
        if self.world_size > 1:
            dist.barrier()

    def share(self, batch_size: int) -> range:
        """Which items of a batch this process takes.

        Raises:
            OptionsError: the batch cannot be divided evenly.
        """
        if batch_size % self.world_size:
            raise OptionsError(
                f"A batch of {batch_size} cannot be divided among {self.world_size} processes.",
                "Choose a batch size that is a multiple of --devices.",
            )
        part = batch_size // self.world_size
        return range(self.rank * part, (self.rank + 1) * part)

    def rng(self, *key: int | str) -> np.random.Generator:
        """Random numbers that depend on the run's seed and the key alone."""
        digest = hashlib.sha256(json.dumps([self.options.seed, *key]).encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "little"))

    def log(self, **values: float) -> None:
        """Write named values for the current step to `log.csv` and TensorBoard."""
        self._values |= values
        # What is logged after a phase's last step belongs to that step, not to the first of the next phase.
        total_steps = self._steps_before + min(self.step, max(0, self._total - 1))
        self._open_log().write(self.phase, self.step, total_steps, self.seconds, values)

    @property
    def wants_log(self) -> bool:
        """Whether this step is one of those to log."""
        return self.step % self.options.log_every == 0

    def message(self, text: str) -> None:
        """Tell the user something, once."""
        if self.is_main:
            self.watcher.message(text)

    def keep(self, **parts: Stateful) -> None:
        """Save these with every state until the run ends. On resume they take on their saved state now."""
        for name, part in parts.items():
            self._kept[name] = part
            if name in self._resumed["kept"]:
                self._restore(part, self._resumed["kept"][name])

    def finished(self, phase: str) -> bool:
        """Whether a phase, with all that follows its loop, was finished before."""
        return phase in self._finished

    def finish(self, phase: str) -> None:
        """Mark a phase as finished, after its results went into something that is kept."""
        self._finished.append(phase)
        self._parts = {}
        self._steps_before += self.step
        self.step = 0

    def steps(self, phase: str, total: int, load: Callable[[int], Any], **parts: Stateful) -> Iterator[tuple[int, Any]]:
        """Loop over a phase, saving now and then, and stopping cleanly when asked to.

        Args:
            phase: a name that no other phase of the plan has.
            total: number of steps.
            load: step → batch; called from threads, ahead of time.
            parts: what the phase changes (modules, optimizers, schedulers). On resume they take on their saved state.

        Yields:
            (step, batch), step from 0 to total - 1.

        Raises:
            TrainingStopped: SIGINT or SIGTERM came; the state is saved.
        """
        self.phase, self.step, self._total, self._parts, self._values = phase, 0, total, parts, {}
        if self._resumed["phase"] == phase:
            self._take_up(self._resumed, parts)
        self._open_log()
        self.watcher.phase(phase, self.step, total)
        for batch in _ahead(load, range(self.step, total), self.options.workers):
            self._save_if_due()
            self._seed(phase, self.step)
            yield self.step, batch
            self.step += 1
            self.watcher.step(self.step, self._values)
        self._save_if_due()
        self._seed(phase, total)

    def save(self) -> None:
        """Write the state now."""
        self._saved_at = time.monotonic()
        if not self.is_main:
            return
        save_state(
            self.folder / STATE,
            {
                "phase": self.phase,
                "step": self.step,
                "total_steps": self._steps_before + self.step,
                "finished": self._finished,
                "kept": {name: part.state_dict() for name, part in self._kept.items()},
                "parts": {name: part.state_dict() for name, part in self._parts.items()},
                "log_bytes": self._open_log().flush(),
                "seconds": self.seconds,
            },
        )

    def _take_up(self, state: dict[str, Any], parts: dict[str, Stateful]) -> None:
        for name, part in parts.items():
            self._restore(part, state["parts"].get(name))
        self.step = state["step"]
        self._resumed = dict(_START)

    def _restore(self, part: Stateful, state: Any) -> None:
        try:
            part.load_state_dict(state)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{self.folder / STATE} does not fit this run: {reason}.", "Start a new run.") from error

    def _seed(self, phase: str, step: int) -> None:
        """Random numbers of networks depend on the step alone, so nothing of their past needs to be saved."""
        torch.manual_seed(int(self.rng("torch", phase, step, self.rank).integers(1 << 63)))

    def _open_log(self) -> TrainingLog:
        if self._log is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._log = TrainingLog(self.folder, self._resumed_log[0], self._resumed_log[1], self.is_main)
        return self._log

    def _save_if_due(self) -> None:
        stop = int(self.all_reduce(torch.tensor(float(self._stop_signal), device=self.device)).ceil())
        if stop:
            self.save()
            self.barrier()  # the launcher kills all processes when one leaves, also one that still saves
            raise TrainingStopped(
                f"Stopped in phase {self.phase} at step {self.step}; the state is saved.",
                f"Continue with --resume {self.folder}.",
                self._stop_signal or int(signal.SIGTERM),
            )
        if time.monotonic() - self._saved_at > self.options.save_every:
            self.save()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop_signal:  # asked twice: do not wait for the step
            raise KeyboardInterrupt
        self._stop_signal = number

    def _leave_processes(self) -> None:
        # A wrapped module that outlives the process group aborts the interpreter at its end: the group's threads still
        # run when it is torn down. So the modules let go of the group first, whoever else holds on to them.
        for wrapped in self._wrapped:
            wrapped.reducer = wrapped.logger = wrapped.process_group = None
        gc.collect()
        dist.destroy_process_group()

    def _join_processes(self) -> torch.device:
        if self.world_size == 1:
            return pick_device(self.options.device)
        name = "cpu" if self.options.device == "cpu" or not torch.cuda.is_available() else "cuda"
        if name == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            name = f"cuda:{os.environ['LOCAL_RANK']}"
        dist.init_process_group("nccl" if name != "cpu" else "gloo")
        return pick_device(name)


def _read_state(path: Path) -> dict[str, Any]:
    state = load_state(path)
    fits = isinstance(state, dict) and set(state) == set(_START)
    if not fits or not all(isinstance(state[k], type(v)) for k, v in _START.items() if v is not None):
        raise InputError(f"{path} is not a state of this version's training.", "Start a new run.")
    return dict(state)


def _ahead(load: Callable[[int], Any], steps: range, workers: int) -> Iterator[Any]:
    """`load(step)` for each step in order, computed ahead by threads."""
    if workers == 0:
        yield from map(load, steps)
        return
    with ThreadPoolExecutor(workers) as pool:
        ahead = iter(steps)
        waiting: deque[Future[Any]] = deque(pool.submit(load, step) for step in islice(ahead, 2 * workers))
        try:
            while waiting:
                batch = waiting.popleft().result()
                waiting.extend(pool.submit(load, step) for step in islice(ahead, 1))
                yield batch
        finally:
            for future in waiting:
                future.cancel()
