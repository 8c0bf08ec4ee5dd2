"""`codectk evaluate` on fields: its tables, and what the report shows of them."""

import base64
import json
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import Run

Plugin = Callable[..., dict[str, str]]

ROUNDER = """
from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec, Guarantee

CODECTK_API = 1

@hookimpl
def codectk_codecs():
    return [CodecSpec(name="rounder", summary="a", target="rounder_inside:Rounder", kinds=("field/f32", "field/f64"),
                      encode_options="rounder_inside:RounderOptions", details="rounder_inside:details",
                      guarantees=(Guarantee(option="abs_error", metric="max_error"),))]
"""

INSIDE = """
import zlib

import numpy as np

from codectk.codec import Codec, Encoded
from codectk.options import Options, option

class RounderOptions(Options):
    abs_error: float | None = option(None, help="Largest error.", gt=0)

class Rounder(Codec):
    @classmethod
    def load(cls, checkpoint, device):
        return cls()

    def encode(self, x, info, options):
        params = {}
        if options.abs_error is not None:
            x = (np.rint(x / (1.9 * options.abs_error)) * (1.9 * options.abs_error)).astype(x.dtype)
            params = {"kept": 1.25 * options.abs_error}
        return Encoded(params, (zlib.compress(x.tobytes()),))

    def decode(self, encoded, info, options):
        return np.frombuffer(zlib.decompress(encoded.segments[0]), info.dtype).reshape(info.shape)

def details(header, segments):
    return {"bounds": {"max_error": header.params["kept"]}} if header.params else {}
"""


@pytest.fixture
def rounder(tmp_path: Path, plugin: Plugin) -> dict[str, str]:
    environment = plugin("codectk-rounder", ROUNDER)
    (tmp_path / "site" / "rounder_inside.py").write_text(INSIDE)
    (tmp_path / "data").mkdir()
    return environment


def smooth(*shape: int) -> np.ndarray:
    """A field of a few waves and a little noise."""
    places = np.meshgrid(*(np.linspace(0, 6, n) for n in shape), indexing="ij")
    noise = np.random.default_rng(0).normal(scale=0.01, size=shape)
    return (280 + sum(np.sin(place + i) for i, place in enumerate(places)) + noise).astype(np.float32)


def test_tables_show_bits_per_value_ratio_and_metrics_of_fields(
    tmp_path: Path, codectk: Run, rounder: dict[str, str]
) -> None:
    np.save(tmp_path / "data" / "a.npy", smooth(3, 20, 30))
    done = codectk("evaluate", "-c", "rounder:abs_error=0.1,0.01", "--data", "data", "--out", "out", env=rounder)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    for row, bound in zip(rows, (0.1, 0.01), strict=True):
        assert row["ratio"] == pytest.approx(3 * 20 * 30 * 4 / row["bytes"])
        assert 0 < row["max_error"] <= bound
        assert row["nrmse"] > 0
        assert row["psnr"] > 0
        assert "ssim" not in row
    head = next(line for line in done.stdout.splitlines() if "codec" in line).split()
    assert head[:7] == ["codec", "setting", "bpp", "ratio", "psnr", "nrmse", "max_error"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<th>bits per value</th><th>ratio</th><th>psnr</th><th>nrmse</th><th>max_error</th>" in page
    assert "bits per value (whole file)" in page


def test_each_shown_setting_has_maps_a_histogram_with_its_bounds_and_spectra(
    tmp_path: Path, codectk: Run, rounder: dict[str, str]
) -> None:
    np.save(tmp_path / "data" / "a.npy", smooth(3, 20, 30))
    codec = "rounder:abs_error=0.2,0.1,0.05,0.02,0.01"
    assert codectk("evaluate", "-c", codec, "--data", "data", "--out", "out", env=rounder).returncode == 0
    page = (tmp_path / "out" / "report.html").read_text()
    shown = re.findall(r'<img src="data:image/webp;base64,([^"]*)" alt="([^"]*)"', page)
    assert [caption.partition(":")[0] for _, caption in shown] == [f"rounder abs_error={e}" for e in (0.2, 0.05, 0.01)]
    for data, caption in shown:
        with Image.open(BytesIO(base64.b64decode(data))) as image:
            assert image.width > image.height > 100
        assert all(word in caption for word in ("bits per value", "ratio", "psnr", "max_error"))
    assert "Maps and spectra show the slice T = 1 of 3, histograms all samples" in page
    for bound in ("0.2000", "0.0500", "0.0100"):
        assert f"±{bound} abs_error" in page
    assert "±0.2500 bound in the file" in page
    assert page.count("power spectra of the slice") == 3
    assert page.count("<svg") == 3 + 3, "curves of three metrics, and histogram and spectra for each setting"
    outside = [u for u in re.findall(r'(?:src|href)="([^"]+)"', page) if not u.startswith(("data:", "#"))]
    assert not outside


def test_odd_fields_are_shown_without_a_warning(tmp_path: Path, codectk: Run, rounder: dict[str, str]) -> None:
    holes = smooth(20, 30)
    holes[3:9] = np.nan
    noise = np.random.default_rng(1).normal(size=(20, 30))
    odd = {
        "line": smooth(500),
        "one": np.ones(1),
        "column": smooth(1, 40, 1, 1),
        "flat": np.full((20, 30), 3.0),
        "holes": holes,
        "nothing": np.full((20, 30), np.nan),
        "huge": noise * 1e307,
        "tiny": noise * 1e-307,
        "least": np.full((9, 9), 5e-324),
    }
    for name, x in odd.items():
        np.save(tmp_path / "data" / f"{name}.npy", x)
    words = ["-c", "rounder", "--data", "data", "--out", "out", "--pictures", "99"]
    done = codectk("evaluate", *words, env={**rounder, "PYTHONWARNINGS": "error"})
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/webp;base64") == len(odd)
    assert "What failed" not in page
    for name in odd:
        assert f"<h2>{name}.npy</h2>" in page


def test_a_bound_takes_the_place_of_a_codecs_rate_points(tmp_path: Path, codectk: Run, rounder: dict[str, str]) -> None:
    np.save(tmp_path / "data" / "a.npy", smooth(20, 30))
    words = ["-c", "zfp:abs_error=0.1,0.01", "--data", "data", "--out", "out", "--metric", "max_error"]
    assert codectk("evaluate", *words, env=rounder).returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert [row["setting"] for row in rows] == ["abs_error=0.1", "abs_error=0.01"]
    assert [row["error"] for row in rows] == ["", ""]
    assert "±0.0100 abs_error" in (tmp_path / "out" / "report.html").read_text()


def test_without_codecs_those_of_fields_are_evaluated(tmp_path: Path, codectk: Run, rounder: dict[str, str]) -> None:
    np.save(tmp_path / "data" / "a.npy", smooth(9, 10))
    done = codectk("evaluate", "--data", "data/a.npy", "--out", "out", "--pictures", "0", env=rounder)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    names = {row["codec"] for row in rows}
    assert {"rounder", "zfp"} <= names
    assert "jpeg" not in names
    assert not any(row["error"] for row in rows)


def test_pictures_and_fields_share_a_report(tmp_path: Path, codectk: Run, rounder: dict[str, str], photo: Path) -> None:
    photo.rename(tmp_path / "data" / "photo.png")
    np.save(tmp_path / "data" / "a.npy", smooth(20, 30))
    words = ["-c", "rounder:abs_error=0.1", "-c", "jpeg:quality=50", "--data", "data", "--out", "out"]
    done = codectk("evaluate", *words, env=rounder)
    assert done.returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    good = {row["codec"]: row for row in rows if not row["error"]}
    assert good["jpeg"]["ratio"] is None
    assert {"psnr", "ssim", "nrmse", "max_error"} <= set(good["jpeg"])
    assert good["rounder"]["ratio"] > 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h2>a.npy</h2>" in page
    assert "<h2>photo.png at about" in page
