"""Bounds hold for fields of every type and shape, whatever is in them; `random_fields` checks it, not the codec."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codectk.arrays import FIELD_KINDS, Array, ArrayInfo
from codectk.compression import LoadedCodec, load_codec
from codectk.container import unpack
from codectk_caesar_freq.bounds import OPTIONS

from .random_fields import CHOICES, SHAPES, Case, make, problems, random_case

CASES = st.builds(Case, **{name: st.sampled_from(values) for name, values in CHOICES.items()}, seed=st.integers(0, 99))
SETTINGS = (
    {"abs_error": 1e-2},
    {"rel_error": 1e-3},
    {"pointwise_rel": 1e-2},
    {"nrmse": 1e-3},
    {"psnr": 50.0},
    {"eb": 1e-3},
)
WAVELETS: tuple[dict[str, Any], ...] = (
    {"wavelet": "fitted"},
    {"wavelet": "haar"},
    {"wavelet": "cdf97"},
    {"wavelet": "none", "dct_block_size": 8},
    {"wavelet": "cdf97", "dct_block_size": 5, "temporal": False},
)


@pytest.fixture(scope="module")
def codec() -> LoadedCodec:
    return load_codec("caesar_freq")


def waves(shape: tuple[int, ...], dtype: str = "float32", noise: float = 0.01) -> Array:
    """A smooth field with a little noise, of values from -1 to 1 or so."""
    axes = np.meshgrid(*(np.arange(length) for length in shape), indexing="ij")
    smooth = np.prod([np.cos(axis / (5 + i)) for i, axis in enumerate(axes)], axis=0)
    return (smooth + np.random.default_rng(3).normal(0, noise, shape)).astype(dtype)


def info_of(x: Array, **values: Any) -> ArrayInfo:
    return ArrayInfo(FIELD_KINDS[x.dtype.name], x.shape, **values)


def decoded(
    codec: LoadedCodec, x: Array, info: ArrayInfo | None = None, **options: Any
) -> tuple[Array, int, dict[str, float]]:
    """The field after its way through a file, the file's size and the codec's notes."""
    packed = codec.compress(x, info or info_of(x), codec.encode_options(options))
    return codec.decompress(unpack(packed.data)), len(packed.data), dict(packed.notes)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=CASES)
def test_random_fields_keep_to_their_bounds(
    case: Case, codec: LoadedCodec, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert not problems(*make(case, tmp_path_factory.mktemp("mask")), codec)


@pytest.mark.parametrize("seed", range(24))
def test_fields_of_the_long_check_keep_to_their_bounds(seed: int, codec: LoadedCodec, tmp_path: Path) -> None:
    assert not problems(*make(random_case(seed), tmp_path), codec)


@pytest.mark.parametrize("option", sorted(OPTIONS))
@pytest.mark.parametrize("kind", sorted(FIELD_KINDS.values()))
def test_every_bound_holds_for_every_kind(option: str, kind: str, codec: LoadedCodec, tmp_path: Path) -> None:
    for part, shape in ((0.1, (2, 1, 5, 17, 23)), (1e-3, (7, 16, 9))):
        value = {"psnr": -20 * np.log10(part)}.get(option, part)
        assert not problems(*make(Case(kind, shape, bound=(option, value)), tmp_path), codec)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_holds_with_every_transform(shape: tuple[int, ...], codec: LoadedCodec) -> None:
    x = waves(shape, "float64")
    for wavelet, bound in zip(
        WAVELETS, ({"rel_error": 1e-3}, {"nrmse": 1e-3}, {"eb": 1e-3}, {"psnr": 60.0}, {"abs_error": 1e-3}), strict=True
    ):
        assert not problems(x, info_of(x), {**wavelet, **bound}, codec)


@pytest.mark.parametrize("value", [0.0, -0.0, 273.15, 1e-45, 1e-38, 3.4e38])
@pytest.mark.parametrize("options", SETTINGS)
def test_a_constant_comes_back_exactly_where_bounds_are_parts_of_nothing(
    value: float, options: dict[str, Any], codec: LoadedCodec
) -> None:
    x = np.full((3, 17, 23), value, np.float32)
    x_hat, size, _ = decoded(codec, x, **options)
    assert not problems(x, info_of(x), options, codec)
    assert size < 250 and (x_hat == x).all()


@pytest.mark.parametrize("options", SETTINGS)
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [("float32", s) for s in (1e-45, 1e-41, 1e-38, 1e38, 3e38)]
    + [("float64", s) for s in (1e-310, 1e-200, 1e200, 1.5e308)],
)
def test_tiny_and_huge_values_keep_to_their_bounds(
    dtype: str, scale: float, options: dict[str, Any], codec: LoadedCodec
) -> None:
    with np.errstate(over="ignore"):
        x = (waves((4, 17, 23), "float64") * scale).astype(dtype)
    scaled = {"abs_error": 1e-2 * scale} if "abs_error" in options else options
    assert not problems(x, info_of(x), scaled, codec)


def test_squares_that_float64_cannot_hold_do_not_hide_errors(codec: LoadedCodec) -> None:
    """Of errors around 1e-200 the square is 0, whatever they are."""
    x = waves((4, 17, 23), "float64") * 1e-200
    for options in ({"nrmse": 1e-4}, {"psnr": 80.0}, {"eb": 1e-4}):
        x_hat, _, _ = decoded(codec, x, **options)
        assert np.sqrt(np.mean(((x - x_hat) * 1e200) ** 2)) <= 1e-4 * np.ptp(x * 1e200)


def test_a_millionth_on_three_hundred_is_not_lost(codec: LoadedCodec) -> None:
    x = 300 + 1e-6 * waves((5, 17, 23), "float64")
    for options in SETTINGS:
        x_hat, size, notes = decoded(codec, x, **({"abs_error": 1e-9} if "abs_error" in options else options))
        assert not problems(x, info_of(x), {"abs_error": 1e-9} if "abs_error" in options else options, codec)
        if "pointwise_rel" not in options:
            assert np.ptp(x_hat) > 1e-6 and size < x.nbytes / 3 and not notes["lossless_chunks"]


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_ranges_of_integers_that_float64_rounds_are_exact(dtype: str, codec: LoadedCodec) -> None:
    """From 2^62 to 2^62 + 1000 float64 sees a range of 1024."""
    x = (np.int64(1 << 62) + np.rint(500 + 500 * np.clip(waves((3, 16, 24)), -1, 1)).astype(np.int64)).astype(dtype)
    x.flat[0], x.flat[1] = 1 << 62, (1 << 62) + 1000
    for options in (
        {"rel_error": 0.3},
        {"rel_error": 0.01},
        {"nrmse": 0.1},
        {"psnr": 20.0},
        {"eb": 0.1},
        {"abs_error": 7.0},
    ):
        assert not problems(x, info_of(x), options, codec)


def test_errors_that_float64_rounds_down_to_the_bound_are_found() -> None:
    from codectk_caesar_freq.bounds import Bound, distances, outside

    bound = Bound("absolute", 1.0)
    x, x_hat = np.array([1.0, 1.0, 2.0]), np.array([-1e-17, 0.0, 1.0])
    assert distances(x, x_hat).tolist() == [1.0, 1.0, 1.0]
    assert outside(bound, x, x_hat, distances(x, x_hat), None).tolist() == [True, False, False]


@pytest.mark.parametrize(("bound", "steps"), [(0.29, 29), (0.3, 30), (0.01, 1), (0.07, 7)])
def test_integers_use_bounds_that_are_whole_numbers(bound: float, steps: int, codec: LoadedCodec) -> None:
    """0.29 of a range of 100 is 28.999999999999996 in float64, and 28 steps are within it."""
    x = np.rint(50 + 50 * np.sin(np.arange(4000).reshape(50, 80) / 9)).astype(np.int16)
    assert np.ptp(x) == 100
    x_hat, size, notes = decoded(codec, x, rel_error=bound)
    assert not problems(x, info_of(x), {"rel_error": bound}, codec)
    assert not notes["lossless_chunks"] and size < x.nbytes / 5
    assert np.abs(x - x_hat).max() >= steps - 1


@pytest.mark.parametrize("options", SETTINGS)
def test_islands_of_nan_infinities_and_payloads_come_back_bit_for_bit(
    options: dict[str, Any], codec: LoadedCodec
) -> None:
    for dtype in ("float32", "float64"):
        x = waves((6, 17, 23), dtype)
        x[:, 4:9, 10:15] = np.nan
        x[2, 0, 0], x[3, 16, 22], x[:, 16, 0] = np.inf, -np.inf, -np.nan
        bits = x.view(f"u{x.itemsize}")
        bits[1, 5, :] |= np.arange(23, dtype=bits.dtype) * (x[1, 5] != x[1, 5])
        bits[0, 4, 10] ^= bits.dtype.type(1) << (22 if dtype == "float32" else 51)  # a signalling one
        bits[0, 4, 10] |= 1
        x_hat, _, _ = decoded(codec, x, **options)
        assert not problems(x, info_of(x), options, codec)
        assert x_hat[~np.isfinite(x)].tobytes() == x[~np.isfinite(x)].tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -999.0])
def test_a_field_without_valid_values_comes_back_bit_for_bit(value: float, codec: LoadedCodec) -> None:
    x = np.full((4, 9, 9), value, np.float32)
    info = info_of(x, fill_value=-999.0)
    for options in SETTINGS:
        x_hat, size, _ = decoded(codec, x, info, **options)
        assert x_hat.tobytes() == x.tobytes() and size < 250


def test_fill_values_count_for_no_range_and_come_back_bit_for_bit(codec: LoadedCodec) -> None:
    x = waves((6, 24, 32))
    plain = decoded(codec, x, rel_error=1e-3)[1]
    x[:, :5, :7] = 1e20
    info = info_of(x, fill_value=1e20)
    x_hat, size, _ = decoded(codec, x, info, rel_error=1e-3)
    assert not problems(x, info, {"rel_error": 1e-3}, codec)
    assert (x_hat[:, :5, :7] == x[:, :5, :7]).all() and size < 1.1 * plain


def test_masked_values_count_for_no_range_and_come_back_bit_for_bit(codec: LoadedCodec, tmp_path: Path) -> None:
    x = waves((6, 24, 32))
    there = np.ones((24, 32), np.uint8)
    there[:5, :7] = 0
    x[:, there == 0] = 1e30
    np.save(tmp_path / "mask.npy", there)
    for options in SETTINGS:
        assert not problems(x, info_of(x), {**options, "mask": str(tmp_path / "mask.npy")}, codec)


@pytest.mark.parametrize("options", [{"rel_error": 1e-3}, {"nrmse": 1e-3}, {"psnr": 60.0}])
def test_a_variable_of_a_small_range_keeps_to_its_own_bound(options: dict[str, Any], codec: LoadedCodec) -> None:
    x = waves((2, 1, 5, 24, 32))
    x[1] *= 1e-4
    assert not problems(x, info_of(x), options, codec)
    x_hat, _, _ = decoded(codec, x, **options)
    assert np.abs(x[1] - x_hat[1]).max() < 1e-2 * np.ptp(x[1])


def test_the_range_of_patch_bounds_is_that_of_all_variables(codec: LoadedCodec) -> None:
    x = waves((2, 1, 5, 24, 32))
    x[1] *= 1e-4
    x_hat, _, _ = decoded(codec, x, eb=1e-2)
    assert not problems(x, info_of(x), {"eb": 1e-2}, codec)
    assert np.ptp(x_hat[1]) < 1e-4, "all of the small variable is within the bound of the large one"


@pytest.mark.parametrize("chunk", [(1, 1, 1), (2, 5, 7), (3, 8, 16), (40, 3, 12), (1, 17, 9)])
@pytest.mark.parametrize("options", SETTINGS)
def test_bounds_hold_across_chunks_of_all_sides(
    chunk: tuple[int, ...], options: dict[str, Any], codec: LoadedCodec
) -> None:
    x = waves((3, 17, 18) if max(chunk) > 1 else (1, 9, 10), noise=0.1)
    assert not problems(x, info_of(x), {**options, "chunk": chunk}, codec)


def test_patches_are_those_of_the_field_whatever_the_chunks(codec: LoadedCodec) -> None:
    """Errors gather in a corner of each chunk: patches that straddle chunks would have more than their share."""
    x = np.zeros((1, 40, 40))
    x[:] = np.random.default_rng(0).normal(0, 1e-4, x.shape)
    x[:, 3::7, 3::7] = x[:, 4::7, 3::7] = x[:, 3::7, 4::7] = x[:, 4::7, 4::7] = 1.0
    for chunk in ((1, 12, 12), (1, 7, 40)):
        for eb in (0.3, 0.1, 0.03):
            assert not problems(x, info_of(x), {"eb": eb, "chunk": chunk}, codec)


@pytest.mark.parametrize(
    "options", [{"abs_error": 1e-30}, {"rel_error": 1e-9}, {"nrmse": 1e-12}, {"psnr": 400.0}, {"eb": 1e-12}]
)
def test_bounds_below_what_the_type_holds_are_kept_without_loss(options: dict[str, Any], codec: LoadedCodec) -> None:
    x = waves((3, 17, 23)) + np.float32(300)
    x_hat, _, notes = decoded(codec, x, **options)
    assert x_hat.tobytes() == x.tobytes() and notes["largest_error"] == 0


def test_values_without_loss_are_those_bit_for_bit(codec: LoadedCodec) -> None:
    rng = np.random.default_rng(0)
    for kind in FIELD_KINDS:
        dtype = np.dtype(kind)
        x = np.frombuffer(rng.bytes(17 * 23 * dtype.itemsize), dtype).reshape(17, 23)
        x_hat, _, notes = decoded(codec, x, abs_error=1e-320)
        assert x_hat.tobytes() == x.tobytes() and notes["lossless_chunks"] == 1


def test_rain_within_parts_of_each_value_keeps_its_zeros_and_is_smaller(codec: LoadedCodec) -> None:
    x = np.maximum(waves((8, 24, 32)) - np.float32(0.2), 0)
    x[0, 0, 0] = -0.0
    x_hat, size, notes = decoded(codec, x, pointwise_rel=1e-2)
    assert not problems(x, info_of(x), {"pointwise_rel": 1e-2}, codec)
    assert (x_hat[x == 0] == 0).all() and not notes["lossless_chunks"] and size < x.nbytes / 4


def test_packed_observations_are_coded_as_the_multiples_that_they_are(codec: LoadedCodec) -> None:
    numbers = np.rint(100 * waves((8, 24, 32), "float64")).astype(np.int64)
    x = (np.float64(0.01) * numbers).astype(np.float32)
    x_hat, size, _ = decoded(codec, x, abs_error=2e-3)
    assert x_hat.tobytes() == x.tobytes() and size < numbers.size
    for options in ({"abs_error": 0.01}, {"abs_error": 0.02}, {"abs_error": 0.025}, {"rel_error": 0.1}):
        assert not problems(x, info_of(x), options, codec)
        assert decoded(codec, x, **options)[1] < size


@pytest.mark.parametrize("options", SETTINGS)
def test_files_do_not_depend_on_the_number_of_threads(options: dict[str, Any], codec: LoadedCodec) -> None:
    x = waves((4, 70, 90))  # large enough for the two stages of one block to run side by side
    for more in ({}, {"chunk": (2, 40, 90)}):
        files = [
            codec.compress(x, info_of(x), codec.encode_options({**options, **more, "threads": n})).data
            for n in (1, 2, 5)
        ]
        assert files[0] == files[1] == files[2]
        fields = [codec.decompress(unpack(files[0]), codec.decode_options({"threads": n})) for n in (1, 2, 5)]
        assert fields[0].tobytes() == fields[1].tobytes() == fields[2].tobytes()


def test_the_check_finds_what_it_is_to_find(codec: LoadedCodec, tmp_path: Path) -> None:
    """A codec that is off by a little more than it may be, at one value."""
    honest = codec.codec

    class Sloppy:
        def decode(self, *arguments: Any) -> Array:
            x_hat = honest.decode(*arguments)
            x_hat.flat[5] += 3 * honest_bound
            return x_hat

        def __getattr__(self, name: str) -> Any:
            return getattr(honest, name)

    x = waves((4, 17, 23), "float64")
    for option, value in (
        ("abs_error", 0.01),
        ("rel_error", 0.01),
        ("pointwise_rel", 0.01),
        ("eb", 1e-4),
        ("nrmse", 1e-6),
    ):
        honest_bound = value * 3
        assert problems(x, info_of(x), {option: value}, replace(codec, codec=Sloppy()))
