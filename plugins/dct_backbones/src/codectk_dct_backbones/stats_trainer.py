"""Mean and deviation of every coefficient over folders of pictures, to normalise by.

picture ─ short side to size + 32 ─ middle ─ planes ─ DCT ─ sums
"""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codectk.checkpoint import Checkpoint
from codectk.errors import InputError
from codectk.train import Run
from codectk_dct_backbones.classifier import CODEC, DISTRIBUTION, MEAN, STD
from codectk_dct_backbones.data.batches import Arrays, Files
from codectk_dct_backbones.data.generated import generated
from codectk_dct_backbones.data.pixels import decode, middle
from codectk_dct_backbones.data.source import Source, balanced, fingerprint, open_files
from codectk_dct_backbones.pipeline import from_pictures
from codectk_dct_backbones.statistics import Accumulator
from codectk_dct_backbones.train_options import StatsOptions

TABLE = "statistics.csv"
"""The result, in the run folder; `--dct-stats` takes it."""


class StatsTrainer:
    """Measures; nothing is learned.

    Args:
        options: which pictures.
        run: device, log and saved states.

    Raises:
        InputError: there are no pictures.
        OptionsError: the batch cannot be divided among the processes.
    """

    def __init__(self, options: StatsOptions, run: Run) -> None:
        self.options, self.run = options, run
        source: Source = generated("train")
        if options.train_dirs:
            source = open_files(options.train_dirs, run.message if options.show_progress else lambda _: None)
        else:
            run.message("no --train-dirs: the statistics are those of generated patterns")
        source = source.take(balanced(source.labels, options.max_train_images, run.rng("balanced", 0)))
        self.files, self.share = Files(source, run), run.share(options.batch_size)
        self.sums = Sums(Accumulator(options.range_mode), fingerprint(source))
        self.steps = -(-len(self.files) // options.batch_size)

    def describe(self) -> Iterator[str]:
        """What would be measured, for `--dry-run`."""
        yield f"pictures: {len(self.files)}, {self.options.image_size} px, range {self.options.range_mode}"

    def train(self) -> None:
        """The plan: each picture once."""
        run, accumulator = self.run, self.sums.accumulator
        for _, pixels in run.steps("measure", self.steps, self._load, sums=self.sums):
            part = Accumulator(self.options.range_mode)
            if len(pixels):
                part.add(from_pictures(pixels.to(run.device), range_mode=self.options.range_mode))
            shared = run.all_reduce(torch.from_numpy(part.totals).to(run.device)) * run.world_size
            part.totals = shared.cpu().numpy()
            accumulator.merge(part)
            blocks, total, _ = accumulator.totals[0]
            if run.wants_log and blocks[0]:
                run.log(luma_blocks=float(blocks[0]), luma_mean=float(total[0] / blocks[0]) / 8)
        if not accumulator.totals[0, 0].all():
            raise InputError(f"None of {len(self.files)} files can be used.", "The messages above say why.")
        if run.is_main:
            accumulator.statistics().save(run.folder / TABLE, force=True)
            run.message(f"statistics: {run.folder / TABLE}; give it to --dct-stats")
        run.results = {"blocks": float(accumulator.totals[0, 0, 0]), "skipped": self.files.skipped}

    def export(self) -> Checkpoint:
        """The statistics as weights, for the record."""
        measured = self.sums.accumulator.statistics()
        changed = self.options.changed()
        changed["train_dirs"] = [Path(place).name for place in changed.get("train_dirs", [])]
        return Checkpoint(
            tensors={MEAN: measured.mean, STD: measured.std},
            codec=CODEC,
            distribution=DISTRIBUTION,
            version=version(DISTRIBUTION),
            bitstream_version=0,
            config={"range_mode": measured.range_mode},
            training={"options": changed},
            licence="that of the pictures",
        )

    def _load(self, step: int) -> torch.Tensor:
        """This process's part of a step's pictures, without those that cannot be used: [B, 3, size, size], uint8."""
        first, size = step * self.options.batch_size, self.options.image_size
        read = (self.files.read(first + k, self._make) for k in self.share if first + k < len(self.files))
        pixels = [arrays[0] for arrays in read if arrays is not None]
        return torch.from_numpy(np.stack(pixels) if pixels else np.zeros((0, 3, size, size), np.uint8))

    def _make(self, data: bytes, name: str) -> Arrays:
        return (middle(decode(data, name), self.options.image_size, self.options.resize),)


class Sums:
    """What is saved of a measurement.

    Args:
        accumulator: of all processes.
        fingerprint: of the pictures.
    """

    def __init__(self, accumulator: Accumulator, fingerprint: str) -> None:
        self.accumulator, self.fingerprint = accumulator, fingerprint

    def state_dict(self) -> dict[str, Any]:
        """For saving."""
        return {"totals": torch.from_numpy(self.accumulator.totals), "fingerprint": self.fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take on a state.

        Raises:
            ValueError: the run began with other pictures.
        """
        if state["fingerprint"] != self.fingerprint:
            raise ValueError("its pictures are not those that the run began with")
        self.accumulator.totals = state["totals"].numpy().copy()
