"""Metrics that have a value for a whole set alone, such as FID: a second pass over the files of an evaluation.

A pass of its own, one codec and setting at a time, because what such a metric gathers is large, and because only after
the first pass it is known which files all settings of a codec could code.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path

from codectk import container
from codectk.compression import LoadedCodec
from codectk.errors import CodectkError, one_line
from codectk.evaluate import Candidate, Point, Row, average, groups, make_metric, slug
from codectk.files import read_bytes, write_bytes
from codectk.images import Picture
from codectk.inputs import read_array
from codectk.registry import Registry, get_registry
from codectk.specs import MetricSpec

SUMMARY = "_metrics.json"
SUMMARY_NAMES = {"psnr": "PSNR", "fid": "FID", "lpips": "LPIPS", "dists": "DISTS"}
"""Metrics that summaries hold beside bpp, under the names that published tables use."""

NOT_COMPUTED = -1.0
"""FID in summaries of sets that it cannot be computed of."""

Read = Callable[[Path], Picture]


def measure_corpora(
    rows: Iterable[Row],
    candidates: Sequence[Candidate],
    files: Sequence[Path],
    out: Path,
    metrics: Sequence[str],
    registry: Registry | None = None,
    read: Read = read_array,
    device: str = "auto",
    on_file: Callable[[], None] | None = None,
) -> list[Point]:
    """The points of `average`, with the values of those of the named metrics that are measures of whole sets.

    Args:
        rows: from `codectk.evaluate.evaluate`, called with the same candidates, files, folder and `read`.
        candidates: codecs with their settings.
        files: pictures or arrays.
        out: the folder of results.
        metrics: names of registered metrics; those of single files have their values in the rows.
        registry: where metrics are looked for.
        read: how a file becomes an array.
        device: where networks of metrics run.
        on_file: called after each decoded file.

    Returns:
        One point per codec and setting. What cannot be computed stands in `unmeasured` with its reason.

    Raises:
        CodectkError: there is no such metric, or what it needs is not at hand.
    """
    rows = list(rows)
    found = registry or get_registry()
    specs = [found.find(MetricSpec, name).spec for name in metrics]
    specs = [spec for spec in specs if spec.corpus]
    loaded = {candidate.label: candidate.loaded for candidate in candidates}
    points = []
    for point, group in zip(average(rows), groups(rows), strict=True):
        gathering = _Set(specs, len(group), found, device)
        for row in group:
            gathering.take_in(row, files[row.number], out / row.path, loaded[row.codec], read)
            if on_file:
                on_file()
        values = gathering.compute()
        reasons = point.unmeasured | gathering.reasons
        points.append(replace(point, metrics=point.metrics | values, unmeasured=reasons))
    return points


def write_summaries(points: Iterable[Point], out: Path) -> None:
    """Write `OUT/files/CODEC/SETTING/_metrics.json` for each point.

    It holds `bpp` and, where they were asked for, `PSNR`, `FID`, `LPIPS` and `DISTS`: the means over files, FID of the
    set or -1 where it cannot be computed. A number that is not finite, such as the PSNR of equal pictures, is null.

    Raises:
        OutputError: a file cannot be written.
    """
    for point in points:
        values = {"bpp": point.bpp} | {SUMMARY_NAMES[n]: v for n, v in point.metrics.items() if n in SUMMARY_NAMES}
        if "fid" in point.unmeasured:
            values["FID"] = NOT_COMPUTED
        finite = {name: value if isfinite(value) else None for name, value in values.items()}
        place = out / "files" / point.codec / slug(point.setting) / SUMMARY
        write_bytes(place, json.dumps(finite, indent=2).encode(), force=True)


class _Set:
    """The metrics of one set, each until something is not what it takes.

    Attributes:
        reasons: metric → why it has no value.
    """

    def __init__(self, specs: Sequence[MetricSpec], size: int, registry: Registry, device: str) -> None:
        self.reasons = {s.name: f"{size} files are too few: it takes {s.fewest}." for s in specs if size < s.fewest}
        self.specs = {spec.name: spec for spec in specs if spec.name not in self.reasons}
        self.metrics = {name: make_metric(name, registry, device) for name in self.specs}

    def take_in(self, row: Row, file: Path, coded: Path, loaded: LoadedCodec, read: Read) -> None:
        """Give the pair of one row to all metrics."""
        if not self.metrics:
            return
        try:
            picture = read(file)
            x_hat = loaded.decompress(container.unpack(read_bytes(coded), str(coded)), source=str(coded))
        except Exception as error:
            self._give_up(tuple(self.metrics), _told(error))
            return
        for name, metric in tuple(self.metrics.items()):
            if self.specs[name].kinds and picture.info.kind not in self.specs[name].kinds:
                self._give_up((name,), f"It does not take {picture.info.kind}, the kind of {row.file}.")
                continue
            try:
                metric.update(picture.x, x_hat, picture.info)
            except Exception as error:
                self._give_up((name,), _told(error))

    def compute(self) -> dict[str, float]:
        """All values that there are."""
        values: dict[str, float] = {}
        for name, metric in tuple(self.metrics.items()):
            try:
                values |= metric.compute()
            except Exception as error:
                self._give_up((name,), _told(error))
        return values

    def _give_up(self, names: Iterable[str], reason: str) -> None:
        for name in names:
            del self.metrics[name]
            self.reasons[name] = reason


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, CodectkError) else one_line(error)
