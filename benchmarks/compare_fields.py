"""caesar_freq beside SZ3, ZFP and SPERR on fields, in whole `.ctk` files: sizes, errors, speed.

    python benchmarks/compare_fields.py FOLDER --adv48

Of every file, the first variable and section. SZ3, ZFP and SPERR take bounds on every value; to a target of the root
mean square error they get by bisection of their bound. All errors are measured on what the files open to. Speed is the
median of three; compare ratios, and let nothing else run on the machine.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import geometric_mean, median

import numpy as np
from adv48 import adv48

from codectk.arrays import Array, ArrayInfo
from codectk.compression import LoadedCodec, load_codec
from codectk.container import unpack
from codectk.easy import described
from codectk.inputs import find_inputs, read_array
from codectk.testbed import describe

MINE, PEER = "caesar_freq", "sz3"
CODECS = (MINE, PEER, "zfp", "sperr")
BOUNDS, TARGETS = (1e-2, 1e-3, 1e-4), (9.5e-3, 9.6e-4, 9.4e-5)
TRIALS = 10
NEAR = 0.995
"""A target is met when the error is at least this part of it."""


@dataclass(frozen=True)
class Row:
    """One codec on one field.

    Attributes:
        field, codec: names.
        kind, target: `rel_error` or `nrmse`, and its value.
        ratio: bytes of the array over bytes of the file.
        largest, nrmse: errors over the field's range.
        encode, decode: MB/s of the array on the wall.
        encode_cpu, decode_cpu: MB/s over the time of all cores, those of codecs' own processes too.
    """

    field: str
    codec: str
    kind: str
    target: float
    ratio: float
    largest: float
    nrmse: float
    encode: float
    decode: float
    encode_cpu: float
    decode_cpu: float


def fields(folder: Path | None, with_adv48: bool) -> Iterator[tuple[str, Array]]:
    """Names and fields (T, H, W)."""
    for path in find_inputs(folder) if folder else []:
        if path.suffix == ".npz":
            x = read_array(path).x
            yield path.stem, np.ascontiguousarray(x.reshape((-1, *x.shape[-3:]))[0] if x.ndim > 3 else x)
    if with_adv48:
        yield "adv48", adv48()


def cpu_seconds() -> float:
    """The time of all cores that this process and its children have taken."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = time.process_time()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # processes end meanwhile
            words = stat.read_text().rpartition(")")[2].split()
            if int(words[1]) == os.getpid():
                total += sum(map(int, words[11:13])) / ticks
    return total


def timed(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds on the wall and of all cores."""
    walls, cores = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), cpu_seconds()
        work()
        walls.append(time.perf_counter() - wall)
        cores.append(cpu_seconds() - cpu)
    return median(walls), max(median(cores), 1e-9)


class Pair:
    """A codec and a field."""

    def __init__(self, loaded: LoadedCodec, x: Array) -> None:
        self.loaded, self.x = loaded, x
        self.info: ArrayInfo = described(x, loaded.spec.kinds)[1]
        self.spread = float(x.max()) - float(x.min())

    def encode(self, setting: dict[str, float]) -> bytes:
        return self.loaded.compress(self.x, self.info, self.loaded.encode_options(setting)).data

    def decode(self, data: bytes) -> Array:
        return self.loaded.decompress(unpack(data))

    def errors(self, data: bytes) -> tuple[float, float]:
        """The largest error and the root mean square error, over the range."""
        gaps = np.abs(self.decode(data).astype(np.float64) - self.x.astype(np.float64))
        return float(gaps.max()) / self.spread, float(np.sqrt(np.square(gaps).mean())) / self.spread

    def setting(self, kind: str, target: float) -> dict[str, float]:
        """What meets the target with the smallest file."""
        if kind == "rel_error" or self.loaded.spec.name == MINE:
            return {kind: target}
        low, high, bound = 0.0, float("inf"), 2 * target
        for _ in range(TRIALS):
            found = self.errors(self.encode({"rel_error": bound}))[1]
            if found <= target:
                low = bound
                if found >= NEAR * target:
                    break
            else:
                high = bound
            bound = min(1.0, bound * min(4.0, max(0.25, NEAR**0.5 * target / max(found, 1e-30))))
            if not low < bound < high:
                bound = (low * high) ** 0.5
            if high < 1.005 * low:
                break
        return {"rel_error": low}

    def row(self, name: str, kind: str, target: float, repeats: int) -> Row:
        """Measure. A bound that does not hold ends the program."""
        setting = self.setting(kind, target)
        data = self.encode(setting)
        largest, nrmse = self.errors(data)
        reached = largest if kind == "rel_error" else nrmse
        if reached > target * (1 + 1e-6):  # the division by the range rounds
            sys.exit(f"{self.loaded.spec.name} missed {kind} {target:g} on {name}: {reached:g}")
        encode, encode_cpu = timed(lambda: self.encode(setting), repeats)
        decode, decode_cpu = timed(lambda: self.decode(data), repeats)
        speeds = (self.x.nbytes / 1e6 / seconds for seconds in (encode, decode, encode_cpu, decode_cpu))
        return Row(name, self.loaded.spec.name, kind, target, self.x.nbytes / len(data), largest, nrmse, *speeds)


def every_row(rows: Sequence[Row]) -> Iterator[str]:
    """A line of Markdown for each measurement."""
    yield "| field | bound | codec | ratio | × SZ3 | largest error / range | NRMSE | MB/s encode, decode | per core |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        speed = f"{row.encode:.1f}, {row.decode:.1f} | {row.encode_cpu:.1f}, {row.decode_cpu:.1f}"
        errors = f"{row.largest:.2e} | {row.nrmse:.2e}"
        gain = row.ratio / peer_of(row, rows).ratio
        bound = f"{row.kind} {row.target:g}"
        yield f"| {row.field} | {bound} | {row.codec} | {row.ratio:.2f} | {gain:.2f} | {errors} | {speed} |"


def ratios(rows: Sequence[Row], kind: str) -> Iterator[str]:
    """A line for each field, with the ratios of all codecs at every target; then geometric means of quotients."""
    here = [row for row in rows if row.kind == kind]
    yield from _head(f"ratio of {', '.join(CODECS)}", here)
    for name in dict.fromkeys(row.field for row in here):
        yield _line(name, here, partial(_ratios, name))
    for codec in CODECS:
        if codec != MINE:
            yield _line(f"{MINE} over {codec}, geometric mean", here, partial(_gain, codec))


def speeds(rows: Sequence[Row], kind: str) -> Iterator[str]:
    """A line for each codec: encoding and decoding, on the wall and over the time of all cores; geometric means."""
    here = [row for row in rows if row.kind == kind]
    yield from _head("MB/s encode, decode (over the time of all cores)", here)
    for codec in CODECS:
        yield _line(codec, here, partial(_speed, codec))


def _head(title: str, rows: Sequence[Row]) -> Iterator[str]:
    targets = dict.fromkeys(f"{row.kind} {row.target:g}" for row in rows)
    yield f"| {title} | " + " | ".join(targets) + " |"
    yield "|---" * (1 + len(targets)) + "|"


def _line(name: str, rows: Sequence[Row], cell: Callable[[list[Row]], str]) -> str:
    targets = dict.fromkeys(row.target for row in rows)
    return f"| {name} | " + " | ".join(cell([row for row in rows if row.target == target]) for target in targets) + " |"


def _ratios(field: str, rows: Sequence[Row]) -> str:
    return ", ".join(f"{row.ratio:.2f}" for row in rows if row.field == field)


def _gain(peer: str, rows: Sequence[Row]) -> str:
    mine, theirs = ({row.field: row.ratio for row in rows if row.codec == codec} for codec in (MINE, peer))
    return f"{geometric_mean(mine[name] / theirs[name] for name in mine):.2f}"


def _speed(codec: str, rows: Sequence[Row]) -> str:
    here, names = [row for row in rows if row.codec == codec], ("encode", "decode", "encode_cpu", "decode_cpu")
    encode, decode, *cores = (f"{geometric_mean(getattr(row, name) for row in here):.1f}" for name in names)
    return f"{encode}, {decode} ({', '.join(cores)})"


def peer_of(row: Row, rows: Sequence[Row]) -> Row:
    """SZ3 on the same field within the same bound."""
    wanted = (row.field, row.kind, row.target, PEER)
    return next(other for other in rows if (other.field, other.kind, other.target, other.codec) == wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="Folder of .npz files with an array `data`.")
    parser.add_argument("--adv48", action="store_true", help="Also on the synthetic field ADV48.")
    parser.add_argument("--bounds", nargs="*", type=float, default=BOUNDS, help="On every value, over the range.")
    parser.add_argument(
        "--nrmse", nargs="*", type=float, default=TARGETS, help="On the root mean square error, over it."
    )
    parser.add_argument("--repeats", type=int, default=3, help="Of every time.")
    options = parser.parse_args()
    about = describe(["codectk-caesar-freq", "codectk-classic", "imagecodecs", "hdf5plugin"])
    say = sys.stdout.write
    say("".join(f"{key}: {value}\n" for key, value in about.items()))
    loaded = {codec: load_codec(codec) for codec in CODECS}
    rows: list[Row] = []
    goals = [("rel_error", bound) for bound in options.bounds] + [("nrmse", target) for target in options.nrmse]
    for name, x in fields(options.folder, options.adv48):
        for kind, target in goals:
            for codec in CODECS:
                rows.append(Pair(loaded[codec], x).row(name, kind, target, options.repeats))
                sys.stderr.write(f"{rows[-1]}\n")
    kinds = dict.fromkeys(kind for kind, _ in goals)
    tables = (table(rows, kind) for table in (ratios, speeds) for kind in kinds)
    for table in (every_row(rows), *tables):
        say("\n" + "\n".join(table) + "\n")


if __name__ == "__main__":
    main()
