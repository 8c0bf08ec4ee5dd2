"""What `codectk info` says of files of caesar_freq: all bytes are accounted for, and bounds are those that hold."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import codectk
from codectk.arrays import Array
from codectk.compression import load_codec
from codectk.container import first_segments, pack, unpack
from codectk.errors import ContainerError
from codectk_caesar_freq import codec
from codectk_caesar_freq.architecture import STUDENT
from codectk_caesar_freq.details import details
from codectk_cli.main import cli

from .small import moving_waves, part


def field(shape: tuple[int, ...]) -> Array:
    """Smooth parts, noise, a constant part and missing values."""
    x = np.cumsum(np.random.default_rng(0).normal(size=shape), axis=-1)
    x[..., :4, :] += 10 * np.random.default_rng(1).normal(size=x[..., :4, :].shape)
    x[..., -6:, -6:] = np.nan
    x[(0,) * (len(shape) - 2)] = 3
    return x.astype(np.float32)


def told(x: Array, **options: Any) -> tuple[bytes, dict[str, Any]]:
    data = codectk.compress(x, "caesar_freq", **options).data
    file = unpack(data)
    return data, details(file.header, file.segments)


@pytest.mark.parametrize(
    "options",
    [
        {"rel_error": 1e-3},
        {"rel_error": 1e-3, "chunk": "2,16,16"},
        {"nrmse": 1e-2, "chunk": "2,16,16"},
        {"eb": 1e-3},
        {"pointwise_rel": 1e-3},
        {"abs_error": 1e-30},
        {"rel_error": 1e-3, "wavelet": "cdf97", "dct_block_size": 8},
        {"psnr": 60, "wavelet": "haar"},
    ],
    ids=str,
)
def test_the_parts_add_up_to_the_size_of_the_file(options: dict[str, Any]) -> None:
    x = field((2, 1, 5, 24, 40))
    data, about = told(x, **options)
    bits = dict(about["bits per value"])
    assert bits.pop("whole file") == 8 * len(data) / x.size
    assert sum(bits.values()) == pytest.approx(8 * len(data) / x.size, rel=1e-12)
    assert bits["container"] == 8 * unpack(data).header_bytes / x.size
    assert min(bits.values()) > 0
    assert about["ratio"] == x.nbytes / len(data)


def test_bytes_are_told_by_what_they_are_for() -> None:
    x = field((4, 24, 40))
    data, about = told(x, rel_error=1e-3, wavelet="fitted")
    lengths = unpack(data).header.segment_lengths
    bits = about["bits per value"]
    assert [bits["middle bands"], bits["fine bands"]] == [8 * n / x.size for n in lengths[1:]]
    assert bits["coarse bands"] + bits["heads and side data"] == pytest.approx(8 * lengths[0] / x.size)
    corrected = told(x, rel_error=1e-3, wavelet="haar")[1]["bits per value"]
    assert corrected["correction"] > 0 and corrected["coarse bands"] > 0
    assert "correction" not in told(x, nrmse=1e-2, wavelet="haar")[1]["bits per value"]
    assert told(x, abs_error=1e-30)[1]["bits per value"]["values without loss"] > 20


def test_errors_and_bounds_are_those_of_each_variable() -> None:
    x = np.stack([field((1, 3, 16, 24)), 1000 * field((1, 3, 16, 24))])
    data, about = told(x, rel_error=1e-3)
    x_hat = load_codec("caesar_freq").decompress(unpack(data))
    gaps = np.abs(x.astype(np.float64) - x_hat)
    assert [row["variable"] for row in about["variables"]] == ["field[0]", "field[1]"]
    for row, gap, values in zip(about["variables"], gaps, x, strict=True):
        assert row["shape"] == "1 × 3 × 16 × 24"
        assert row["bound"] == pytest.approx(1e-3 * (np.nanmax(values) - np.nanmin(values)), rel=1e-5)
        assert np.nanmax(gap) <= row["largest error"] <= 1.00001 * np.nanmax(gap)
        assert row["rmse"] == pytest.approx(np.sqrt(np.nanmean(gap**2)), rel=1e-5)
    assert about["bound"] == "rel_error 0.001: every value within 0.001 of its variable's range"
    assert about["bounds"] == {"max_error": about["variables"][1]["bound"]}


@pytest.mark.parametrize(
    ("options", "bounds"),
    [
        ({"abs_error": 0.25}, {"max_error": 0.25}),
        ({"nrmse": 0.01}, {"nrmse": 0.01}),
        ({"psnr": 40}, {"nrmse": 0.01}),
        ({"eb": 0.01}, {"nrmse": 0.01}),
        ({"pointwise_rel": 0.01}, {}),
    ],
)
def test_the_metrics_that_a_bound_holds_are_named(options: dict[str, Any], bounds: dict[str, float]) -> None:
    about = told(field((3, 16, 24)), **options)[1]
    assert about["bounds"] == pytest.approx(bounds)
    assert ("bound" in about["variables"][0]) is ("pointwise_rel" not in options)


def test_figures_of_the_header_are_never_below_what_they_stand_for() -> None:
    for value in (0.1, 1.0000001, 2 / 3, 123456.4, 1e-300, 1.7976931348623157e308, 0.0):
        short = codec._short(value)
        assert value <= short <= value * 1.00001
    assert (codec._short(0.1), codec._short(1.0000001)) == (0.1, 1.00001)


def test_chunks_are_counted_by_method() -> None:
    about = told(field((4, 24, 40)), rel_error=1e-3, chunk="1,24,40")[1]
    chunks = about["chunks"]
    assert chunks["number"] == 4 and chunks["T × H × W of the longest"] == "1 × 24 × 40"
    assert chunks["one value"] == 1 and sum(v for v in chunks.values() if isinstance(v, int)) == 8


def test_predictions_are_told_with_the_bytes_that_correct_them() -> None:
    settings = {"mode": "single_step", "n_frame": 7, "interpo_rate": 3, "predict": "linear", "rel_error": 1e-3}
    data = codectk.compress(moving_waves(), "caesar_freq", weights=part(STUDENT), **settings).data
    file = unpack(data)
    about = details(file.header, file.segments)
    assert about["windows by prediction"] == {"linear": 3} and about["chunks"]["frames between keyframes"] == 1
    bits = dict(about["bits per value"])
    assert bits.pop("whole file") == pytest.approx(sum(bits.values()))
    assert bits["frames between keyframes"] > 0 and bits["coarse bands"] > 0


def test_a_file_of_fewer_segments_tells_how_many_chunks_are_whole() -> None:
    file = unpack(told(field((4, 24, 40)), rel_error=1e-3, chunk="2,24,40", wavelet="fitted")[0])
    for count, whole in ((1, 0), (2, 0), (4, 0), (5, 1)):
        less = first_segments(file, count)
        about = details(unpack(less).header, unpack(less).segments)
        assert about["chunks"]["with all levels"] == whole
        assert sum(about["bits per value"].values()) == pytest.approx(2 * 8 * len(less) / (4 * 24 * 40))


def test_of_very_many_variables_the_largest_errors_are_told_together() -> None:
    x = np.random.default_rng(0).normal(size=(1001, 1, 1, 2, 2)).astype(np.float32)
    data, about = told(x, abs_error=0.1)
    (row,) = about["variables"]
    x_hat = load_codec("caesar_freq").decompress(unpack(data))
    assert row["largest error"] == pytest.approx(np.abs(x - x_hat).max(), rel=1e-5)


def test_hostile_parameters_are_errors() -> None:
    file = unpack(told(field((4, 24, 40)))[0])
    for change in (
        {"bound": None},
        {"bound": ["x", 1]},
        {"bound": ["eb", "1"]},
        {"bound": [["eb"], 1]},
        {"chunk": [0, 1, 1]},
        {"variables": []},
        {"variables": [[1, 2]]},
        {"variables": [[1, 2, True]]},
        {"variables": 3},
    ):
        with pytest.raises(ContainerError):
            details(replace(file.header, params={**file.header.params, **change}), file.segments)
    with pytest.raises(ContainerError):
        details(file.header, (b"\x09" + file.segments[0][1:], *file.segments[1:]))


def test_info_shows_names_and_units(tmp_path: Path) -> None:
    x = field((4, 24, 40))
    file = unpack(told(x)[0])
    named = replace(file.header, metadata={"name": "t2m", "attributes": {"units": "K"}})
    (tmp_path / "x.ctk").write_bytes(pack(named, file.segments))
    about = json.loads(CliRunner().invoke(cli, ["info", str(tmp_path / "x.ctk"), "--json"]).output)["details"]
    assert about["variables"][0]["variable"] == "t2m" and about["variables"][0]["unit"] == "K"
    shown = CliRunner().invoke(cli, ["info", str(tmp_path / "x.ctk")]).output
    assert "every value within 0.001 of its variable's range" in shown and "heads and side data" in shown


def test_details_need_no_torch() -> None:
    code = "import sys, codectk_caesar_freq.details; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
