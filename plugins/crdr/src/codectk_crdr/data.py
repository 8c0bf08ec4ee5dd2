"""Pictures to train and validate on, and the crops and batches that are made of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from codectk.arrays import Array
from codectk.dataset import CHECKED_AT_ONCE, Dataset, Files, find_data, fingerprint, hold_out
from codectk.errors import InputError
from codectk.train import Run
from codectk_crdr.train_options import TrainOptions

KINDS = ("image/rgb8",)

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Pictures:
    """The pictures of a run.

    Args:
        options: where they lie.
        run: is told of pictures that cannot be used.

    Attributes:
        train, val: both parts.
        skipped: how many could not be used so far.
        fingerprint: short digests of both parts.

    Raises:
        InputError: a folder is missing, or holds too few pictures.
        UnknownName: there is neither a folder nor a dataset of that name.
    """

    def __init__(self, options: TrainOptions, run: Run) -> None:
        self.run, self.skipped = run, 0
        if options.layout == "folder":
            self.train, self.val = find_data(options.data, options.val_data, KINDS, self._skip)
        else:
            self.train, self.val = self._in_layout(options)
        left = (len(self.train), len(self.val))
        if self.skipped:
            total = self.skipped + sum(left)
            run.message(f"{self.skipped} of {total} pictures skipped; {left[0]} to train on, {left[1]} to validate on")
        self.fingerprint = f"{fingerprint(self.train)} {fingerprint(self.val)}"
        if left[0] < options.batch_size:
            raise InputError(
                f"{left[0]} pictures do not fill a batch of {options.batch_size}.",
                "Add pictures or lower --batch-size.",
            )

    def _in_layout(self, options: TrainOptions) -> tuple[Dataset, Dataset]:
        root = Path(options.data)
        open_images = options.layout == "OpenImages"
        paths = open_images_files(root, options.subset_list) if open_images else named_files(root, "*.png")
        if options.val_data is not None:
            _, val = find_data(options.val_data, options.val_data, KINDS, self._skip)
        else:
            apart = open_images and (root / "validation").is_dir()
            paths, held = (paths, named_files(root / "validation", "*.jpg")) if apart else hold_out(paths)
            val = Files(held, KINDS, self._skip)
        return Files(paths, KINDS, self._skip, check=len(paths) <= CHECKED_AT_ONCE), val

    def state_dict(self) -> dict[str, str]:
        """Which pictures these are."""
        return {"fingerprint": self.fingerprint}

    def load_state_dict(self, state: dict[str, str]) -> None:
        """Compare with the run's.

        Raises:
            ValueError: the run began with other pictures.
        """
        if state["fingerprint"] != self.fingerprint:
            raise ValueError("its pictures are not those that the run began with")

    def _skip(self, reason: str) -> None:
        """Count and tell a picture that cannot be used; of large folders this comes while the training runs."""
        self.skipped += 1
        self.run.message(f"skipped ({self.skipped}): {reason}")

    def batches(self, key: str, options: TrainOptions) -> Callable[[int], Tensor]:
        """step → this process's part of the batch, (B, 3, size, size) in [-1, 1].

        Each epoch has an order of its own; its last pictures, which do not fill a batch, are left out of it.

        Args:
            key: of the random numbers: other keys give other crops.
            options: crops and batches.
        """
        size, run = options.batch_size, self.run
        per_epoch, share = len(self.train) // size, run.share(size)

        def load(step: int) -> Tensor:
            epoch, position = divmod(step, per_epoch)
            order = run.rng(key, "order", epoch).permutation(len(self.train))
            crops = [
                draw(self.train[int(order[position * size + i])].x, options, run.rng(key, "picture", step, i))
                for i in share
            ]
            return torch.stack(crops)

        return load


def open_images_files(root: Path, subsets: tuple[int, ...]) -> list[Path]:
    """`root/train_K/*.jpg`, sorted.

    Args:
        root: folder of the dataset.
        subsets: which K; all that are there if empty.

    Raises:
        InputError: a folder is missing, or there are no pictures.
    """
    folders = [root / f"train_{k}" for k in subsets] or sorted(root.glob("train_*"))
    if not folders:
        raise InputError(f"{root} holds no folder train_0, train_1, …", "Name the root of Open Images with --data.")
    return [path for folder in folders for path in named_files(folder, "*.jpg")]


def named_files(folder: Path, pattern: str) -> list[Path]:
    """Files of a folder by pattern, sorted.

    Raises:
        InputError: the folder is missing, or holds no such file.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.", "Check --data, --layout and --subset-list.")
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise InputError(f"{folder} holds no {pattern}.", "Check --data, or choose --layout folder.")
    return paths


def draw(x: Array, options: TrainOptions, rng: np.random.Generator) -> Tensor:
    """A random crop, flipped in half of the cases.

    Args:
        x: picture (H, W, 3). Pictures that are too small are reflected at their edges.
        options: size of the crop, and by how much the picture is resized first, but not below the crop.
        rng: source of all that is random.

    Returns:
        (3, size, size) in [-1, 1].
    """
    size = options.image_size
    if options.resize_range is not None:
        factor = max(rng.uniform(options.resize_range[0], options.resize_range[1]), size / min(x.shape[:2]))
        if factor != 1:
            new = (max(1, round(x.shape[1] * factor)), max(1, round(x.shape[0] * factor)))
            x = np.asarray(Image.fromarray(x).resize(new, FILTERS[options.interpolation]))
    x = _at_least(x, size)
    top, left = (int(rng.integers(side - size + 1)) for side in x.shape[:2])
    crop: Any = x[top : top + size, left : left + size]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return to_tensor(crop)


def to_tensor(x: Array) -> Tensor:
    """(H, W, 3) of 0 to 255 → (3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1))).float() * (2 / 255) - 1


def _at_least(x: Array, size: int) -> Array:
    """The picture, reflected right and below, as often as needed, until both sides have `size` pixels."""
    while min(x.shape[:2]) < size:
        missing = [max(0, size - side) for side in x.shape[:2]]
        mode = "reflect" if min(x.shape[:2]) > 1 else "edge"
        added = [min(m, max(1, side - 1)) for m, side in zip(missing, x.shape[:2], strict=True)]
        x = np.pad(x, [(0, added[0]), (0, added[1]), (0, 0)], mode=mode)  # type: ignore[call-overload]
    return x
