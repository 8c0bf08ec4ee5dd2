"""Codecs × settings × files: every combination is a real file, written, measured whole, decoded and compared."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from codectk import container
from codectk.arrays import Array, ArrayInfo
from codectk.compression import LoadedCodec
from codectk.errors import CodectkError, PluginError, one_line
from codectk.files import read_bytes, write_bytes
from codectk.images import Picture
from codectk.inputs import read_array
from codectk.metric import Metric
from codectk.registry import Registry, get_registry
from codectk.specs import Direction, MetricSpec

MINIMUM_OVERLAP = 0.15
"""BD-rates over less than this part of the joint quality range say little and are not given."""


@dataclass(frozen=True)
class Candidate:
    """A codec to evaluate at several settings.

    Attributes:
        label: name in tables and plots.
        loaded: the codec with its weights.
        settings: one mapping of encode options per rate point.
    """

    label: str
    loaded: LoadedCodec
    settings: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Row:
    """The result of one codec at one setting on one file.

    Attributes:
        codec: the candidate's label.
        setting: its encode options.
        file: name of the input.
        number: its position among the inputs.
        path: the `.ctk` file, seen from the folder of results.
        pixels: H·W; for fields the number of values.
        bytes: size of the whole `.ctk` file.
        bpp: 8·bytes/pixels.
        metrics: name → value.
        encode_seconds, decode_seconds: wall time of array to bytes and back.
        notes: the codec's own figures.
        error: what went wrong; then there are no other results.
        ratio: bytes of the array over bytes of the file; NaN for pictures.
    """

    codec: str
    setting: dict[str, Any]
    file: str
    number: int = 0
    path: str = ""
    pixels: int = 0
    bytes: int = 0
    bpp: float = float("nan")
    metrics: dict[str, float] = field(default_factory=dict)
    encode_seconds: float = float("nan")
    decode_seconds: float = float("nan")
    notes: dict[str, float] = field(default_factory=dict)
    error: str = ""
    ratio: float = float("nan")

    def flat(self) -> dict[str, Any]:
        """One level of columns, for CSV, JSON lines and data frames. Values that are not finite become None."""
        columns = {k: v for k, v in asdict(self).items() if k not in ("metrics", "notes", "setting")}
        columns["setting"] = " ".join(f"{k}={v}" for k, v in self.setting.items())
        columns |= self.metrics | {f"note_{k}": v for k, v in self.notes.items()}
        return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in columns.items()}


@dataclass(frozen=True)
class Point:
    """A codec at one setting, averaged over all files that every setting of that codec could code.

    Attributes:
        codec, setting, bpp, metrics, encode_seconds, decode_seconds: as of `Row`; means, and medians of times.
        files: number of files.
        unmeasured: metric → why it has no value here.
        ratio: bytes of all arrays over bytes of all files; NaN if there is a picture among them.
    """

    codec: str
    setting: dict[str, Any]
    bpp: float
    metrics: dict[str, float]
    encode_seconds: float
    decode_seconds: float
    files: int
    unmeasured: dict[str, str] = field(default_factory=dict)
    ratio: float = float("nan")


@dataclass(frozen=True)
class BDRate:
    """How many more bytes one codec needs than another at equal quality.

    Attributes:
        percent: mean difference of rate; negative if the codec needs fewer bytes. None if the curves hardly overlap.
        overlap: part of the joint quality range that both curves cover, 0 to 1.
        low, high: quality range that was compared.
        files: number of files that both codecs coded at all their settings, over which the means were taken.
    """

    percent: float | None
    overlap: float
    low: float
    high: float
    files: int = 0


def evaluate(
    candidates: Sequence[Candidate],
    files: Sequence[Path],
    out: Path,
    metrics: Sequence[str] = ("psnr", "ssim"),
    on_row: Callable[[Row], None] | None = None,
    registry: Registry | None = None,
    read: Callable[[Path], Picture] = read_array,
    device: str = "auto",
) -> list[Row]:
    """Run every candidate at every setting on every file.

    Args:
        candidates: codecs with their settings.
        files: pictures or arrays.
        out: folder for the `.ctk` files, `OUT/files/CODEC/SETTING/NAME.ctk`.
        metrics: names of registered metrics; one that does not take an array's kind is left out for it. Those of
            whole sets are left to `codectk.corpus.measure_corpora`.
        on_row: called with each row as soon as it is known.
        read: how a file becomes an array.
        device: where networks of metrics run.

    Returns:
        One row per combination. What fails is a row with `error` set.
    """
    rows: list[Row] = []
    cold = list(candidates)
    for number, path in enumerate(files):
        try:
            picture = read(path)
        except CodectkError as error:
            blanks = (Row(c.label, dict(s), path.name, number) for c in candidates for s in c.settings)
            _report([replace(row, error=str(error)) for row in blanks], rows, on_row)
            continue
        while cold:
            _warm_up(cold.pop(), picture)
        for candidate in candidates:
            for setting in candidate.settings:
                # The number keeps files of one name from different folders apart.
                place = Path("files", candidate.label, slug(setting), f"{number:04d}_{path.stem}.ctk")
                blank = Row(candidate.label, dict(setting), path.name, number, str(place))
                row = _fill(blank, candidate.loaded, picture, out / place, metrics, registry, device)
                _report([row], rows, on_row)
    return rows


def _warm_up(candidate: Candidate, picture: Picture) -> None:
    """Code a corner of the picture, so that what happens once in a process is not in the times of the first file."""
    x = picture.x[tuple(slice(0, 16) for _ in picture.x.shape)]
    info = replace(picture.info, shape=x.shape)
    with suppress(Exception):  # the picture itself will tell
        options = candidate.loaded.encode_options(candidate.settings[0])
        candidate.loaded.decompress(container.unpack(candidate.loaded.compress(x, info, options).data))


def average(rows: Iterable[Row]) -> list[Point]:
    """Mean over files per codec and setting, in order of appearance.

    A file on which one setting of a codec failed is left out of all settings of that codec, so that the points of a
    curve rest on the same files.
    """
    points = []
    for group in groups(rows):
        names = dict.fromkeys(name for row in group for name in row.metrics)
        lacking = {name: next((row.file for row in group if name not in row.metrics), None) for name in names}
        points.append(
            Point(
                codec=group[0].codec,
                setting=group[0].setting,
                bpp=float(np.mean([row.bpp for row in group])),
                metrics={n: float(np.mean([row.metrics[n] for row in group])) for n in names if lacking[n] is None},
                encode_seconds=float(np.median([row.encode_seconds for row in group])),
                decode_seconds=float(np.median([row.decode_seconds for row in group])),
                files=len(group),
                unmeasured={n: f"It does not take the kind of {file}." for n, file in lacking.items() if file},
                ratio=sum(row.ratio * row.bytes for row in group) / max(sum(row.bytes for row in group), 1),
            )
        )
    return points


def groups(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows behind each point of `average`, in the order of its points."""
    rows = list(rows)
    failed = {(row.codec, row.number, row.file) for row in rows if row.error}
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if (row.codec, row.number, row.file) not in failed:
            found.setdefault((row.codec, slug(row.setting)), []).append(row)
    return list(found.values())


def bd_rate(anchor: Sequence[tuple[float, float]], test: Sequence[tuple[float, float]]) -> BDRate:
    """Bjøntegaard's rate difference of `test` against `anchor`.

    log10 rate as a piecewise cubic (PCHIP) function of quality, integrated over the qualities that both curves reach.
    Points that another point of the same curve beats in both rate and quality are left out.

    Args:
        anchor, test: (rate, quality) pairs, rates above 0, in any order.

    Source: Bjøntegaard, VCEG-M33 2001; piecewise cubic interpolation as in VCEG-AL23.
    """
    from scipy.interpolate import PchipInterpolator

    first, second = _hull(anchor), _hull(test)
    if len(first) < 2 or len(second) < 2:
        return BDRate(None, 0.0, float("nan"), float("nan"))
    (q1, r1), (q2, r2) = (tuple(np.array(axis) for axis in zip(*curve, strict=True)) for curve in (first, second))
    low, high = max(q1[0], q2[0]), min(q1[-1], q2[-1])
    whole = max(q1[-1], q2[-1]) - min(q1[0], q2[0])
    overlap = max(0.0, float((high - low) / whole))
    if overlap < MINIMUM_OVERLAP:
        return BDRate(None, overlap, float(low), float(high))
    areas = [float(PchipInterpolator(q, np.log10(r)).integrate(low, high)) for q, r in ((q1, r1), (q2, r2))]
    percent = (10 ** ((areas[1] - areas[0]) / float(high - low)) - 1) * 100
    return BDRate(float(percent), overlap, float(low), float(high))


def bd_rates(
    points: Sequence[Point], metric: str = "psnr", direction: Direction = "higher"
) -> dict[tuple[str, str], BDRate]:
    """BD-rate of every codec against every other: (anchor, codec) → result.

    Args:
        points: means over the same files for all codecs; `compare` sees to that.
        metric: the measure of quality.
        direction: which way it is better.
    """
    sign = 1 if direction == "higher" else -1
    curves: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        if np.isfinite(point.metrics.get(metric, float("nan"))):
            curves.setdefault(point.codec, []).append((point.bpp, sign * point.metrics[metric]))
    results = {(a, b): bd_rate(curves[a], curves[b]) for a in curves for b in curves if a != b}
    if direction == "higher":
        return results
    return {pair: replace(result, low=-result.high, high=-result.low) for pair, result in results.items()}


def compare(
    rows: Iterable[Row], metric: str = "psnr", registry: Registry | None = None
) -> dict[tuple[str, str], BDRate]:
    """BD-rate of every codec against every other, each pair over the files that both coded at all settings.

    Args:
        rows: from `evaluate`.
        metric: a registered metric, whose direction says what is better.
    """
    direction = (registry or get_registry()).find(MetricSpec, metric).spec.direction
    by_codec: dict[str, list[Row]] = {}
    for row in rows:
        by_codec.setdefault(row.codec, []).append(row)
    good = {
        codec: {r.number for r in of_codec if not r.error} - {r.number for r in of_codec if r.error}
        for codec, of_codec in by_codec.items()
    }
    results: dict[tuple[str, str], BDRate] = {}
    for a, b in permutations(by_codec, 2):
        both = good[a] & good[b]
        points = average(row for row in by_codec[a] + by_codec[b] if row.number in both)
        pair = bd_rates(points, metric, direction)
        if (a, b) in pair:
            results[a, b] = replace(pair[a, b], files=len(both))
    return results


def _hull(curve: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """(quality, rate) pairs with both rising strictly."""
    kept: list[tuple[float, float]] = []
    for rate, quality in sorted(curve, key=lambda point: (point[0], -point[1])):
        if rate > 0 and (not kept or quality > kept[-1][0]):
            kept.append((quality, rate))
    return kept


def _fill(
    row: Row,
    loaded: LoadedCodec,
    picture: Picture,
    place: Path,
    metrics: Sequence[str],
    registry: Registry | None,
    device: str,
) -> Row:
    """The row with its results, or with what went wrong."""
    x, info = picture.x, picture.info
    try:
        options = loaded.encode_options(row.setting)
        start = time.perf_counter()
        compressed = loaded.compress(x, info, options, picture.metadata, picture.file_for(loaded.spec.files))
        encode_seconds = time.perf_counter() - start
        write_bytes(place, compressed.data, force=True)
        data = read_bytes(place)
        start = time.perf_counter()
        x_hat = loaded.decompress(container.unpack(data, str(place), info.nbytes), source=str(place))
        decode_seconds = time.perf_counter() - start
        values = measure(x, x_hat, info, metrics, registry, device)
    except CodectkError as error:
        return replace(row, error=str(error))
    except Exception as error:  # a codec's defect is a row of the table, not the end of the run
        return replace(row, error=one_line(error))
    return replace(
        row,
        pixels=info.pixels,
        bytes=len(data),
        bpp=8 * len(data) / info.pixels,
        metrics=values,
        encode_seconds=encode_seconds,
        decode_seconds=decode_seconds,
        notes=dict(compressed.notes),
        ratio=float("nan") if info.is_image else info.nbytes / len(data),
    )


def measure(
    x: Array,
    x_hat: Array,
    info: ArrayInfo,
    metrics: Sequence[str],
    registry: Registry | None = None,
    device: str = "auto",
) -> dict[str, float]:
    """Values of the named metrics for one pair of arrays.

    Those that do not take its kind, and those of whole sets, are left out.

    Raises:
        CodectkError: a metric cannot be computed; the message names it.
    """
    values: dict[str, float] = {}
    for name in metrics:
        spec: MetricSpec = (registry or get_registry()).find(MetricSpec, name).spec
        if spec.corpus or (spec.kinds and info.kind not in spec.kinds):
            continue
        metric = make_metric(name, registry, device)
        try:
            metric.update(x, x_hat, info)
            values |= metric.compute()
        except CodectkError:
            raise
        except Exception as error:
            raise PluginError(f"{name} cannot be computed: {one_line(error)}.", "Leave that --metric out.") from error
    return values


def make_metric(name: str, registry: Registry | None = None, device: str = "auto") -> Metric:
    """A new object of the named metric.

    Raises:
        CodectkError: there is no such metric, or what it needs is not at hand.
    """
    registered = (registry or get_registry()).find(MetricSpec, name)
    target = registered.load(registered.spec.target)
    metric: Metric = target(device=device) if registered.spec.network else target()
    return metric


def _report(new: Iterable[Row], rows: list[Row], on_row: Callable[[Row], None] | None) -> None:
    for row in new:
        rows.append(row)
        if on_row:
            on_row(row)


def slug(setting: Mapping[str, Any]) -> str:
    """Name of the folder of a setting."""
    return "_".join(f"{k}-{v}" for k, v in setting.items()).replace("/", "-").replace(" ", "") or "default"
