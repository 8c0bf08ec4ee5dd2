"""Folders of classes with small pictures, made on the spot, and trainings of seconds on them."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from codectk.checkpoint import Checkpoint
from codectk.log import Watcher
from codectk.options import RunOptions
from codectk.registry import get_registry
from codectk.runs import train
from codectk.specs import TrainerSpec

TINY: dict[str, Any] = {"image_size": 32, "channel_scale": 0.05, "batch_size": 4, "epochs": 2, "lr": 0.002}
"""Networks of a few thousand parameters."""


def picture(seed: int, colour: tuple[int, int, int] = (128, 128, 128), size: tuple[int, int] = (56, 48)) -> Image.Image:
    """A smooth picture about a colour."""
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 60, (6, 7, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return Image.fromarray(np.clip(np.asarray(noise) + np.array(colour) - 30, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, **settings: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, "JPEG", **{"quality": 90, **settings})
    return stream.getvalue()


def folder(root: Path, counts: dict[str, int], suffix: str = ".jpg") -> Path:
    """`root/class/k.jpg`, each class of a colour of its own."""
    for label, (name, count) in enumerate(sorted(counts.items())):
        (root / name).mkdir(parents=True)
        colour = (60 + 130 * (label % 2), 60 + 130 * (label // 2 % 2), 60 + 130 * (label // 4 % 2))
        for k in range(count):
            picture(100 * label + k, colour).save(root / name / f"{k}{suffix}")
    return root


def run(
    name: str,
    values: dict[str, Any],
    out: Path,
    resume: bool = False,
    watcher: Watcher | None = None,
    **run_values: Any,
) -> Checkpoint:
    """Train on the CPU, without loader threads unless asked for."""
    registered = get_registry().find(TrainerSpec, f"dct_backbones.{name}")
    options = registered.load(registered.spec.options).parse(values)
    run_options = RunOptions(**{"device": "cpu", "workers": 0, **run_values})
    checkpoint = train(registered, options, out, run_options, resume, watcher)
    assert checkpoint is not None
    return checkpoint


class Listen(Watcher):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)
