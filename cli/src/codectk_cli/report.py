"""`report.html`: one self-contained page with plots, tables, pictures side by side, and what becomes of fields."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import BytesIO
from math import isfinite
from pathlib import Path
from statistics import median

from codectk import container
from codectk.arrays import Array
from codectk.errors import CodectkError
from codectk.evaluate import BDRate, Candidate, Point, Row
from codectk.files import read_bytes, write_bytes
from codectk.images import Picture, to_pillow
from codectk.inputs import read_array
from codectk_cli.report_fields import field_section
from codectk_cli.report_figures import captioned, literal, number, style, svg

PICTURE_SIDE = 480
"""Pictures are shown as a cut-out of at most this side in pixels, unscaled."""

_LOGARITHMIC = ("nrmse", "max_error")
"""Metrics whose values span powers of ten."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #1c2024; }
h1, h2 { line-height: 1.2; } table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #dde; }
th:first-child, td:first-child, td.text { text-align: left; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; } figcaption { font-size: 13px; }
img { max-width: 100%; image-rendering: pixelated; } svg { max-width: 100%; height: auto; } .error { color: #b00020; }
"""


def write_report(
    path: Path,
    title: str,
    rows: Sequence[Row],
    points: Sequence[Point],
    compared: Mapping[tuple[str, str], BDRate],
    candidates: Sequence[Candidate],
    files: Sequence[Path],
    bpp: float | None = None,
    read: Callable[[Path], Picture] = read_array,
) -> None:
    """Write the page.

    Args:
        path: the page; the `.ctk` files that rows name lie in its folder.
        title: heading.
        rows, points, compared: results of `codectk.evaluate`.
        candidates: the codecs, to decode the files that are shown.
        files: inputs to show, in the order in which they were evaluated.
        bpp: rate at which codecs are shown side by side; by default the middle of what all of them reach.
        read: how an input becomes an array, as for `codectk.evaluate.evaluate`.
    """
    metrics = list(dict.fromkeys(name for point in points for name in point.metrics))
    counted = (
        "bpp (for fields bits per value) and ratio (bytes of the array over bytes of its file) count the whole file."
    )
    parts = [f"<h1>{escape(title)}</h1>", f"<p>{counted} What is shown was decoded from its file.</p>"]
    parts += ["<div class=row>", *(_plot(points, metric) for metric in metrics), "</div>"]
    parts += [_points_table(points, metrics), _bd_table(compared, metrics[0]) if compared else ""]
    for place, file in enumerate(files):
        mine = [row for row in rows if row.number == place and not row.error]
        picture = _original(file, read) if mine else None
        if picture is not None and not picture.info.is_image:
            parts.append(field_section(file, picture, mine, candidates, path.parent))
        elif picture is not None and picture.x.dtype == "uint8":
            parts.append(_side_by_side(file, picture.x, mine, candidates, path.parent, bpp))
    parts.append(_errors(rows))
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
    write_bytes(path, (page + "\n".join(parts) + "</html>").encode(errors="backslashreplace"), force=True)


def _plot(points: Sequence[Point], metric: str) -> str:
    """Rate-distortion curves as SVG."""
    from matplotlib.figure import Figure

    logarithmic = metric in _LOGARITHMIC
    with style():
        figure = Figure(figsize=(6, 4.2), layout="constrained")
        axes = figure.subplots()
        for codec in dict.fromkeys(point.codec for point in points):
            curve = sorted((p.bpp, p.metrics[metric]) for p in points if p.codec == codec and metric in p.metrics)
            curve = [(rate, value) for rate, value in curve if not logarithmic or 0 < value < float("inf")]
            if curve:
                axes.plot(*zip(*curve, strict=True), marker="o", markersize=4, label=literal(codec))
        axes.set_xscale("log")
        axes.set_yscale("log" if logarithmic else "linear")
        axes.set_xlabel("bits per value (whole file)" if _all_fields(points) else "bpp (whole file)")
        axes.set_ylabel(literal(metric))
        axes.grid(alpha=0.3, which="both")
        if axes.lines:
            axes.legend(fontsize="small")
        return svg(figure)


def _all_fields(points: Sequence[Point]) -> bool:
    return bool(points) and all(isfinite(point.ratio) for point in points)


def _any_fields(points: Sequence[Point]) -> bool:
    return any(isfinite(point.ratio) for point in points)


def _points_table(points: Sequence[Point], metrics: Sequence[str]) -> str:
    rate = ("bits per value" if _all_fields(points) else "bpp", *(["ratio"] if _any_fields(points) else []))
    names = ("codec", "setting", *rate, *metrics, "encode s", "decode s", "files")
    head = "".join(f"<th>{escape(n)}</th>" for n in names)
    lines = []
    for p in points:
        setting = " ".join(f"{k}={v}" for k, v in p.setting.items())
        values = [number(p.bpp), *([number(p.ratio) if isfinite(p.ratio) else ""] if _any_fields(points) else [])]
        values += [number(p.metrics[m]) if m in p.metrics else "" for m in metrics]
        values += [f"{p.encode_seconds:.3f}", f"{p.decode_seconds:.3f}", str(p.files)]
        cells = f"<td>{escape(p.codec)}</td><td class=text>{escape(setting)}</td>"
        lines.append(f"<tr>{cells}{''.join(f'<td>{v}</td>' for v in values)}</tr>")
    return f"<h2>Means over files</h2><table><tr>{head}</tr>{''.join(lines)}</table>"


def _bd_table(compared: Mapping[tuple[str, str], BDRate], metric: str) -> str:
    names = list(dict.fromkeys(anchor for anchor, _ in compared))
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = []
    for anchor in names:
        cells = [_bd_cell(compared.get((anchor, name))) for name in names]
        lines.append(f"<tr><td>against {escape(anchor)}</td>{''.join(cells)}</tr>")
    return (
        f"<h2>BD-rate ({escape(metric)})</h2>"
        "<p>Bytes that a column's codec needs more (+) or less (−) at equal quality, "
        "in brackets the part of the joint quality range that both curves cover, and the number of files that both "
        "codecs coded at all their settings: means are over these. Piecewise cubic interpolation.</p>"
        f"<table><tr><th></th>{head}</tr>{''.join(lines)}</table>"
    )


def _bd_cell(result: BDRate | None) -> str:
    if result is None:
        return "<td></td>"
    files = f"{result.files} file{'' if result.files == 1 else 's'}"
    if result.percent is None:
        return f"<td>too little overlap ({result.overlap:.0%}, {files})</td>"
    return f"<td>{result.percent:+.1f} % ({result.overlap:.0%}, {files})</td>"


def _side_by_side(
    file: Path, picture: Array, mine: Sequence[Row], candidates: Sequence[Candidate], folder: Path, bpp: float | None
) -> str:
    """The original and each codec at about one rate."""
    target = bpp or _common_rate(mine)
    figures = [_figure(picture, "original")]
    for candidate in candidates:
        of_codec = [row for row in mine if row.codec == candidate.label]
        if not of_codec:
            continue
        row = min(of_codec, key=lambda row: abs(row.bpp / target - 1))
        unpacked = container.unpack(read_bytes(folder / row.path), row.path)
        values = ", ".join(f"{name} {value:.3f}" for name, value in row.metrics.items())
        caption = f"{row.codec}: {row.bytes} bytes, {row.bpp:.4f} bpp, {values}"
        figures.append(_figure(candidate.loaded.decompress(unpacked), caption))
    return f"<h2>{escape(file.name)} at about {target:.3f} bpp</h2><div class=row>{''.join(figures)}</div>"


def _original(file: Path, read: Callable[[Path], Picture]) -> Picture | None:
    try:
        return read(file)
    except CodectkError:
        return None


def _common_rate(rows: Sequence[Row]) -> float:
    """A rate that every codec comes near: the middle, in the log domain, of the range that all of them span."""
    codecs = {row.codec for row in rows}
    spans = [[row.bpp for row in rows if row.codec == codec] for codec in codecs]
    low, high = max(map(min, spans)), min(map(max, spans))
    return (low * high) ** 0.5 if low <= high else median(row.bpp for row in rows)


def _figure(x: Array, caption: str) -> str:
    top, left = (max(0, (side - PICTURE_SIDE) // 2) for side in x.shape[:2])
    stream = BytesIO()
    to_pillow(x[top : top + PICTURE_SIDE, left : left + PICTURE_SIDE]).save(stream, format="PNG")
    return captioned(stream.getvalue(), "png", caption)


def _errors(rows: Sequence[Row]) -> str:
    failed = [row for row in rows if row.error]
    if not failed:
        return ""
    lines = "".join(f"<li>{escape(f'{r.codec} on {r.file}: {r.error}')}</li>" for r in failed)
    return f"<h2 class=error>What failed</h2><ul>{lines}</ul>"
