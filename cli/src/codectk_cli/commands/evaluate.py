"""`codectk evaluate`"""

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import click

from codectk.errors import OptionsError, OutputError, UnknownName
from codectk_cli.shared import complete_codec, console, fail, load_registry, progress, table


@click.command("evaluate")
@click.option(
    "-c",
    "--codec",
    "codecs",
    multiple=True,
    metavar="CODEC",
    shell_complete=complete_codec,
    help="NAME[@WEIGHTS][:OPTION=VALUE,…]; may be repeated. Without any: all that need no weights of yours.",
)
@click.option("-w", "--weights", multiple=True, type=click.Path(path_type=Path), help="Weights; may be repeated.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Folder of pictures or arrays, or a file.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for results and files.")
@click.option(
    "--metric", "metrics", multiple=True, default=("psnr", "ssim"), show_default=True, help="May be repeated."
)
@click.option("--anchor", help="Codec that BD-rates on the screen are against; the first one if not given.")
@click.option("--pictures", default=3, show_default=True, help="How many inputs the report shows.")
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
    device: str,
    force: bool,
) -> int:
    """Code every file with every codec at every setting, and compare.

    Each result is a real .ctk file, measured whole and decoded again. Writes rows.jsonl, rows.csv, bd_rate.json and
    report.html to --out.
    """
    from codectk.evaluate import Row, average, bd_rates, evaluate
    from codectk.files import write_bytes
    from codectk.inputs import find_inputs
    from codectk.specs import MetricSpec
    from codectk_cli.candidates import candidates
    from codectk_cli.report import write_report

    registry = load_registry()
    for name in metrics:
        registry.find(MetricSpec, name)
    if (out / "report.html").exists() and not force:
        raise OutputError(f"{out} holds results already.", "Add --force to replace them, or name another --out.")
    files = [data] if data.is_file() else find_inputs(data)
    chosen = candidates(codecs, weights, device, registry)
    labels = [candidate.label for candidate in chosen]
    if not chosen:
        raise UnknownName("No codec works without weights here.", "Run `pip install codectk-classic`, or name -w.")
    if anchor is not None and anchor not in labels:
        raise OptionsError(f"--anchor {anchor} is not evaluated.", f"Choose one of {', '.join(labels)}.")
    total = len(files) * sum(len(candidate.settings) for candidate in chosen)
    with progress("evaluating", total) as advance:

        def on_row(row: Row) -> None:
            advance()
            if row.error:
                fail(f"{row.codec} on {row.file}: {row.error}")

        rows = evaluate(chosen, files, out, metrics, on_row, registry)
    points = average(rows)
    compared = bd_rates(points, metrics[0]) if metrics else {}
    flat = [row.flat() for row in rows]
    write_bytes(out / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in flat).encode(), force=True)
    write_bytes(out / "rows.csv", _csv(flat).encode(), force=True)
    bd = [
        {"anchor": a, "codec": b, "metric": metrics[0], **{k: _finite(v) for k, v in vars(result).items()}}
        for (a, b), result in compared.items()
    ]
    write_bytes(out / "bd_rate.json", json.dumps(bd, indent=2).encode(), force=True)
    shown = files[: max(0, pictures)]
    write_report(out / "report.html", f"Codecs on {data}", rows, points, compared, chosen, shown)
    _show(points, compared, metrics, anchor or labels[0])
    click.echo(f"report: {out / 'report.html'}")
    return 1 if rows and all(row.error for row in rows) else 0


def _show(points: Any, compared: Any, metrics: tuple[str, ...], anchor: str) -> None:
    numbers = ("bpp", *metrics, "encode s", "decode s", "files")
    shown = table("codec", "setting", *numbers, right=numbers)
    for p in points:
        setting = " ".join(f"{k}={v}" for k, v in p.setting.items())
        values = [f"{p.metrics[m]:.4f}" if m in p.metrics else "" for m in metrics]
        times = (f"{p.encode_seconds:.3f}", f"{p.decode_seconds:.3f}", str(p.files))
        shown.add_row(p.codec, setting, f"{p.bpp:.4f}", *values, *times)
    console().print(shown, markup=False)
    for (a, b), result in compared.items():
        if a == anchor:
            rate = "curves do not overlap enough" if result.percent is None else f"{result.percent:+.1f} %"
            click.echo(f"BD-rate ({metrics[0]}) of {b} against {a}: {rate}, overlap {result.overlap:.0%}")


def _csv(flat: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in flat for name in row))
    stream = StringIO()
    writer = csv.DictWriter(stream, names)
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def _finite(value: Any) -> Any:
    import math

    return None if isinstance(value, float) and not math.isfinite(value) else value
