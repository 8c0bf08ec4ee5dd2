"""Statistics of coefficients: shipped, read, measured, applied after and before trimming."""

from pathlib import Path

import numpy as np
import pytest
import torch

from codectk.errors import InputError, OptionsError, OutputError
from codectk_dct_backbones.budget import Budget, channels
from codectk_dct_backbones.pipeline import Coefficients, from_pictures, trimmed, untrimmed
from codectk_dct_backbones.statistics import Accumulator, Statistics, load

PICTURES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 3, 32, 48), dtype=np.uint8))


def measured(range_mode: str = "studio", pictures: torch.Tensor = PICTURES) -> Statistics:
    accumulator = Accumulator(range_mode)  # type: ignore[arg-type]
    accumulator.add(from_pictures(pictures, range_mode=range_mode))  # type: ignore[arg-type]
    return accumulator.statistics()


def same(a: Coefficients, b: Coefficients, atol: float = 0) -> bool:
    return all(torch.allclose(x, y, rtol=0, atol=atol) for x, y in zip(a, b, strict=True))


def test_imagenets_statistics_are_shipped() -> None:
    statistics = load("imagenet")
    assert statistics.range_mode == "studio"
    assert statistics.mean.shape == statistics.std.shape == (3, 64)
    assert statistics.mean.dtype == np.float32
    np.testing.assert_allclose(statistics.mean[:, 0], (927.077, 958.823, 1059.63), rtol=1e-6)
    np.testing.assert_allclose(statistics.std[0, [1, 8, 63]], (81.7725, 76.9307, 2.18415), rtol=1e-6)


@pytest.mark.parametrize(("count", "share"), [(4, 55.9), (9, 78.0), (16, 88.1), (25, 93.6), (36, 97.1), (49, 99.1)])
def test_counts_keep_the_published_share_of_the_energy(count: int, share: float) -> None:
    energy = load("imagenet").std[0].astype(np.float64) ** 2
    kept = [channel for channel in channels(count) if channel]
    assert 100 * energy[kept].sum() / energy[1:].sum() == pytest.approx(share, abs=0.06)


def test_full_range_statistics_follow_from_those_of_studio_range() -> None:
    converted, full = measured("studio").in_range("full"), measured("full")
    np.testing.assert_allclose(converted.mean, full.mean, atol=1e-3)
    np.testing.assert_allclose(converted.std, full.std, rtol=1e-5)
    again = converted.in_range("studio")
    np.testing.assert_allclose(again.mean, measured("studio").mean, atol=1e-3)
    assert load("imagenet", "full").range_mode == "full"


def test_measuring_batch_by_batch_or_in_processes_is_measuring_at_once() -> None:
    first, second = Accumulator("full"), Accumulator("full")
    for picture in PICTURES[:4]:
        first.add(from_pictures(picture[None], range_mode="full"))
    second.add(from_pictures(PICTURES[4:], range_mode="full"))
    first.merge(second)
    whole = from_pictures(PICTURES, range_mode="full")
    for plane, blocks in enumerate(whole):
        values = blocks.double().numpy()
        np.testing.assert_allclose(first.statistics().mean[plane], values.mean((0, 2, 3)), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(first.statistics().std[plane], values.std((0, 2, 3)), rtol=1e-6)


def test_measuring_leaves_the_coefficients_alone() -> None:
    blocks = Coefficients(*(x.double() for x in from_pictures(PICTURES)))
    Accumulator("studio").add(blocks)
    assert same(blocks, Coefficients(*(x.double() for x in from_pictures(PICTURES))))


def test_nothing_has_no_statistics_and_ranges_do_not_mix() -> None:
    with pytest.raises(InputError, match="no pictures"):
        Accumulator("full").statistics()
    with pytest.raises(OptionsError, match=r"'studio'.*'full'"):
        Accumulator("full").merge(Accumulator("studio"))


def test_normalised_coefficients_have_mean_0_and_deviation_1() -> None:
    normalised = from_pictures(PICTURES, Budget(20, 64, 3), statistics=measured())
    for blocks in normalised:
        assert blocks.mean((0, 2, 3)).abs().max() < 1e-4
        torch.testing.assert_close(blocks.std((0, 2, 3), correction=0), torch.ones(blocks.shape[1]))


def test_trimming_before_or_after_normalising_is_the_same_for_every_count() -> None:
    statistics, whole = measured(), from_pictures(PICTURES)
    for count in range(65):
        budget = Budget(64 - count, count, (7 * count + 1) % 65)
        short = trimmed(whole, budget)
        early, late = statistics.normalise(short, budget), statistics.normalise(whole, Budget())
        assert same(early, trimmed(late, budget))
        masked = statistics.normalise(untrimmed(short, budget), budget, trim=False)
        assert same(masked, untrimmed(early, budget))


@pytest.mark.parametrize(("count", "wrong", "untouched"), [(16, 14, 6), (32, 30, None), (48, 46, None), (64, 0, 0)])
def test_the_originals_statistics_go_wrong_after_trimming_as_they_were_seen_to(
    count: int, wrong: int, untouched: int | None
) -> None:
    budget = Budget(count, count, count)
    (_, right), *_ = load("imagenet").constants(budget)
    (_, original), *_ = load("imagenet").constants(budget, compat="original")
    assert (right != original).sum() == wrong
    if untouched is not None:
        assert (original == 1).sum() == untouched
    if count == 16:
        ratios = right / original
        assert ratios.min() == pytest.approx(0.34, abs=0.01)
        assert ratios.max() == pytest.approx(27, abs=0.5)


def test_the_original_is_right_without_trimming() -> None:
    budget = Budget(16, 4, 0)
    ours, original = (load("imagenet").constants(budget, trim=False, compat=how) for how in ("none", "original"))
    for a, b in zip(ours, original, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_coefficient_that_never_changes_is_not_blown_up() -> None:
    grey = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8).expand(4, 3, 32, 32)
    normalised = from_pictures(grey, statistics=measured("studio", grey))
    assert normalised.cb.abs().max() < 0.01
    assert normalised.y.std() == pytest.approx(1, abs=0.01)


def test_a_written_table_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    statistics, path = measured("full"), tmp_path / "mine.csv"
    statistics.save(path)
    again = load(path, "full")
    assert np.array_equal(again.mean, statistics.mean)
    assert np.array_equal(again.std, statistics.std)
    np.testing.assert_array_equal(load(path, "studio").std, statistics.in_range("studio").std)
    with pytest.raises(OutputError):
        statistics.save(path)


def lines() -> list[str]:
    statistics = load("imagenet")
    rows = (
        ",".join(
            [
                str(c),
                *map(str, divmod(c, 8)),
                *(str(t[p, c]) for p in range(3) for t in (statistics.mean, statistics.std)),
            ]
        )
        for c in range(64)
    )
    header = "channel_column_major,u_horizontal,v_vertical,y_mean,y_std,cb_mean,cb_std,cr_mean,cr_std"
    return ["# range_mode: studio", header, *rows]


def test_windows_line_ends_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("\r\n".join(lines()).encode())
    assert np.array_equal(load(path).std, load("imagenet").std)


@pytest.mark.parametrize(
    ("line", "text", "reason"),
    [
        (0, "# range_mode: half", "first line"),
        (0, "", "first line"),
        (1, "channel,mean", "below the names"),
        (2, "0,0,0,1,1,1,1,1", "row 0"),
        (3, "2,0,2,0,1,0,1,0,1", "row 1"),
        (4, "2,2,0,0,1,0,1,0,1", "row 2"),
        (5, "3,0,3,nan,1,0,1,0,1", "values"),
        (5, "3,0,3,0,-1,0,1,0,1", "values"),
        (5, "3,0,3,0,1e999,0,1,0,1", "values"),
        (5, "3,0,3,1e9,1,0,1,0,1", "values"),
        (5, "3,0,3,zero,1,0,1,0,1", "zero"),
        (5, "3,0,3,0,1,0,1,0,1\n3,0,3,0,1,0,1,0,1", "64 rows"),
        (5, "3,0,3,\N{GREEK SMALL LETTER MU},1,0,1,0,1", "ascii"),
    ],
)
def test_a_table_that_is_none_is_refused_by_name(tmp_path: Path, line: int, text: str, reason: str) -> None:
    content, path = lines(), tmp_path / "table.csv"
    content[line] = text
    path.write_text("\n".join(content), encoding="utf-8")
    with pytest.raises(InputError, match=f"table.csv.*{reason}"):
        load(path)


def test_missing_and_huge_tables_are_refused(tmp_path: Path) -> None:
    huge = tmp_path / "huge.csv"
    huge.write_text("\n".join([*lines(), "x" * (1 << 16)]))
    for path, reason in ((tmp_path / "none.csv", "does not exist"), (huge, "at most")):
        with pytest.raises(InputError, match=reason):
            load(path)
