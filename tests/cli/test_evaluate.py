"""`codectk evaluate`: rows from real files, BD-rates, a report in one file."""

import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import Run, mistakes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    rng = np.random.default_rng(2)
    for name in ("a", "b <i>"):
        small = Image.fromarray(rng.integers(0, 256, (10, 12, 3), dtype=np.uint8))
        small.resize((120, 100), Image.Resampling.BICUBIC).save(data / f"{name}.png")
    return data


def test_every_combination_is_a_file_that_was_measured(
    tmp_path: Path, codectk: Run, folder: Path, weights: Path
) -> None:
    (folder / "c.png").write_bytes(b"broken")
    codecs = ["-c", "jpeg:quality=20,50,80", "-c", "webp", "-c", f"frappe@{weights}:channels=2,4"]
    done = codectk("evaluate", *codecs, "--data", folder, "--out", "out")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    good = [row for row in rows if not row["error"]]
    settings = {(row["codec"], row["setting"]) for row in good}
    assert len(good) == 2 * len(settings)
    assert {("jpeg", f"quality={q}") for q in (20, 50, 80)} <= settings
    assert {("frappe@tiny", f"channels={n}") for n in (2, 4)} <= settings
    for row in good:
        size = (tmp_path / "out" / row["path"]).stat().st_size
        assert row["bytes"] == size
        assert row["bpp"] == pytest.approx(8 * size / (120 * 100))
        assert row["psnr"] > 5
        assert row["ssim"] <= 1
    bad = [row for row in rows if row["error"]]
    assert {row["file"] for row in bad} == {"c.png"}
    assert len(bad) == len(settings), "a broken file is a row for each codec and setting"
    with (tmp_path / "out" / "rows.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [row["file"] for row in table] == [row["file"] for row in rows]
    assert "BD-rate (psnr) of webp against jpeg" in done.stdout


def test_bd_rates_are_given_for_every_pair_with_overlap(tmp_path: Path, codectk: Run, folder: Path) -> None:
    assert codectk("evaluate", "-c", "jpeg", "-c", "webp", "--data", folder, "--out", "out").returncode == 0
    pairs = json.loads((tmp_path / "out" / "bd_rate.json").read_text())
    assert {(p["anchor"], p["codec"]) for p in pairs} == {("jpeg", "webp"), ("webp", "jpeg")}
    first, second = pairs
    assert (1 + first["percent"] / 100) * (1 + second["percent"] / 100) == pytest.approx(1, abs=1e-6)
    assert 0 < first["overlap"] <= 1
    assert first["files"] == second["files"] == 2


def test_the_report_is_one_self_contained_page(tmp_path: Path, codectk: Run, folder: Path) -> None:
    assert codectk("evaluate", "-c", "jpeg", "-c", "png", "--data", folder, "--out", "out").returncode == 0
    page = (tmp_path / "out" / "report.html").read_text()
    outside = [u for u in re.findall(r'(?:src|href)="([^"]+)"', page) if not u.startswith(("data:", "#"))]
    assert not outside
    assert page.count("<svg") == 2
    assert page.count("data:image/png;base64") == 2 * 3
    assert "b &lt;i&gt;" in page
    assert "<i>" not in page


def test_results_are_not_replaced_without_force(tmp_path: Path, codectk: Run, folder: Path) -> None:
    words = ["evaluate", "-c", "png", "--data", folder, "--out", "out", "--pictures", "0"]
    assert codectk(*words).returncode == 0
    assert "--force" in mistakes(codectk(*words))
    (tmp_path / "out" / "report.html").unlink()
    assert "--force" in mistakes(codectk(*words)), "rows of an evaluation that was cut short are results too"
    words[2] = "jpegls"
    assert codectk(*words, "--force").returncode == 0
    assert [path.name for path in (tmp_path / "out" / "files").iterdir()] == ["jpegls"], "no files of other codecs"


def test_force_leaves_alone_what_is_no_result(tmp_path: Path, codectk: Run, folder: Path) -> None:
    precious = tmp_path / "out" / "files" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.touch()
    words = ["evaluate", "-c", "png", "--data", folder, "--out", "out", "--pictures", "0"]
    assert codectk(*words, "--force").returncode == 0
    assert precious.exists()


def test_odd_names_and_two_weights_of_one_codec(tmp_path: Path, codectk: Run, folder: Path, weights: Path) -> None:
    odd = os.fsencode(folder) + b"/caf\xe9.png"
    (folder / "a.png").rename(os.fsdecode(odd))
    (folder / "b <i>.png").unlink()
    for name in ("$\\frac$", "other"):
        (tmp_path / f"{name}.safetensors").write_bytes(weights.read_bytes())
    words = ["-w", "$\\frac$.safetensors", "-w", "other.safetensors", "-c", "jpeg:quality=20,70:subsampling=4:4:4"]
    done = codectk("evaluate", *words, "--data", folder, "--out", "out", errors="surrogateescape")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert not any(row["error"] for row in rows)
    assert {row["codec"] for row in rows} == {"jpeg", "frappe@$\\frac$", "frappe@other"}
    assert {row["setting"] for row in rows if row["codec"] == "jpeg"} == {
        f"quality={q} subsampling=4:4:4" for q in (20, 70)
    }
    assert b"caf\xe9.png" in (tmp_path / "out" / "rows.csv").read_bytes()
    assert "frappe@$\\frac$" in (tmp_path / "out" / "report.html").read_text()


def test_transparent_and_deep_pictures_are_evaluated_as_compress_takes_them(
    tmp_path: Path, codectk: Run, folder: Path
) -> None:
    Image.open(folder / "a.png").convert("RGBA").save(folder / "a.png")
    (folder / "b <i>.png").unlink()
    deep = (np.arange(20 * 30, dtype=np.uint16) * 100).reshape(20, 30)
    Image.fromarray(deep).save(folder / "deep.png")
    words = ["--background", "white", "--depth", "8", "--pictures", "2"]
    done = codectk("evaluate", "-c", "jpeg:quality=50", "--data", folder, "--out", "out", *words)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert [row["error"] for row in rows] == ["", ""]
    assert (tmp_path / "out" / "report.html").read_text().count("data:image/png;base64") == 4


def test_without_codecs_all_that_work_are_evaluated(tmp_path: Path, codectk: Run, folder: Path) -> None:
    (folder / "b <i>.png").unlink()
    done = codectk("evaluate", "--data", folder / "a.png", "--out", "out", "--metric", "psnr")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert {"jpeg", "webp", "avif", "jpeg2000", "png", "jpegls"} <= {row["codec"] for row in rows}
    assert not any(row["error"] for row in rows)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["-c", "jpeg:quality=0"], "quality"),
        (["-c", "jpeg:quallity=5"], "quality"),
        (["-c", "jpeg::"], "NAME[@WEIGHTS]"),
        (["-c", "jpeg:quality=5:quality=6"], "twice"),
        (["-c", "jpeg", "-c", "jpeg"], "same label"),
        (["-c", "frappe@none.safetensors"], "none.safetensors"),
        (["-c", "jpeg", "--anchor", "webp"], "--anchor"),
        (["-c", "jpeg", "--metric", "psmr"], "psnr"),
        (["-c", "frappe@missing.safetensors"], "missing.safetensors"),
    ],
)
def test_bad_requests_are_one_message_and_no_results(
    tmp_path: Path, codectk: Run, folder: Path, words: list[str], part: str
) -> None:
    assert part in mistakes(codectk("evaluate", *words, "--data", folder, "--out", "out"))
    assert not (tmp_path / "out").exists()
