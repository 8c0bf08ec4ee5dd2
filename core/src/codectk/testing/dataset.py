"""What every dataset must keep to."""

from collections.abc import Iterator
from typing import Any, ClassVar
from zlib import crc32

import numpy as np
import pytest

from codectk.dataset import Dataset, Sample
from codectk.errors import CodectkError
from codectk.specs import DatasetSpec
from codectk.testing.processes import changed_by
from codectk.testing.specs import SpecConformance

OPEN = """
from codectk.dataset import open_dataset
from codectk.registry import get_registry
from codectk.specs import DatasetSpec
open_dataset(get_registry().find(DatasetSpec, sys.argv[1]), sys.argv[2])[0]
"""


class DatasetConformance(SpecConformance):
    """Tests of one dataset.

    Attributes:
        spec: its `DatasetSpec`.
        looked_at: how many samples of each split are looked at.
    """

    spec: ClassVar[DatasetSpec]
    looked_at: ClassVar[int] = 20

    def opened(self, split: str) -> Dataset:
        """The dataset as `find_data` would use it: a plugin may return a list of files instead of samples."""
        from codectk.dataset import open_dataset

        return open_dataset(self.registered(), split)

    def first(self, split: str) -> list[Sample]:
        """Samples of a split, from its start."""
        dataset = self.opened(split)
        return [dataset[i] for i in range(min(len(dataset), self.looked_at))]

    def filled(self) -> list[str]:
        """The splits that hold samples."""
        return [split for split in self.spec.splits if len(self.opened(split))]

    def _all(self) -> Iterator[Sample]:
        for split in self.spec.splits:
            yield from self.first(split)

    def test_every_split_holds_samples(self) -> None:
        """Each named split opens and is not empty."""
        assert self.spec.splits, "no split is named"
        for split in self.spec.splits:
            assert len(self.opened(split)) > 0, f"split {split} is empty"

    def test_samples_are_what_they_say(self) -> None:
        """Shape, type and kind of each sample fit its info and the spec."""
        for sample in self._all():
            info = sample.info
            assert (sample.x.shape, sample.x.dtype.name) == (info.shape, info.dtype), f"{sample.id} does not fit {info}"
            assert info.kind in self.spec.kinds, f"{sample.id} is {info.kind}, which the spec does not name"

    def test_the_same_number_gives_the_same_sample(self) -> None:
        """Whatever was asked for before, also when the dataset is opened again."""
        for split in self.filled():
            dataset = self.opened(split)
            last = len(dataset) - 1
            once, _, twice, again = dataset[0], dataset[last], dataset[0], self.opened(split)[0]
            for other in (twice, again):
                assert _same(once, other), f"sample 0 of {split} changes"

    def test_a_sample_that_is_changed_does_not_change_the_next(self) -> None:
        """Samples are read-only, or copies."""
        for split in self.filled():
            dataset = self.opened(split)
            x = dataset[0].x
            before = x.copy()
            if x.flags.writeable:
                x[...] = 0
            assert np.array_equal(dataset[0].x, before, equal_nan=before.dtype.kind == "f"), "samples share memory"

    def test_a_loop_over_the_samples_ends(self) -> None:
        """Past the last sample is an `IndexError`, by which Python ends a loop."""
        for split in self.filled():
            dataset = self.opened(split)
            with pytest.raises(IndexError):
                dataset[len(dataset)]

    def test_names_of_samples_differ(self) -> None:
        """Tables and logs can tell them apart."""
        for split in self.filled():
            names = [sample.id for sample in self.first(split)]
            assert len(set(names)) == len(names), f"split {split} uses a name twice"

    def test_splits_share_no_sample(self) -> None:
        """What is trained on is not what results are measured on."""
        seen: dict[int, str] = {}
        for split in self.filled():
            for sample in self.first(split):
                key = crc32(np.ascontiguousarray(sample.x).tobytes())
                assert seen.setdefault(key, split) == split, f"{sample.id} of {split} is also in {seen[key]}"

    def test_an_unknown_split_is_a_plain_error(self) -> None:
        """A slip in a split's name is told in words."""
        with pytest.raises(CodectkError):
            self.opened("no-such-split")

    def test_nothing_else_in_the_process_is_changed(self) -> None:
        """Seeds, threads, flags, environment."""
        changed = changed_by(OPEN, self.registered().full_name, self.spec.splits[0])
        assert not changed, f"the dataset changes {', '.join(changed)}"


def _same(a: Sample, b: Sample) -> Any:
    return a.id == b.id and a.info == b.info and np.array_equal(a.x, b.x, equal_nan=a.x.dtype.kind == "f")
