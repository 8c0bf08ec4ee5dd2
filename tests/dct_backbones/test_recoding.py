"""JPEG files in `.ctk` files and back, as users do it, and how much smaller they are."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from codectk.arrays import ArrayInfo
from codectk.compression import load_codec
from codectk.container import unpack
from codectk_cli.main import cli
from codectk_dct_backbones.jpeg.file import read
from codectk_dct_backbones.jpeg.metadata import taken
from codectk_dct_backbones.jpeg.writing import write

from .jpeg_files import picture, saved

LEAST_SAVING = 0.12


@pytest.fixture(params=[75, 90])
def photo(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(saved(picture(200, 264), quality=request.param, subsampling=2))
    return path


def run(*words: object) -> str:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_file_is_recoded_at_least_an_eighth_smaller_and_back_bit_for_bit(photo: Path, tmp_path: Path) -> None:
    run("compress", photo, "-c", "dct", "-o", tmp_path / "photo.ctk")
    run("decompress", tmp_path / "photo.ctk", "-o", tmp_path / "back.jpg")
    assert (tmp_path / "photo.ctk").stat().st_size < (1 - LEAST_SAVING) * photo.stat().st_size
    before, after = (read(path.read_bytes()) for path in (photo, tmp_path / "back.jpg"))
    for one, other in zip(before.planes, after.planes, strict=True):
        np.testing.assert_array_equal(one.blocks, other.blocks)
        np.testing.assert_array_equal(one.table, other.table)


def test_other_endings_give_the_picture(photo: Path, tmp_path: Path) -> None:
    run("compress", photo, "-c", "dct")
    run("decompress", tmp_path / "photo.ctk")
    with Image.open(tmp_path / "photo.png") as made, Image.open(photo) as before:
        np.testing.assert_array_equal(np.asarray(made), np.asarray(before))


def test_pictures_from_elsewhere_become_jpeg_files(tmp_path: Path) -> None:
    picture(40, 52).save(tmp_path / "x.png")
    run("compress", tmp_path / "x.png", "-c", "dct", "--quality", 80, "--subsampling", "4:4:4")
    run("decompress", tmp_path / "x.ctk", "-o", tmp_path / "x.jpg")
    with Image.open(tmp_path / "x.jpg") as made:
        assert (made.format, made.size) == ("JPEG", (52, 40))


def test_evaluation_is_of_the_recoded_file_with_no_loss_at_all_coefficients(photo: Path, tmp_path: Path) -> None:
    run("evaluate", "-c", "dct", "--data", photo, "--out", tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert [row["setting"] for row in rows] == [f"coeff_count={n}" for n in (1, 4, 9, 16, 25, 36, 49, 64)]
    sizes = [row["bytes"] for row in rows]
    assert sizes[:4] == sorted(sizes[:4]) and sizes[3] < sizes[-1] < (1 - LEAST_SAVING) * photo.stat().st_size
    assert rows[-1]["psnr"] is None  # infinite: the pictures are equal
    assert all(row["note_jpeg_bytes"] == photo.stat().st_size for row in rows)


def test_a_search_by_size_keeps_as_many_coefficients_as_fit(photo: Path, tmp_path: Path) -> None:
    run("compress", photo, "-c", "dct", "--bpp", 0.6, "-o", tmp_path / "small.ctk")
    assert (tmp_path / "small.ctk").stat().st_size <= 0.6 * 200 * 264 / 8
    assert 1 <= unpack((tmp_path / "small.ctk").read_bytes()).header.params["kept"][0] < 64


@pytest.mark.parametrize("count", [1, 4, 16, 36, 64])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_is_smaller_than_the_jpeg_that_holds_the_same_coefficients(count: int, progressive: bool) -> None:
    dct = load_codec("dct")
    data = saved(picture(200, 264), quality=85)
    x = np.asarray(Image.open(io.BytesIO(data)))
    packed = dct.compress(x, ArrayInfo("image/rgb8", x.shape), dct.encode_options({"coeff_count": count}), file=data)
    kept = read(dct.decompress_file(unpack(packed.data)))
    assert len(packed) < 0.9 * len(write(kept, progressive=progressive, metadata=taken(data)[0]))
