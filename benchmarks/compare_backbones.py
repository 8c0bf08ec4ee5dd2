"""Classifiers of coefficients beside the one of pixels: accuracy after equal trainings, several seeds, and cost.

    python benchmarks/compare_backbones.py FOLDER --out RUNS

FOLDER holds train/CLASS/*.jpg and val/CLASS/*.jpg. All are trained by `dct_backbones.rgb` on the same decoded crops in
the same order, by the same recipe: only what the network reads differs. Accuracy is that on val after the last epoch,
not after the best. RUNS gets smaller copies of the pictures, and a run folder for each training: finished ones count
when the program is started again, interrupted ones go on. Tables are of what is finished; `--only-tables` trains
nothing.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from shutil import rmtree
from statistics import mean, stdev
from typing import Any

import torch
from PIL import Image

from codectk.images import SUFFIXES
from codectk.options import RunOptions
from codectk.registry import get_registry
from codectk.runs import DESCRIPTION, RESULTS, train
from codectk.specs import TrainerSpec
from codectk.testbed import describe
from codectk_dct_backbones.model import build
from codectk_dct_backbones.networks.cost import macs, parameters
from codectk_dct_backbones.pipeline import from_pictures
from codectk_dct_backbones.train_options import RgbOptions

RGB = "rgb"
SYSTEMS: dict[str, dict[str, Any]] = {
    RGB: {},
    **{name: {"compressed_backbone": name} for name in ("block-stem", "full-grid", "luma-fusion", "reconstruction")},
    "luma-fusion-pruned, 16": {"compressed_backbone": "luma-fusion-pruned", "compression_coeff_window": 4},
    "luma-fusion, original": {"compressed_backbone": "luma-fusion", "compat": "original", "dct_stats": "imagenet"},
}
"""What differs from one system to the next; 64 coefficients of each plane if no number is said. The original normalises
coefficients too, though not in this trainer."""

COEFFICIENTS = {"input_format": "compressed", "input": "recomputed"}
FULL_SIZE = 256
"""Side at which the published networks' costs are given."""


@dataclass(frozen=True)
class Setting:
    """What all systems have in common.

    Attributes:
        lr: at a batch of 256, in proportion to the batch.
    """

    folder: Path
    out: Path
    epochs: int
    size: int
    scale: float
    batch: int
    lr: float
    warmup: int
    precision: str

    def options(self, system: str) -> RgbOptions:
        """Of the trainer."""
        values = {
            "train_dirs": [str(self.folder / "train")],
            "val_dir": str(self.folder / "val"),
            "epochs": self.epochs,
            "image_size": self.size,
            "channel_scale": self.scale,
            "batch_size": self.batch,
            "lr": self.lr,
            "schedule": "cosine",
            "warmup_epochs": self.warmup,
            "nesterov": True,
            "label_smoothing": 0.1,
            "decay": "weights",
            "save_every": 0,
            **(COEFFICIENTS if system != RGB else {}),
            **SYSTEMS[system],
        }
        return RgbOptions.parse(values, "this comparison")

    def run(self, system: str, seed: int) -> Path:
        """Its folder. One that holds a training of another setting ends the program."""
        folder = self.out / f"{system.replace(', ', '-')}-{seed}"
        about = folder / DESCRIPTION
        if about.exists() and json.loads(about.read_bytes())["options"] != self.options(system).changed():
            sys.exit(f"{folder} is of another setting; name another --out.")
        return folder

    def top1(self, system: str, seed: int) -> float | None:
        """After the last epoch; None before it."""
        path = self.run(system, seed) / RESULTS
        return float(json.loads(path.read_bytes())["top1"]) if path.exists() else None


def shrunk(folder: Path, out: Path, side: int) -> Path:
    """A copy of all pictures with this short side, not compressed, so that loading them costs next to nothing."""
    copy, unfinished = out / f"pictures-{side}", out / f"pictures-{side}.unfinished"
    if copy.exists():
        return copy
    rmtree(unfinished, ignore_errors=True)
    for path in sorted(folder.glob("*/*/*")):
        if path.suffix.lower() in SUFFIXES:
            target = (unfinished / path.relative_to(folder)).with_suffix(".bmp")
            target.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as image:
                factor = side / min(image.size)
                size = round(image.width * factor), round(image.height * factor)
                image.convert("RGB").resize(size, Image.Resampling.BILINEAR).save(target)
    return unfinished.rename(copy)


def trained(setting: Setting, system: str, seed: int) -> tuple[str, int]:
    """Train one, on one thread; gives back which it was."""
    torch.set_num_threads(1)
    folder, registered = setting.run(system, seed), get_registry().find(TrainerSpec, "dct_backbones.rgb")
    run_options = RunOptions.parse(
        {"device": "cpu", "seed": seed, "workers": 0, "precision": setting.precision, "channels_last": True},
        "this comparison",
    )
    train(registered, setting.options(system), folder, run_options, resume=(folder / DESCRIPTION).exists())
    return system, seed


def cost(setting: Setting, system: str, size: int, scale: float) -> tuple[float, float]:
    """Millions of MACs of a picture and of parameters, with 10 classes."""
    options = setting.options(system).model_copy(update={"channel_scale": scale})
    architecture = options.architecture(10)
    network = build(architecture)
    pixels = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    x = pixels.float() if system == RGB else from_pictures(pixels, architecture.budget)
    return macs(network, x) / 1e6, parameters(network) / 1e6


def table(setting: Setting, systems: Sequence[str], seeds: Sequence[int]) -> Iterator[str]:
    """A line of Markdown for each system: mean and standard deviation over the seeds that are finished."""
    yield (
        f"| network | top-1 | each seed | above {RGB}, same seed | MMACs at {setting.size} px | parameters, M "
        f"| GMACs at {FULL_SIZE} px, full width |"
    )
    yield "|---|---|---|---|---|---|---|"
    for system in systems:
        found = {seed: top1 for seed in seeds if (top1 := setting.top1(system, seed)) is not None}
        pixels = {seed: top1 for seed in found if (top1 := setting.top1(RGB, seed)) is not None}
        each = ", ".join(f"{100 * top1:.2f}" for top1 in found.values())
        above = spread([found[seed] - top1 for seed, top1 in pixels.items()], "+") if system != RGB else ""
        small, learned = cost(setting, system, setting.size, setting.scale)
        full = cost(setting, system, FULL_SIZE, 1.0)[0] / 1e3
        yield f"| {system} | {spread(found.values())} | {each} | {above} | {small:.1f} | {learned:.2f} | {full:.2f} |"


def spread(values: Any, sign: str = "") -> str:
    """Mean ± standard deviation in percent."""
    percent = [100 * value for value in values]
    if len(percent) < 2:
        return "".join(f"{value:{sign}.2f}" for value in percent)
    return f"{mean(percent):{sign}.2f} ± {stdev(percent):.2f}"


def compare(setting: Setting, systems: Sequence[str], seeds: Sequence[int], jobs: int) -> None:
    """Train what is not finished, seed by seed, so that an early end leaves whole comparisons."""
    missing = [(system, seed) for seed, system in product(seeds, systems) if setting.top1(system, seed) is None]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(trained, setting, *which) for which in missing]):
            system, seed = future.result()
            top1 = setting.top1(system, seed) or 0.0
            sys.stderr.write(f"{system}, seed {seed}: top-1 {100 * top1:.2f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="Folder of train and val.")
    parser.add_argument("--out", type=Path, required=True, help="Folder of the run folders.")
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--shrink", type=int, default=96, help="Short side of the copies that crops are taken of.")
    parser.add_argument("--size", type=int, default=64, help="Side that networks see, a multiple of 16.")
    parser.add_argument("--scale", type=float, default=0.25, help="Factor of all widths.")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.1, help="At a batch of 256, in proportion to the batch.")
    parser.add_argument("--warmup", type=int, default=3, help="Epochs in which the rate rises.")
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--jobs", type=int, default=2, help="Trainings at a time, one thread each.")
    parser.add_argument("--only-tables", action="store_true", help="Print what is finished.")
    given = parser.parse_args()
    out = given.out.resolve()
    training = (given.epochs, given.size, given.scale, given.batch, given.lr, given.warmup, given.precision)
    setting = Setting(shrunk(given.folder, out, given.shrink), out, *training)
    if not given.only_tables:
        compare(setting, given.systems, given.seeds, given.jobs)
    say = sys.stdout.write
    say("".join(f"{key}: {value}\n" for key, value in describe(["codectk-dct-backbones"]).items()))
    say("\n" + "\n".join(table(setting, given.systems, given.seeds)) + "\n")


if __name__ == "__main__":
    main()
