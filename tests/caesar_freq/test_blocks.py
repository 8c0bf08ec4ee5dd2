"""The parts of a block: special values, lattices, wavelets, transforms, corrections, logarithms; and hostile bytes."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import pywt
from scipy.fft import dctn

from codectk.arrays import Array, ArrayInfo
from codectk.compression import load_codec
from codectk.container import Reader, unpack, varint
from codectk.errors import CodectkError, ContainerError, DesyncError
from codectk_caesar_freq import bands, blocks, encoding, fitted, gae, lattice, layout, loglaw, native, specials
from codectk_caesar_freq.bands import Bands, Transform
from codectk_caesar_freq.blocks import Block, Context, Method
from codectk_caesar_freq.bounds import Bound, Reached, distances, measure, outside

SHAPE = (4, 17, 23)
SHAPES = ((1, 1, 1), (1, 1, 2), (1, 1, 40), (2, 3, 1), (3, 5, 7), (4, 17, 23), (1, 31, 33), (16, 16, 16), (37, 1, 2))


def noise(shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def waves(shape: tuple[int, int, int] = SHAPE, dtype: str = "float64") -> Array:
    t, h, w = np.indices(shape)
    return (np.sin(t / 3 + h / 5) * np.cos(w / 4) + 0.02 * noise(shape)).astype(dtype)


def size_of(block: Block) -> int:
    return sum(map(len, block.pack()))


def peak_of(function: Callable[[], Any]) -> int:
    """Most bytes that a function holds at a time."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# ---- special values


def through(x: Array, special: Array) -> tuple[Array, int]:
    """Special values after their way through bytes, zeros elsewhere; and how many bytes."""
    data = specials.pack(x, special)
    found = specials.unpack(data, x.shape, x.dtype, "it")
    assert (found.where == special).all()
    there = np.zeros_like(x)
    found.restore(there)
    return there, len(data)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint16", "int64"])
@pytest.mark.parametrize("number", [1, 3, 254, 255, 1000])
def test_special_values_come_back_bit_for_bit(dtype: str, number: int) -> None:
    rng = np.random.default_rng(number)
    kind = np.dtype(dtype)
    distinct = np.frombuffer(rng.bytes(number * kind.itemsize), kind)
    x, special = rng.choice(distinct, SHAPE), rng.random(SHAPE) < 0.6
    there, _ = through(x, special)
    assert there[special].tobytes() == x[special].tobytes()


def test_a_mask_that_never_changes_is_stored_once() -> None:
    x = waves((50, 17, 23))
    land = waves((1, 17, 23))[0] > 0.3
    x[:, land] = np.nan
    still, size = through(x, np.isnan(x))
    assert np.array_equal(np.isnan(still), np.isnan(x))
    assert size == through(x[:1], np.isnan(x[:1]))[1]
    x[7, 0, 0] = np.nan if not land[0, 0] else 1
    assert through(x, np.isnan(x))[1] > size


def test_still_places_are_special_where_they_are_many_of_few_values() -> None:
    x = waves((6, 40, 40))
    none = np.zeros(x.shape, bool)
    assert not specials.add_still(x, none).any()
    x[:, :10] = -1.5
    assert (specials.add_still(x, none) == (x == -1.5)).all()
    assert not specials.add_still(x[:3], none[:3]).any(), "too few times to tell"
    x[:, :10] = noise((10, 40))
    assert not specials.add_still(x, none).any(), "too many values to be land"
    assert not specials.add_still(np.ones_like(x), none).any(), "nothing would be left"


# ---- lattices


@pytest.mark.parametrize(("step", "origin"), [(0.01, 0.0), (0.01, 273.15), (0.25, -3.0), (1e-3, 1e-3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_decimals_are_found_to_be_a_lattice(step: float, origin: float, dtype: str) -> None:
    numbers = np.random.default_rng(0).integers(0, 3000, 5000)
    x = (origin + step * numbers).astype(dtype)
    found = lattice.detect(x, step / 10)
    assert found is not None and found.distance == pytest.approx(step)
    assert (found.values(found.numbers(x)).astype(dtype) == x).all()


def test_what_is_no_lattice_or_too_fine_is_not_found_to_be_one() -> None:
    numbers = np.arange(3000)
    assert lattice.detect(noise((5000,)), 1e-3) is None
    assert lattice.detect(0.01 * numbers, 0.5) is None, "its step is far below the bound"
    almost = 0.5 * numbers
    almost[1234] += 0.1
    assert lattice.detect(almost, 1e-3) is None
    assert lattice.detect(np.array([1.7e308, -1.7e308]), 1.0) is None
    assert lattice.detect(np.array([0, 1 << 40]), 1.0) is None
    assert lattice.detect(np.array([(1 << 62) + 1, 1 << 62]), 1.0) is None


def test_radii_keep_to_a_bound() -> None:
    units = lattice.Lattice(0.0, 1.0)
    assert units.radii(28.999999999999996, 0.0) == [29, 28]
    assert units.radii(2.5, 0.0) == [2]
    assert lattice.Lattice(0.0, 0.1).radii(0.3, 1e-8) == [3, 2]
    assert units.radii(0.5, 1.0) == [0]


# ---- fitted wavelet


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("double", [False, True])
def test_values_of_the_fitted_wavelet_are_off_by_half_a_step_at_most(
    shape: tuple[int, int, int], masked: bool, double: bool
) -> None:
    x, half = waves(shape), 1e-7 if double else 1e-2
    special = noise(shape, 2) > 0.5 if masked else None
    q = fitted.Quantiser.within(float(x.min()), float(x.max()), half)
    assert q.double == (double and x.size > 2)
    z = q.scaled(x, special)
    head, streams = fitted.encode(fitted.fit(q, z, special), z, special, 1)
    reader = Reader(head, 0, len(head), "it")
    x_hat = fitted.decode(reader, list(streams), shape, special, 1, "it")
    valid = np.ones(shape, bool) if special is None else ~special
    assert np.abs(x - x_hat)[valid].max(initial=0) <= half * 1.001
    assert reader.at == len(head)


@pytest.mark.parametrize("shape", SHAPES)
def test_integers_come_back_as_they_are(shape: tuple[int, int, int]) -> None:
    x = np.rint(1000 * waves(shape)).astype(np.int32)
    work = encoding.Work(x, None, Bound("absolute", 0.25), encoding.Plan())
    block, reached = encoding.encode(work)
    x_hat = blocks.decode(Block.unpack(block.pack(), "it"), Context(shape, x.dtype))
    assert (x_hat == x).all() and reached == Reached(0.0, 0.0, x.size)


def test_a_prefix_of_the_groups_gives_a_coarser_field() -> None:
    x = waves((8, 32, 32), "float32")
    block, _ = encoding.encode(encoding.Work(x, None, Bound("absolute", 1e-3), encoding.Plan(only_fitted=True)))
    parts: list[bytes | None] = list(block.pack())
    errors = []
    for there in (1, 2, 3):
        some = parts[:there] + [None] * (3 - there)
        x_hat = blocks.decode(Block.unpack(some, "it"), Context(x.shape, x.dtype, groups=there))
        errors.append(np.sqrt(np.mean((x - x_hat) ** 2)))
    assert 1 > errors[0] > errors[1] > errors[2] and errors[2] < 1e-3


# ---- transforms


@pytest.mark.parametrize("length", [2, 3, 4, 5, 8, 16, 17, 23, 40, 65])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cdf_9_7_is_that_of_pywavelets(length: int, axis: int) -> None:
    """But for the sign of the high band; PyWavelets extends the signal and so has more coefficients at its ends."""
    shape = tuple(length if i == axis else n for i, n in enumerate((2, 3, 5)))
    x = noise(shape)
    y = x.copy()
    native.wavelet(y, axis, length, 1)
    low, high = pywt.dwt(x, pywt.Wavelet("bior4.4"), mode="reflect", axis=axis)
    half = (length + 1) // 2
    got_low, got_high = np.split(np.moveaxis(y, axis, 0), [half])
    np.testing.assert_allclose(got_low, np.moveaxis(low, axis, 0)[2 : 2 + half], atol=1e-9)
    np.testing.assert_allclose(got_high, -np.moveaxis(high, axis, 0)[2 : 2 + length // 2], atol=1e-9)
    native.wavelet(y, axis, length, 1, inverse=True)
    np.testing.assert_allclose(y, x, atol=1e-13)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 17, 40])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_haar_is_that_of_pywavelets(length: int, axis: int) -> None:
    """A last value without a partner is its own partner."""
    shape = tuple(length if i == axis else n for i, n in enumerate((2, 3, 5)))
    x = noise(shape)
    y = x.copy()
    native.wavelet(y, axis, length, 0)
    if length > 1:
        low, high = pywt.dwt(x, "haar", mode="symmetric", axis=axis)
        got_low, got_high = np.split(np.moveaxis(y, axis, 0), [(length + 1) // 2])
        np.testing.assert_allclose(got_low, np.moveaxis(low, axis, 0), atol=1e-13)
        np.testing.assert_allclose(got_high, np.moveaxis(high, axis, 0)[: length // 2], atol=1e-13)
    native.wavelet(y, axis, length, 0, inverse=True)
    np.testing.assert_allclose(y, x, atol=1e-13)


@pytest.mark.parametrize(("length", "size"), [(8, 8), (24, 8), (64, 64), (7, 8), (13, 13), (1, 4), (32, 16)])
def test_cosine_blocks_are_those_of_scipy(length: int, size: int) -> None:
    """Equal blocks, orthonormal DCT-II along all three axes."""
    x = noise((length, length, length)) if length <= 24 else noise((1, length, length))
    got = Transform(dct=size).forward(x)
    side = min(size, length)
    for place in product(*(range(0, n, side) for n in x.shape)):
        part = tuple(slice(begin, begin + side) for begin in place)
        np.testing.assert_allclose(got[part], dctn(x[part], norm="ortho"), atol=1e-12)


def test_blocks_that_do_not_divide_a_length_are_nearly_equal() -> None:
    x = noise((1, 1, 17))
    got = Transform(dct=8).forward(x)
    for begin, end in ((0, 5), (5, 11), (11, 17)):
        np.testing.assert_allclose(got[..., begin:end], dctn(x[..., begin:end], norm="ortho"), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("wavelet", bands.WAVELETS)
def test_transforms_are_undone(shape: tuple[int, int, int], wavelet: str) -> None:
    for levels, temporal, dct in product((1, 3, 8), (True, False), (0, 5, 8, 64)):
        transform = Transform(wavelet, levels, temporal, dct)
        x = noise(shape)
        np.testing.assert_allclose(transform.inverse(transform.forward(x)), x, atol=1e-11)


@pytest.mark.parametrize("shape", SHAPES)
def test_quantised_coefficients_come_back_as_they_are(shape: tuple[int, int, int]) -> None:
    for wavelet, levels, temporal, dct in product(bands.WAVELETS, (1, 3), (True, False), (0, 3, 8)):
        transform = Transform(wavelet, levels if wavelet != "none" else 0, temporal, dct)
        q = np.rint(30 * noise(shape) ** 3).astype(np.int32)
        coded = Bands(transform, 3.0, 0.5, (10, -20), q)
        body = bands.encode(coded, None, 0.0)
        x_hat = bands.decode(Reader(body, 0, len(body), "it"), shape, "it")
        assert x_hat.tobytes() == coded.values().tobytes()


def test_large_values_come_back_as_they_are() -> None:
    q = np.array([[[0, 1, -1, 1 << 20, -(1 << 30), (1 << 31) - 1, -(1 << 31), 0, 7]]], np.int32)
    boxes = [((0, 0, 0), (1, 1, 9), (-1, -1, -1))]
    assert (native.decode_planes(native.encode_planes(q, boxes=boxes), (1, 1, 9), boxes=boxes) == q).all()
    assert (native.decode_planes(native.encode_planes(q, (1, 1, 3)), (1, 1, 9), (1, 1, 3)) == q).all()


# ---- corrections of patches (section 9 of the description of CAESAR)


def root_mean_squares(x: Array, x_hat: Array) -> Array:
    """Of the 8×8 patches of frames whose sides 8 divides."""
    t, h, w = x.shape
    return np.sqrt(((x - x_hat) ** 2).reshape(t, h // 8, 8, w // 8, 8).mean(axis=(2, 4)))


@pytest.mark.parametrize("frames", [2, 60])
def test_a_correction_brings_every_patch_within_the_bound(frames: int) -> None:
    """With few patches by the cosine basis, with many by their own."""
    x = noise((frames, 48, 48))
    x_hat, bound = x + noise(x.shape, 1) * np.linspace(0, 0.3, 48), 0.1
    before = root_mean_squares(x, x_hat)
    correction = gae.correct(x, x_hat, None, bound)
    assert correction is not None and (correction.basis is not None) == (frames == 60)
    assert correction.chosen.sum() == (before > bound).sum() and correction.step == 2 * bound
    again = gae.unpack(gae.pack(correction), x.shape, "it")
    corrected = x_hat.copy()
    again.apply(corrected)
    after = root_mean_squares(x, corrected)
    assert after.max() <= bound and (after[before <= bound] == before[before <= bound]).all()
    assert after[before > bound].mean() > 0.9 * bound, "no more coefficients than needed"


def test_fewer_coefficients_would_not_do() -> None:
    x, bound = noise((2, 16, 16)), 0.2
    correction = gae.correct(x, np.zeros_like(x), None, bound)
    assert correction is not None and correction.chosen.all()
    for patch in range(len(correction.q)):
        kept = np.abs(correction.q[patch])
        least = np.flatnonzero(kept == kept[kept > 0].min())[0]
        correction.q[patch, least] = 0
    x_hat = np.zeros_like(x)
    correction.apply(x_hat)
    assert (root_mean_squares(x, x_hat) > bound).all()


def test_nothing_is_corrected_that_keeps_to_the_bound() -> None:
    x = noise((2, 16, 16))
    assert gae.correct(x, x + 0.1, None, 0.11) is None


@pytest.mark.parametrize("shape", [(3, 1, 1), (2, 5, 1), (2, 3, 20), (1, 8, 8), (2, 17, 23)])
def test_patches_are_those_of_frames_and_joined_again(shape: tuple[int, int, int]) -> None:
    x = noise(shape)
    grid = gae.patches(x)
    height, width = min(8, shape[1]), min(8, shape[2])
    assert grid.shape == (shape[0] * -(-shape[1] // height) * -(-shape[2] // width), height * width)
    np.testing.assert_array_equal(grid[0, 0], x[0, 0, 0])
    np.testing.assert_array_equal(gae.joined(grid, shape), x)


# ---- logarithms


def test_powers_of_two_undo_logarithms() -> None:
    x = np.array([1.0, -1.0, 3.0, 1e-300, 5e-324, 1.7e308, 2.5e-7])
    np.testing.assert_allclose(loglaw.powers(loglaw.logarithms(x)), np.abs(x), rtol=4e-13)
    y = np.linspace(-1000, 1000, 100_001)
    np.testing.assert_allclose(loglaw.powers(y), np.exp2(y), rtol=1e-15)
    assert loglaw.logarithms(np.zeros(3)).tolist() == [0, 0, 0]
    assert np.isfinite(loglaw.powers(np.array([np.nan, -np.inf, -1e9]))).all()


@pytest.mark.parametrize("bound", [1e-9, 1e-4, 0.1, 0.9])
def test_a_distance_of_logarithms_is_a_part_of_the_value(bound: float) -> None:
    half = loglaw.half_width(bound)
    assert 2**half - 1 <= bound * (1 + 1e-6) and 1 - 2**-half <= bound * (1 + 1e-6)


def test_signs_come_back() -> None:
    x = noise(SHAPE)
    block = Block(Method.CONSTANT, struct.pack("<d", 1.0), signs=blocks.pack_signs(x))
    assert (blocks.decoded(block, Context(SHAPE, x.dtype)) == np.where(x < 0, -2, 2)).all()


# ---- bounds


def test_distances_of_integers_of_64_bits_are_exact() -> None:
    ends = np.array([np.iinfo(np.int64).min, np.iinfo(np.int64).max, 5])
    assert distances(ends, ends[::-1]).tolist() == [float((1 << 63) + 5), 0.0, float((1 << 63) + 5)]
    large = np.array([(1 << 64) - 1], np.uint64)
    assert distances(large, large - np.uint64(3)).tolist() == [3.0]


def test_blocks_errors_are_gathered_into_those_of_all() -> None:
    for scale in (1.0, 1e-200, 1e200):
        gaps = np.abs(noise((3, 4, 5))) * scale
        all_ = Reached()
        for part in gaps:
            all_.add(measure(part, None))
        assert all_.count == 60 and all_.largest == gaps.max()
        assert all_.rmse == pytest.approx(scale * np.sqrt(np.mean((gaps / scale) ** 2)), rel=1e-12)


def test_values_that_are_no_numbers_are_outside_every_bound() -> None:
    x, x_hat = np.ones((1, 1, 3)), np.array([[[np.nan, np.inf, 1.0]]])
    for bound in (Bound("absolute", 1e300), Bound("relative", 0.9)):
        assert outside(bound, x, x_hat, distances(x, x_hat), None).ravel().tolist() == [True, True, False]


# ---- chunks


@pytest.mark.parametrize("shape", [(9, 14, 30), (1, 100, 100), (40, 9, 17), (1, 1, 5000)])
def test_no_patch_lies_in_two_chunks_but_by_its_parts(shape: tuple[int, int, int]) -> None:
    wishes: list[tuple[int, ...]] = [(), (2, 5, 7), (2, 12, 30), (1, 8, 1), (9, 40, 13)]
    for wanted, limit in product(wishes, (1 << 22, 1 << 12)):
        t, h, w = layout.sides(shape, limit, wanted, patches=True)
        for side, whole in ((h, shape[1]), (w, shape[2])):
            assert side == whole or side % 8 == 0 or 8 % side == 0 or whole <= 8
        assert t * h * w <= limit and all(a <= b for a, b in zip((t, h, w), wanted, strict=False))


# ---- hostile bytes


def samples() -> dict[str, tuple[Block, Array]]:
    """A block of every method and with every part."""
    x = waves(dtype="float32")
    special = x > 0.8
    rough = x + np.where(np.indices(SHAPE)[1] < 8, 0.2, 0.0).astype(np.float32) * noise(SHAPE, 1).astype(np.float32)
    works = {
        "fitted": encoding.Work(x, None, Bound("absolute", 1e-2), encoding.Plan(only_fitted=True)),
        "lattice": encoding.Work(np.rint(20 * x).astype(np.int16), special, Bound("absolute", 1.0), encoding.Plan()),
        "bands": encoding.Work(x, None, Bound("absolute", 1e-2), encoding.Plan(Transform("cdf97", 3, True, 8))),
        "boxes": encoding.Work(x, None, Bound("mean_square", 1e-2), encoding.Plan(Transform("haar", 2, True, 0))),
        "patches": encoding.Work(rough, special, Bound("patch", 5e-2), encoding.Plan(Transform(dct=8))),
        "relative": encoding.Work(x, special, Bound("relative", 1e-2), encoding.Plan()),
        "raw": encoding.Work(x, special, Bound("absolute", 1e-18), encoding.Plan()),
    }
    return {name: (encoding.encode(work)[0], work.x) for name, work in works.items()}


def test_samples_have_every_part() -> None:
    found = [block for block, _ in samples().values()]
    assert {block.method for block in found} == {Method.FITTED, Method.BANDS, Method.RAW}
    for part in ("specials", "signs", "correction"):
        assert any(getattr(block, part) for block in found), part


@pytest.mark.parametrize("name", sorted(samples()))
def test_changed_bytes_are_plain_errors_or_values_that_the_check_refuses(name: str) -> None:
    block, x = samples()[name]
    parts, rng = block.pack(), np.random.default_rng(1)
    context = Context(SHAPE, x.dtype)
    for _ in range(150):
        changed = [bytearray(part) for part in parts]
        part = changed[rng.integers(3) if rng.random() < 0.3 else 0] or changed[0]
        at = int(rng.integers(min(len(part), 80 if rng.random() < 0.5 else 1 << 20)))
        match rng.integers(3):
            case 0:
                del part[at:]
            case 1:
                part[at] ^= int(rng.integers(1, 256))
            case _:
                part[at:at] = rng.bytes(3)
        try:
            x_hat = blocks.decode(Block.unpack([bytes(p) for p in changed], "it"), context)
        except CodectkError:
            continue
        assert x_hat.tobytes() == x.tobytes() or np.array_equal(x_hat, blocks.decode(block, context))


def test_other_values_are_a_desync() -> None:
    block, x = samples()["fitted"]
    parts = block.pack()
    parts[2] = bytes([parts[2][0] ^ 255]) + parts[2][1:]
    with pytest.raises(DesyncError, match="not those that were encoded"):
        blocks.decode(Block.unpack(parts, "it"), Context(SHAPE, x.dtype))


BOMB = zlib.compress(bytes(1 << 26), 9)
UNPACKERS: dict[str, Callable[[bytes], Any]] = {
    "block": lambda data: Block.unpack([data, None, None], "it"),
    "specials": lambda data: specials.unpack(data, SHAPE, np.dtype("f4"), "it"),
    "gae": lambda data: gae.unpack(data, SHAPE, "it"),
    "bands": lambda data: bands.decode(Reader(data, 0, len(data), "it"), SHAPE, "it"),
    "fitted": lambda data: fitted.decode(Reader(data, 0, len(data), "it"), [data] * 3, SHAPE, None, 1, "it"),
    "raw": lambda data: blocks.decoded(Block(Method.RAW, data), Context(SHAPE, np.dtype("f4"))),
    "exact": lambda data: blocks.decoded(Block(Method.CONSTANT, bytes(8), exact=data), Context(SHAPE, np.dtype("f4"))),
    "constant": lambda data: blocks.decoded(Block(Method.CONSTANT, data[:7]), Context(SHAPE, np.dtype("f4"))),
}


@pytest.mark.parametrize("name", sorted(UNPACKERS))
def test_bytes_of_chance_are_plain_errors_in_bounded_memory(name: str) -> None:
    rng = np.random.default_rng(5)
    unpack = UNPACKERS[name]

    def run(data: bytes) -> bool:
        try:
            unpack(data)
        except ContainerError:
            return True
        return False

    data = [
        b"",
        b"\0",
        b"\xff" * 40,
        BOMB,
        varint(1 << 40) + bytes(50),
        *(rng.bytes(int(n)) for n in rng.integers(1, 300, 60)),
    ]
    refused = [run(some) for some in data]
    assert sum(refused) > len(data) / 2
    assert peak_of(lambda: [run(some) for some in data]) < 100 * np.prod(SHAPE) + len(BOMB) + (1 << 20)


@pytest.mark.parametrize("shape", [(20_000, 1, 1), (1, 20_000, 1), (1, 1, 20_000), (100, 9, 9)])
def test_corrections_take_memory_by_the_size_of_the_block(shape: tuple[int, int, int]) -> None:
    x = noise(shape)
    correction = gae.correct(x, np.zeros(shape), None, 0.5)
    assert correction is not None
    data = gae.pack(correction)
    assert peak_of(lambda: gae.unpack(data, shape, "it").apply(np.zeros(shape))) < 150 * x.size


def test_a_coefficient_without_a_negative_is_no_other_error() -> None:
    q = np.full((1, 1, 4), -(1 << 31), np.int32)
    assert np.isfinite(Bands(Transform(dct=8), 0.0, 1.0, (1, 2), q).values()).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda head: b"\x63" + head[1:], "unknown form"),
        (lambda head: head[:1] + b"\xff" + head[2:], "unknown form"),
        (lambda head: head[:6] + b"\xff\xff\xff\xff\x7f" + head[6:], "out of bounds"),
        (lambda head: head[:3], "cut off"),
    ],
)
def test_heads_that_make_no_sense_are_refused(change: Callable[[bytes], bytes], message: str) -> None:
    block, _ = samples()["fitted"]
    parts = block.pack()
    with pytest.raises(ContainerError, match=message):
        Block.unpack([change(parts[0]), *parts[1:]], "it")


def test_more_chunks_than_a_file_can_hold_are_refused_uncounted() -> None:
    """A hundred million chunks of one value take a hundred bytes to announce."""
    codec, x = load_codec("caesar_freq"), np.zeros((1, 1), np.uint8)
    file = unpack(codec.compress(x, ArrayInfo("field/u8", x.shape)).data)
    huge = replace(file, header=replace(file.header, info=ArrayInfo("field/u8", (10_000, 10_000))))
    assert huge.header.params["chunk"] == [1, 1, 1]

    def run() -> None:
        with pytest.raises(ContainerError, match="chunks"):
            codec.decompress(huge)

    assert peak_of(run) < 1 << 20


def test_exact_values_beyond_the_block_are_refused() -> None:
    x = np.zeros((1, 1, 9))
    exact = blocks.pack_exact(x, np.arange(9).reshape(x.shape) == 8)
    with pytest.raises(ContainerError, match="has not"):
        blocks.decoded(Block(Method.CONSTANT, bytes(8), exact=exact), Context((1, 1, 8), x.dtype))
