"""Random fields of every kind, and a check of what the codec promises that shares no code with it.

Ranges and errors are computed in 80-bit floats; values that these cannot decide on are compared as fractions. Bounds
that are a product, such as --rel-error times the range, are meant as float64 has them.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from codectk.arrays import FIELD_KINDS, Array, ArrayInfo
from codectk.compression import LoadedCodec, load_codec
from codectk.container import unpack

Wide = np.longdouble
SLACK = Wide(2) ** -60
FAMILIES = (
    *("smooth", "noise", "constant", "spikes", "lattice", "two_ranges", "coast", "small_on_large", "rain", "ramp"),
    *("few_values", "exponents", "bits", "ends"),
)
SCALES = (1.0, 1.0, 1e-3, 1e6, 1e-38, 1e-43, 1e38, 1e-200, 1e-310, 1e200, 1e300, 1.7e308)
BOUNDS: tuple[tuple[str, float], ...] = (
    *(("abs_error", part) for part in (0.5, 0.3, 1e-2, 1e-4, 1e-7, 1e-12, 1e-20)),
    *(("abs_error", -whole) for whole in (0.5, 0.7, 1.0, 2.5, 3.0)),  # in the unit of the values
    *(("rel_error", part) for part in (1.0, 0.5, 0.3, 0.29, 1e-2, 1e-3, 1e-6, 1e-9, 1e-16)),
    *(("pointwise_rel", part) for part in (0.9, 0.3, 1e-2, 1e-4, 1e-6, 1e-8, 1e-14)),
    *(("nrmse", part) for part in (1.0, 0.3, 1e-2, 1e-3, 1e-5, 1e-8, 1e-15)),
    *(("psnr", decibels) for decibels in (0.1, 20.0, 45.0, 80.0, 160.0, 400.0)),
    *(("eb", part) for part in (1.0, 0.3, 1e-2, 1e-3, 1e-5, 1e-8, 1e-15)),
)
PLANS: tuple[dict[str, Any], ...] = (
    *([{}] * 4),
    {"wavelet": "fitted"},
    {"wavelet": "haar"},
    {"wavelet": "haar", "wavelet_levels": 8, "temporal": False},
    {"wavelet": "cdf97"},
    {"wavelet": "cdf97", "wavelet_levels": 1, "dct_block_size": 8},
    {"wavelet": "none", "dct_block_size": 13, "temporal": False},
    {"dct_block_size": 64},
)
MISSING = (*[""] * 5, *("islands", "payloads", "infinities") * 2, "all")
FILLS = (None, None, None, 1e20, -999.0, 0.0)
MASKS = ("", "", "", "", "plane", "plane", "whole", "whole", "nothing")
SHAPES = (
    *((1,), (2,), (17,), (40,), (4099,), (1, 1), (1, 31), (37, 1), (17, 23), (8, 8), (9, 16), (40, 40)),
    *((1, 17, 23), (5, 13, 11), (16, 24, 24), (40, 1, 1), (7, 1, 19), (33, 9, 2), (2, 3, 7, 5), (3, 1, 12, 12)),
    *((2, 1, 1, 17, 23), (2, 2, 3, 9, 8), (3, 1, 5, 1, 13), (2, 1, 6, 16, 20), (1, 1, 1, 1, 1)),
)
CHUNKS = ((), (), (), (2, 8, 16), (3, 5, 7), (1, 40, 4), (1, 1, 40))


@dataclass(frozen=True)
class Case:
    """A field and how to code it; see the module's tables."""

    kind: str = "field/f32"
    shape: tuple[int, ...] = (17, 23)
    family: str = "smooth"
    scale: float = 1.0
    bound: tuple[str, float] = ("rel_error", 1e-3)
    plan: dict[str, Any] = field(default_factory=dict)
    missing: str = ""
    fill: float | None = None
    mask: str = ""
    chunk: tuple[int, ...] = ()
    threads: int = 1
    seed: int = 0


CHOICES: dict[str, tuple[Any, ...]] = {
    "kind": ("field/f32", "field/f64", *FIELD_KINDS.values()),
    "shape": SHAPES,
    "family": FAMILIES,
    "scale": SCALES,
    "bound": BOUNDS,
    "plan": PLANS,
    "missing": MISSING,
    "fill": FILLS,
    "mask": MASKS,
    "chunk": CHUNKS,
    "threads": (1, 2),
}


CALM: dict[str, Any] = {"scale": 1.0, "missing": "", "fill": None, "mask": "", "chunk": ()}


def random_case(seed: int) -> Case:
    """A case that depends on the seed alone; half of the shapes are of random lengths.

    Extreme choices mostly lead to blocks without loss, so that half of the cases have few of them.
    """
    random = np.random.default_rng(seed)
    chosen: dict[str, Any] = {name: options[random.integers(len(options))] for name, options in CHOICES.items()}
    if random.random() < 0.5:
        longest = (600, 40, 24, 9, 6)[rank := random.integers(5)]
        chosen["shape"] = tuple(int(n) for n in random.integers(1, longest + 1, rank + 1))
    if random.random() < 0.5:
        kept = random.choice([*CALM, "nothing"])
        chosen |= {name: value for name, value in CALM.items() if name != kept}
        chosen["family"] = FAMILIES[random.integers(FAMILIES.index("exponents"))]
    return Case(**chosen, seed=seed)


def _axes(shape: tuple[int, ...]) -> list[Array]:
    return np.meshgrid(*(np.arange(length) for length in shape), indexing="ij", sparse=True)


def _smooth(shape: tuple[int, ...], random: np.random.Generator, noise: float = 0.01) -> Array:
    waves = sum(np.sin(axis / random.uniform(2, 9) + random.uniform(0, 6)) for axis in _axes(shape))
    return np.asarray(waves + random.normal(0, noise, shape))


def _unscaled(case: Case, random: np.random.Generator) -> Array:
    """Values of magnitudes around 1, float64."""
    shape = case.shape
    smooth = _smooth(shape, random)
    spikes = np.where(random.random(shape) < 0.03, random.normal(0, 1e4, shape), 0.0)
    small = np.where(np.arange(shape[0]) % 2, 1e-4, 1.0).reshape(-1, *[1] * (len(shape) - 1))
    land = random.random(shape[-1]) < 0.4
    makers: dict[str, Callable[[], Array]] = {
        "smooth": lambda: smooth,
        "noise": lambda: random.normal(0, 1, shape),
        "constant": lambda: np.full(shape, random.choice([0.0, -0.0, 1.0, 273.15])),
        "spikes": lambda: smooth + spikes,
        "lattice": lambda: np.round(20 * smooth) * 0.01 + 3,
        "two_ranges": lambda: smooth * small,
        "coast": lambda: np.where(land, -1.5, smooth),
        "small_on_large": lambda: 300 + 1e-6 * smooth,
        "rain": lambda: np.where(smooth > 0.5, smooth, random.choice([0.0, -0.0], shape)),
        "ramp": lambda: np.asarray(sum(_axes(shape)), float) + np.zeros(shape),
        "few_values": lambda: random.choice([1.0, 2.0, 5.0], shape),
    }
    return makers[case.family]()


def _floats(case: Case, dtype: np.dtype[Any], random: np.random.Generator) -> Array:
    info = np.finfo(dtype)
    if case.family == "bits":
        return np.frombuffer(random.bytes(dtype.itemsize * int(np.prod(case.shape))), dtype).reshape(case.shape).copy()
    if case.family == "exponents":
        powers = random.uniform(float(np.log2(info.smallest_subnormal)), float(info.maxexp) - 1, case.shape)
        return (random.choice([-1, 1], case.shape) * np.exp2(powers)).astype(dtype)
    if case.family == "ends":
        ends = [info.max, info.min, info.tiny, -info.smallest_subnormal, 0.0, -0.0, 1.0]
        return random.choice(np.array(ends, dtype), case.shape)
    with np.errstate(over="ignore"):
        return np.clip(_unscaled(case, random) * case.scale, info.min, info.max).astype(dtype)


def _integers(case: Case, dtype: np.dtype[Any], random: np.random.Generator) -> Array:
    info = np.iinfo(dtype)
    if case.family in ("bits", "exponents"):
        return np.frombuffer(random.bytes(dtype.itemsize * int(np.prod(case.shape))), dtype).reshape(case.shape).copy()
    if case.family == "ends":
        return random.choice(np.array([info.max, info.min, info.max - 1, 0, 1], dtype), case.shape)
    x = _unscaled(case, random)
    most = float(info.max) - float(info.min)
    # Some fields fill the type, others a part of it at its upper end, where float64 has no such integers.
    width = most * random.choice([1.0, 0.5, 1e-2, 1e-6, 1e-14])
    low, spread = float(x.min()), float(np.ptp(x)) or 1.0
    steps = np.rint((x - low) / spread * max(width, 3.0)).astype(object)
    values = info.max - steps.clip(0, info.max - info.min) if random.random() < 0.5 else info.min + steps
    return np.clip(values.astype(object), info.min, info.max).astype(dtype)


def make(case: Case, folder: Path) -> tuple[Array, ArrayInfo, dict[str, Any]]:
    """The field of a case and its options; a mask is written into the folder."""
    random = np.random.default_rng(case.seed)
    dtype = np.dtype({kind: name for name, kind in FIELD_KINDS.items()}[case.kind])
    x = (_floats if dtype.kind == "f" else _integers)(case, dtype, random)
    _put_missing(x, case.missing, random)
    fill = None
    if case.fill is not None and (dtype.kind == "f" or case.fill in (0.0, -999.0)):
        fits = dtype.kind == "f" or np.iinfo(dtype).min <= case.fill <= np.iinfo(dtype).max
        fill = case.fill if dtype.kind == "f" else int(case.fill) if fits else None
    if fill is not None:
        x[..., : (x.shape[-1] + 2) // 3][random.random((*x.shape[:-1], (x.shape[-1] + 2) // 3)) < 0.8] = fill
    options: dict[str, Any] = {**case.plan, "threads": case.threads}
    if case.chunk:
        options["chunk"] = case.chunk
    if case.mask:
        shape = case.shape[-2:] if case.mask == "plane" else case.shape
        there = random.random(shape) < (0.0 if case.mask == "nothing" else 0.7)
        options["mask"] = str(folder / "mask.npy")
        np.save(folder / "mask.npy", there.astype(np.uint8))
    info = ArrayInfo(case.kind, case.shape, fill_value=fill)
    name, value = case.bound
    if name == "abs_error":
        valid = x[valid_of(x, info, options)]
        spread = float(spread_of(valid)) if valid.size and spread_of(valid) < Fraction(1e308) else 1.0
        value = -value if value < 0 else max(value * spread, 5e-324)
    options[name] = value
    return x, info, options


def _put_missing(x: Array, missing: str, random: np.random.Generator) -> None:
    if x.dtype.kind != "f" or not missing:
        return
    bits = x.view(f"u{x.itemsize}")
    nan = int(np.array(np.nan, x.dtype).view(bits.dtype))
    if missing == "all":
        x[:] = np.nan
    elif missing == "islands":
        x[..., x.shape[-1] // 3 : x.shape[-1] // 2 + 1] = np.nan
    elif missing == "payloads":
        some = random.random(x.shape) < 0.1
        bits[some] = nan | random.integers(1, 1 << 20, int(some.sum())).astype(bits.dtype)
    else:
        x[random.random(x.shape) < 0.05] = np.inf
        x[random.random(x.shape) < 0.05] = -np.inf


def valid_of(x: Array, info: ArrayInfo, options: dict[str, Any]) -> Array:
    """Which values the bound speaks of."""
    valid: Array = np.isfinite(x)
    if info.fill_value is not None:
        valid = valid & (x != x.dtype.type(info.fill_value))
    if "mask" in options:
        valid = valid & (np.load(options["mask"]) != 0)
    return valid


def exact(value: Any) -> Fraction:
    """A number as a fraction."""
    return Fraction(value.item() if isinstance(value, np.generic) else value)


def spread_of(valid: Array) -> Fraction:
    """Largest minus smallest value, exactly; 0 of none."""
    return exact(valid.max()) - exact(valid.min()) if valid.size else Fraction(0)


def product(part: float, of: Fraction) -> float:
    """A part of something, as float64 has it."""
    return float(min(Fraction(part) * of, Fraction(sys.float_info.max)))


def gaps_of(x: Array, x_hat: Array) -> Array:
    """|x - x_hat| in 80 bits, which are enough for integers."""
    return np.abs(x.astype(Wide) - x_hat.astype(Wide))


def pointwise_problems(x: Array, x_hat: Array, limit: float) -> list[str]:
    """Values farther from the original than an absolute bound."""
    near = ~(gaps_of(x, x_hat) * (1 + SLACK) <= limit) & (x != x_hat)
    wrong = [i for i in np.flatnonzero(near) if abs(exact(x[i]) - exact(x_hat[i])) > Fraction(limit)]
    return [f"{len(wrong)} are off by over {limit!r}, such as {x[i]!r} {x_hat[i]!r}" for i in wrong[:1]]


def relative_problems(x: Array, x_hat: Array, part: float) -> list[str]:
    """Values farther from the original than a part of itself."""
    near = ~(gaps_of(x, x_hat) * (1 + SLACK) <= np.abs(x.astype(Wide)) * Wide(part) * (1 - SLACK)) & (x != x_hat)
    places = np.flatnonzero(near)
    wrong = [i for i in places if abs(exact(x[i]) - exact(x_hat[i])) > Fraction(product(part, abs(exact(x[i]))))]
    return [f"{len(wrong)} are off by over {part} of themselves, such as {x[i]!r} {x_hat[i]!r}" for i in wrong[:1]]


def root_mean_square(gaps: Array) -> Any:
    """Of 80 bits, which hold the squares of all float64."""
    return np.sqrt(np.mean(gaps**2)) if gaps.size else Wide(0)


def mean_square_problems(x: Array, x_hat: Array, limit: float) -> list[str]:
    """Whether the root mean square error is above a bound."""
    reached = root_mean_square(gaps_of(x, x_hat))
    return [f"root mean square error {reached!r} above {limit!r}"] if reached > Wide(limit) else []


def psnr_problems(x: Array, x_hat: Array, decibels: float) -> list[str]:
    """Whether the peak signal-to-noise ratio is below a bound."""
    reached = root_mean_square(gaps_of(x, x_hat))
    spread = x.max().astype(Wide) - x.min().astype(Wide)
    if not reached:
        return []
    found = 20 * np.log10(spread / reached) if spread else -np.inf
    return [f"PSNR {found} below {decibels}"] if found < decibels else []


def patch_problems(x: Array, x_hat: Array, valid: Array, limit: float) -> list[str]:
    """8×8 patches of frames (..., H, W) whose root mean square error is above a bound."""
    shape = (-1, *((1, *x.shape)[-2:]))
    gaps = gaps_of(np.where(valid, x, 0), np.where(valid, x_hat, 0)).reshape(shape)
    there = valid.reshape(shape)
    wrong = 0
    for top in range(0, shape[1], 8):
        for left in range(0, shape[2], 8):
            part = np.s_[:, top : top + 8, left : left + 8]
            squares, counts = (gaps[part] ** 2).sum(axis=(1, 2)), there[part].sum(axis=(1, 2))
            wrong += int((np.sqrt(squares / np.maximum(counts, 1)) > Wide(limit)).sum())
    return [f"{wrong} patches are above {limit}"] if wrong else []


def bound_problems(x: Array, x_hat: Array, valid: Array, name: str, value: float) -> list[str]:
    """How a decoded field breaks a promise."""
    if name == "eb":
        return patch_problems(x, x_hat, valid, product(value, spread_of(x[valid])))
    if name == "pointwise_rel":
        return relative_problems(x[valid], x_hat[valid], value)
    variables = zip(x, x_hat, valid, strict=True) if x.ndim == 5 else [(x, x_hat, valid)]
    problems = []
    for original, decoded, there in variables:
        pair = original[there], decoded[there]
        if not pair[0].size:
            continue
        check: Callable[..., list[str]] = {
            "abs_error": partial(pointwise_problems, limit=value),
            "rel_error": lambda x, y: pointwise_problems(x, y, product(value, spread_of(x))),
            "nrmse": lambda x, y: mean_square_problems(x, y, product(value, spread_of(x))),
            "psnr": lambda x, y: psnr_problems(x, y, value),
        }[name]
        problems += check(*pair)
    return problems


def noted_problems(x: Array, x_hat: Array, valid: Array, params: dict[str, Any]) -> list[str]:
    """Errors that the file states and that are not those of its values."""
    problems = []
    rows = params["variables"]
    whole = zip(x, x_hat, valid, strict=True) if x.ndim == 5 else [(x, x_hat, valid)]
    for (original, decoded, there), (_, largest, rmse) in zip(whole, rows, strict=True):
        gaps = gaps_of(original[there], decoded[there])
        found = (largest, gaps.max(initial=Wide(0))), (rmse, root_mean_square(gaps))
        if any(abs(Wide(said) - true) > 1e-5 * true + Wide(1e-320) for said, true in found):
            problems.append(f"the file says {largest} {rmse}, they are {found[0][1]} {found[1][1]}")
    return problems


def problems(x: Array, info: ArrayInfo, options: dict[str, Any], codec: LoadedCodec | None = None) -> list[str]:
    """What is wrong with a field that went through the codec; nothing, if all is well."""
    codec = codec or load_codec("caesar_freq")
    before = x.copy()
    packed = codec.compress(x, info, codec.encode_options(options))
    file = unpack(packed.data)
    x_hat, other = (codec.decompress(file, codec.decode_options({"threads": threads})) for threads in (1, 2))
    (bound,) = {"abs_error", "rel_error", "pointwise_rel", "nrmse", "psnr", "eb"} & options.keys()
    valid = valid_of(x, info, options)
    found = []
    if (x_hat.shape, x_hat.dtype) != (x.shape, x.dtype):
        return [f"{x.dtype} {x.shape} became {x_hat.dtype} {x_hat.shape}"]
    if x.tobytes() != before.tobytes():
        found.append("the original was changed")
    if x_hat.tobytes() != other.tobytes():
        found.append("the values depend on the number of threads")
    if x_hat[~valid].tobytes() != x[~valid].tobytes():
        found.append("special values are not the same bit for bit")
    sides = file.header.params["chunk"]
    chunks = np.prod([-(-n // side) for n, side in zip((1, 1, *x.shape)[-3:], sides, strict=True)]) * np.prod(
        x.shape[:-3]
    )
    if packed.notes["lossless_chunks"] == chunks and x_hat.tobytes() != x.tobytes():
        found.append("a lossless file is not lossless")
    found += bound_problems(x, x_hat, valid, bound, options[bound])
    return found + noted_problems(x, x_hat, valid, file.header.params)
