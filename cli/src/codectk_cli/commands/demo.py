"""`codectk demo`"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codectk.errors import OutputError, PluginError
from codectk.registry import Registry
from codectk.specs import TrainerSpec
from codectk_cli.shared import console, load_registry, progress, table

if TYPE_CHECKING:
    from codectk.evaluate import Candidate, Row
    from codectk.images import Picture

PEERS = ("jpeg", "avif")
MARKER = ".codectk-demo"
"""A file by which a later demo knows the folder as its own, so that --force deletes nothing else."""


@click.command("demo")
@click.option(
    "--out", type=click.Path(path_type=Path), default="codectk-demo", show_default=True, help="Folder for all."
)
@click.option("--force", is_flag=True, help="Replace the demo in --out.")
def command(out: Path, force: bool) -> int:
    """Train a small frappe on bundled photos, compress a photo it has not seen, open the file again, compare.

    Takes under three minutes on two cores and downloads nothing.
    """
    start = time.monotonic()
    registry = load_registry()
    _make_room(out, force)
    peers = [name for name in PEERS if any(r.spec.name == name for r in registry.codecs())]
    weights = _train(registry, out / "run")
    photo = _unseen_photo(out / "photo.png")
    packed, opened = _there_and_back(photo, weights)
    _compare(registry, out, photo, weights, peers, packed, opened)
    click.echo(f"report: {out / 'report.html'}   (the demo took {time.monotonic() - start:.0f} s)")
    return 0


def _make_room(out: Path, force: bool) -> None:
    """An empty folder with the marker; an earlier demo in it goes if `force` is true.

    Raises:
        OutputError: something else is in the way.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise OutputError(f"{out} is not a folder of its own.", "Name another --out.")
    if out.is_dir() and any(out.iterdir()):
        if not (out / MARKER).is_file():
            raise OutputError(f"{out} is not empty and holds no demo.", "Name another --out.")
        if not force:
            raise OutputError(f"{out} holds an earlier demo.", "Add --force to replace it, or name another --out.")
        if Path.cwd().is_relative_to(out.resolve()):
            raise OutputError(f"{out} is the current folder or holds it.", "Go to another folder first.")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).write_text("`codectk demo --force` may delete this folder.\n", encoding="utf-8")


def _train(registry: Registry, folder: Path) -> Path:
    from codectk.options import RunOptions
    from codectk.runs import WEIGHTS, train
    from codectk_cli.bridge import gather
    from codectk_cli.watch import TerminalWatcher

    if not any(r.spec.name == "frappe" for r in registry.trainers()):
        raise PluginError("The demo needs the frappe plugin.", "Run `pip install codectk-frappe`.")
    registered = registry.find(TrainerSpec, "frappe")
    options = gather(registered.load(registered.spec.options), {}, registered.spec.recipes, "demo")
    click.echo("1. training a small frappe on photos that ship with scikit-image …")
    with TerminalWatcher() as watcher:
        train(registered, options, folder, RunOptions(), watcher=watcher)
    return folder / WEIGHTS


def _unseen_photo(target: Path) -> Path:
    """The photo that training holds out, as a PNG of its own."""
    from codectk.dataset import sample_photos
    from codectk.images import read_image, write_image

    picture = read_image(sample_photos("val")[0])
    write_image(target, picture.x, picture.info)
    return target


def _there_and_back(photo: Path, weights: Path) -> tuple[Path, Path]:
    """Compress the photo, then open the file in a process that has seen neither the photo nor the training."""
    packed, opened = photo.with_suffix(".ctk"), photo.with_name("opened.png")
    click.echo(f"2. compressing {photo.name}, which the training has not seen, and opening it in a fresh process …")
    codectk = [sys.executable, "-m", "codectk_cli"]
    for words in (
        ["compress", str(photo), "-w", str(weights), "-o", str(packed)],
        ["decompress", str(packed), "-w", str(weights), "-o", str(opened)],
    ):
        done = subprocess.run([*codectk, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise PluginError(f"`codectk {words[0]}` failed: {done.stderr.strip()}", "Run `codectk doctor`.")
    return packed, opened


def _compare(
    registry: Registry, out: Path, photo: Path, weights: Path, peers: list[str], packed: Path, opened: Path
) -> None:
    from codectk.evaluate import Row, average, compare, evaluate, measure
    from codectk.inputs import read_array
    from codectk_cli.candidates import candidates
    from codectk_cli.report import write_report

    picture = read_array(photo)
    values = measure(picture.x, read_array(opened).x, picture.info, ("psnr", "ssim"))
    size = packed.stat().st_size
    mine = Row("frappe", {}, photo.name, bytes=size, bpp=8 * size / picture.info.pixels, metrics=values)
    chosen = candidates(("frappe", *peers), (weights,), "auto", registry)
    chosen = [c if c.label == "frappe" else _with_size(c, picture, size) for c in chosen]
    with progress("comparing", sum(len(c.settings) for c in chosen)) as advance:
        rows = evaluate(chosen, [photo], out, on_row=lambda row: advance(), registry=registry)
    points = average(rows)
    compared = compare(rows, registry=registry)
    write_report(out / "report.html", "codectk demo", rows, points, compared, chosen, [photo], mine.bpp)
    nearest = [
        min((row for row in rows if row.codec == peer and not row.error), key=lambda row: abs(row.bytes - size))
        for peer in peers
    ]
    _show([mine, *nearest])
    _say_plainly(mine, nearest, peers)


def _with_size(candidate: Candidate, picture: Picture, size: int) -> Candidate:
    """The candidate with one more setting: the quality whose file comes nearest to `size` bytes, by bisection."""
    option = str(candidate.loaded.rate_option)
    low, high = 1, 100
    sizes: dict[int, int] = {}
    while low <= high:
        middle = (low + high) // 2
        options = candidate.loaded.encode_options({option: middle})
        sizes[middle] = len(candidate.loaded.compress(picture.x, picture.info, options).data)
        low, high = (middle + 1, high) if sizes[middle] < size else (low, middle - 1)
    best = min(sizes, key=lambda quality: abs(sizes[quality] - size))
    qualities = sorted({setting[option] for setting in candidate.settings} | {best})
    return replace(candidate, settings=tuple({option: quality} for quality in qualities))


def _show(rows: list[Row]) -> None:
    numbers = ("bytes", "bpp", "PSNR dB", "SSIM")
    shown = table("codec", "setting", *numbers, right=numbers, title="3. the photo at about equal size")
    for row in rows:
        setting = " ".join(f"{k} {v}" for k, v in row.setting.items()) or "opened in a fresh process"
        psnr, ssim = row.metrics["psnr"], row.metrics["ssim"]
        shown.add_row(row.codec, setting, str(row.bytes), f"{row.bpp:.4f}", f"{psnr:.2f}", f"{ssim:.4f}")
    console().print(shown, markup=False)


def _say_plainly(mine: Row, nearest: list[Row], peers: list[str]) -> None:
    for row in nearest:
        difference = mine.metrics["psnr"] - row.metrics["psnr"]
        verdict = "better than" if difference > 0 else "worse than"
        note = "" if difference > 0 else " A model of a few minutes is no match for it."
        click.echo(f"   frappe is {abs(difference):.2f} dB {verdict} {row.codec} of {row.bytes} bytes.{note}")
    if len(peers) < len(PEERS):
        click.echo("   For a comparison with JPEG and AVIF run `pip install codectk-classic`.")
