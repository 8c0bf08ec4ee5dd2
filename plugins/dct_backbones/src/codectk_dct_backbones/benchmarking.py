"""`codectk bench -t dct_backbones.…`: how fast pictures are loaded, and networks are, regions apart; and how right.

files in memory ─ decode, crop, flip ─ transform ─ forward
                  on one thread        on the device
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codectk.bench import Conditions, Spread
from codectk.device import pick_device
from codectk.errors import CodectkError, InputError, OptionsError
from codectk.inputs import find_inputs
from codectk_dct_backbones import statistics
from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.classifier import LoadedClassifier, load_classifier
from codectk_dct_backbones.data.batches import Arrays, PixelReader, Reader
from codectk_dct_backbones.data.files import FileReader
from codectk_dct_backbones.data.preparation import Preparation
from codectk_dct_backbones.data.source import Folders, balanced, open_files
from codectk_dct_backbones.evaluation import scores
from codectk_dct_backbones.model import build
from codectk_dct_backbones.pipeline import Coefficients
from codectk_dct_backbones.plan import Augmentation, Plan
from codectk_dct_backbones.tool_options import BenchOptions

EVALUATED = 32
"""Pictures in a batch of which the accuracy is found."""


def bench(options: BenchOptions, conditions: Conditions) -> dict[str, Any]:
    """Measure loading and forward passes, beside a network for pixels; with weights and labels also the accuracy.

    Args:
        options: which network where no weights are given, and how much is measured.
        conditions: pictures, weights, device, threads, passes.

    Returns:
        Tables, in the order of the data's way.

    Raises:
        InputError: there are no pictures that can be used, or their classes are not those of the weights.
        OptionsError: options say what the network is although weights do, or the device is not there.
        WeightsError: the weights are of something else.
    """
    given = options.of_the_network()
    if conditions.weights is not None and given:
        raise OptionsError(f"--{given[0].replace('_', '-')} is for networks without weights.", "Leave it out with -w.")
    subject = _subject(options, conditions)
    source, labelled = open_data(conditions)
    architecture = subject.architecture
    said: dict[str, Any] = {
        "network": f"{architecture.model}, {architecture.variant}, {architecture.image_size} px",
        "pictures": len(source.labels),
    }
    with threads(conditions.threads):
        said["loading, ms for a picture"] = loading(subject, source, options, conditions)
        said["forward, ms for a batch"] = forward(subject, options, conditions)
        if conditions.weights is not None and labelled:
            conditions.tell("accuracy")
            said["accuracy"] = accuracy(subject, source, options)
    return said


@dataclass(frozen=True)
class Subject:
    """The network that is measured, and how its pictures are made.

    Attributes:
        classifier: with or without trained weights.
        plan: sides and cuts of pictures.
        device: where it runs.
    """

    classifier: LoadedClassifier
    plan: Plan
    device: torch.device

    @property
    def architecture(self) -> Architecture:
        """What it is built of."""
        return self.classifier.architecture

    def readers(self) -> dict[str, tuple[Reader, Preparation]]:
        """For each way of loading, what reads files and what prepares batches; pixels for comparison first."""
        pixels = PixelReader(self.plan.image_size, self.plan.resize, self.plan.augmentation)
        plain = Architecture(image_size=self.plan.image_size)
        found: dict[str, tuple[Reader, Preparation]] = {"rgb": (pixels, Preparation(plain, False, None))}
        if self.architecture.reads_coefficients:
            own = self.classifier.preparation
            found["recomputed"] = pixels, own
            if self.architecture.compat == "none":
                found["jpeg"] = FileReader(self.plan, self.architecture, own.trim, own.statistics), own
        return found


def _subject(options: BenchOptions, conditions: Conditions) -> Subject:
    device = pick_device(conditions.device)
    if conditions.weights is not None:
        loaded = load_classifier(conditions.weights, conditions.device)
    else:
        architecture = options.architecture()
        raw = architecture.variant in ("rgb", "reconstruction")
        stats = None if raw else statistics.load("imagenet", architecture.range_mode)
        network = build(architecture).to(device).eval()
        resize = round(architecture.image_size * 256 / 224)
        loaded = LoadedClassifier(network, architecture, (), Preparation(architecture, not raw, stats), resize)
    plan = Plan(image_size=loaded.architecture.image_size, resize=loaded.resize, augmentation=Augmentation())
    return Subject(loaded, plan, device)


def open_data(conditions: Conditions) -> tuple[Folders, bool]:
    """All pictures, and whether their folders are classes.

    Raises:
        InputError: there are none.
    """
    if conditions.data.is_dir():
        try:
            return open_files([conditions.data]), True
        except InputError:
            pass  # no folders in it: the pictures lie there themselves
    paths = tuple(str(path) for path in find_inputs(conditions.data))
    return Folders(("",), paths, np.zeros(len(paths), np.int64)), False


def loading(subject: Subject, source: Folders, options: BenchOptions, conditions: Conditions) -> list[dict[str, Any]]:
    """A row for each way of loading that all of the pictures allow.

    Raises:
        InputError: none of the pictures can be used.
    """
    count = min(options.pictures, len(source.labels))
    which = np.linspace(0, len(source.labels) - 1, count).round().astype(np.int64)
    files = [(source.read(int(i)), source.name(int(i))) for i in which]
    rows: list[dict[str, Any]] = []
    for name, (reader, preparation) in subject.readers().items():
        usable = [(data, label) for data, label in files if name != "jpeg" or data[:2] == b"\xff\xd8"]
        usable = [file for file in usable if _made(reader, *file) is not None]
        if not usable:
            if name == "rgb":
                raise InputError(f"None of {len(files)} files can be used.", "Name a folder of pictures with --data.")
            continue
        conditions.tell(f"loading, {name}")
        rows.append(
            {
                "input": name,
                "pictures": len(usable),
                **_loaded(subject, reader, preparation, usable, options, conditions),
            }
        )
        rows[-1]["of rgb's"] = round(rows[-1]["pictures/s"] / rows[0]["pictures/s"], 2)
    return rows


def _loaded(
    subject: Subject,
    reader: Reader,
    preparation: Preparation,
    files: Sequence[tuple[bytes, str]],
    options: BenchOptions,
    conditions: Conditions,
) -> dict[str, Any]:
    side, rng = subject.plan.image_size, np.random.default_rng(0)

    def decode() -> list[Arrays]:
        return [reader.train(data, name, side, rng) for data, name in files]

    batch = [torch.from_numpy(np.stack(parts)) for parts in zip(*decode(), strict=True)]

    def transform() -> object:
        return preparation(tuple(part.to(subject.device) for part in batch))

    found = conditions.times([decode, transform], options.seconds)
    decoding, transforming = (Spread.of(time / len(files) for time in times) for times in found)
    return {
        "decode": _ms(decoding.median),
        "95 %": _ms(decoding.p95),
        "transform": _ms(transforming.median),
        "transform, 95 %": _ms(transforming.p95),
        "pictures/s": round(1 / (decoding.median + transforming.median), 1),
    }


def forward(subject: Subject, options: BenchOptions, conditions: Conditions) -> list[dict[str, Any]]:
    """A row for each network and batch size; the network for pixels is the peer."""
    architecture = subject.architecture
    networks = {architecture.variant: subject.classifier.network}
    if architecture.reads_coefficients:
        same = ("model", "classes", "channel_scale", "image_size")
        plain = Architecture(**{name: getattr(architecture, name) for name in same})
        networks = {"rgb": build(plain).to(subject.device).eval(), **networks}
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    rows: list[dict[str, Any]] = []
    for size in options.batch_sizes:
        conditions.tell(f"forward, batch {size}")
        works = []
        for name, network in networks.items():
            network.to(memory_format=layout)  # type: ignore[call-overload]
            x = [part.to(subject.device, memory_format=layout) for part in _input(name, architecture, size)]
            works.append(partial(network, Preparation.payload(tuple(x))))
        with torch.inference_mode(), _cast(subject.device, options.amp):
            spreads = [Spread.of(times) for times in conditions.times(works, options.seconds)]
        for name, spread in zip(networks, spreads, strict=True):
            row = {"network": name, "batch": size, "median": _ms(spread.median), "95 %": _ms(spread.p95)}
            ratio = round(spreads[0].median / spread.median, 2)
            rows.append({**row, "pictures/s": round(size / spread.median, 1), "of rgb's": ratio})
    return rows


def _cast(device: torch.device, amp: bool) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16) if amp else nullcontext()


def _input(name: str, architecture: Architecture, size: int) -> tuple[Tensor, ...]:
    """Something to compute with, [B, …]."""
    side, generator = architecture.image_size, torch.Generator().manual_seed(0)
    if name == "rgb":
        return (torch.randn(size, 3, side, side, generator=generator),)
    y, cb, cr = (64, 64, 64) if architecture.variant == "reconstruction" else architecture.budget.counts
    shapes = (y, side // 8), (cb, side // 16), (cr, side // 16)
    return Coefficients(*(torch.randn(size, n, blocks, blocks, generator=generator) for n, blocks in shapes))


@torch.inference_mode()
def accuracy(subject: Subject, source: Folders, options: BenchOptions) -> dict[str, Any]:
    """Loss and accuracies over the middles of labelled pictures.

    Raises:
        InputError: a class is none of the weights', or no picture can be used.
    """
    labels = labels_of(subject.classifier, source.classes)
    chosen = source.take(balanced(source.labels, options.most_pictures, np.random.default_rng(0)))
    readers = subject.readers()
    kind = "jpeg" if chosen.jpeg and "jpeg" in readers else "recomputed" if "recomputed" in readers else "rgb"
    reader, preparation = readers[kind]
    preparation = subject.classifier.preparation if kind == "rgb" else preparation
    sums, skipped = torch.zeros(4, dtype=torch.float64, device=subject.device), 0
    for start in range(0, len(chosen.labels), EVALUATED):
        which = range(start, min(start + EVALUATED, len(chosen.labels)))
        made = [(i, _middle(reader, chosen, i)) for i in which]
        good = [(i, arrays) for i, arrays in made if arrays is not None]
        skipped += len(made) - len(good)
        if not good:
            continue
        parts = zip(*(arrays for _, arrays in good), strict=True)
        x = preparation(tuple(torch.from_numpy(np.stack(part)).to(subject.device) for part in parts))
        logits = subject.classifier.network(Preparation.payload(x))
        sums += scores(logits.float(), torch.from_numpy(labels[chosen.labels[[i for i, _ in good]]]).to(subject.device))
    loss, top1, top5, count = sums.tolist()
    if not count:
        raise InputError(f"None of {len(chosen.labels)} files can be used.", "Name a folder of pictures with --data.")
    found = {"input": kind, "pictures": round(count), "skipped": skipped}
    return {**found, "loss": loss / count, "top-1": top1 / count, "top-5": top5 / count}


def labels_of(classifier: LoadedClassifier, classes: Sequence[str]) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Outputs of the network that folders stand for.

    Raises:
        InputError: one stands for none.
    """
    if not classifier.classes and len(classes) == classifier.architecture.classes:
        return np.arange(len(classes))
    known = {name: i for i, name in enumerate(classifier.classes)}
    missing = [name for name in classes if name not in known]
    if missing:
        raise InputError(
            f"{missing[0]} is no class of the weights, which have {classifier.architecture.classes}.",
            "Name a folder of the same classes, or a single picture to measure speed alone.",
        )
    return np.array([known[name] for name in classes], np.int64)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads of torch's, for the time being."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _made(reader: Reader, data: bytes, name: str) -> Arrays | None:
    """The middle, if the file can be used."""
    try:
        return reader.middle(data, name)
    except CodectkError:
        return None


def _middle(reader: Reader, source: Folders, i: int) -> Arrays | None:
    try:
        return reader.middle(source.read(i), source.name(i))
    except CodectkError:
        return None


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 3)
