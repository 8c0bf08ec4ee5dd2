"""What the report of fields computes before it draws."""

from dataclasses import replace

import numpy as np
import pytest

from codectk import ArrayInfo
from codectk.evaluate import Row
from codectk.images import Picture
from codectk_cli import field_views
from codectk_cli.field_views import Slice, View, difference, exponent, histogram, spectra
from codectk_cli.report_fields import _few, _unit
from codectk_cli.report_figures import number


def info_of(x: np.ndarray, **more: object) -> ArrayInfo:
    kind = {"float32": "field/f32", "float64": "field/f64", "int64": "field/i64", "uint64": "field/u64"}[x.dtype.name]
    return ArrayInfo(kind, x.shape, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "kept", "says"),
    [
        ((7,), (7,), ""),
        ((4, 5), (4, 5), ""),
        ((9, 4, 5), (4, 5), "T = 4 of 9"),
        ((2, 3, 9, 4, 5), (4, 5), "V = 1 of 2, S = 1 of 3, T = 4 of 9"),
        ((1, 1, 6, 1), (6,), ""),
        ((3, 1, 1, 1, 1), (3,), ""),
        ((6, 1, 5, 1), (6, 5), ""),
        ((1, 1), (1,), ""),
        ((2, 2000, 8), (768, 8), "T = 1 of 2, H = 616 to 1383 of 2000"),
    ],
)
def test_the_middle_slice_of_the_last_two_axes_is_shown(
    shape: tuple[int, ...], kept: tuple[int, ...], says: str
) -> None:
    part = Slice.of(ArrayInfo("field/f32", shape))
    assert np.empty(shape)[part.index].shape == kept
    assert part.says == says


def test_samples_that_are_missing_are_masked_in_all_three_maps() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    x[0, 0] = np.nan
    x[1, 1] = -999
    info = info_of(x, fill_value=-999.0)
    view = View.of(x, x + 1, info, Slice.of(info))
    for values in (view.x, view.x_hat, view.error):
        assert np.argwhere(np.isnan(values)).tolist() == [[0, 0], [1, 1]]
    assert np.nanmin(view.error) == np.nanmax(view.error) == 1


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_errors_of_large_integers_are_exact(dtype: str) -> None:
    x = np.array([1 << 62, (1 << 62) + 1, 5], dtype)
    x_hat = np.array([(1 << 62) + 1, 1 << 62, 3], dtype)
    assert difference(x, x_hat).tolist() == [1, -1, -2]


def test_the_histogram_counts_every_error_of_a_large_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field_views, "PART_VALUES", 50)
    x = np.zeros((7, 11, 13))
    x_hat = np.random.default_rng(0).uniform(-0.5, 0.5, x.shape)
    x_hat[3, 4, 5] = -2.0
    x[0, 0, :4] = np.nan
    errors = histogram(x, x_hat, info_of(x))
    assert errors.counts.sum() == 7 * 11 * 13 - 4
    assert errors.largest == 2.0
    assert (errors.edges[0], errors.edges[-1]) == (-2.0, 2.0)
    assert errors.counts[0] == 1
    assert errors.counts[-1] == 0


def test_a_wave_stands_at_its_frequency_in_the_spectrum() -> None:
    rows, columns = np.meshgrid(np.arange(64), np.arange(96), indexing="ij")
    x = 5 + np.sin(2 * np.pi * 0.2 * columns)
    noise = 1e-3 * np.sin(2 * np.pi * 0.4 * rows)
    info = info_of(x)
    power = spectra(View.of(x, x + noise, info, Slice.of(info)))
    assert power is not None
    assert power.frequency[np.argmax(power.x)] == pytest.approx(0.2, abs=0.02)
    assert power.frequency[np.argmax(power.error)] == pytest.approx(0.4, abs=0.02)
    assert power.x.max() == 1
    # A ring of twice the radius holds twice as many frequencies, over which the wave's power is averaged.
    assert power.error.max() == pytest.approx(1e-6 / 2, rel=0.3)
    assert power.frequency[-1] < 0.5


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_spectra_do_not_depend_on_the_unit(scale: float) -> None:
    x = np.random.default_rng(0).normal(size=500)
    info = info_of(x)
    one, other = (spectra(View.of(x * s, x * s * 1.01, info, Slice.of(info))) for s in (1.0, scale))
    assert one is not None
    assert other is not None
    for a, b in ((one.x, other.x), (one.x_hat, other.x_hat), (one.error, other.error)):
        assert np.allclose(a, b, rtol=1e-3)


@pytest.mark.parametrize("x", [np.zeros((20, 20)), np.full((20, 20), np.nan), np.ones((3, 50)), np.full(30, 7.0)])
def test_flat_and_small_slices_have_no_spectrum(x: np.ndarray) -> None:
    assert spectra(View.of(x, x, info_of(x), Slice.of(info_of(x)))) is None


def test_numbers_at_axes_are_written_with_powers_of_ten_only_where_they_must() -> None:
    assert [exponent(v) for v in (0.0, 0.02, 280.0, 9e4, 1e5, 2e-7, -3e300, 5e-324)] == [0, 0, 0, 0, 5, -7, 300, -307]
    assert [number(v) for v in (0.0, 0.25, 31.5, 1e-7, 2.5e9)] == ["0.0000", "0.2500", "31.5000", "1e-07", "2.5e+09"]


def test_units_are_those_of_the_values_as_they_are_stored() -> None:
    x = np.zeros((2, 2))
    picture = Picture(x, info_of(x), metadata={"attributes": {"units": "K"}})
    assert _unit(picture) == "K"
    assert _unit(replace(picture, metadata={"attributes": {"units": "K", "scale_factor": {"json": 0.1}}})) == ""
    assert _unit(replace(picture, metadata={})) == ""


def test_the_smallest_the_middle_and_the_largest_file_of_a_codec_are_shown() -> None:
    rows = [Row("a", {"q": q}, "x", bytes=q) for q in (5, 1, 4, 2, 3)]
    assert [row.bytes for row in _few(rows)] == [1, 3, 5]
    assert [row.bytes for row in _few(rows[:2])] == [1, 5]
    assert _few([]) == []
