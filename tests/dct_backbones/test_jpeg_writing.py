"""Written files hold the same coefficients, and other readers show the same picture."""

from dataclasses import replace

import numpy as np
import pytest

from codectk.errors import InputError
from codectk_dct_backbones.jpeg.file import JpegFile, read
from codectk_dct_backbones.jpeg.writing import write

from .jpeg_files import find, picture, pixels, random_file, same, saved

KINDS = [
    {"subsampling": "4:4:4"},
    {"subsampling": "4:2:2", "progressive": True},
    {"subsampling": "4:2:0", "restart_marker_blocks": 4},
    {"keep_rgb": True},
    {"orientation": 6},
    {"quality": 1},
    {"quality": 100},
]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_file_comes_back_and_looks_the_same(kind: dict[str, object], progressive: bool) -> None:
    for size in ((1, 1), (16, 32), (45, 70)):
        data = saved(picture(*size), **kind)
        file = read(data)
        written = write(file, progressive=progressive)
        assert same(read(written), file)
        assert read(written).progressive == progressive
        assert np.array_equal(pixels(written), pixels(data))


def test_blocks_outside_the_picture_come_back_from_one_scan() -> None:
    file = read(saved(picture(17, 17), subsampling="4:2:0"))
    again = read(write(file))
    assert all(np.array_equal(p.blocks, q.blocks) for p, q in zip(file.planes, again.planes, strict=True))


def test_grey_comes_back() -> None:
    data = saved(picture(45, 70).convert("L"))
    for progressive in (False, True):
        written = write(read(data), progressive=progressive)
        assert same(read(written), read(data))
        assert np.array_equal(pixels(written), pixels(data))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("progressive", [False, True])
def test_runs_of_zeros_and_corrections_of_any_length_come_back(seed: int, progressive: bool) -> None:
    rng = np.random.default_rng(seed)
    file = random_file(((2, 1), (1, 1), (1, 1)), 160, 160, seed)
    for plane in file.planes:
        plane.blocks[rng.random(plane.blocks.shape) < rng.choice([0, 0.9, 0.999])] = 0
        plane.blocks[rng.random(plane.blocks.shape) < 0.01] = rng.choice([-1023, 1023, 512, -1])
        plane.blocks[:4, :, 0] = rng.choice([-2048, 2047])
        plane.blocks[4:, :, 0] = rng.choice([-2048, 2047])
    assert same(read(write(file, progressive=progressive)), file)


def test_long_runs_of_empty_blocks_come_back() -> None:
    file = random_file(((1, 1),), 8 * 40, 8 * 1000)
    file.planes[0].blocks[..., 1:] = 0  # more ends of blocks in a row than one code can hold
    assert same(read(write(file, progressive=True)), file)


def test_codes_suit_the_coefficients() -> None:
    image = picture(160, 160)
    plain, best = saved(image), saved(image, optimize=True)
    assert len(write(read(plain))) <= len(best) + 40 < len(plain)
    large = read(saved(picture(400, 400)))
    assert len(write(large, progressive=True)) < len(write(large))


def test_steps_above_255_make_an_extended_file() -> None:
    file = random_file(((1, 1),), 16, 16)
    file.planes[0].table[5] = 300
    data = write(file)
    assert find(data, 0xC1)
    assert same(read(data), file)


def refused(file: JpegFile, words: str) -> None:
    for progressive in (False, True):
        with pytest.raises(InputError, match=words):
            write(file, progressive=progressive)


def test_what_no_file_can_hold_is_refused() -> None:
    file = random_file(((2, 2), (1, 1), (1, 1)), 32, 32)
    luma, *chroma = file.planes
    for at, value in (((0, 0, 0), 2048), ((1, 1, 5), 1024), ((1, 1, 5), -1024)):
        blocks = luma.blocks.copy()
        blocks[at] = value
        refused(replace(file, planes=(replace(luma, blocks=blocks), *chroma)), "coefficients outside")
    refused(replace(file, height=70000), "pixels")
    refused(replace(file, height=33), "blocks")
    refused(replace(file, orientation=9), "orientation")
    refused(replace(file, colour="grey"), "planes")
    refused(replace(file, planes=(replace(luma, h=5), *chroma)), "sampling")
    refused(replace(file, planes=(replace(luma, table=luma.table * np.uint16(0)), *chroma)), "table")
    refused(replace(file, planes=(replace(luma, blocks=luma.blocks.astype(np.int32)), *chroma)), "int32")
