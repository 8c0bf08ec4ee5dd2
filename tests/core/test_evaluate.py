"""Rates are those of real files, failures stay in their rows, and BD-rate is Bjøntegaard's."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codectk.compression import load_codec
from codectk.container import unpack
from codectk.errors import UnknownName
from codectk.evaluate import Candidate, Row, average, bd_rate, bd_rates, evaluate, measure
from codectk.inputs import read_array
from codectk.metric import PSNR

CURVE = [(0.1, 28.0), (0.25, 31.5), (0.5, 34.0), (1.0, 37.5), (1.9, 40.0)]

MOODY = """
from codectk.errors import InputError
from codectk.hookspecs import hookimpl
from dataclasses import replace
import tiny_plugin

CODECTK_API = 1

class Moody(tiny_plugin.TinyCodec):
    def encode(self, x, info, options):
        if x[0, 0, 0] == 13:
            raise ValueError("thirteen is not my number")
        if x[0, 0, 0] == 14 and options.bits == 4:
            raise InputError("Fourteen cannot be made coarse.", "Lower --bits.")
        return super().encode(x, info, options)

@hookimpl
def codectk_codecs():
    return [replace(tiny_plugin.codectk_codecs()[0], name="moody", target=f"{__name__}:Moody")]
"""


@pytest.fixture
def photos(tmp_path):
    """Three photos that begin with the values 12, 13 and 14."""
    paths = []
    for first in (12, 13, 14):
        x = np.random.default_rng(first).integers(0, 256, (20, 30, 3), np.uint8)
        x[0, 0, 0] = first
        paths.append(tmp_path / f"photo{first}.png")
        Image.fromarray(x).save(paths[-1])
    return paths


@pytest.fixture
def candidates(site, tiny):
    site.add("codectk-moody", MOODY)
    moody = load_codec("moody", registry=site.registry(strict=True))
    settings = ({"bits": 0}, {"bits": 4})
    return [Candidate("tiny", tiny, settings), Candidate("moody", moody, settings)]


def test_bytes_and_bpp_are_those_of_the_file_on_disk(candidates, photos, tmp_path):
    out = tmp_path / "out"
    rows = evaluate(candidates[:1], photos, out)
    assert [(row.file, row.setting["bits"]) for row in rows] == [(p.name, b) for p in photos for b in (0, 4)]
    for row in rows:
        data = (out / row.path).read_bytes()
        assert row.error == ""
        assert row.bytes == len(data) > 0
        assert row.pixels == 600
        assert row.bpp == pytest.approx(8 * len(data) / 600)
        assert row.encode_seconds > 0
        assert row.decode_seconds > 0
        assert row.notes == {"symbols": 24 * 32 * 3}


def test_metrics_are_those_of_the_file_on_disk(candidates, photos, tmp_path):
    out = tmp_path / "out"
    for row in evaluate(candidates[:1], photos[:1], out, ("psnr", "max_error")):
        picture = read_array(photos[0])
        x_hat = candidates[0].loaded.decompress(unpack((out / row.path).read_bytes()))
        psnr = PSNR()
        psnr.update(picture.x, x_hat, picture.info)
        assert row.metrics == psnr.compute() | {"max_error": 2.0 ** row.setting["bits"] - 1}


def test_a_codec_that_fails_on_one_file_has_an_error_row_and_the_rest_goes_on(candidates, photos, tmp_path):
    seen = []
    rows = evaluate(candidates, photos, tmp_path / "out", on_row=seen.append)
    assert rows == seen
    assert len(rows) == 12
    failed = [(row.codec, row.file, row.setting["bits"]) for row in rows if row.error]
    assert failed == [("moody", "photo13.png", 0), ("moody", "photo13.png", 4), ("moody", "photo14.png", 4)]
    defect, _, refusal = (row for row in rows if row.error)
    assert defect.error == "ValueError: thirteen is not my number"
    assert refusal.error == "Fourteen cannot be made coarse. Lower --bits."
    assert defect.bytes == 0
    assert defect.metrics == {}


def test_a_file_that_cannot_be_read_is_an_error_row_of_every_codec(candidates, photos, tmp_path):
    photos[1].write_bytes(b"no picture")
    rows = evaluate(candidates, photos, tmp_path / "out")
    broken = [row for row in rows if row.file == "photo13.png"]
    assert len(broken) == 4
    assert all("photo13.png is not a picture" in row.error for row in broken)
    assert sum(not row.error for row in rows if row.codec == "tiny") == 4


def test_an_option_out_of_bounds_is_an_error_row(tiny, photos, tmp_path):
    rows = evaluate([Candidate("tiny", tiny, ({"bits": 9}, {"bits": 1}))], photos[:1], tmp_path / "out")
    assert "'bits'" in rows[0].error
    assert rows[1].error == ""


def test_files_of_one_name_from_two_folders_do_not_overwrite_each_other(tiny, photos, tmp_path):
    other = tmp_path / "other" / photos[0].name
    other.parent.mkdir()
    Image.new("RGB", (50, 50)).save(other)
    rows = evaluate([Candidate("tiny", tiny, ({},))], [photos[0], other], tmp_path / "out")
    assert len({row.path for row in rows}) == 2
    for row in rows:
        assert (tmp_path / "out" / row.path).stat().st_size == row.bytes


def test_a_metric_that_does_not_take_the_kind_is_left_out(make_array):
    x, info = make_array("field/f32", (12, 12))
    assert set(measure(x, x, info, ("psnr", "ssim", "nrmse"))) == {"psnr", "nrmse"}


def test_flat_rows_are_json_with_none_where_there_is_no_number():
    row = Row("tiny", {"bits": 1, "fast": True}, "a.png", metrics={"psnr": float("inf")}, notes={"symbols": 3.0})
    flat = json.loads(json.dumps(row.flat(), allow_nan=False))
    assert flat["setting"] == "bits=1 fast=True"
    assert (flat["psnr"], flat["bpp"], flat["note_symbols"]) == (None, None, 3.0)


def row(codec, setting, file, bpp, psnr, error="", number=0):
    metrics = {} if error else {"psnr": psnr}
    return Row(codec, {"q": setting}, file, number, bpp=bpp, metrics=metrics, error=error, encode_seconds=bpp)


def test_an_average_leaves_out_files_that_one_setting_of_a_codec_failed_on():
    rows = [
        row("a", 1, "x.png", 1.0, 30.0),
        row("a", 1, "y.png", 3.0, 40.0),
        row("a", 2, "x.png", 2.0, 35.0),
        row("a", 2, "y.png", 0.0, 0.0, "failed"),
        row("b", 1, "x.png", 1.5, 31.0),
        row("b", 1, "y.png", 2.5, 33.0),
    ]
    points = [(p.codec, p.setting["q"], p.bpp, p.metrics["psnr"], p.files) for p in average(rows)]
    assert points == [("a", 1, 1.0, 30.0, 1), ("a", 2, 2.0, 35.0, 1), ("b", 1, 2.0, 32.0, 2)]


def test_a_failure_does_not_take_a_file_of_the_same_name_along():
    rows = [
        row("a", 1, "x.png", 1.0, 30.0, number=0),
        row("a", 1, "x.png", 0.0, 0.0, "failed", number=1),
    ]
    assert [(p.bpp, p.files) for p in average(rows)] == [(1.0, 1)]


def test_a_codec_that_failed_everywhere_has_no_point():
    assert average([row("a", 1, "x.png", 0.0, 0.0, "failed")]) == []


def test_times_are_averaged_by_their_median():
    rows = [row("a", 1, f"{bpp}.png", bpp, 30.0) for bpp in (1.0, 2.0, 9.0)]
    assert average(rows)[0].encode_seconds == 2.0


def scaled(curve, factor):
    return [(rate * factor, quality) for rate, quality in curve]


def test_the_bd_rate_of_a_curve_against_itself_is_0():
    result = bd_rate(CURVE, CURVE)
    assert result.percent == pytest.approx(0, abs=1e-9)
    assert (result.overlap, result.low, result.high) == (pytest.approx(1), 28.0, 40.0)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.25])
def test_the_bd_rate_of_a_curve_at_a_part_of_the_bytes_is_that_part(factor):
    assert bd_rate(CURVE, scaled(CURVE, factor)).percent == pytest.approx(100 * (factor - 1), abs=1e-9)


def test_bd_rate_does_not_depend_on_the_order_of_points():
    assert bd_rate(CURVE[::-1], scaled(CURVE, 0.9)[2:] + scaled(CURVE, 0.9)[:2]).percent == pytest.approx(-10)


def test_curves_without_overlap_have_no_bd_rate():
    better = [(rate, quality + 20) for rate, quality in CURVE]
    result = bd_rate(CURVE, better)
    assert (result.percent, result.overlap) == (None, 0.0)


def test_curves_that_hardly_overlap_have_no_bd_rate_but_their_overlap():
    result = bd_rate([(1, 30.0), (2, 40.0)], [(1, 39.0), (2, 50.0)])
    assert result.percent is None
    assert result.overlap == pytest.approx(1 / 20)
    assert (result.low, result.high) == (39.0, 40.0)


@pytest.mark.parametrize("curve", [[], CURVE[:1], [(1.0, 30.0), (2.0, 29.0)], [(0.0, 30.0), (1.0, 35.0)]])
def test_fewer_than_two_usable_points_have_no_bd_rate(curve):
    assert bd_rate(CURVE, curve).percent is None
    assert bd_rate(curve, CURVE).percent is None


def test_points_that_another_point_beats_do_not_count():
    beaten = [*CURVE, (0.6, 30.0), (1.0, 37.0)]
    assert bd_rate(CURVE, beaten).percent == pytest.approx(0, abs=1e-9)


def test_bd_rate_agrees_with_the_closed_formula_for_straight_curves():
    # log10(rate) = a + b·quality on both: the mean difference over the joint range is that at its middle.
    def line(a, b, qualities):
        return [(10 ** (a + b * q), q) for q in qualities]

    anchor = line(-2.0, 0.05, [30, 32, 37, 40])
    test = line(-2.6, 0.065, [33, 35, 38, 41, 44])
    middle = (33 + 40) / 2
    difference = (-2.6 + 0.065 * middle) - (-2.0 + 0.05 * middle)
    result = bd_rate(anchor, test)
    assert result.percent == pytest.approx((10**difference - 1) * 100, rel=1e-9)
    assert result.overlap == pytest.approx(7 / 14)


def test_bd_rates_compare_every_codec_with_every_other_and_leave_out_lossless_points():
    rows = [row("a", i, "x.png", rate, quality) for i, (rate, quality) in enumerate(CURVE)]
    rows += [row("b", i, "x.png", 0.8 * rate, quality) for i, (rate, quality) in enumerate(CURVE)]
    rows += [row(codec, 99, "x.png", 8.0, float("inf")) for codec in ("a", "b")]
    rates = bd_rates(average(rows))
    assert set(rates) == {("a", "b"), ("b", "a")}
    assert rates["a", "b"].percent == pytest.approx(-20)
    assert rates["b", "a"].percent == pytest.approx(25)


def test_an_unknown_metric_is_an_error_with_the_nearest_name(make_array):
    x, info = make_array()
    with pytest.raises(UnknownName, match=r"'pnsr'.*'psnr'"):
        measure(x, x, info, ("pnsr",))


def test_the_place_of_a_file_tells_codec_setting_and_input(tiny, photos, tmp_path):
    (only,) = evaluate([Candidate("tiny", tiny, ({"bits": 3},))], photos[:1], tmp_path / "out")
    assert Path(only.path) == Path("files", "tiny", "bits-3", "0000_photo12.ctk")
