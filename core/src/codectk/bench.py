"""How fast codecs are: array in memory → bytes of a file → array, stages apart. And the means to time other work.

A codec tells of its stages by notes named `<stage>_seconds` of what `encode` returns; stages do not overlap, and what
they leave of the whole time is the stage "other": padding, container, and what the codec does not tell of.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from codectk import container, fields
from codectk.checkpoint import Checkpoint
from codectk.compression import LoadedCodec
from codectk.errors import CodectkError, one_line
from codectk.evaluate import Candidate
from codectk.images import Picture
from codectk.inputs import read_array
from codectk.options import Options

STAGE = "_seconds"
"""Ending of the notes that are the times of stages."""

OTHER = "other"


@dataclass(frozen=True)
class Sample:
    """The times of one codec at one setting on one file, in seconds, one per repeat.

    Attributes:
        codec: the candidate's label.
        setting: its encode options.
        file: name of the input.
        number: its position among the inputs.
        is_image: whether `pixels` are pixels and no values of a field.
        pixels: H·W; for fields the number of values.
        bytes: size of the whole `.ctk` file.
        encode: wall time of array to bytes.
        stages: name → the part of `encode` that the stage took; "other" is the rest.
        cpu: time of all cores together during `encode`.
        decode: wall time of bytes to array; empty if it was not asked for.
        error: what went wrong; then there are no times.
    """

    codec: str
    setting: dict[str, Any]
    file: str
    number: int = 0
    is_image: bool = True
    pixels: int = 0
    bytes: int = 0
    encode: tuple[float, ...] = ()
    stages: dict[str, tuple[float, ...]] = field(default_factory=dict)
    cpu: tuple[float, ...] = ()
    decode: tuple[float, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Spread:
    """Median and 5th and 95th percentile over files and repeats, in seconds."""

    median: float
    p5: float
    p95: float

    @classmethod
    def of(cls, times: Iterable[float]) -> "Spread":
        """The spread of some times, at least one."""
        p5, median, p95 = np.percentile(list(times), [5, 50, 95])
        return cls(float(median), float(p5), float(p95))


@dataclass(frozen=True)
class Speed:
    """A codec at one setting over all files that it could code.

    Attributes:
        codec, setting: see `Sample`.
        files, failed: how many files it coded, and how many not.
        unit: what is counted: "pixel", or "value" where there are fields among the files.
        pixels, bytes: of all files together.
        bpp: mean over files of 8·bytes/pixels.
        encode, decode: whole times per file; None where there are none.
        stages: the parts of `encode`.
        encode_rate, decode_rate: pixels per second: those of all files over the sum of the files' median times.
        peer_ratio: `encode_rate` over that of the first codec, on the files that both coded.
        cores: time of all cores together over wall time of encoding.
    """

    codec: str
    setting: dict[str, Any]
    files: int = 0
    failed: int = 0
    unit: str = "pixel"
    pixels: int = 0
    bytes: int = 0
    bpp: float | None = None
    encode: Spread | None = None
    decode: Spread | None = None
    stages: dict[str, Spread] = field(default_factory=dict)
    encode_rate: float | None = None
    decode_rate: float | None = None
    peer_ratio: float | None = None
    cores: float | None = None

    def flat(self) -> dict[str, Any]:
        """One level of columns, for CSV and data frames."""
        columns = {k: v for k, v in asdict(self).items() if k not in ("setting", "encode", "decode", "stages")}
        columns["setting"] = setting_text(self.setting)
        spreads = {"encode": self.encode, **{f"stage_{k}": v for k, v in self.stages.items()}, "decode": self.decode}
        for name, spread in spreads.items():
            columns |= {f"{name}_{k}_seconds": v for k, v in asdict(spread).items()} if spread else {}
        return columns


@dataclass(frozen=True)
class Conditions:
    """What the benchmark of a trainer is told besides its options; see `codectk.specs.TrainerSpec`.

    Attributes:
        data: what to work on, a folder or a file.
        weights: trained networks, if the user names some.
        device: where networks run: auto, cpu, cuda or cuda:N.
        threads: how many threads networks and coders may use.
        warmup: passes that are not timed.
        repeats: passes that are, at least.
        tell: is told what is measured next.
    """

    data: Path
    weights: Checkpoint | None = None
    device: str = "auto"
    threads: int = 1
    warmup: int = 1
    repeats: int = 5
    tell: Callable[[str], None] = lambda _: None

    def times(self, works: Sequence[Callable[[], object]], seconds: float = 0.0) -> list[tuple[float, ...]]:
        """Wall times of single passes of each work, with all that a CUDA device still has to do for them.

        Works take turns, so that a machine that grows slower does so for all of them.

        Args:
            works: one pass each, to be compared.
            seconds: passes are repeated beyond `repeats` until so much time is measured of each.
        """
        for _ in range(self.warmup):
            for work in works:
                work()
        found: list[list[float]] = [[] for _ in works]
        while any(len(times) < self.repeats or sum(times) < seconds for times in found):
            for work, times in zip(works, found, strict=True):
                _synchronise(self.device)
                start = time.perf_counter()
                work()
                _synchronise(self.device)
                times.append(time.perf_counter() - start)
        return [tuple(times) for times in found]


def setting_text(setting: Mapping[str, Any]) -> str:
    """A setting in one line."""
    return " ".join(f"{k}={v}" for k, v in setting.items())


def measure(
    candidates: Sequence[Candidate],
    files: Sequence[Path],
    *,
    repeats: int = 5,
    warmup: int = 1,
    threads: int = 1,
    decode: bool = True,
    device: str = "auto",
    read: Callable[[Path], Picture] = read_array,
    on_sample: Callable[[Sample], None] | None = None,
) -> list[Sample]:
    """Take the times of every candidate at every setting on every file.

    Files are the outer loop, so that a machine that grows slower does so for all candidates. Where torch is loaded, its
    number of threads is set, for the whole process; a codec with an option `threads` gets it where its setting has
    none.

    Args:
        candidates: codecs with their settings.
        files: pictures or arrays.
        repeats: timed passes per file and setting, at least 1.
        warmup: passes before them that are not timed.
        threads: how many threads networks and coders may use.
        decode: take the times of decoding too.
        device: where the candidates' networks run; work that it still has to do belongs to the time.
        read: how a file becomes an array; not timed.
        on_sample: called with each sample as soon as it is known.

    Returns:
        One sample per combination. What fails is a sample with `error` set.
    """
    samples: list[Sample] = []
    for number, path in enumerate(files):
        blanks = [(c, Sample(c.label, dict(s), path.name, number)) for c in candidates for s in c.settings]
        try:
            picture = read(path)
        except CodectkError as error:
            new: Iterable[Sample] = [replace(blank, error=str(error)) for _, blank in blanks]
        else:
            plan = _Plan(warmup, repeats, threads, decode, device)
            new = (_sample(blank, candidate.loaded, picture, plan) for candidate, blank in blanks)
        for sample in new:
            samples.append(sample)
            if on_sample:
                on_sample(sample)
    return samples


def speeds(samples: Iterable[Sample]) -> list[Speed]:
    """What the samples say about each codec at each setting, in order of appearance; the first is the peer."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.codec, setting_text(sample.setting)), []).append(sample)
    good = [[sample for sample in group if not sample.error] for group in groups.values()]
    return [_speed(group, mine, good[0]) for group, mine in zip(groups.values(), good, strict=True)]


def fitted(picture: Picture, height: int, width: int, reflect: bool = True) -> Picture:
    """The centre of a picture or field in another size.

    Args:
        picture: any; axes other than H and W stay as they are.
        height, width: the size in pixels.
        reflect: fill what is missing with mirror images; otherwise what is smaller stays so.
    """
    wanted = {"H": height, "W": width}
    x = picture.x
    for axis, letter in enumerate(picture.info.axes):
        if letter in wanted and (reflect or x.shape[axis] > wanted[letter]):
            x = np.take(x, _places(x.shape[axis], wanted[letter]), axis)
    x = np.ascontiguousarray(x)
    info = picture.info
    value_range = info.value_range if info.is_image else fields.value_range(x, info.fill_value)
    return replace(picture, x=x, info=replace(info, shape=x.shape, value_range=value_range), metadata={})


def _places(length: int, wanted: int) -> "np.ndarray[Any, np.dtype[np.intp]]":
    """Where on an axis the values of the new axis stand: its centre, or all of it there and back again."""
    if wanted <= length:
        return np.arange(wanted) + (length - wanted) // 2
    places = np.arange(wanted) % (2 * length)
    return np.minimum(places, 2 * length - 1 - places)


@dataclass(frozen=True)
class _Plan:
    """How times are taken; see `measure`."""

    warmup: int
    repeats: int
    threads: int
    decode: bool
    device: str


def _sample(blank: Sample, loaded: LoadedCodec, picture: Picture, plan: _Plan) -> Sample:
    """The sample with its times, or with what went wrong."""
    try:
        work = _Work(loaded, picture, blank.setting, plan)
        _limit_threads(plan.threads)
        for _ in range(plan.warmup):
            work.once()
            _limit_threads(plan.threads)  # torch is often loaded when it is first used
        passes = [work.once() for _ in range(plan.repeats)]
    except CodectkError as error:
        return replace(blank, error=str(error))
    except Exception as error:  # a codec's defect is a row of the table, not the end of the run
        return replace(blank, error=one_line(error))
    return replace(
        blank,
        is_image=picture.info.is_image,
        pixels=picture.info.pixels,
        bytes=passes[-1].bytes,
        encode=tuple(p.encode for p in passes),
        stages={name: tuple(p.stages[name] for p in passes if name in p.stages) for name in passes[0].stages},
        cpu=tuple(p.cpu for p in passes),
        decode=tuple(p.decode for p in passes if p.decode is not None),
    )


@dataclass(frozen=True)
class _Pass:
    bytes: int
    encode: float
    cpu: float
    stages: dict[str, float]
    decode: float | None


class _Work:
    """What is timed: one codec at one setting on one array."""

    def __init__(self, loaded: LoadedCodec, picture: Picture, setting: Mapping[str, Any], plan: _Plan) -> None:
        self.loaded, self.picture, self.plan = loaded, picture, plan
        self.file = picture.file_for(loaded.spec.files)
        self.encode_options = _options(loaded, loaded.spec.encode_options, setting, plan.threads)
        self.decode_options = _options(loaded, loaded.spec.decode_options, {}, plan.threads)

    def once(self) -> _Pass:
        """Code the array and decode the file, each with its time."""
        _synchronise(self.plan.device)
        start, cpu = time.perf_counter(), time.process_time()
        compressed = self.loaded.compress(self.picture.x, self.picture.info, self.encode_options, file=self.file)
        _synchronise(self.plan.device)
        encode, cpu = time.perf_counter() - start, time.process_time() - cpu
        data = compressed.data
        decode = self._decode(data) if self.plan.decode else None
        return _Pass(len(data), encode, cpu, _stages(compressed.notes, encode), decode)

    def _decode(self, data: bytes) -> float:
        start = time.perf_counter()
        self.loaded.decompress(container.unpack(data, max_array_bytes=self.picture.info.nbytes), self.decode_options)
        _synchronise(self.plan.device)
        return time.perf_counter() - start


def _options(loaded: LoadedCodec, target: str, setting: Mapping[str, Any], threads: int) -> Options:
    model: type[Options] = loaded.registered.load(target)
    own = {"threads": threads} if "threads" in model.model_fields and "threads" not in setting else {}
    return model.parse({**setting, **own}, f"codec {loaded.spec.name}")


def _stages(notes: Mapping[str, float], whole: float) -> dict[str, float]:
    """Seconds of each stage; the rest is a stage of its own, where there are others."""
    stages = {name.removesuffix(STAGE): float(value) for name, value in notes.items() if name.endswith(STAGE)}
    return stages | {OTHER: max(0.0, whole - sum(stages.values()))} if stages else {}


def _limit_threads(threads: int) -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _synchronise(device: str) -> None:
    """Wait for what a CUDA device still does, where one is in use."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize(device if device.startswith("cuda") else None)


def _speed(group: Sequence[Sample], good: Sequence[Sample], peer: Sequence[Sample]) -> Speed:
    blank = Speed(group[0].codec, group[0].setting, len(good), len(group) - len(good))
    if not good:
        return blank
    names = dict.fromkeys(name for sample in good for name in sample.stages)
    both = {s.number for s in good} & {s.number for s in peer}
    mine, theirs = ([s for s in some if s.number in both] for some in (good, peer))
    decoded = [sample for sample in good if sample.decode]
    cpu, wall = (sum(sum(times) for times in (getattr(s, name) for s in good)) for name in ("cpu", "encode"))
    return replace(
        blank,
        unit="pixel" if all(sample.is_image for sample in good) else "value",
        pixels=sum(sample.pixels for sample in good),
        bytes=sum(sample.bytes for sample in good),
        bpp=float(np.mean([8 * sample.bytes / sample.pixels for sample in good])),
        encode=Spread.of(t for sample in good for t in sample.encode),
        decode=Spread.of(t for sample in decoded for t in sample.decode) if decoded else None,
        stages={name: Spread.of(t for s in good for t in s.stages.get(name, ())) for name in names},
        encode_rate=_rate(good, "encode"),
        decode_rate=_rate(decoded, "decode") if decoded else None,
        peer_ratio=_rate(mine, "encode") / _rate(theirs, "encode") if both else None,
        cores=cpu / wall,
    )


def _rate(samples: Sequence[Sample], what: str) -> float:
    """Pixels per second."""
    return sum(s.pixels for s in samples) / sum(float(np.median(getattr(s, what))) for s in samples)
