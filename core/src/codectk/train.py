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

import hashlib
import json
import math
import os
import signal
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.distributed as dist

from codectk.checkpoint import Checkpoint
from codectk.errors import InputError, OptionsError, TrainingDiverged, TrainingStopped
from codectk.loading import ahead
from codectk.log import RunLog, Table, Watcher
from codectk.options import RunOptions
from codectk.processes import StopSignals, join, leave
from codectk.run_state import START, STATE, begin, kept_path
from codectk.state import save_state
from codectk.trainer import Stateful

SCRATCH = "scratch"

MAX_SKIPS = 50
"""Steps in a row whose loss is no good before the run is given up."""


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
        skips: steps left out so far; see `skip`.
        results: what a trainer has measured, ready for JSON, to be written beside the weights; None for nothing.

    Raises:
        OptionsError: there is no such device, or Weights & Biases is asked for and not installed.
        InputError: the state in `folder` is damaged, or that of `start_iter` was not kept.
    """

    def __init__(
        self, folder: Path, options: RunOptions | None = None, resume: bool = False, watcher: Watcher | None = None
    ) -> None:
        self.folder, self.scratch = folder, folder / SCRATCH
        self.options = options or RunOptions()
        self.watcher = watcher or Watcher()
        self.rank, self.world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.device: torch.device = join(self.options.device, self.world_size)
        self.phase, self.step, self._total, self._began = "", 0, 0, 0
        self.results: dict[str, Any] | None = None
        self._signals = StopSignals()
        self._wrapped: list[Any] = []
        self._kept: dict[str, Stateful] = {}
        self._parts: dict[str, Stateful] = {}
        self._finished: list[str] = []
        self._values: dict[str, float] = {}
        self._wanted: Container[int] = ()
        self._resumed = begin(folder, self.options.start_iter, resume, self.is_main)
        self._finished += self._resumed["finished"]
        self.skips, self._skips_in_a_row = self._resumed["skips"]
        self._steps_before: int = self._resumed["total_steps"] - self._resumed["step"]
        kept = (self._resumed["tables"], self._resumed["total_steps"])
        self._log = RunLog(folder, self.options, *kept, self.watcher, self.is_main)
        self._saved_at = time.monotonic()
        self._started_at = self._saved_at - self._resumed["seconds"]
        self._seed("start", 0)

    def __enter__(self) -> Self:
        self._signals.catch()
        cudnn = torch.backends.cudnn
        self._arithmetic = (cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32)
        cudnn.deterministic, cudnn.benchmark = True, False
        cudnn.allow_tf32 = self.options.precision != "float32"
        return self

    def __exit__(self, *exception: object) -> None:
        cudnn = torch.backends.cudnn
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = self._arithmetic
        self._signals.release()
        self._log.close()
        if self.world_size > 1:
            leave(self._wrapped)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    @property
    def seconds(self) -> float:
        """Time that the run has taken so far, over all interruptions."""
        return float(time.monotonic() - self._started_at)

    @property
    def iteration(self) -> int:
        """Steps done over all phases."""
        return self._steps_before + self.step

    def setup(self, module: torch.nn.Module) -> torch.nn.Module:
        """The module on the run's device, in the run's memory format, wrapped for several processes where there are.

        Call the result in training; save and export the module that went in.
        """
        module = module.to(self.device)
        if self.options.channels_last:
            for parameter in module.parameters():
                if parameter.dim() == 4:  # the format is for these alone
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        if self.world_size == 1 or not any(p.requires_grad for p in module.parameters()):
            return module
        wrapped = torch.nn.parallel.DistributedDataParallel(module)
        self._wrapped.append(wrapped)
        return wrapped

    def place(self, x: torch.Tensor) -> torch.Tensor:
        """A tensor on the run's device, in the run's memory format if it is 4-D: B, C, H, W."""
        last = self.options.channels_last and x.dim() == 4
        return x.to(self.device, memory_format=torch.channels_last if last else torch.preserve_format)

    def skip(self, loss: torch.Tensor, above: float = math.inf) -> bool:
        """Whether to leave a step out, on all processes together, since its loss is no good on one of them.

            if run.skip(loss, above=10_000):
                continue
            run.backward(loss)

        Such steps are counted and logged as `skipped`; while they follow each other, the saved state is left alone.

        Args:
            loss: scalar.
            above: a loss above it is as bad as one that is not finite.

        Raises:
            TrainingDiverged: this is the 50th such step in a row; the last saved state is kept.
        """
        value = float(loss.detach())
        bad = not math.isfinite(value) or value > above
        if not float(self.all_reduce(torch.tensor(float(bad), device=self.device))):
            self._skips_in_a_row = 0
            return False
        self.skips += 1
        self._skips_in_a_row += 1
        self.log(skipped=self.skips)
        if self._skips_in_a_row == 1:
            what = f"the loss is {value:g}" if bad else "the loss of another process is no good"
            self.message(f"{what} at step {self.step} of phase {self.phase}; such steps are skipped")
        if self._skips_in_a_row >= MAX_SKIPS:
            raise self._diverged(f"{MAX_SKIPS} steps in a row were skipped, the last with a loss of {value:g}")
        return True

    def backward(self, loss: torch.Tensor) -> None:
        """Gradients of a scalar loss.

        Raises:
            TrainingDiverged: the loss is NaN or infinite; the last saved state is kept.
        """
        if not math.isfinite(float(loss.detach())):
            raise self._diverged(f"The loss is {float(loss.detach())}")
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
            problem = f"A batch of {batch_size} cannot be divided among {self.world_size} processes."
            raise OptionsError(problem, "Choose a batch size that is a multiple of --devices.")
        part = batch_size // self.world_size
        return range(self.rank * part, (self.rank + 1) * part)

    def rng(self, *key: int | str) -> np.random.Generator:
        """Random numbers that depend on the run's seed and the key alone."""
        digest = hashlib.sha256(json.dumps([self.options.seed, *key]).encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "little"))

    def log(self, **values: float) -> None:
        """Write named values for the current step to `log.csv`, TensorBoard and whatever else the run is shown on."""
        self._values |= values
        # What is logged after a phase's last step belongs to that step, not to the first of the next phase.
        total_steps = self._steps_before + min(self.step, max(0, self._total - 1))
        self._log.write(self.phase, self.step, total_steps, self.seconds, values)

    @property
    def wants_log(self) -> bool:
        """Whether this step is one of those to log."""
        return self.step % self.options.log_every == 0

    def message(self, text: str) -> None:
        """Tell the user something, once."""
        self._log.message(text)

    def table(self, name: str, columns: Sequence[str]) -> Table:
        """A CSV file in the run folder, whose rows are cut back to the saved state when the run is resumed.

        Args:
            name: of the file, such as `"eval_result.csv"`.
            columns: its first line.

        Raises:
            InputError: the file has other columns.
        """
        return self._log.table(name, columns)

    def write_weights(self, name: str, checkpoint: Checkpoint) -> None:
        """Write weights into the run folder, whole or not at all, in place of those of that name.

        Args:
            name: path in the run folder, such as `"model/comp_model_iter980K.safetensors"`.
            checkpoint: the weights.
        """
        if self.is_main:
            checkpoint.save(self.folder / name, force=True)

    def keep_iterations(self, wanted: Container[int]) -> None:
        """Keep the states of these iterations beside the newest, so that `start_iter` can go on from them.

        Args:
            wanted: steps done over all phases, for example `[980_000]` or `range(10_000, total + 1, 10_000)`. What a
                trainer has in `scratch` is not kept.
        """
        self._wanted = wanted

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
            TrainingDiverged: a parameter is no longer finite when the state would be saved.
        """
        self.phase, self.step, self._total, self._parts, self._values = phase, 0, total, parts, {}
        if self._resumed["phase"] == phase:
            self._take_up(self._resumed, parts)
        self._began = self.step
        self._log.phase(phase, self.step, total)
        for batch in ahead(load, range(self.step, total), self.options.workers):
            self._save_if_due()
            self._seed(phase, self.step)
            yield self.step, batch
            self.step += 1
            self.watcher.step(self.step, self._values)
        self._save_if_due()
        self._seed(phase, total)

    def stop(self) -> None:
        """Save and leave after this step, as on SIGTERM; it is enough that one of the processes asks."""
        self._signals.number = self._signals.number or int(signal.SIGTERM)

    def save(self) -> None:
        """Write the state now.

        Raises:
            TrainingDiverged: a parameter is no longer finite; the last saved state is kept.
        """
        self._saved_at = time.monotonic()
        self._save(self.folder / STATE)

    def _save(self, path: Path) -> None:
        modules = [part for part in (*self._kept.values(), *self._parts.values()) if isinstance(part, torch.nn.Module)]
        if not all(bool(p.isfinite().all()) for module in modules for p in module.parameters()):
            raise self._diverged("A parameter is no longer finite")
        if not self.is_main:
            return
        save_state(
            path,
            {
                "phase": self.phase,
                "step": self.step,
                "total_steps": self.iteration,
                "finished": self._finished,
                "kept": {name: part.state_dict() for name, part in self._kept.items()},
                "parts": {name: part.state_dict() for name, part in self._parts.items()},
                "tables": self._log.sizes(),
                "skips": [self.skips, self._skips_in_a_row],
                "seconds": self.seconds,
            },
        )

    def _diverged(self, problem: str) -> TrainingDiverged:
        state = self.folder / STATE
        kept = f"; {state} holds the last saved state." if state.exists() else "."
        return TrainingDiverged(
            f"{problem} at step {self.step} of phase {self.phase}.",
            f"Start a new run with a lower learning rate{kept}",
        )

    def _take_up(self, state: dict[str, Any], parts: dict[str, Stateful]) -> None:
        for name, part in parts.items():
            self._restore(part, state["parts"].get(name))
        self.step = state["step"]
        self._resumed = dict(START)

    def _restore(self, part: Stateful, state: Any) -> None:
        try:
            part.load_state_dict(state)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{self.folder / STATE} does not fit this run: {reason}.", "Start a new run.") from error

    def _seed(self, phase: str, step: int) -> None:
        """Random numbers of networks depend on the step alone, so nothing of their past needs to be saved."""
        torch.manual_seed(int(self.rng("torch", phase, step, self.rank).integers(1 << 63)))

    def _save_if_due(self) -> None:
        every, moved = self.options.save_step, self.step != self._began
        due = time.monotonic() - self._saved_at > self.options.save_every
        if moved and self.iteration in self._wanted:
            self._save(kept_path(self.folder, self.iteration))
        stop = int(self.all_reduce(torch.tensor(float(self._signals.number), device=self.device)).ceil())
        good = not self._skips_in_a_row
        if good and (stop or due or (moved and every and self.iteration % every == 0)):
            self.save()
        if stop:
            self.barrier()  # the launcher kills all processes when one leaves, also one that still saves
            saved = "the state is saved" if good else "steps were being skipped, so the state is that of the last save"
            problem = f"Stopped in phase {self.phase} at step {self.step}; {saved}."
            number = self._signals.number or int(signal.SIGTERM)
            raise TrainingStopped(problem, f"Continue with --resume {self.folder}.", number)
