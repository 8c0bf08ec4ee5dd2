"""Probability tables: integers whose sums are exact, close to what they stand for, and checked before they are used."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.special import ndtr

from codectk.entropy import Tables, gaussian_tables, pmf_tables, scale_levels, scale_thresholds, table_indexes
from codectk.errors import WeightsError

LEVELS = scale_levels()
FIELDS = ("frequencies", "lengths", "offsets", "skippable")


@pytest.fixture(scope="module")
def tables():
    return gaussian_tables(LEVELS)


def rows(tables):
    return np.split(tables.frequencies.astype(int), np.cumsum(tables.lengths)[:-1])


def small(**changes):
    """Two tables, of -1, 0, 1 and of 5, 6."""
    parts = {
        "frequencies": np.array([10000, 45000, 10000, 536, 30000, 30000, 5536], np.uint16),
        "lengths": np.array([4, 3], np.int32),
        "offsets": np.array([-1, 5], np.int32),
        "skippable": np.array([0, 0], np.uint8),
    }
    return {**parts, **changes}


def test_levels_are_those_of_the_usual_table():
    assert len(LEVELS) == 64
    assert LEVELS[[0, -1]] == pytest.approx([0.11, 256])
    assert np.ptp(np.diff(np.log(LEVELS))) < 1e-12


def test_gaussian_frequencies_sum_exactly_and_are_symmetric_to_a_unit(tables):
    for row, length, offset in zip(rows(tables), tables.lengths, tables.offsets, strict=True):
        assert row.sum() == 65536
        assert row.min() >= 1
        assert length == -2 * offset + 2
        assert np.abs(row[:-1] - row[-2::-1]).max() <= 1


def test_gaussian_tables_cost_less_than_a_thousandth_more_than_the_entropy(tables):
    for scale, row, offset in zip(LEVELS, rows(tables), tables.offsets, strict=True):
        distance = np.abs(np.arange(-int(12 * scale) - 2, int(12 * scale) + 3))
        p = ndtr((0.5 - distance) / scale) - ndtr((-0.5 - distance) / scale)
        entropy = -(p[p > 0] * np.log2(p[p > 0])).sum()
        inside = distance <= -offset
        bits = -(p[inside] * np.log2(row[:-1] / 65536)).sum()
        escapes = 6 + np.floor(np.log2(2 * np.maximum(1, distance[~inside] + offset) + 1)) - np.log2(row[-1] / 65536)
        assert bits + (p[~inside] * escapes).sum() < 1.001 * entropy + 1e-4, scale


def test_only_the_lowest_gaussian_is_skippable(tables):
    assert np.flatnonzero(tables.skippable).tolist() == [0]


def test_any_distribution_has_its_frequencies_and_leaves_the_rest_to_escapes():
    built = pmf_tables([np.array([0.25, 0.5, 0.125]), np.array([1e-9, 1.0]), np.array([1.0])], [-7, -1, 3])
    first, second, third = rows(built)
    assert first.tolist() == [16384, 32768, 8192, 8192]
    assert second.tolist() == third.tolist() == [65535, 1]
    assert built.offsets.tolist() == [-7, 0, 3]
    assert built.skippable.tolist() == [0, 1, 0], "zeros of the second alone are nearly certain"


def test_sums_a_little_above_1_are_scaled_and_the_argument_is_left_alone():
    pmf = np.array([0.5003, 0.5002])
    assert rows(pmf_tables([pmf], [0]))[0].sum() == 65536
    assert pmf.tolist() == [0.5003, 0.5002]


def test_as_many_values_as_a_table_holds_are_kept():
    row = rows(pmf_tables([np.full(65535, 1 / 65535)], [0]))[0]
    assert row.tolist() == [1] * 65536
    with pytest.raises(ValueError, match="65536 values are too many"):
        pmf_tables([np.full(65536, 1 / 65536)], [0])


@pytest.mark.parametrize("pmf", [[], [0.0, 0.0], [-0.1, 0.5], [np.nan, 0.5], [np.inf], [0.9, 0.2], [[0.5, 0.5]]])
def test_what_is_no_distribution_is_refused(pmf):
    with pytest.raises(ValueError, match="probabilities must be"):
        pmf_tables([np.array(pmf)], [0])


@pytest.mark.parametrize("levels", [[], [0.0], [-1.0], [np.nan], [1e5]])
def test_what_is_no_standard_deviation_is_refused(levels):
    with pytest.raises(ValueError, match="standard deviations"):
        gaussian_tables(np.array(levels))


def test_tables_are_the_same_after_a_checkpoint(tables, tmp_path):
    save_file(tables.tensors("y"), tmp_path / "weights.safetensors")
    again = Tables.from_tensors(load_file(tmp_path / "weights.safetensors"), "y")
    for name in (*FIELDS, "cumulative", "first", "hints"):
        np.testing.assert_array_equal(getattr(again, name), getattr(tables, name), strict=True)


def test_cumulative_and_hints_are_those_of_the_definition():
    tables = Tables(**small())
    assert tables.cumulative.tolist() == [0, 10000, 55000, 65000, 65536, 0, 30000, 60000, 65536]
    assert tables.first.tolist() == [0, 5]
    for t in range(2):
        row = tables.cumulative[tables.first[t] :][: tables.lengths[t] + 1].tolist()
        expected = [next(s for s in range(5) if row[s + 1] > start) for start in range(0, 65536, 256)]
        assert tables.hints[t].tolist() == expected


def test_tables_cannot_be_changed_after_the_check():
    given = small()
    tables = Tables(**given)
    given["frequencies"][0] = 0
    assert tables.frequencies[0] == 10000
    with pytest.raises(ValueError, match="read-only"):
        tables.frequencies[0] = 0


@pytest.mark.parametrize(
    "changes",
    [
        {"frequencies": np.array([10000, 45000, 10000, 537, 30000, 30000, 5536], np.uint16)},
        {"frequencies": np.array([10000, 55000, 0, 536, 30000, 30000, 5536], np.uint16)},
        {"frequencies": np.array([10000, 45000, 10000, 535, 30001, 30000, 5536], np.uint16)},
        {"frequencies": np.array([10000, 45000, 10000, 536, 30000, 30000, 5536], np.int32)},
        {"frequencies": np.zeros(0, np.uint16)},
        {"lengths": np.array([3, 4], np.int32)},
        {"lengths": np.array([7, 0], np.int32)},
        {"lengths": np.array([-3, 10], np.int32)},
        {"lengths": np.array([4], np.int32)},
        {"lengths": np.array([[4, 3]], np.int32)},
        {"lengths": np.array([4, 2**31 - 1], np.int32)},
        {"lengths": np.zeros(0, np.int32)},
        {"offsets": np.array([-1, 2**31 - 1], np.int32)},
        {"offsets": np.array([-1, 5, 5], np.int32)},
        {"skippable": np.array([1, 1], np.uint8)},
        {"skippable": np.array([2, 0], np.uint8)},
        {"skippable": np.array([0], np.uint8)},
        {"skippable": [0, 0]},
    ],
)
def test_damaged_tables_are_refused(changes):
    Tables(**small())
    with pytest.raises(WeightsError, match="probability tables are damaged"):
        Tables(**small(**changes))


def test_too_many_tables_are_refused():
    count = (1 << 14) + 1
    flags = np.zeros(count, np.uint8)
    with pytest.raises(WeightsError, match="there are 16385 tables"):
        Tables(np.full(2 * count, 1 << 15, np.uint16), np.full(count, 2, np.int32), np.zeros(count, np.int32), flags)


def test_errors_name_the_tensors(tables):
    stored = tables.tensors("h.z")
    with pytest.raises(WeightsError, match=r"^h\.z: The probability tables are damaged"):
        Tables.from_tensors({**stored, "h.z.offsets": stored["h.z.offsets"][1:]}, "h.z")
    del stored["h.z.skippable"]
    with pytest.raises(WeightsError, match=r"tensor h\.z\.skippable is missing"):
        Tables.from_tensors(stored, "h.z")


@pytest.mark.parametrize("bits", [4, 8, 16, 22])
def test_integer_thresholds_choose_the_nearest_level_of_the_logarithm(bits):
    thresholds = scale_thresholds(LEVELS, bits)
    assert thresholds.dtype == np.int32
    near = (thresholds[:, None] + np.arange(-2, 3)).reshape(-1)
    spread = np.geomspace(1, 300 * 2**bits, 3000).astype(int)
    scales = np.unique(np.concatenate([near, spread]).clip(1))
    nearest = np.abs(np.log(scales / 2**bits)[:, None] - np.log(LEVELS)).argmin(1)
    np.testing.assert_array_equal(table_indexes(scales, thresholds), nearest)


def test_indexes_keep_the_shape_and_take_what_is_beyond_the_ends():
    thresholds = scale_thresholds(LEVELS, 8)
    scales = np.array([[-5, 0], [28, 2**31 - 1]], np.int32)
    found = table_indexes(scales, thresholds)
    assert found.dtype == np.uint16
    assert found.tolist() == [[0, 0], [0, 63]]


def test_thresholds_and_scales_that_are_no_integers_are_refused():
    thresholds = scale_thresholds(LEVELS, 8)
    with pytest.raises(ValueError, match="must be integers"):
        table_indexes(np.array([1.0]), thresholds)
    with pytest.raises(ValueError, match="must be integers"):
        table_indexes(np.array([1]), thresholds.astype(float))
    with pytest.raises(ValueError, match="rising"):
        table_indexes(np.array([1]), thresholds[::-1])


@pytest.mark.parametrize("bits", [-1, 24, 2000])
def test_units_that_do_not_fit_are_refused(bits):
    with pytest.raises(ValueError, match="do not fit int32"):
        scale_thresholds(LEVELS, bits)


def test_levels_that_do_not_rise_are_refused():
    with pytest.raises(ValueError, match="rising"):
        scale_levels(64, 2.0, 1.0)
    with pytest.raises(ValueError, match="rise"):
        scale_thresholds(np.array([1.0, 1.0]), 8)
