"""The picture of the filters shows what it says, for weights of either mode."""

import numpy as np
import pytest

from codectk.errors import WeightsError
from codectk_frappe.filters import CELL, GAP, GROUP_GAP, colours, grid_of, picture

from .conftest import make_checkpoint, make_joint_checkpoint


def test_grey_is_zero_and_the_ends_are_four_deviations_away() -> None:
    weight = np.random.default_rng(0).normal(0, 0.3, (5, 3, 4, 4)).astype(np.float32)
    weight[0, 0, 0, 0] = 100
    weight[1, 2, 3, 1] = -100
    bias = np.zeros(5, np.float32)
    shown, deviation = colours(weight, bias), weight.std(ddof=1)
    assert shown.shape == (5, 4, 4, 3)
    assert (shown[0, 0, 0, 0], shown[1, 3, 1, 2]) == (255, 0)
    expected = 255 * (weight[3, 1, 2, 0] / (8 * deviation) + 0.5)
    assert abs(shown[3, 2, 0, 1] - expected) <= 0.5001


def test_the_bias_is_spread_evenly_over_the_weights_before_the_deviation_is_taken() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (2, 3, 2, 2)).astype(np.float32)
    bias = np.array([12.0, -24.0], np.float32)
    spread = weight + np.array([1.0, -2.0], np.float32)[:, None, None, None]
    assert np.array_equal(colours(weight, bias), colours(spread, np.zeros(2, np.float32)))


def test_filters_that_are_all_zero_are_grey() -> None:
    assert set(np.unique(colours(np.zeros((2, 3, 4, 4)), np.zeros(2)))) == {128}


@pytest.mark.parametrize(
    ("count", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (3, 2, 2), (5, 2, 3), (6, 2, 3), (9, 3, 3), (13, 4, 4)]
)
def test_tiles_lie_in_a_near_square_grid_with_transparent_gaps_of_one_pixel(
    count: int, rows: int, columns: int
) -> None:
    filters = np.random.default_rng(1).integers(0, 256, (count, 40, 40, 3), dtype=np.uint8)
    grid = grid_of(filters)
    assert grid.shape == (rows * 41 + 1, columns * 41 + 1, 4)
    for number in range(rows * columns):
        row, column = divmod(number, columns)
        cell = grid[row * 41 + 1 : row * 41 + 41, column * 41 + 1 : column * 41 + 41]
        assert (cell[..., 3] == (255 if number < count else 0)).all()
        if number < count:
            assert np.array_equal(cell[..., :3], filters[number])
    assert not grid[::41].any()
    assert not grid[:, ::41].any()


def test_small_filters_are_enlarged_by_whole_factors_and_large_ones_are_not() -> None:
    for ps, shown in ((1, 32), (2, 32), (3, 30), (16, 32), (24, 24), (32, 32), (64, 64)):
        filters = np.random.default_rng(1).integers(0, 256, (1, ps, ps, 3), dtype=np.uint8)
        grid = grid_of(filters)
        assert grid.shape == (shown + 2, shown + 2, 4)
        assert np.array_equal(grid[1:-1:, 1:-1][:: shown // ps, :: shown // ps, :3], filters[0])


def test_scale_groups_stand_side_by_side_in_their_order() -> None:
    checkpoint = make_checkpoint()  # two filters of 8, one of 4, one of 2
    shown = picture(checkpoint)
    side = CELL + 2 * GAP
    assert shown.shape == (side, (side + CELL + GAP) + GROUP_GAP + side + GROUP_GAP + side, 4)
    assert shown.dtype == np.uint8
    last = colours(checkpoint.tensors["encoders.2.0.weight"], checkpoint.tensors["encoders.2.0.bias"])
    assert np.array_equal(shown[:, -side:], grid_of(last))


def test_weights_of_mode_joint_have_a_picture_too() -> None:
    assert (picture(make_joint_checkpoint())[..., 3] == 255).any()


def test_weights_that_do_not_fit_are_refused() -> None:
    checkpoint = make_checkpoint()
    with pytest.raises(WeightsError, match="do not fit"):
        picture(type(checkpoint)(**{**vars(checkpoint), "config": {"ps": [8, 8, 8, 2]}}))
