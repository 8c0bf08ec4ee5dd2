"""`codectk dct-backbones check`: a picture through a training's pipeline and back, compared with what it must give.

file ─ crop, flip ─ coefficients ─ normalised ─ back ─ planes ─ picture ──┐
     └ decoded, the same crop ─ written out by definition, in float64 ────┴ compared, also with transposed blocks
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from codectk.arrays import ArrayInfo
from codectk.errors import CodectkError, InputError
from codectk.files import read_bytes, refuse_existing
from codectk.images import write_image
from codectk_dct_backbones import planes, statistics
from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.budget import Budget, channels
from codectk_dct_backbones.data.batches import PixelReader
from codectk_dct_backbones.data.files import FileReader
from codectk_dct_backbones.data.generated import generated
from codectk_dct_backbones.data.pixels import channels_first, decode
from codectk_dct_backbones.data.preparation import Preparation
from codectk_dct_backbones.data.source import open_files, open_folders
from codectk_dct_backbones.jpeg.loading import centre, picture_size
from codectk_dct_backbones.pipeline import Coefficients, to_planes
from codectk_dct_backbones.plan import Augmentation, Plan, preset
from codectk_dct_backbones.ranges import NEUTRAL
from codectk_dct_backbones.tool_options import CheckOptions

Doubles = NDArray[np.float64]

LUMA = np.array([0.299, 0.587, 0.114])
"""Luma of red, green and blue."""

ROUNDING = 0.25
"""Root mean square difference, in levels of 0 to 255, that is allowed where coefficients are computed of the pixels."""

DECODING = 1.0, 0.1
"""The same where they are read: levels, and a share of the picture's deviation. A decoder smooths chroma, clips and
rounds, which coefficients have not gone through; photographs come to 0.035 of their deviation, enlarged edges to 0.09.
"""

PARTS = ("recon", "luma", "cb", "cr", "original")


class CheckFailed(CodectkError):
    """Coefficients are not those of the picture."""


@dataclass(frozen=True)
class _Subject:
    """A picture to check: how it is called, its class, its file's content, and the beginning of the results' names."""

    name: str
    label: str
    data: bytes
    stem: str
    index: int = 0


def check(options: CheckOptions) -> dict[str, Any]:
    """Take pictures through the pipeline and back, and write what comes back.

    Args:
        options: which pictures, which pipeline, where to.

    Returns:
        For each picture what was found.

    Raises:
        CheckFailed: a reconstruction is not what the coefficients must give; its pictures are written all the same.
        InputError: a file cannot be read, or there are not so many.
        OutputError: a result exists already, or cannot be written.
    """
    told: list[str] = []
    subjects = list(_subjects(options, told.append))
    places = [options.output_dir / f"{subject.stem}_{part}.png" for subject in subjects for part in PARTS]
    for place in places:
        refuse_existing(place, options.force)
    said: dict[str, Any] = {"folders": "; ".join(told)} if told and options.show_progress else {}
    budget = options.budget()
    counts = "Y {}, Cb {}, Cr {}".format(*budget.counts)
    said["coefficients"] = f"{counts}: {budget.fraction:.1%} of all values, in the range {options.range_mode}"
    failed = []
    for subject in subjects:
        found = _Checked(options, subject)
        found.write()
        said[subject.name] = found.figures()
        failed += found.failures()
    said["written"] = f"{len(places)} pictures to {options.output_dir}"
    if failed:
        raise CheckFailed(" ".join(failed), f"Look at the pictures in {options.output_dir}; do not train on these.")
    return said


def _subjects(options: CheckOptions, tell: Any) -> Iterator[_Subject]:
    if options.file is not None:
        path = Path(options.file)
        yield _Subject(str(path), "", read_bytes(path), path.stem)
        return
    source: Any = generated(options.split)
    if options.train_dirs:
        source = open_folders(options.train_dirs, options.val_dir, tell)[options.split == "val"]
    elif options.val_dir is not None:
        source = open_files([options.val_dir], tell)
    for i in options.indices:
        if i >= len(source.labels):
            raise InputError(f"There is no picture {i} among {len(source.labels)}.", "Choose other --indices, from 0.")
        label = source.classes[source.labels[i]]
        yield _Subject(source.name(i), label, source.read(i), f"{options.split}_{i}", i)


class _Checked:
    """One picture, gone through all of it."""

    def __init__(self, options: CheckOptions, subject: _Subject) -> None:
        self.options, self.subject, self.budget = options, subject, options.budget()
        is_jpeg = subject.data[:2] == b"\xff\xd8" and options.compat == "none"
        self.input = ("jpeg" if is_jpeg else "recomputed") if options.input == "auto" else options.input
        self.plan = plan_of(options)
        self.original = self._pixels()
        self.coefficients, self.normalised = self._coefficients()
        self.planes = to_planes(self.coefficients, self.budget, options.range_mode)
        self.recon = planes.to_pictures(*self.planes, options.range_mode)[0].double().numpy()
        self.expected = expected(self.original, self.budget)
        self.transposed = expected(self.original, self.budget, transposed=True)

    def _rng(self) -> np.random.Generator:
        """The same for pixels and for coefficients, so that both are cut and flipped alike."""
        return np.random.default_rng((self.options.seed, self.subject.index))

    def _pixels(self) -> NDArray[np.uint8]:
        plan, (data, name) = self.plan, (self.subject.data, self.subject.name)
        reader = PixelReader(plan.image_size, plan.resize, plan.augmentation)
        if self.options.split == "train":
            return reader.train(data, name, plan.image_size, self._rng())[0]
        if self.input == "recomputed":
            return reader.middle(data, name)[0]
        crop = centre(*picture_size(data, name), plan.image_size, plan.resize)
        box = (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)
        side = (plan.image_size, plan.image_size)
        return channels_first(decode(data, name).resize(side, Image.Resampling.BILINEAR, box))

    def _coefficients(self) -> tuple[Coefficients, Coefficients]:
        """As they are, and normalised as networks get them; the former are made of the latter."""
        o, plan = self.options, self.plan
        stats = None if o.dct_stats == "none" else statistics.load(o.dct_stats, o.range_mode)
        size, compat = plan.image_size, o.compat
        architecture = Architecture(
            variant="block-stem", budget=self.budget, range_mode=o.range_mode, image_size=size, compat=compat
        )
        if self.input == "jpeg":
            reader = FileReader(plan, architecture, True, stats)
            data, name = self.subject.data, self.subject.name
            train = o.split == "train"
            arrays = reader.train(data, name, plan.image_size, self._rng()) if train else reader.middle(data, name)
            x: tuple[Tensor, ...] = tuple(torch.from_numpy(array)[None] for array in arrays)
        else:
            x = Preparation(architecture, True, stats)((torch.from_numpy(self.original)[None],))
        normalised = Coefficients(*x)
        if stats is None:
            return normalised, normalised
        parts = zip(normalised, stats.constants(self.budget, True, o.compat), strict=True)
        back = ((x, *(torch.from_numpy(array)[:, None, None] for array in constants)) for x, constants in parts)
        return Coefficients(*(x * deviation + mean for x, mean, deviation in back)), normalised

    @property
    def off(self) -> float:
        """How far the reconstruction is from what it must be, root mean square."""
        return _rms(self.recon, self.expected)

    @property
    def tolerance(self) -> float:
        """How far it may be."""
        levels, share = DECODING
        return ROUNDING if self.input == "recomputed" else levels + share * float(self.original.std())

    @property
    def looks_transposed(self) -> bool:
        """Whether luma would fit better if its blocks were turned about their diagonal."""
        recon, right, turned = (np.tensordot(LUMA, x, 1) for x in (self.recon, self.expected, self.transposed))
        return _rms(recon, turned) < _rms(recon, right)

    def failures(self) -> list[str]:
        """What is wrong, if anything; the public code's ranges are meant to be."""
        if self.off <= self.tolerance or self.options.compat == "original":
            return []
        why = "; its blocks look transposed" if self.looks_transposed else ""
        return [
            f"The reconstruction of {self.subject.name} is {self.off:.1f} levels off what its coefficients must give, "
            f"which may be {self.tolerance:.2g}{why}."
        ]

    def figures(self) -> dict[str, Any]:
        """What was found, for the user."""
        original = self.original.astype(np.float64)
        return {
            "class": self.subject.label or "not known",
            "coefficients": {"jpeg": "read out of the JPEG file", "recomputed": "computed of pixels"}[self.input],
            "pixels": f"{self.plan.image_size} x {self.plan.image_size}",
            "coefficients of Y": _span(self.coefficients.y),
            "coefficients of Cb": _span(self.coefficients.cb),
            "coefficients of Cr": _span(self.coefficients.cr),
            "normalised, all planes": _span(torch.cat([x.flatten() for x in self.normalised])),
            "original": _span(self.original),
            "reconstruction": _span(self.recon),
            "mean |reconstruction - original|": _mean_error(self.recon, original),
            "as the coefficients must give": _mean_error(self.expected, original),
            "PSNR in dB": _psnr(self.recon, original),
            "off what it must be (rms)": self.off,
            "which may be": self.tolerance,
            "result": self._verdict(),
        }

    def _verdict(self) -> str:
        if self.off > self.tolerance:
            return "not as it must be: compat original has the range depend on the picture"
        if _rms(self.expected, self.transposed) <= 2 * self.tolerance:
            return "as it must be, but the picture is too plain to notice transposed blocks"
        return "as it must be"

    def write(self) -> None:
        """The five pictures."""
        y, cb, cr = (_grey(plane[0]) for plane in self.planes)
        pictures = (_rgb(self.recon), y, cb, cr, _rgb(self.original))
        for part, x in zip(PARTS, pictures, strict=True):
            kind = "image/rgb8" if x.shape[2] == 3 else "image/gray8"
            path = self.options.output_dir / f"{self.subject.stem}_{part}.png"
            write_image(path, x, ArrayInfo(kind, x.shape), self.options.force)


def plan_of(options: CheckOptions) -> Plan:
    """How pictures are cut: the model's preset, without what changes colours."""
    plan = preset(options.model, False, False, image_size=options.image_size)
    least, most = options.crop_scale
    return replace(plan, augmentation=Augmentation(scale=least, most=most, flip=options.flip_prob))


def expected(rgb: NDArray[np.uint8], budget: Budget, transposed: bool = False) -> Doubles:
    """What is left of a picture, written out by definition and apart from the pipeline.

    Args:
        rgb: (3, H, W); H and W are multiples of 16.
        budget: what is kept.
        transposed: with every block turned about its diagonal, a mistake to compare with.

    Returns:
        (3, H, W), neither rounded nor clipped.
    """
    red, green, blue = rgb.astype(np.float64)
    y = np.rint(np.tensordot(LUMA, (red, green, blue), 1))
    colours = (np.clip(np.rint((c - y) * f + 128), 0, 255) for c, f in ((blue, 0.564), (red, 0.713)))
    halves = (c.reshape(c.shape[0] // 2, 2, c.shape[1] // 2, 2).mean((1, 3)) for c in colours)
    y, cb, cr = (_kept(x, n, transposed) for x, n in zip((y, *halves), budget.counts, strict=True))
    cb, cr = (_enlarged(c - 128) for c in (cb, cr))
    return np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb])


def _enlarged(plane: Doubles) -> Doubles:
    size = (2 * plane.shape[1], 2 * plane.shape[0])
    return np.asarray(Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BILINEAR), np.float64)


def _kept(plane: Doubles, count: int, transposed: bool) -> Doubles:
    """A plane of some of its coefficients."""
    if not count:
        return np.full_like(plane, NEUTRAL)
    k = np.arange(8)
    a = np.cos(np.pi * (k + 0.5) * k[:, None] / 8) * np.sqrt(2 / 8)
    a[0] = np.sqrt(1 / 8)
    mask = np.zeros((8, 8))  # by vertical, then horizontal frequency
    for channel in channels(count):
        mask[channel % 8, channel // 8] = 1
    rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
    blocks = plane.reshape(rows, 8, columns, 8)
    found = np.einsum("vy,rycx,ux->rcvu", a, blocks, a) * mask
    found = found.swapaxes(2, 3) if transposed else found
    back: Doubles = np.einsum("vy,rcvu,ux->rycx", a, found, a)
    return back.reshape(plane.shape)


def _rms(a: Doubles, b: Doubles) -> float:
    return float(np.sqrt(np.square(a - b).mean()))


def _mean_error(a: Doubles, b: Doubles) -> float:
    return float(np.abs(np.clip(a, 0, 255) - b).mean())


def _psnr(a: Doubles, b: Doubles) -> float | None:
    error = np.square(np.clip(a, 0, 255) - b).mean()
    return 10 * log10(255**2 / error) if error else None


def _span(x: Any) -> str:
    """Smallest and largest value."""
    if not x.size if isinstance(x, np.ndarray) else not x.numel():
        return "none"
    return f"{float(x.min()):.1f} to {float(x.max()):.1f}"


def _grey(plane: Tensor) -> NDArray[np.uint8]:
    return plane.round().clamp(0, 255).byte()[:, :, None].numpy()


def _rgb(x: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.clip(np.rint(x), 0, 255).astype(np.uint8).transpose(1, 2, 0))
