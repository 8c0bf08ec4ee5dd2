"""Folders of classes, as the files of pictures with their labels.

root/class/picture.jpg        several roots are merged; classes are sorted over all roots of training and evaluation
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from codectk.dataset import hold_out
from codectk.errors import InputError
from codectk.files import read_bytes
from codectk.images import SUFFIXES

JPEG = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})

MOST_NAMED = 10
"""Classes that a message names."""

Labels = NDArray[np.int64]


class Source(Protocol):
    """Files of pictures with labels, in a fixed order.

    Attributes:
        classes: names, by label.
        labels: of each file.
        jpeg: whether all files are named as JPEG.
    """

    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def labels(self) -> Labels: ...  # noqa: D102
    @property
    def jpeg(self) -> bool: ...  # noqa: D102

    def name(self, i: int) -> str:
        """What messages call file i."""
        ...

    def read(self, i: int) -> bytes:
        """Its content.

        Raises:
            InputError: it cannot be read.
        """
        ...

    def take(self, which: Sequence[int] | NDArray[Any]) -> Self:
        """Some of the files, in the order given."""
        ...


@dataclass(frozen=True, eq=False)
class Folders:
    """Files on disk; see `Source`.

    Attributes:
        paths: one for each label.
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: Labels

    @property
    def jpeg(self) -> bool:
        """Whether all files are named as JPEG."""
        return all(os.path.splitext(path)[1].lower() in JPEG for path in self.paths)  # noqa: PTH122, of a million names

    def name(self, i: int) -> str:
        """Path of file i."""
        return self.paths[i]

    def read(self, i: int) -> bytes:
        """Its content.

        Raises:
            InputError: it is gone, too large or cannot be read.
        """
        return read_bytes(Path(self.paths[i]))

    def take(self, which: Sequence[int] | NDArray[Any]) -> Self:
        """Some of the files, in the order given."""
        chosen = np.asarray(which, dtype=np.int64)
        return replace(self, paths=tuple(self.paths[int(i)] for i in chosen), labels=self.labels[chosen])


def open_folders(
    train_dirs: Sequence[Path], val_dir: Path | None, tell: Callable[[str], None] = lambda _: None
) -> tuple[Folders, Folders]:
    """Training and evaluation files, with labels that mean the same on both sides.

    Args:
        train_dirs: roots, merged.
        val_dir: root of the other files; None holds out about a tenth of each class, chosen by a hash of the names.
        tell: is told of each root what it holds.

    Raises:
        InputError: a root is missing or holds no classes, a class is on one side alone, or has too few files to hold
            some out; it is named.
    """
    train = _merged(_scan(root, tell) for root in train_dirs)
    if val_dir is not None:
        val = _merged([_scan(val_dir, tell)])
        _refuse_differences(set(train), set(val))
    else:
        few = sorted(name for name, paths in train.items() if len(paths) < 2)
        if few:
            step = "Add pictures, or name others with --val-dir."
            raise InputError(f"One picture is too few to hold one out: {_named(few)}.", step)
        parts = {name: hold_out([Path(path) for path in paths]) for name, paths in train.items()}
        train, val = ({name: [*map(str, part[i])] for name, part in parts.items()} for i in (0, 1))
    classes = tuple(sorted(train))
    return _labelled(classes, train), _labelled(classes, val)


def open_files(roots: Sequence[Path], tell: Callable[[str], None] = lambda _: None) -> Folders:
    """All files of roots, for what is not split.

    Args:
        roots: as in `open_folders`.
        tell: see `open_folders`.

    Raises:
        InputError: a root is missing or holds no classes.
    """
    found = _merged(_scan(root, tell) for root in roots)
    return _labelled(tuple(sorted(found)), found)


def balanced(labels: Labels, count: int | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which items to keep: at most `count`, as many of each class as of any other, as far as there are so many.

    Args:
        labels: of all items.
        count: how many to keep; None keeps all. Below the number of classes, each that is kept is of another class.
        rng: chooses within classes, and the classes that give one item more.
    """
    if count is None or count >= len(labels):
        return np.arange(len(labels))
    order = rng.permutation(len(labels))
    place = rng.permutation(int(labels.max()) + 1)
    by_class = order[np.argsort(labels[order], kind="stable")]
    sizes = np.bincount(labels)
    turn = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = by_class[np.lexsort((place[labels[by_class]], turn))[:count]]
    return np.sort(chosen)


def fingerprint(*sources: Source) -> str:
    """A short digest of names and labels, to notice that a run is resumed with other data."""
    sha = hashlib.sha256()
    for source in sources:
        sha.update(repr((source.classes, len(source.labels))).encode())
        sha.update(source.labels.tobytes())
        for i in range(len(source.labels)):
            sha.update(os.path.basename(source.name(i)).encode(errors="surrogateescape") + b"\0")  # noqa: PTH119
    return sha.hexdigest()[:16]


def _scan(root: Path, tell: Callable[[str], None]) -> dict[str, list[str]]:
    """Class → sorted paths of its files."""
    try:
        with os.scandir(root) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        found = {name: _files(root / name) for name in names}
    except OSError as error:
        raise InputError(
            f"{root} cannot be read: {error.strerror or error}.", "Check the path of the folder."
        ) from None
    found = {name: paths for name, paths in found.items() if paths}
    if not found:
        step = "Name the folder above those of the classes, such as root in root/cat/1.jpg."
        raise InputError(f"{root} holds no folders with pictures.", step)
    tell(f"{root}: {sum(map(len, found.values()))} pictures of {len(found)} classes")
    return found


def _files(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".")]
    return [str(folder / name) for name in sorted(names) if os.path.splitext(name)[1].lower() in SUFFIXES]  # noqa: PTH122


def _merged(found: Iterable[dict[str, list[str]]]) -> dict[str, list[str]]:
    merged: dict[str, list[str]] = {}
    for part in found:
        for name, paths in part.items():
            merged.setdefault(name, []).extend(paths)
    return merged


def _refuse_differences(train: set[str], val: set[str]) -> None:
    for missing, side in ((train - val, "evaluation"), (val - train, "training")):
        if missing:
            number = f"{len(missing)} class{'es have' if len(missing) > 1 else ' has'}"
            raise InputError(
                f"{number} no {side} pictures: {_named(sorted(missing))}.",
                "Give both sides the same folders of classes; otherwise labels would not mean the same.",
            )


def _named(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - MOST_NAMED} more" if len(classes) > MOST_NAMED else ""
    return ", ".join(classes[:MOST_NAMED]) + more


def _labelled(classes: tuple[str, ...], found: dict[str, list[str]]) -> Folders:
    paths = tuple(path for name in classes for path in found[name])
    labels = np.repeat(np.arange(len(classes)), [len(found[name]) for name in classes])
    return Folders(classes, paths, labels.astype(np.int64))
