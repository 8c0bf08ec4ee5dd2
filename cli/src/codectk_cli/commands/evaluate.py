"""`codectk evaluate`"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codectk.errors import OptionsError, OutputError, UnknownName
from codectk_cli.report_figures import number
from codectk_cli.shared import candidate_options, console, fail, load_registry, progress, table, warn

if TYPE_CHECKING:
    from codectk.evaluate import BDRate, Candidate, Point, Row
    from codectk.registry import Registry

ROWS = "rows.jsonl"
REPORT = "report.html"

PICTURE_METRICS = ("psnr", "ssim")
FIELD_METRICS = ("psnr", "nrmse", "max_error")


@click.command("evaluate")
@candidate_options
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for results and files.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    help="May be repeated. Without any: psnr and ssim for pictures, psnr, nrmse and max_error for fields.",
)
@click.option("--anchor", help="Codec that BD-rates on the screen are against; the first one if not given.")
@click.option("--pictures", default=3, show_default=True, help="How many inputs the report shows.")
@click.option("--background", metavar="COLOUR", help="Lay transparent parts on this colour, such as white or #ff8800.")
@click.option("--depth", type=click.Choice(["8"]), help="Reduce deeper pictures to 8 bits.")
@click.option("--device", default="auto", show_default=True, help="Where networks run: auto, cpu, cuda or cuda:N.")
@click.option("--force", is_flag=True, help="Replace the results in --out.")
def command(
    codecs: tuple[str, ...],
    weights: tuple[Path, ...],
    data: Path,
    out: Path,
    metrics: tuple[str, ...],
    anchor: str | None,
    pictures: int,
    background: str | None,
    depth: str | None,
    device: str,
    force: bool,
) -> int:
    """Code every file with every codec at every setting, and compare.

    Each result is a real .ctk file, measured whole and decoded again. Writes rows.jsonl, rows.csv, bd_rate.json and
    report.html to --out, and beside the files of each codec and setting their means, as _metrics.json.
    """
    from codectk.corpus import write_summaries
    from codectk.evaluate import compare
    from codectk.inputs import find_inputs, read_array
    from codectk_cli.report import write_report

    registry = load_registry()
    files = find_inputs(data)
    metrics = metrics or _usual_metrics(files)
    chosen = _choose(codecs, weights, files, metrics, anchor, device, registry)
    _make_room(out, force)
    read = partial(read_array, background=background, depth=int(depth) if depth else None)
    rows = _evaluate(chosen, files, out, metrics, registry, read, device)
    points = _points(rows, chosen, files, out, metrics, registry, read, device)
    quality = _of_single_files(metrics, registry)
    compared = compare(rows, quality, registry) if quality else {}
    _store(rows, compared, quality, out)
    write_summaries(points, out)
    shown = files[: max(0, pictures)]
    write_report(out / REPORT, f"Codecs on {data}", rows, points, compared, chosen, shown, read=read)
    _show(points, compared, metrics, quality, anchor or chosen[0].label)
    click.echo(f"report: {out / REPORT}")
    return 1 if rows and all(row.error for row in rows) else 0


def _usual_metrics(files: Sequence[Path]) -> tuple[str, ...]:
    from codectk.fields import is_field

    fields = [is_field(file) for file in files]
    usual = (*(() if all(fields) else PICTURE_METRICS), *(FIELD_METRICS if any(fields) else ()))
    return tuple(dict.fromkeys(usual))


def _choose(
    codecs: tuple[str, ...],
    weights: tuple[Path, ...],
    files: Sequence[Path],
    metrics: tuple[str, ...],
    anchor: str | None,
    device: str,
    registry: Registry,
) -> list[Candidate]:
    """The candidates, after a check that all names make sense."""
    from codectk.evaluate import make_metric
    from codectk_cli.candidates import candidates

    for name in metrics:
        make_metric(name, registry, device)  # what is missing for one is told before anything is coded
    chosen = candidates(codecs, weights, device, registry, files=files)
    labels = [candidate.label for candidate in chosen]
    if not chosen:
        raise UnknownName("No codec works without weights here.", "Run `pip install codectk-classic`, or name -w.")
    if anchor is not None and anchor not in labels:
        raise OptionsError(f"--anchor {anchor} is not evaluated.", f"Choose one of {', '.join(labels)}.")
    return chosen


def _make_room(out: Path, force: bool) -> None:
    """Earlier results go if `force` is true, with the files that they speak of.

    Raises:
        OutputError: there are earlier results, and `force` is false.
    """
    earlier = [out / name for name in (REPORT, ROWS, "rows.csv", "bd_rate.json") if (out / name).exists()]
    if earlier and not force:
        raise OutputError(f"{out} holds results already.", "Add --force to replace them, or name another --out.")
    if earlier and (out / "files").is_dir() and not (out / "files").is_symlink():
        shutil.rmtree(out / "files")
    for path in earlier:
        path.unlink()
    out.mkdir(parents=True, exist_ok=True)


def _evaluate(
    chosen: Sequence[Candidate],
    files: Sequence[Path],
    out: Path,
    metrics: tuple[str, ...],
    registry: Registry,
    read: Callable[[Path], Any],
    device: str,
) -> list[Row]:
    """All rows; each is also stored as soon as it is known, so that an evaluation that is cut short is not lost."""
    from codectk.evaluate import evaluate

    total = len(files) * sum(len(candidate.settings) for candidate in chosen)
    with (out / ROWS).open("w", encoding="utf-8") as stream, progress("evaluating", total) as advance:

        def on_row(row: Row) -> None:
            stream.write(json.dumps(row.flat()) + "\n")
            stream.flush()
            advance()
            if row.error:
                fail(f"{row.codec} on {row.file}: {row.error}")

        return evaluate(chosen, files, out, metrics, on_row, registry, read, device)


def _points(
    rows: Sequence[Row],
    chosen: Sequence[Candidate],
    files: Sequence[Path],
    out: Path,
    metrics: tuple[str, ...],
    registry: Registry,
    read: Callable[[Path], Any],
    device: str,
) -> list[Point]:
    """Means over files and values of whole sets; a metric without a value is one line on stderr with the reason."""
    from codectk.corpus import measure_corpora

    with progress("measuring sets", len(rows)) as advance:
        points = measure_corpora(rows, chosen, files, out, metrics, registry, read, device, advance)
    for name in metrics:
        lacking = [point for point in points if name not in point.metrics]
        reasons = (point.unmeasured.get(name, "It takes none of these files.") for point in lacking)
        for reason in dict.fromkeys(reasons):
            warn(f"{name} is not measured. {reason}")
    return points


def _of_single_files(metrics: tuple[str, ...], registry: Registry) -> str | None:
    """The first metric by which curves can be compared file by file, for BD-rates."""
    from codectk.specs import MetricSpec

    found = (name for name in metrics if not registry.find(MetricSpec, name).spec.corpus)
    name = next(found, None)
    if name is None:
        warn("BD-rates need a metric of single files, such as --metric psnr; none are given.")
    return name


def _store(rows: Sequence[Row], compared: Mapping[tuple[str, str], BDRate], metric: str | None, out: Path) -> None:
    from codectk.files import write_bytes

    # Names of files that are not UTF-8 keep their bytes.
    table_of_rows = _csv([row.flat() for row in rows]).encode(errors="surrogateescape")
    write_bytes(out / "rows.csv", table_of_rows, force=True)
    bd = [
        {"anchor": a, "codec": b, "metric": metric, **{k: _finite(v) for k, v in vars(result).items()}}
        for (a, b), result in compared.items()
    ]
    write_bytes(out / "bd_rate.json", json.dumps(bd, indent=2).encode(), force=True)


def _show(
    points: Sequence[Point],
    compared: Mapping[tuple[str, str], BDRate],
    metrics: tuple[str, ...],
    quality: str | None,
    anchor: str,
) -> None:
    fields = any(isfinite(p.ratio) for p in points)
    numbers = ("bpp", *(["ratio"] if fields else []), *metrics, "encode s", "decode s", "files")
    shown = table("codec", "setting", *numbers, right=numbers)
    for p in points:
        setting = " ".join(f"{k}={v}" for k, v in p.setting.items())
        values = [number(p.ratio) if isfinite(p.ratio) else ""] if fields else []
        values += [number(p.metrics[m]) if m in p.metrics else "" for m in metrics]
        times = (f"{p.encode_seconds:.3f}", f"{p.decode_seconds:.3f}", str(p.files))
        shown.add_row(p.codec, setting, number(p.bpp), *values, *times)
    console().print(shown, markup=False)
    for (a, b), result in compared.items():
        if a == anchor:
            rate = "curves do not overlap enough" if result.percent is None else f"{result.percent:+.1f} %"
            files = f"{result.files} file{'' if result.files == 1 else 's'}"
            click.echo(f"BD-rate ({quality}) of {b} against {a}: {rate}, overlap {result.overlap:.0%}, {files}")


def _csv(flat: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in flat for name in row))
    stream = StringIO()
    writer = csv.DictWriter(stream, names)
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value
