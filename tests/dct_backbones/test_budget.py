"""Counts and windows of coefficients, and the channels that they stand for."""

import subprocess
import sys

import pytest

from codectk.errors import OptionsError
from codectk_dct_backbones.budget import ZIGZAG, Budget, channels, resolve, window


def frequencies(count: int) -> set[tuple[int, int]]:
    """Horizontal and vertical frequency of what a count keeps."""
    return {divmod(channel, 8) for channel in channels(count)}


def test_zigzag_is_the_scan_of_the_jpeg_standard() -> None:
    first = (0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48)
    assert ZIGZAG[:22] == first
    assert ZIGZAG[-8:] == (53, 60, 61, 54, 47, 55, 62, 63)
    assert sorted(ZIGZAG) == list(range(64))


def test_the_second_coefficient_is_the_first_vertical_frequency() -> None:
    assert frequencies(2) == {(0, 0), (0, 1)}


def test_counts_treat_both_directions_alike_only_at_complete_diagonals() -> None:
    alike = [n for n in range(1, 65) if {(v, u) for u, v in frequencies(n)} == frequencies(n)]
    assert alike == [1, 3, 6, 10, 15, 21, 28, 36, 43, 49, 54, 58, 61, 63, 64]


def test_a_window_is_a_count_and_no_square() -> None:
    square = {(u, v) for u in range(4) for v in range(4)}
    assert resolve(coeff_window=4) == resolve(coeff_count=16)
    assert len(frequencies(16) & square) == 13


def test_a_whole_block_keeps_the_natural_order_and_all_else_is_in_zigzag_order() -> None:
    assert channels(64) == tuple(range(64))
    assert channels(63) == ZIGZAG[:63]
    assert channels(0) == ()


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ({}, (64, 64, 64)),
        ({"coeff_window": 4}, (16, 16, 16)),
        ({"coeff_window": 4, "coeff_count": 10}, (10, 10, 10)),
        ({"coeff_count": 10, "coeff_window_luma": 3}, (9, 9, 9)),
        ({"coeff_window_luma": 3, "coeff_count_luma": 32}, (32, 32, 32)),
        ({"coeff_count": 10, "coeff_window_chroma": 2}, (10, 4, 4)),
        ({"coeff_window_chroma": 2, "coeff_count_chroma": 0}, (64, 0, 0)),
        ({"coeff_count_luma": 32, "coeff_count_chroma": 16, "coeff_window_cb": 3}, (32, 9, 16)),
        ({"coeff_count_luma": 32, "coeff_window_cr": 8, "coeff_count_cr": 1}, (32, 32, 1)),
        ({"coeff_count_luma": 0, "coeff_count_cb": 5}, (0, 5, 0)),
    ],
)
def test_special_options_win_and_chroma_follows_luma(options: dict[str, int], counts: tuple[int, ...]) -> None:
    assert resolve(**options).counts == counts


@pytest.mark.parametrize(
    "options",
    [
        {"coeff_window": 0},
        {"coeff_window": 9},
        {"coeff_window_cb": -1},
        {"coeff_count": 65},
        {"coeff_count_cr": -1},
    ],
)
def test_what_is_out_of_bounds_is_refused_by_its_name(options: dict[str, int]) -> None:
    with pytest.raises(OptionsError, match=next(iter(options))):
        resolve(**options)


@pytest.mark.parametrize("counts", [(0, 0, 0), (65, 1, 1), (1, -1, 1)])
def test_an_empty_or_impossible_budget_is_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(OptionsError):
        Budget(*counts)
    assert Budget(0, 0, 1).counts == (0, 0, 1)


@pytest.mark.parametrize("count", [-1, 65])
def test_impossible_counts_have_no_channels(count: int) -> None:
    with pytest.raises(OptionsError):
        channels(count)


def test_squares_have_a_window() -> None:
    assert [count for count in range(-1, 65) if window(count)] == [1, 4, 9, 16, 25, 36, 49, 64]
    assert window(49) == 7


def test_the_fraction_counts_four_blocks_of_luma_for_two_of_chroma() -> None:
    assert Budget().fraction == 1
    assert Budget(64, 0, 0).fraction == pytest.approx(2 / 3)
    assert Budget(0, 32, 0).fraction == pytest.approx(1 / 12)
    assert Budget().whole
    assert not Budget(64, 64, 63).whole


def test_a_budget_names_the_channels_of_each_plane() -> None:
    budget = Budget(2, 0, 3)
    assert (budget.luma_channels, budget.cb_channels, budget.cr_channels) == ((0, 1), (), (0, 1, 8))


def test_budgets_and_statistics_do_not_need_torch() -> None:
    code = "import sys, codectk_dct_backbones.statistics as s; s.load('imagenet').constants(s.Budget()); "
    code += "sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
