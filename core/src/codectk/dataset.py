"""What a dataset is, the folder dataset that needs no plugin, and how training finds its data."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from codectk.arrays import Array, ArrayInfo, to_kind
from codectk.errors import CodectkError, InputError, OptionsError, UnknownName
from codectk.fields import split
from codectk.inputs import find_inputs, read_array
from codectk.registry import Registered, Registry, get_registry
from codectk.specs import DatasetSpec, normalise

CACHE_BYTES = 1 << 29
"""Arrays that a folder dataset keeps in memory."""

CHECKED_AT_ONCE = 2000
"""Training folders of more files are not read through before training begins."""


@dataclass(frozen=True)
class Sample:
    """One item of a dataset.

    Attributes:
        x: array of shape `info.shape`.
        id: stable name, for logs and tables.
        info: kind and shape of `x`.
        meta: anything else, for example a label.
    """

    x: Array
    id: str
    info: ArrayInfo
    meta: dict[str, Any] = field(default_factory=dict)


class Dataset(Protocol):
    """A sequence of samples with a fixed order."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def __getitem__(self, i: int) -> Sample:
        """Sample i, 0 <= i < len; the same i gives the same sample.

        Raises:
            IndexError: there is no such sample; a `for` loop ends by this.
        """
        ...


class Files:
    """Pictures or arrays from files, read on demand and kept in memory while they fit.

    Args:
        paths: the files.
        kinds: array kinds that the user of the samples takes; grey pictures become colour where only colour is taken.
        on_skip: called with the reason for each file that cannot be used, once.
        check: read every file now and leave out those that cannot be used; otherwise the next usable file takes the
            place of such a file when it is met.

    Attributes:
        skipped: reasons of all files found unusable so far.

    Raises:
        InputError: not one file can be used.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        kinds: tuple[str, ...],
        on_skip: Callable[[str], None] | None = None,
        check: bool = True,
    ) -> None:
        self.kinds, self.on_skip = kinds, on_skip
        self.skipped: list[str] = []
        self._unusable: set[Path] = set()
        self._lock = Lock()  # samples are asked for by several loader threads
        self._cache: OrderedDict[Path, Sample] = OrderedDict()
        self._cached_bytes = 0
        self.paths = [path for path in paths if not check or self._try(path)]
        if not self.paths:
            reason = self.skipped[0] if self.skipped else "No file was given."
            raise InputError(f"None of {len(paths)} files can be used. {reason}", "Give a folder of readable pictures.")

    def __len__(self) -> int:
        """Number of files."""
        return len(self.paths)

    def __getitem__(self, i: int) -> Sample:
        """The array of file i.

        Raises:
            IndexError: there are not so many files.
            InputError: neither this file nor any other can be used.
        """
        if not 0 <= i < len(self.paths):
            raise IndexError(f"There are {len(self.paths)} files, so none is number {i}.")
        for offset in range(len(self.paths)):
            sample = self._try(self.paths[(i + offset) % len(self.paths)])
            if sample is not None:
                return sample
        raise InputError(f"No file can be used any more. {self.skipped[-1]}", "Check the folder.")

    def _try(self, path: Path) -> Sample | None:
        """The sample of a file, or None if it cannot be used, which is told once."""
        with self._lock:
            if path in self._unusable:
                return None
            if path in self._cache:
                self._cache.move_to_end(path)
                return self._cache[path]
        try:
            sample = self._read(path)
        except CodectkError as error:
            with self._lock:
                news = path not in self._unusable
                self._unusable.add(path)
                if news:
                    self.skipped.append(error.problem)
            if news and self.on_skip:
                self.on_skip(error.problem)
            return None
        self._keep(path, sample)
        return sample

    def _read(self, path: Path) -> Sample:
        picture = read_array(path)
        x, info = to_kind(picture.x, picture.info, self.kinds)
        x.setflags(write=False)  # it stays in the cache, for others to read
        return Sample(x, path.name, info)

    def _keep(self, path: Path, sample: Sample) -> None:
        with self._lock:
            if path not in self._cache:
                self._cached_bytes += sample.x.nbytes
            self._cache[path] = sample
            while self._cached_bytes > CACHE_BYTES:
                _, old = self._cache.popitem(last=False)
                self._cached_bytes -= old.x.nbytes


def sample_photos(split: str) -> list[Path]:
    """Files of the photos that ship inside scikit-image: `train` for training, `val` to look at afterwards.

    Raises:
        OptionsError: there is no such split.
        InputError: scikit-image is not installed.
    """
    names = {
        "train": "astronaut.png coffee.png hubble_deep_field.jpg ihc.png motorcycle_left.png retina.jpg rocket.jpg",
        "val": "chelsea.png",
    }
    if split not in names:
        raise OptionsError(f"The sample photos have no split '{split}'.", f"Choose one of {', '.join(names)}.")
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise InputError(
            "The sample photos come with scikit-image, which is not here.", "Run `pip install scikit-image`."
        )
    return [Path(spec.origin).parent / "data" / name for name in names[split].split()]


def find_data(
    train: str, val: str | None, kinds: tuple[str, ...], on_skip: Callable[[str], None] | None = None
) -> tuple[Dataset, Dataset]:
    """Training and validation data as a user names them.

    Args:
        train: the name of a registered dataset, or a folder; a folder of a dataset's name is meant by `./NAME`.
        val: the same, or None: the dataset's own `val` split, or about a tenth of the folder's files, chosen by a hash
            of their names, which are then not trained on.
        kinds: array kinds that the trainer takes.
        on_skip: called with the reason for each file left out.

    Raises:
        UnknownName: neither a folder nor a dataset has that name.
        InputError: nothing usable is there, or a folder of one file should be split.
    """
    registry = get_registry()
    paths = _paths(train, "train", registry)
    if val is not None or _is_dataset(train, registry):
        val_paths = _paths(val or train, "val", registry)
    else:
        paths, val_paths = hold_out(paths)
    large = isinstance(paths, list) and len(paths) > CHECKED_AT_ONCE
    return _dataset(paths, kinds, on_skip, not large), _dataset(val_paths, kinds, on_skip, True)


def hold_out(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Split files into a training part and about a tenth (at least one) for validation, the same way every time.

    Raises:
        InputError: there is only one file.
    """
    if len(paths) < 2:
        raise InputError(
            "One file cannot serve for training and validation.", "Add files, or name others with --val-data."
        )
    by_hash = sorted(paths, key=lambda path: hashlib.sha256(path.name.encode()).digest())
    held = set(by_hash[: max(1, len(paths) // 10)])
    return [p for p in paths if p not in held], [p for p in paths if p in held]


def fingerprint(dataset: Dataset) -> str:
    """A short digest of what a dataset holds: names and sizes of files, or the number of samples."""
    files = [(path.name, _size(path)) for path in dataset.paths] if isinstance(dataset, Files) else len(dataset)
    return hashlib.sha256(repr(files).encode()).hexdigest()[:16]


def _size(path: Path) -> int:
    return split(path)[0].stat().st_size  # of several fields in one file, each has the size of the whole


def _dataset(found: Any, kinds: tuple[str, ...], on_skip: Callable[[str], None] | None, check: bool) -> Dataset:
    return Files(found, kinds, on_skip, check) if isinstance(found, list) else found


def _paths(name: str, split: str, registry: Registry) -> Any:
    """A list of files, or whatever dataset object a plugin's target returns."""
    if not _is_dataset(name, registry):
        if Path(name).exists():
            return find_inputs(Path(name))
        if "/" in name:
            raise InputError(
                f"{name} is not a folder here, nor an installed dataset.",
                "Put its pictures into a folder and name that; nothing is fetched from hubs. "
                "`codectk list datasets` shows what is installed.",
            )
        try:
            registry.find(DatasetSpec, name)
        except UnknownName as error:
            raise UnknownName(f"There is neither a folder nor a dataset named '{name}'.", error.next_step) from None
    registered = registry.find(DatasetSpec, name)
    return registered.load(registered.spec.target)(split)


def open_dataset(registered: Registered, split: str) -> Dataset:
    """One split of a registered dataset. Its target may return samples, or a list of files.

    Raises:
        OptionsError: the dataset has no such split.
        InputError: nothing usable is there.
    """
    return _dataset(registered.load(registered.spec.target)(split), registered.spec.kinds, None, True)


def _is_dataset(name: str, registry: Registry) -> bool:
    return any(normalise(name) in (normalise(r.spec.name), normalise(r.full_name)) for r in registry.datasets())
