"""Trainer of the context network of the fitted wavelet.

fields ─ the first 80 % of the frames ─ blocks, axes exchanged ─ quantised at bounds from 1e-1 to 1e-5 of the range
    └ surroundings ─ network in floating point ─ integers ─ counts of decisions ─> weights
the last 20 %: bytes of the streams with the network and without
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from codectk.arrays import Array, missing
from codectk.checkpoint import Checkpoint
from codectk.errors import InputError
from codectk.train import Run
from codectk_caesar_freq import encoding, fitted, native, specials
from codectk_caesar_freq.architecture import CONTEXTS, ContextsConfig, config_of
from codectk_caesar_freq.bounds import Bound
from codectk_caesar_freq.contexts import LOG_ONE, MODELS, SIGN_CONTEXTS, Contexts, starts_of
from codectk_caesar_freq.learned.context_network import Batch, ContextNetwork
from codectk_caesar_freq.learned.data import Source, read_sources, split
from codectk_caesar_freq.learned.parts import make_checkpoint
from codectk_caesar_freq.specials import Mask
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
        wanted, spread = self.options.examples // BLOCKS, _spread(source)
        for bound in BOUNDS:
            for i in range(BLOCKS):
                drawn = _block(source, self.run.rng("block", number, f"{bound:g}", i))
                if (plan := _plan(*drawn, bound * spread)) is not None:
                    yield plan.examples(max(1, drawn[0].size // wanted))


@dataclass(frozen=True)
class _Plan:
    """A block that is ready for coding: `fitted`, quantised, and what is special."""

    found: fitted.Fitted
    z: Array
    special: Mask | None

    def examples(self, every: int) -> native.Examples:
        """Those of one row in so many."""
        quantiser, mask = self.found.quantiser, None if self.special is None else self.special.view(np.uint8)
        grid = native.Grid.of((self.z.shape[0], self.z.shape[1], self.z.shape[2]), self.found.order)
        how = float(quantiser.step), quantiser.lattice
        return native.context_examples(
            grid, mask, native.lift_symbols(grid, self.z, mask, self.found.weights, *how), every
        )

    def size(self, contexts: Contexts | None) -> int:
        """Bytes of the streams."""
        return sum(map(len, fitted.encode(self.found, self.z, self.special, 1, contexts)[1]))


def _plan(x: Array, special: Mask, bound: float) -> _Plan | None:
    """A block as the codec would plan it; None where nothing is left to code."""
    kept = np.ascontiguousarray(special) if special.any() else None
    work = encoding.Work(np.ascontiguousarray(x), kept, Bound("absolute", bound), encoding.Plan())
    if not bound or not work.valid.size or (ends := specials.ends(work.valid))[0] == ends[1]:
        return None
    for quantiser in encoding.quantisers(work, *ends):
        z = quantiser.scaled(work.x, kept)
        return _Plan(fitted.fit(quantiser, z, kept), z, kept)
    return None


def _spread(source: Source) -> float:
    """Range of the valid values."""
    valid = source.frames[~missing(np.asarray(source.frames), source.fill)]
    return float(valid.max()) - float(valid.min()) if valid.size else 0.0


def _block(source: Source, rng: np.random.Generator) -> tuple[Array, Mask]:
    """A random part of the frames, and what is special in it; in half of the cases with axes exchanged."""
    drawn = [int(rng.choice(sizes)) for sizes in (FRAMES, SIDES, SIDES)]
    size = [min(want, there) for want, there in zip(drawn, source.frames.shape, strict=True)]
    begin = [int(rng.integers(there - side + 1)) for there, side in zip(source.frames.shape, size, strict=True)]
    part = np.ascontiguousarray(source.frames[tuple(slice(b, b + s) for b, s in zip(begin, size, strict=True))])
    special = specials.add_still(part, specials.find(part, source.fill, None))
    axes = (0, 1, 2) if rng.random() < 0.5 else tuple(rng.permutation(3))
    return part.transpose(axes), special.transpose(axes)


def _compare(source: Source, contexts: Contexts) -> dict[str, dict[str, int]]:
    """Bytes of the streams of all frames at some bounds, of the range."""
    x, spread, rows = np.ascontiguousarray(source.frames), _spread(source), {}
    special = specials.add_still(x, specials.find(x, source.fill, None))
    for bound in VAL_BOUNDS:
        if (plan := _plan(x, special, bound * spread)) is not None:
            rows[f"{bound:g}"] = {"bytes": plan.size(contexts), "without": plan.size(None)}
    return rows
