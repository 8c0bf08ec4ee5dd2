"""Turning, flipping and cropping coefficients is turning, flipping and cropping pixels."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from codectk.errors import OptionsError
from codectk_dct_backbones.jpeg.file import read
from codectk_dct_backbones.jpeg.geometry import cropped, mcu_size, turned, upright
from codectk_dct_backbones.jpeg.turns import ORIENTATIONS, Turn
from codectk_dct_backbones.jpeg.writing import write

from . import jpeg_files
from .jpeg_files import picture, planes, random_file, same, saved

FACTORS = [((1, 1),), ((2, 2), (1, 1), (1, 1)), ((2, 1), (1, 1), (1, 1)), ((1, 2), (1, 1), (1, 1)), ((1, 1),) * 3]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("factors", FACTORS, ids=str)
def test_whole_units_turn_exactly(factors: tuple[tuple[int, int], ...], orientation: int) -> None:
    file = random_file(factors, 48, 80)
    result = turned(file, ORIENTATIONS[orientation])
    assert (result.height, result.width) == ((80, 48) if orientation >= 5 else (48, 80))
    for before, after in zip(planes(file), planes(result), strict=True):
        np.testing.assert_allclose(after, jpeg_files.turned(before, orientation), atol=1e-9)
    assert same(read(write(result)), result)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_upright_is_what_a_viewer_shows(orientation: int) -> None:
    data = saved(picture(48, 80), subsampling="4:4:4", quality=95, orientation=orientation)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))).astype(int)
    result = upright(read(data))
    assert result.orientation == 1
    found = np.asarray(Image.open(io.BytesIO(write(result)))).astype(int)
    errors = np.abs(found - shown)  # integer transforms round rows and columns differently
    assert errors.max() <= 3 and errors.mean() < 0.4


def test_reversed_sides_lose_the_rest_of_a_unit_and_others_do_not() -> None:
    file = read(saved(picture(45, 70), subsampling="4:2:0"))
    assert mcu_size(file) == (16, 16)
    mirrored = turned(file, Turn(columns_back=True))
    assert (mirrored.height, mirrored.width) == (45, 64)
    for before, after in zip(planes(file), planes(mirrored), strict=True):
        np.testing.assert_allclose(after, before[:, : after.shape[1]][:, ::-1], atol=1e-9)
    flipped = turned(file, Turn(rows_back=True))
    assert (flipped.height, flipped.width) == (32, 70)
    across = turned(file, Turn(transposed=True))
    assert (across.height, across.width) == (70, 45)
    assert same(turned(across, Turn(transposed=True)), file)
    with pytest.raises(OptionsError, match="shorter than a unit of 16"):
        turned(read(saved(picture(45, 9), subsampling="4:2:0")), Turn(columns_back=True))


def test_crops_are_parts_of_the_planes() -> None:
    for subsampling, unit in (("4:2:0", 16), ("4:4:4", 8)):
        file = read(saved(picture(61, 90), subsampling=subsampling))
        top, left = unit, 2 * unit
        part = cropped(file, top, left, 29, 41)
        for before, after in zip(planes(file), planes(part), strict=True):
            ratio = -(-file.height // before.shape[0])
            y, x = top // ratio, left // ratio
            np.testing.assert_array_equal(after, before[y : y + after.shape[0], x : x + after.shape[1]])
        assert same(read(write(part)), part)
        assert same(cropped(file, 0, 0, 61, 90), file)


def test_impossible_crops_are_refused() -> None:
    file = read(saved(picture(61, 90), subsampling="4:2:0"))
    with pytest.raises(OptionsError, match="does not begin at a unit of 16 x 16"):
        cropped(file, 8, 0, 8, 8)
    for crop in ((-16, 0, 8, 8), (0, 0, 62, 8), (16, 0, 46, 8), (0, 96, 8, 8), (0, 0, 0, 8)):
        with pytest.raises(OptionsError, match="does not lie in"):
            cropped(file, *crop)


def test_turns_mirror_what_is_shown() -> None:
    x = np.arange(12).reshape(3, 4)
    for orientation, turn in ORIENTATIONS.items():
        shown = jpeg_files.turned(x, orientation)
        assert turn.shape(3, 4) == shown.shape
        for other, expected in ((turn.mirrored, shown[:, ::-1]), (turn.upside_down, shown[::-1])):
            number = next(n for n, candidate in ORIENTATIONS.items() if candidate == other)
            np.testing.assert_array_equal(jpeg_files.turned(x, number), expected)
