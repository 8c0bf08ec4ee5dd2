"""Trainer of the context network of the fitted wavelet.

fields ─ the first 80 % of the frames ─ blocks, axes exchanged ─ quantised at bounds from 1e-1 to 1e-5 of the range
    └ surroundings ─ network in floating point ─ integers ─ counts of decisions ─> weights
the last 20 %: bytes of the streams with the network and without
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from codectk.arrays import Array
from codectk.checkpoint import Checkpoint
from codectk.errors import InputError
from codectk.train import Run
from codectk_caesar_freq import fitted, native
from codectk_caesar_freq.architecture import CONTEXTS, ContextsConfig, config_of
from codectk_caesar_freq.contexts import LOG_ONE, MODELS, SIGN_CONTEXTS, Contexts, starts_of
from codectk_caesar_freq.learned.context_network import Batch, ContextNetwork
from codectk_caesar_freq.learned.data import Source, normalised, read_sources, split
from codectk_caesar_freq.learned.parts import make_checkpoint
from codectk_caesar_freq.train_options import ContextsOptions
from codectk_caesar_freq.training import LARGEST_NORM, LOWEST_RATE

BOUNDS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5)
"""Of the range of a variable."""
VAL_BOUNDS = (1e-2, 1e-3, 1e-4)
BLOCKS = 3
"""Of each variable at each bound."""
FRAMES, SIDES = (8, 16, 32, 64), (32, 64, 128, 256)
"""Sizes of blocks to draw from."""
SEEN = 30
"""How many decisions the chances at the start count for."""
EVEN = 1 << 15


class ContextsTrainer:
    """Trainer of the context network.

    Args:
        options: which data, how long.
        run: log and saved states.

    Raises:
        InputError: data are missing or damaged.
    """

    def __init__(self, options: ContextsOptions, run: Run) -> None:
        self.options, self.run = options, run
        sources = read_sources(Path(options.train_data), options)
        if options.val_data is None:
            pairs = [split(source) for source in sources]
            self.train_sources, self.val_sources = [a for a, _ in pairs], [b for _, b in pairs if len(b.frames)]
        else:
            self.train_sources, self.val_sources = sources, read_sources(Path(options.val_data), options)
        self.network = ContextNetwork()
        self.contexts: Contexts | None = None

    def describe(self) -> Iterator[str]:
        """What would be trained, for `--dry-run`."""
        yield f"network: {sum(p.numel() for p in self.network.parameters()):,} parameters"
        for source in self.train_sources:
            yield f"{source.name}: {len(source.frames)} frames of {source.frames.shape[1:]}"

    def train(self) -> None:
        """The plan."""
        run, options = self.run, self.options
        features, magnitudes, kinds, _ = examples = self._examples()
        self.network.to(run.device).train()
        optimizer = torch.optim.Adam(self.network.groups(), options.lr)

        def load(step: int) -> Batch:
            chosen = run.rng("batch", step).integers(len(kinds), size=options.batch_size)
            chosen = chosen[np.argsort(kinds[chosen], kind="stable")]
            octaves = torch.from_numpy(features[chosen].astype(np.float32) / LOG_ONE)
            long = (torch.from_numpy(x[chosen].astype(np.int64)) for x in (magnitudes, kinds))
            return Batch(octaves, *long)

        for step, batch in run.steps("train", options.steps, load, network=self.network, optimizer=optimizer):
            loss, bits = self.network(batch.to(run.device))
            if run.skip(loss):
                continue
            falling = (1 + math.cos(math.pi * step / options.steps)) / 2
            for group in optimizer.param_groups:
                group["lr"] = group["share"] * options.lr * (LOWEST_RATE + (1 - LOWEST_RATE) * falling)
            optimizer.zero_grad()
            run.backward(loss)
            run.clip_gradients(self.network.parameters(), LARGEST_NORM)
            optimizer.step()
            if run.wants_log:
                run.log(loss=float(loss.detach()), bits=float(bits.detach()))
        self.contexts = self._finished(examples)
        run.results = {"validation": {source.name: _compare(source, self.contexts) for source in self.val_sources}}

    def export(self) -> Checkpoint:
        """The weights."""
        if self.contexts is None:
            raise InputError("Nothing was trained.", "Let the training run to its end.")
        record = {
            "sources": [source.name for source in self.train_sources],
            "steps": self.options.steps,
            "seed": self.run.options.seed,
            "results": self.run.results,
        }
        return make_checkpoint(self.contexts.tensors(), config_of(None, None, **{CONTEXTS: ContextsConfig()}), record)

    def _finished(self, examples: native.Examples) -> Contexts:
        """The network in integers, with chances as often as decisions came out so in the examples."""
        features, magnitudes, kinds, _ = examples
        network = self.network.integers()
        starts = starts_of(network.levels(features, kinds), kinds, magnitudes)
        signs = np.full((MODELS, SIGN_CONTEXTS), EVEN, np.uint16)
        return Contexts(network.inner, network.outer, network.offset, starts, signs, np.array([SEEN], np.int32))

    def _examples(self) -> native.Examples:
        """Features, magnitudes and kinds of all sources and bounds."""
        found = [part for i, source in enumerate(self.train_sources) for part in self._of_source(i, source)]
        if not found:
            raise InputError("All fields are constant: there is nothing to learn.", "Name others with --data.")
        features, magnitudes, kinds, levels = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return features, magnitudes, kinds, levels

    def _of_source(self, number: int, source: Source) -> Iterator[native.Examples]:
        x = normalised(source.frames, source.fill)
        wanted = self.options.examples // BLOCKS
        for bound in BOUNDS:
            for i in range(BLOCKS):
                rng = self.run.rng("block", number, f"{bound:g}", i)
                part = _block(x, rng)
                if part.min() == part.max():
                    continue
                grid, q = _quantised(part, bound)
                yield native.context_examples(grid, None, q, max(1, part.size // wanted))


def _block(x: Array, rng: np.random.Generator) -> Array:
    """A random part of frames (T, H, W); in half of the cases with its axes exchanged."""
    drawn = [int(rng.choice(sizes)) for sizes in (FRAMES, SIDES, SIDES)]
    size = [min(want, there) for want, there in zip(drawn, x.shape, strict=True)]
    begin = [int(rng.integers(there - side + 1)) for there, side in zip(x.shape, size, strict=True)]
    part = x[tuple(slice(b, b + s) for b, s in zip(begin, size, strict=True))]
    return np.ascontiguousarray(part if rng.random() < 0.5 else part.transpose(rng.permutation(3)))


def _plan(x: Array, bound: float) -> tuple[fitted.Fitted, Array, native.Grid]:
    quantiser = fitted.Quantiser.within(float(x.min()), float(x.max()), bound)
    z = quantiser.scaled(x, None)
    found = fitted.fit(quantiser, z, None)
    return found, z, native.Grid.of((x.shape[0], x.shape[1], x.shape[2]), found.order)


def _quantised(x: Array, bound: float) -> tuple[native.Grid, native.Integers]:
    found, z, grid = _plan(x, bound)
    return grid, native.lift_symbols(grid, z, None, found.weights, 1.0)


def _compare(source: Source, contexts: Contexts) -> dict[str, dict[str, int]]:
    """Bytes of the streams of all frames at some bounds."""
    x = normalised(source.frames, source.fill)
    if x.min() == x.max():
        return {}
    rows = {}
    for bound in VAL_BOUNDS:
        found, z, _ = _plan(x, bound)
        with_network, without = (sum(map(len, fitted.encode(found, z, None, 1, c)[1])) for c in (contexts, None))
        rows[f"{bound:g}"] = {"bytes": with_network, "without": without}
    return rows
