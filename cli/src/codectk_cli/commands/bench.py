"""`codectk bench`"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codectk.errors import CodectkError, UnknownName
from codectk_cli import trainer_bench
from codectk_cli.bridge import Model, OptionsCommand, gather, given
from codectk_cli.shared import candidate_options, console, fail, load_registry, progress, table

if TYPE_CHECKING:
    from codectk.bench import Sample, Speed, Spread
    from codectk.evaluate import Candidate
    from codectk.images import Picture

RESULT = "bench.json"
ROWS = "bench.csv"


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """(width, height) from a word such as 1920x1088."""
    if value is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})[x×]([1-9]\d{0,4})", value)
    if match is None:
        raise click.BadParameter(f"'{value}' is not a width and a height such as 1920x1088.")
    return int(match[1]), int(match[2])


class BenchCommand(OptionsCommand):
    """Takes the flags of the trainer that the call names."""

    def models_for(self, ctx: click.Context, args: list[str]) -> list[Model]:
        """Its bench options."""
        name = self.own_values(ctx, args)["trainer"]
        if name is None:
            return []
        try:
            registered = trainer_bench.find(name)
            return [registered.load(registered.spec.bench_options)]
        except CodectkError:
            if ctx.resilient_parsing or "--help" in args or "-h" in args:
                return []
            raise


@click.command(
    "bench", cls=BenchCommand, epilog="What is measured of a trainer's networks: codectk bench -t NAME --help"
)
@candidate_options
@click.option(
    "-t",
    "--trainer",
    metavar="NAME",
    shell_complete=trainer_bench.complete_trainer,
    help="Measure the networks of a trainer in place of codecs.",
)
@click.option("--crop", type=click.IntRange(min=1), help="Take a square of so many pixels from the middle.")
@click.option(
    "--size",
    callback=_size,
    metavar="WxH",
    help="Take that size from the middle, filled with mirror images if too small.",
)
@click.option("--warmup", type=click.IntRange(min=0), default=1, show_default=True, help="Passes that are not timed.")
@click.option("--repeats", type=click.IntRange(min=1), default=5, show_default=True, help="Passes that are timed.")
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of networks and coders."
)
@click.option("--all-points", is_flag=True, help="All rate points of a codec, not its default settings alone.")
@click.option("--decode/--no-decode", default=True, help="Whether decoding is timed too.")
@click.option("--out", type=click.Path(path_type=Path), help=f"Folder for {RESULT} and {ROWS}.")
@click.option("--device", default="auto", show_default=True, help="Where networks run: auto, cpu, cuda or cuda:N.")
@click.option("--force", is_flag=True, help="Replace the results in --out.")
@click.pass_context
def command(ctx: click.Context, /, trainer: str | None, **_: Any) -> int:
    """Measure speed: array in memory to the bytes of a file and back, stages apart.

    Codecs are compared with the first one, in the same run. Let nothing else run on the machine; compare ratios, not
    seconds. Nothing is written but the results in --out.
    """
    # Before numpy and torch are loaded, which read it then.
    os.environ["OMP_NUM_THREADS"] = str(ctx.params["threads"])
    if trainer is not None:
        return _bench_trainer(ctx, trainer, **_own(ctx, "data", "weights", "out", "force"))
    names = ("codecs", "weights", "data", "crop", "size", "out", "force", "all_points", "device")
    return _bench_codecs(**_own(ctx, *names), how=_own(ctx, "warmup", "repeats", "threads", "decode"))


def _own(ctx: click.Context, *names: str) -> dict[str, Any]:
    return {name: ctx.params[name] for name in names}


def _bench_codecs(
    codecs: tuple[str, ...],
    weights: tuple[Path, ...],
    data: Path,
    crop: int | None,
    size: tuple[int, int] | None,
    out: Path | None,
    force: bool,
    all_points: bool,
    device: str,
    how: dict[str, Any],
) -> int:
    from codectk.bench import speeds
    from codectk.files import refuse_existing
    from codectk.inputs import find_inputs
    from codectk_cli.candidates import candidates

    if crop and size:
        raise click.UsageError("Give --crop or --size, not both.")
    registry = load_registry()
    files = find_inputs(data)
    for name in (RESULT, ROWS) if out else ():
        refuse_existing(Path(out or "", name), force)
    chosen = candidates(codecs, weights, device, registry, rate_points=all_points, files=files)
    if not chosen:
        raise UnknownName("No codec works without weights here.", "Run `pip install codectk-classic`, or name -w.")
    samples = _measure(chosen, files, _reader(crop, size), {**how, "device": device})
    found = speeds(samples)
    about = {"data": str(data), "files": len(files), "crop": crop, "size": size, **how, "device": device}
    testbed = _testbed(chosen)
    if out:
        _store(out, about, testbed, found, samples, force)
    _show(found, testbed)
    return 1 if all(sample.error for sample in samples) else 0


def _bench_trainer(
    ctx: click.Context, name: str, data: Path, weights: tuple[Path, ...], out: Path | None, force: bool
) -> int:
    for_codecs = _own(ctx, "codecs", "crop", "size", "all_points")
    if any(for_codecs.values()) or not ctx.params["decode"]:
        raise click.UsageError("--codec, --crop, --size, --all-points and --no-decode are for codecs, not for -t.")
    if len(weights) > 1:
        raise click.UsageError("With -t, name one weights file.")
    registered = trainer_bench.find(name)
    (model,) = ctx.meta["codectk.models"]
    options = gather(model, given(ctx, model))
    from codectk.bench import Conditions
    from codectk.checkpoint import Checkpoint

    opened = Checkpoint.open(weights[0]) if weights else None
    conditions = Conditions(data, opened, **_own(ctx, "device", "threads", "warmup", "repeats"))
    return trainer_bench.run(registered, options, conditions, out and out / RESULT, force)


def _reader(crop: int | None, size: tuple[int, int] | None) -> Callable[[Path], Picture]:
    from codectk.bench import fitted
    from codectk.inputs import read_array

    def read(path: Path) -> Picture:
        if size:
            return fitted(read_array(path), size[1], size[0])
        return fitted(read_array(path), crop, crop, reflect=False) if crop else read_array(path)

    return read


def _measure(
    chosen: Sequence[Candidate], files: Sequence[Path], read: Callable[[Path], Picture], how: dict[str, Any]
) -> list[Sample]:
    from codectk.bench import measure

    total = len(files) * sum(len(candidate.settings) for candidate in chosen)
    with progress("measuring", total) as advance:

        def on_sample(sample: Sample) -> None:
            advance()
            if sample.error:
                fail(f"{sample.codec} on {sample.file}: {sample.error}")

        return measure(chosen, files, read=read, on_sample=on_sample, **how)


def _testbed(chosen: Sequence[Candidate]) -> dict[str, Any]:
    from codectk.testbed import describe

    return describe(["codectk", *(candidate.loaded.registered.distribution for candidate in chosen)])


def _store(
    out: Path,
    about: dict[str, Any],
    testbed: dict[str, Any],
    found: Sequence[Speed],
    samples: Sequence[Sample],
    force: bool,
) -> None:
    from dataclasses import asdict

    from codectk.files import write_bytes

    result = {
        "testbed": testbed,
        "run": about,
        "speeds": [asdict(speed) for speed in found],
        "samples": [asdict(sample) for sample in samples],
    }
    write_bytes(out / RESULT, json.dumps(result, indent=1).encode(), force)
    flat = [speed.flat() for speed in found]
    stream = StringIO()
    writer = csv.DictWriter(stream, list(dict.fromkeys(name for row in flat for name in row)))
    writer.writeheader()
    writer.writerows(flat)
    write_bytes(out / ROWS, stream.getvalue().encode(errors="surrogateescape"), force)


def _show(found: Sequence[Speed], testbed: dict[str, Any]) -> None:
    from codectk.bench import setting_text

    numbers = ("files", "bpp", "encode", "decode", "× first", "cores")
    shown = table("codec", "setting", *numbers, right=numbers)
    for speed in found:
        rates = (_rate(speed.encode_rate, speed.unit), _rate(speed.decode_rate, speed.unit))
        rest = ("" if value is None else f"{value:.2f}" for value in (speed.peer_ratio, speed.cores))
        bpp = "" if speed.bpp is None else f"{speed.bpp:.4f}"
        shown.add_row(speed.codec, setting_text(speed.setting), str(speed.files), bpp, *rates, *rest)
    console().print(shown, markup=False)
    times = ("median ms", "5 %", "95 %")
    shown = table("codec", "setting", "stage", *times, right=times)
    for speed in found:
        for stage, spread in _spreads(speed):
            values = (f"{1e3 * value:.2f}" for value in (spread.median, spread.p5, spread.p95))
            shown.add_row(speed.codec, setting_text(speed.setting), stage, *values)
    console().print(shown, markup=False)
    show_testbed(testbed)


def show_testbed(testbed: dict[str, Any]) -> None:
    """What the times were measured on, in three lines."""
    versions = ", ".join(f"{name} {version}" for name, version in testbed["versions"].items())
    threads = f"OMP_NUM_THREADS={testbed['OMP_NUM_THREADS']}"
    if "torch threads" in testbed:
        threads += f", torch: {testbed['torch threads']} threads on {testbed['device']}"
    click.echo(f"{testbed['processor']}, {testbed['usable cores']} cores, {testbed['system']}\n{threads}\n{versions}")


def _spreads(speed: Speed) -> list[tuple[str, Spread]]:
    """The lines of the table of stages: encoding, its parts, decoding."""
    parts: list[tuple[str, Spread | None]] = [("encode", speed.encode)]
    parts += [(f"  {name.replace('_', ' ')}", spread) for name, spread in speed.stages.items()]
    parts += [("decode", speed.decode)]
    return [(name, spread) for name, spread in parts if spread is not None]


def _rate(rate: float | None, unit: str) -> str:
    return "" if rate is None else f"{rate / 1e6:.2f} {'MP' if unit == 'pixel' else 'M values'}/s"
