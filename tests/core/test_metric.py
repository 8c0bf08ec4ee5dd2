"""Metrics agree with scikit-image and with arithmetic by hand."""

import tracemalloc

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from codectk import ArrayInfo, get_registry
from codectk.arrays import FIELD_KINDS, KINDS
from codectk.metric import NRMSE, PSNR, SSIM, MaxError
from codectk.specs import MetricSpec, resolve

IMAGES = [kind for kind in KINDS if kind.startswith("image/")]


def noisy_pair(kind, shape, strength=0.1):
    """A smooth picture and the same with noise, over the range of its kind."""
    top = KINDS[kind].value_range[1]
    random = np.random.default_rng(shape[0])
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    x = (0.5 + 0.4 * np.sin(rows / 3.0) * np.cos(columns / 5.0))[..., np.newaxis] * np.linspace(1, 0.6, shape[2])
    y = np.clip(x + random.normal(0, strength, shape), 0, 1)
    return tuple(np.round(plane * top).astype(KINDS[kind].dtype) for plane in (x, y))


def value(metric, x, y, info):
    metric.update(x, y, info)
    (result,) = metric.compute().values()
    return result


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("size", [(11, 11), (40, 57)])
def test_psnr_agrees_with_scikit_image(kind, size):
    shape = (*size, KINDS[kind].channels)
    x, y = noisy_pair(kind, shape)
    wanted = peak_signal_noise_ratio(x, y, data_range=KINDS[kind].value_range[1])
    assert value(PSNR(), x, y, ArrayInfo(kind, shape)) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("size", [(11, 11), (11, 30), (40, 57)])
@pytest.mark.parametrize("strength", [0.01, 0.3])
def test_ssim_agrees_with_scikit_image(kind, size, strength):
    shape = (*size, KINDS[kind].channels)
    x, y = noisy_pair(kind, shape, strength)
    wanted = structural_similarity(
        x,
        y,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=KINDS[kind].value_range[1],
        channel_axis=2,
    )
    assert value(SSIM(), x, y, ArrayInfo(kind, shape)) == pytest.approx(wanted, abs=1e-6)


METRICS = [PSNR, SSIM, NRMSE, MaxError]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("size", [(40, 57), (11, 90), (5, 64), (1, 70), (64, 3)])
@pytest.mark.parametrize("layout", ["whole", "cropped", "turned"])
def test_parts_give_the_result_of_the_whole(monkeypatch, metric, size, layout):
    x, y = noisy_pair("image/rgb8", (size[0] + 3, size[1] + 2, 3))
    if layout == "cropped":
        x, y = x[: size[0], : size[1]], y[: size[0], : size[1]]
    if layout == "turned":
        x, y = x.transpose(1, 0, 2), y.transpose(1, 0, 2)
    info = ArrayInfo("image/rgb8", x.shape)
    monkeypatch.setattr("codectk.metric.CHUNK_VALUES", 1 << 30)
    monkeypatch.setattr("codectk.metric.TILE_SIDE", 1 << 30)
    whole = value(metric(), x, y, info)
    monkeypatch.setattr("codectk.metric.CHUNK_VALUES", 37)
    monkeypatch.setattr("codectk.metric.TILE_SIDE", 7)
    assert value(metric(), x, y, info) == pytest.approx(whole, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_memory_does_not_grow_with_the_picture(metric):
    shape = (2048, 2048, 3)
    x = np.zeros(shape, np.uint8)
    y = x[::-1]
    value(metric(), x[:9, :9], y[:9, :9], ArrayInfo("image/rgb8", (9, 9, 3)))  # imports what it needs
    tracemalloc.start()
    try:
        value(metric(), x, y, ArrayInfo("image/rgb8", shape))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 48 << 20, "half of what one array takes as float64"


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (3, 10), (10, 10), (64, 48)])
def test_equal_pictures_of_every_size_are_perfect(make_array, kind, size):
    x, info = make_array(kind, (*size, KINDS[kind].channels))
    assert value(PSNR(), x, x.copy(), info) == float("inf")
    assert value(SSIM(), x, x.copy(), info) == pytest.approx(1, abs=1e-12)
    assert value(MaxError(), x, x.copy(), info) == 0
    assert value(NRMSE(), x, x.copy(), info) == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 5), (4, 4), (10, 3)])
def test_ssim_of_tiny_pictures_is_a_number_below_1(size):
    shape = (*size, 1)
    x, y = np.full(shape, 200, np.uint8), np.full(shape, 50, np.uint8)
    result = value(SSIM(), x, y, ArrayInfo("image/gray8", shape))
    # Flat pictures differ in the luminance term alone.
    c1 = (0.01 * 255) ** 2
    assert result == pytest.approx((2 * 200 * 50 + c1) / (200**2 + 50**2 + c1))


@pytest.mark.parametrize("name", ["psnr", "ssim", "max_error", "nrmse"])
def test_more_noise_is_worse_in_the_direction_that_the_spec_states(name):
    spec = get_registry().find(MetricSpec, f"codectk-core/{name}").spec
    shape = (32, 32, 3)
    info = ArrayInfo("image/rgb8", shape)
    little, much = (value(resolve(spec.target)(), *noisy_pair("image/rgb8", shape, s), info) for s in (0.02, 0.3))
    assert little > much if spec.direction == "higher" else little < much


def test_errors_by_hand():
    info = ArrayInfo("field/f64", (4,), (-1.0, 3.0))
    x, y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.5, 1.5])
    assert value(MaxError(), x, y, info) == 1.5
    rmse = np.sqrt((0.25 + 2.25) / 4)
    assert value(NRMSE(), x, y, info) == pytest.approx(rmse / 4)
    assert value(PSNR(), x, y, info) == pytest.approx(20 * np.log10(4 / rmse))


def test_the_value_range_is_taken_from_the_info_and_not_from_the_values():
    x, y = np.array([0.0, 1.0]), np.array([0.5, 1.0])
    ranges = [value(NRMSE(), x, y, ArrayInfo("field/f64", (2,), (0.0, top))) for top in (1.0, 10.0)]
    assert ranges[0] == pytest.approx(10 * ranges[1])


def test_a_field_without_range_is_perfect_or_hopeless():
    info = ArrayInfo("field/f64", (2,), (5.0, 5.0))
    x = np.array([5.0, 5.0])
    assert value(NRMSE(), x, x, info) == 0
    assert value(PSNR(), x, x, info) == float("inf")
    assert value(NRMSE(), x, x + 1, info) == float("inf")
    assert value(PSNR(), x, x + 1, info) == float("-inf")


def test_unsigned_differences_do_not_wrap_around():
    info = ArrayInfo("image/gray8", (1, 2, 1))
    x, y = np.array([[[0], [255]]], np.uint8), np.array([[[255], [0]]], np.uint8)
    assert value(MaxError(), x, y, info) == 255
    assert value(PSNR(), x, y, info) == 0


@pytest.mark.parametrize(("metric", "joined"), [(PSNR, np.mean), (SSIM, np.mean), (NRMSE, np.mean), (MaxError, np.max)])
def test_over_several_pictures_the_mean_or_the_largest_counts_until_reset(metric, joined):
    pairs = [noisy_pair("image/gray8", (size, 20, 1), size / 100) for size in (12, 16, 20)]
    infos = [ArrayInfo("image/gray8", x.shape) for x, _ in pairs]
    single = [value(metric(), *pair, info) for pair, info in zip(pairs, infos, strict=True)]
    over_all = metric()
    for pair, info in zip(pairs, infos, strict=True):
        over_all.update(*pair, info)
    assert over_all.compute() == {metric.name: pytest.approx(joined(single))}
    over_all.reset()
    assert np.isnan(over_all.compute()[metric.name])


@pytest.mark.parametrize(
    ("dtype", "a", "b"),
    [
        ("int64", 2**62, 2**62 + 3),
        ("int64", -(2**63), 2**63 - 1),
        ("uint64", 2**64 - 1, 2**64 - 4),
        ("uint64", 0, 2**64 - 1),
        ("int8", -128, 127),
        ("uint32", 0, 2**32 - 1),
    ],
)
def test_differences_of_integers_neither_wrap_around_nor_vanish(dtype, a, b):
    x, y = np.array([a, 0, 0], dtype), np.array([b, 0, 0], dtype)
    info = ArrayInfo(FIELD_KINDS[dtype], (3,), (0.0, 1.0))
    for pair in ((x, y), (y, x)):
        assert value(MaxError(), *pair, info) == float(abs(a - b))
        assert value(NRMSE(), *pair, info) == pytest.approx(abs(a - b) / np.sqrt(3))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int64"])
def test_missing_samples_are_left_out_of_all_metrics(dtype):
    x = np.array([1, 2, 3, 4, -9999, -9999], dtype)
    y = np.array([1, 2, 3, 5, -9999, -9999], dtype)
    if x.dtype.kind == "f":
        x, y = (np.append(z, np.array([np.nan, np.inf, -np.inf], dtype)) for z in (x, y))
    info = ArrayInfo(FIELD_KINDS[dtype], x.shape, (1.0, 5.0), -9999)
    assert value(MaxError(), x, y, info) == 1
    assert value(NRMSE(), x, y, info) == pytest.approx(0.5 / 4)
    assert value(PSNR(), x, y, info) == pytest.approx(20 * np.log10(4 / 0.5))


@pytest.mark.parametrize(
    ("there", "decoded"),
    [(np.nan, 0), (np.nan, np.inf), (np.inf, -np.inf), (np.inf, 3e38), (-9999, -9998), (-9999, np.nan), (1, np.nan)],
)
def test_the_largest_error_is_infinite_where_a_missing_sample_is_another_or_a_number_is_none(there, decoded):
    x, y = np.array([5, there, 6], "f4"), np.array([5, decoded, 6], "f4")
    info = ArrayInfo("field/f32", (3,), (0.0, 8.0), -9999)
    assert value(MaxError(), x, y, info) == float("inf")


def test_a_field_of_missing_samples_alone_is_perfect_where_they_came_back():
    x = np.full(5, np.nan, "f4")
    info = ArrayInfo("field/f32", (5,), (0.0, 0.0))
    assert [value(metric(), x, x.copy(), info) for metric in (MaxError, NRMSE, PSNR)] == [0, 0, float("inf")]
