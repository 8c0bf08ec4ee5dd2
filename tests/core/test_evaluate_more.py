"""BD-rates rest on the same files for both codecs and know which way a metric is better."""

import pytest

from codectk.errors import PluginError
from codectk.evaluate import Candidate, Row, average, bd_rate, bd_rates, compare, evaluate
from codectk.registry import Registered
from codectk.specs import CodecSpec

CURVE = [(0.1, 28.0), (0.25, 31.5), (0.5, 34.0), (1.0, 37.5), (1.9, 40.0)]


def rows_of(codec, number, factor, offset=0.0, metric="psnr", sign=1, fails=False):
    """One row per point of the curve for one file."""
    return [
        Row(codec, {"q": q}, "x.png", number, error="no")
        if fails and q == 2
        else Row(
            codec,
            {"q": q},
            "x.png",
            number,
            bpp=rate * factor,
            metrics={metric: sign * (quality + offset)},
            encode_seconds=1.0,
            decode_seconds=1.0,
        )
        for q, (rate, quality) in enumerate(CURVE)
    ]


def test_a_pair_is_compared_on_the_files_that_both_coded():
    # The second file is easy: with it a codec looks better than it is.
    rows = rows_of("a", 0, 1.0) + rows_of("a", 1, 0.1, 3.0)
    rows += rows_of("b", 0, 0.9) + rows_of("b", 1, 0.09, 3.0, fails=True)
    rows += rows_of("c", 0, 0.5) + rows_of("c", 1, 0.05, 3.0)
    rates = compare(rows)
    assert rates["a", "b"].percent == pytest.approx(-10)
    assert (rates["a", "b"].files, rates["a", "c"].files, rates["b", "c"].files) == (1, 2, 1)
    assert rates["a", "c"].percent == pytest.approx(-50)
    assert bd_rates(average(rows))["a", "b"].percent != pytest.approx(-10, abs=1)


def test_codecs_without_a_common_file_are_not_compared():
    assert compare(rows_of("a", 0, 1.0) + rows_of("b", 1, 1.0)) == {}


def test_a_metric_that_is_better_when_lower_is_compared_the_other_way_round():
    rows = rows_of("a", 0, 1.0, -50, "nrmse", -1) + rows_of("b", 0, 0.8, -50, "nrmse", -1)
    result = compare(rows, "nrmse")["a", "b"]
    assert result.percent == pytest.approx(-20)
    assert (result.low, result.high) == (10.0, 22.0)
    mirrored = bd_rate([(r, q) for r, q in CURVE], [(0.8 * r, q) for r, q in CURVE])
    assert result.percent == pytest.approx(mirrored.percent)


def test_codecs_are_warm_before_the_first_time_is_taken(tiny, tmp_path, make_array):
    import numpy as np

    class Spy:
        def __init__(self):
            self.shapes = []

        def __getattr__(self, name):
            return getattr(tiny, name)

        def compress(self, x, info, *more):
            self.shapes.append(x.shape)
            return tiny.compress(x, info, *more)

    from PIL import Image

    for i in range(2):
        Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save(tmp_path / f"{i}.png")
    spy = Spy()
    rows = evaluate([Candidate("tiny", spy, ({},))], sorted(tmp_path.glob("*.png")), tmp_path / "out")
    assert spy.shapes == [(16, 16, 3), (40, 30, 3), (40, 30, 3)]
    assert [row.error for row in rows] == ["", ""]


@pytest.mark.parametrize(
    "target", ["no_such_module:Name", "codectk.options:NoSuchName", "codectk_breaks:Name", "not a target"]
)
def test_a_target_that_does_not_load_names_plugin_and_next_step(tmp_path, monkeypatch, target):
    (tmp_path / "codectk_breaks.py").write_text("raise SystemExit('I leave')")
    monkeypatch.syspath_prepend(tmp_path)
    spec = CodecSpec(name="odd", summary="", target=target, kinds=())
    with pytest.raises(
        PluginError, match=r"Codec odd of codectk-odd cannot be loaded.*pip install --upgrade codectk-odd"
    ):
        Registered(spec, "codectk-odd", "1").load(target)
