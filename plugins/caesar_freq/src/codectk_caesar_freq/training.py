"""What the three trainers share: the loop over epochs, running means of weights, validation, and what is kept.

every step: windows ─ loss ─ clip, AdamW, cosine ─ running mean of the weights
every epoch: validation of the running mean ─ the best so far is kept; it becomes weights.safetensors

best_model.safetensors, final_model.safetensors, checkpoint_epoch_N.safetensors    and so on, as the phases name them
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codectk.checkpoint import Checkpoint
from codectk.errors import OptionsError
from codectk.train import Run
from codectk_caesar_freq.learned.data import Fields
from codectk_caesar_freq.train_options import PhaseOptions

PLACES = ("train_data", "val_data", "freq_compressor_path", "teacher_path")
"""Options that are paths."""
LOWEST_RATE = 0.01
"""Learning rate at the end, over that at the start."""
LARGEST_NORM = 1.0
LOSS = "loss"

Losses = Mapping[str, Tensor]


class Objective(nn.Module):
    """What training of a network lowers, and what validation compares.

    Args:
        autocast: context in which networks compute in the run's precision.
    """

    def __init__(self, autocast: Callable[[], AbstractContextManager[Any]]) -> None:
        super().__init__()
        self.autocast = autocast

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Name → scalar, among them `loss`, of windows (B, T, H, W), normalised."""
        raise NotImplementedError

    def measure(self, x: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Figures of one window, the lower `loss` the better.

        Args:
            x: (1, T, H, W), normalised.
            noise: (1, T, H, W) in [-1, 1], always the same for this window.
        """
        raise NotImplementedError


class Mean(nn.Module):
    """Running mean of a network's weights; early on it forgets faster.

    Args:
        network: copied.
        decay: of what it remembers, at most; 0 keeps the newest weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after a step."""
        share = 1 - min(self.decay, (1 + step) / (10 + step)) if self.decay else 1.0
        for mine, new in zip(self.network.parameters(), network.parameters(), strict=True):
            mine.lerp_(new, share)


class Best:
    """The weights of the best validation so far."""

    def __init__(self) -> None:
        self.score, self.epoch = math.inf, 0
        self.weights: dict[str, Tensor] = {}

    def offer(self, score: float, epoch: int, network: nn.Module) -> bool:
        """Keep a network's weights if they are better, or the first; whether they are."""
        score = score if math.isfinite(score) else math.inf
        if self.weights and not score < self.score:
            return False
        self.score, self.epoch = score, epoch
        self.weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
        return True

    def state_dict(self) -> dict[str, Any]:
        """For saving."""
        return {
            "score": self.score if math.isfinite(self.score) else None,
            "epoch": self.epoch,
            "weights": self.weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take on a state."""
        self.score = math.inf if state["score"] is None else state["score"]
        self.epoch, self.weights = state["epoch"], dict(state["weights"])


class Phase:
    """The loop of one phase; subclasses say what is trained.

    Args:
        options: data and plan.
        run: device, log and saved states.
        network: what is trained.
        cell: of the transform.
        decay: of the running mean of weights.

    Raises:
        InputError: data are missing or damaged.
        OptionsError: the batch cannot be divided among the processes, or the size of crops does not fit the transform.
    """

    files = ("best_model", "final_model", "checkpoint_epoch")
    """Names of what is kept: the best, the last, and those on the way."""

    def __init__(self, options: PhaseOptions, run: Run, network: nn.Module, cell: int, decay: float) -> None:
        if options.training_size % cell:
            raise OptionsError(
                f"A training_size of {options.training_size} is no multiple of {cell}, the transform's cell.",
                "Change --training-size.",
            )
        self.options, self.run, self.network = options, run, network
        self.fields = Fields(options, run, cell)
        self.per_epoch = self.fields.steps_per_epoch
        self.mean, self.best = Mean(network, decay), Best()

    def objective(self, network: nn.Module) -> Objective:
        """Losses and figures of a network."""
        raise NotImplementedError

    def weights(self, network: nn.Module, epoch: int) -> Checkpoint:
        """A checkpoint of a network after so many epochs."""
        raise NotImplementedError

    def describe(self) -> Iterator[str]:
        """What would be trained, for `--dry-run`."""
        yield f"network: {sum(p.numel() for p in self.network.parameters()):,} parameters"
        for name, sources in self.fields.train.items():
            yield f"{name}: {len(sources)} of {len(sources[0].frames)} frames"
        yield f"{len(self.fields.val)} windows to validate on, {self.per_epoch} steps an epoch"

    def train(self) -> None:
        """The plan."""
        run, options = self.run, self.options
        run.keep(mean=self.mean, best=self.best, fields=self.fields)
        self.mean.to(run.device)
        total = options.epochs * self.per_epoch
        objective = self.objective(self.network)
        for step in self.steps("train", objective, self.network, total, options.lr):
            self.mean.update(self.network, step)
            if (step + 1) % self.per_epoch == 0:
                self._end_epoch((step + 1) // self.per_epoch)
        run.results = self._results()

    def export(self) -> Checkpoint:
        """The best weights."""
        return self.weights(self._best_network(), self.best.epoch)

    def steps(self, name: str, objective: nn.Module, network: nn.Module, total: int, lr: float) -> Iterator[int]:
        """Steps of a loop: each is done, and logged, when it is yielded.

        Args:
            name: of the loop.
            objective: losses of a batch.
            network: what it moves.
            total: number of steps.
            lr: learning rate at the start.
        """
        run = self.run
        forward = run.setup(objective)
        trained = [p for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr)
        network.train()
        for step, batch in run.steps(name, total, self.fields.batches(), network=network, optimizer=optimizer):
            losses: Losses = forward(run.place(batch))
            if not run.skip(losses[LOSS]):
                falling = (1 + math.cos(math.pi * step / total)) / 2
                for group in optimizer.param_groups:
                    group["lr"] = lr * (LOWEST_RATE + (1 - LOWEST_RATE) * falling)
                optimizer.zero_grad()
                run.backward(losses[LOSS])
                run.clip_gradients(trained, LARGEST_NORM)
                optimizer.step()
                if run.wants_log:
                    run.log(**{key: float(run.all_reduce(value)) for key, value in losses.items()})
            yield step

    def record(self, epoch: int) -> dict[str, Any]:
        """How weights came about; of paths the last name alone, since weights go to others."""
        changed = self.options.changed()
        names = {name: Path(changed[name]).name for name in PLACES if isinstance(changed.get(name), str)}
        return {"options": {**changed, **names}, "seed": self.run.options.seed, "epochs": epoch}

    def _end_epoch(self, epoch: int) -> None:
        options, run = self.options, self.run
        last = epoch == options.epochs
        best, final, kept = (f"{name}.safetensors" for name in self.files)
        if last or epoch % options.val_freq == 0:
            rows = self._validate(self.mean.network)
            figures = {name: sum(row[name] for _, row in rows) / len(rows) for name in rows[0][1]}
            run.log(**{f"val_{name}": value for name, value in figures.items()})
            if self.best.offer(figures[LOSS], epoch, self.mean.network):
                run.write_weights(best, self.weights(self.mean.network, epoch))
            if last or run.wants_log:
                shown = ", ".join(f"{name} {value:.5g}" for name, value in figures.items())
                run.message(f"epoch {epoch}: {shown}; best {self.best.score:.5g} in epoch {self.best.epoch}")
        if last:
            run.write_weights(final, self.weights(self.mean.network, epoch))
        elif epoch % options.save_freq == 0:
            run.write_weights(kept.replace(".", f"_{epoch}."), self.weights(self.mean.network, epoch))

    @torch.no_grad()
    def _validate(self, network: nn.Module) -> list[tuple[str, dict[str, float]]]:
        """(file, figures) of each window; the same on all processes."""
        objective = self.objective(network).eval()
        rows = []
        for i, (name, window) in enumerate(self.fields.val):
            x = torch.from_numpy(window)[None].to(self.run.device)
            noise = torch.from_numpy(self.run.rng("val", i).uniform(-1, 1, x.shape)).to(x)
            torch.manual_seed(i)  # samplers draw from it; `Run` seeds it again before the next step
            rows.append((name, {key: float(value) for key, value in objective.measure(x, noise).items()}))
        return rows

    def _best_network(self) -> nn.Module:
        network = copy.deepcopy(self.mean.network)
        network.load_state_dict(self.best.weights)
        return network.eval()

    def _results(self) -> dict[str, Any]:
        """Means of the best weights' figures in each file."""
        found: dict[str, list[dict[str, float]]] = {}
        for name, row in self._validate(self._best_network().to(self.run.device)):
            found.setdefault(name, []).append(row)
        means = {
            name: {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]} for name, rows in found.items()
        }
        return {"epoch": self.best.epoch, "validation": means}
