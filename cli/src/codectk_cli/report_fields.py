"""The part of `report.html` on fields: maps, histograms of errors and power spectra of each codec at a few settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from codectk import container
from codectk.container import Container
from codectk.evaluate import Candidate, Row
from codectk.files import read_bytes
from codectk.images import Picture
from codectk_cli.details import details_of
from codectk_cli.field_views import Floats, Histogram, Slice, Spectra, View, exponent, histogram, spectra
from codectk_cli.report_figures import literal, number, style, svg, webp

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN_SETTINGS = 3
"""Settings of each codec that are shown: the smallest file, the largest and the one in the middle."""

MAP_SIDE = 340
"""About the side of a map in pixels: smaller planes show their samples as squares."""

COLOURS = 101
"""Steps of a colour scale: no eye sees them, and with more of them pictures are twice as large."""

Bounds = Mapping[str, float]


def field_section(
    file: Path, picture: Picture, rows: Sequence[Row], candidates: Sequence[Candidate], folder: Path
) -> str:
    """All figures of one field.

    Args:
        file: the input.
        picture: what is in it.
        rows: its results.
        candidates: the codecs, to decode its files.
        folder: where the paths of rows begin.
    """
    info = picture.info
    part = Slice.of(info)
    shape = " × ".join(map(str, info.shape))
    where = f"the slice {part.says}" if part.says else "all of it"
    parts = [
        f"<h2>{escape(file.name)}</h2>",
        f"<p>{info.kind}, {shape}. Maps and spectra show {escape(where)}, histograms all samples.</p>",
    ]
    for candidate in candidates:
        of_codec = [row for row in rows if row.codec == candidate.label]
        parts += [_shown(picture, part, row, candidate, folder) for row in _few(of_codec)]
    return "".join(parts)


def _few(rows: Sequence[Row]) -> list[Row]:
    ordered = sorted(rows, key=lambda row: row.bytes)
    places = np.linspace(0, len(ordered) - 1, min(SHOWN_SETTINGS, len(ordered)))
    return [ordered[round(place)] for place in places]


def _shown(picture: Picture, part: Slice, row: Row, candidate: Candidate, folder: Path) -> str:
    """The figures of one codec at one setting."""
    file = container.unpack(read_bytes(folder / row.path), row.path, max(picture.info.nbytes, 1))
    x_hat = candidate.loaded.decompress(file, source=row.path)
    view = View.of(picture.x, x_hat, picture.info, part)
    errors = histogram(picture.x, x_hat, picture.info)
    setting = " ".join(f"{k}={v}" for k, v in row.setting.items())
    values = "".join(f", {name} {number(value)}" for name, value in row.metrics.items())
    caption = f"{row.codec} {setting}: {row.bytes} bytes, {number(row.bpp)} bits per value, ratio {number(row.ratio)}"
    with style():
        maps = webp(_maps(view, _unit(picture)), caption + values)
        curves = svg(_curves(errors, _bounds(file, row, candidate), spectra(view), _unit(picture)))
    return f"<div>{maps}{curves}</div>"


def _unit(picture: Picture) -> str:
    """Unit of the values as they are stored, as far as the file names one."""
    attributes = picture.metadata.get("attributes", {})
    packed = "scale_factor" in attributes or "add_offset" in attributes
    unit = attributes.get("units", "")
    return unit if isinstance(unit, str) and not packed else ""


def _bounds(file: Container, row: Row, candidate: Candidate) -> Bounds:
    """Largest absolute errors that were asked for, and that the file says to keep, by who says so."""
    options = candidate.loaded.encode_options(row.setting)
    asked = {
        guarantee.option: attrgetter(guarantee.option)(options)
        for guarantee in candidate.loaded.spec.guarantees
        if guarantee.metric == "max_error"
    }
    bounds = details_of(file.header, file.segments)[0].get("bounds")
    said = {"bound in the file": bounds.get("max_error")} if isinstance(bounds, dict) else {}
    return {name: float(v) for name, v in (asked | said).items() if isinstance(v, int | float) and v > 0}


def _maps(view: View, unit: str) -> Figure:
    """Original, decoded and error, the first two on one scale."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    flat = view.x.ndim == 1
    figure = Figure(figsize=(15, 3 if flat else 4), layout="constrained")
    axes = figure.subplots(1, 3)
    power = exponent(*_ends(view.x))
    error_power = exponent(*_ends(view.error))
    low, high = (end / 10.0**power for end in _ends(view.x))
    largest = max(map(abs, _ends(view.error))) / 10.0**error_power
    panels = (
        ("original", view.x / 10.0**power, (low, high), power),
        ("decoded", view.x_hat / 10.0**power, (low, high), power),
        ("error", view.error / 10.0**error_power, (-largest, largest), error_power),
    )
    for place, (title, values, limits, tens) in zip(axes, panels, strict=True):
        place.set_title(title)
        if flat:
            _line(place, values, limits, _label(unit, tens))
        else:
            low, high = _apart(limits)
            shown = place.imshow(
                np.ma.masked_invalid(values),
                colormaps["RdBu_r" if title == "error" else "viridis"].resampled(COLOURS),
                vmin=low,
                vmax=high,
                interpolation="nearest" if max(values.shape) < MAP_SIDE else "auto",
                interpolation_stage="data",
            )
            figure.colorbar(shown, ax=place, label=_label(unit, tens))
    return figure


def _line(place: Axes, values: Floats, limits: tuple[float, float], label: str) -> None:
    place.plot(values, linewidth=0.8, marker="." if values.size == 1 else "")
    low, high = _apart(limits)
    margin = 0.05 * (high - low)
    place.set_ylim(low - margin, high + margin)
    place.set_xlabel("sample")
    place.set_ylabel(label)
    place.grid(alpha=0.3)


def _curves(errors: Histogram, bounds: Bounds, power: Spectra | None, unit: str) -> Figure:
    """Histogram of errors with the bounds, and spectra where there are any."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _histogram(left, errors, bounds, unit)
    if power is None:
        right.set_axis_off()
        return figure
    right.set_title("power spectra of the slice")
    for name, values, line in (("original", power.x, "-"), ("decoded", power.x_hat, "--"), ("error", power.error, "-")):
        positive = np.isfinite(values) & (values > 0)
        if positive.any():
            right.plot(power.frequency[positive], values[positive], label=name, linestyle=line, linewidth=1)
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xlabel("cycles per sample")
    right.set_ylabel("power over the original's largest")
    right.grid(alpha=0.3)
    right.legend(fontsize="small")
    return figure


def _histogram(place: Axes, errors: Histogram, bounds: Bounds, unit: str) -> None:
    place.set_title(f"errors of all samples, at most {number(errors.largest)}")
    tens = exponent(errors.largest, *bounds.values())
    scale = 10.0**tens
    if errors.largest:
        place.stairs(errors.counts, errors.edges / scale, fill=True, alpha=0.7)
        place.set_yscale("log", nonpositive="clip")
        place.set_ylim(bottom=0.5)
    for colour, (name, bound) in enumerate(bounds.items(), 1):
        for sign, label in ((-1, None), (1, literal(f"±{number(bound)} {name}"))):
            place.axvline(sign * bound / scale, color=f"C{colour}", linestyle="--", linewidth=1, label=label)
    reach = max(errors.largest / scale, *(bound / scale for bound in bounds.values()), 0.0) or 1.0
    place.set_xlim(-1.05 * reach, 1.05 * reach)
    place.set_xlabel(f"decoded − original {_label(unit, tens)}".rstrip())
    place.set_ylabel("samples")
    place.grid(alpha=0.3)
    if bounds:
        place.legend(fontsize="small")


def _label(unit: str, tens: int) -> str:
    """Unit and power of ten of an axis."""
    return literal(" ".join(filter(None, (f"×1e{tens}" if tens else "", unit[:40]))))


def _ends(values: Floats) -> tuple[float, float]:
    known: Any = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)


def _apart(limits: tuple[float, float]) -> tuple[float, float]:
    """Ends of a scale that differ by more than matplotlib's arithmetic loses."""
    low, high = limits
    least = 1e-9 * max(abs(low), abs(high)) or 1.0
    return (low, high) if high - low > least else (low - least, high + least)
