"""Coefficients of crops of files are those of the same crops of the planes that the files hold."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from codectk.errors import InputError, OptionsError
from codectk_dct_backbones import dct, pipeline, statistics
from codectk_dct_backbones.budget import Budget
from codectk_dct_backbones.jpeg.file import JpegFile, read
from codectk_dct_backbones.jpeg.loading import Crop, centre, load, picture_size
from codectk_dct_backbones.jpeg.tensors import coefficients
from codectk_dct_backbones.jpeg.turns import ORIENTATIONS
from codectk_dct_backbones.jpeg.writing import write

from . import jpeg_files
from .jpeg_files import Doubles, picture, planes, random_file, saved

FACTORS = [((1, 1),) * 3, ((2, 1), (1, 1), (1, 1)), ((2, 2), (1, 1), (1, 1)), ((1, 2), (1, 1), (1, 1))]
FACTORS += [((4, 1), (1, 1), (1, 1)), ((1, 1),), ((2, 2), (2, 1), (1, 2))]
TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def means(count: int, width: float, length: int) -> Doubles:
    """Samples `width` pixels wide, each the mean of what it covers; the last pixel goes on for ever."""
    fine = 12  # pixels in parts, so that every edge of a sample lies between two
    edges = np.minimum(np.arange(round(count * width * fine)) // fine, length - 1)
    return np.eye(length)[edges].reshape(count, -1, length).mean(1)


def scaled(begin: float, span: float, out: int, length: int) -> Doubles:
    """Linear resampling of a crop, with a filter as wide as what is left out is long."""
    scale = span / out
    samples = np.arange(length)
    centres = begin + (np.arange(out) + 0.5)[:, None] * scale
    weights = np.maximum(0, 1 - np.abs(samples + 0.5 - centres) / max(scale, 1))
    weights[:, (samples < np.floor(begin)) | (samples >= np.ceil(begin + span))] = 0
    return weights / weights.sum(1, keepdims=True)


def expected(file: JpegFile, size: int, crop: Crop, flip: bool) -> list[Doubles]:
    """Coefficients in full range, through pixels: averaged, turned, cropped, scaled, flipped, transformed."""
    found, shape = [], (file.height, file.width)
    parts = planes(file)
    if file.colour == "rgb":
        parts = list(np.einsum("pc,cyx->pyx", TO_YCC, np.stack(parts)) + np.array([0, 128, 128])[:, None, None])
    turn = ORIENTATIONS[file.orientation]
    (top, left), (height, width) = (turn.shape(*pair) for pair in ((crop.top, crop.left), (crop.height, crop.width)))
    top = file.height - top - height if turn.rows_back else top
    left = file.width - left - width if turn.columns_back else left
    for i, part in enumerate(parts):
        step, x = 2 if i else 1, part
        for axis, (begin, span) in enumerate(((top, height), (left, width))):
            ratio = 1 if file.colour == "rgb" else _ratio(file, i, axis)
            samples = means(-(-shape[axis] // step), step * ratio, x.shape[0])
            x = (scaled(begin / step, span / step, size // step, len(samples)) @ samples @ x).T
        x = jpeg_files.turned(x, file.orientation)
        found.append(jpeg_files.coefficients(x[:, ::-1] if flip else x))
    return found


def _ratio(file: JpegFile, plane: int, axis: int) -> float:
    name = "vh"[axis]
    return float(getattr(file.planes[plane], name)) / max(getattr(p, name) for p in file.planes)


def check(data: bytes, size: int, crop: Crop, flip: bool = False) -> None:
    found = load(data, size=size, crop=crop, flip=flip, range_mode="full")
    for x, plane in zip(found, expected(read(data), size, crop, flip), strict=False):
        np.testing.assert_allclose(x, plane.reshape(x.shape), atol=2e-3)


@pytest.mark.parametrize("factors", FACTORS, ids=str)
def test_aligned_crops_and_any_others_agree_with_pixels(factors: tuple[tuple[int, int], ...]) -> None:
    data = write(random_file(factors, 85, 103))
    for crop in (
        Crop(16, 32, 64, 64),
        Crop(0, 0, 75, 103),
        Crop(11, 39, 64, 64),
        Crop(20, 7, 31, 50),
        Crop(3, 5, 1, 1),
    ):
        check(data, 64, crop)
    check(data, 16, Crop(0, 1, 85, 101))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation_and_flip_agree_with_pixels(orientation: int) -> None:
    data = saved(picture(75, 103), subsampling="4:2:0", orientation=orientation)
    assert picture_size(data) == ((103, 75) if orientation >= 5 else (75, 103))
    for flip in (False, True):
        check(data, 32, Crop(16, 16, 32, 32), flip)
        check(data, 32, Crop(5, 9, 41, 60), flip)
    even = saved(picture(80, 96), subsampling="4:2:0", orientation=orientation)
    check(even, 48, Crop(16, 32, 48, 48), True)


@pytest.mark.parametrize("kind", [{"progressive": True}, {"restart_marker_blocks": 2}, {"keep_rgb": True}], ids=str)
def test_kinds_of_files_agree_with_pixels(kind: dict[str, object]) -> None:
    for crop in (Crop(16, 16, 48, 48), Crop(9, 2, 60, 70)):
        check(saved(picture(75, 103), **kind), 48, crop)


def test_what_is_below_the_crop_is_not_read_but_what_is_above_is() -> None:
    data = saved(picture(160, 160), subsampling="4:2:0")
    cut = data[: len(data) * 2 // 3]
    for whole, part in zip(*(load(d, size=32, crop=Crop(32, 64, 32, 32)) for d in (data, cut)), strict=True):
        assert np.array_equal(whole, part)
    with pytest.raises(InputError, match=r"^photo\.jpg is a JPEG file that ends too early"):
        load(cut, size=32, crop=Crop(112, 64, 32, 32), name="photo.jpg")


def test_the_middle_needs_no_resampling_where_the_picture_is_large_enough() -> None:
    data = saved(picture(75, 103), subsampling="4:2:0")
    for found, part in zip(load(data, size=48), load(data, size=48, crop=Crop(0, 16, 48, 48)), strict=True):
        assert np.array_equal(found, part)
    for found, part in zip(load(data, size=96), load(data, size=96, crop=Crop(0, 14, 75, 75)), strict=True):
        assert np.array_equal(found, part)
    assert centre(300, 400, 224, 256) == Crop(19, 69, 262, 262)


@pytest.mark.parametrize("mode", ["studio", "full"])
def test_coefficients_are_those_of_the_decoders_planes_within_half_a_step(mode: str) -> None:
    """What the file says, and what is computed again from the planes of a decoder, rounded to whole numbers."""
    image = picture(96, 96)
    for subsampling in ("4:4:4", "4:2:0"):
        data = saved(image, quality=60, subsampling=subsampling)
        file = read(data)
        steps = [plane.table.reshape(8, 8).T.reshape(64, 1, 1) for plane in file.planes]  # channel 8 u + v
        y, cb, cr = load(data, size=96, range_mode=mode)
        linears = statistics.FROM_FULL[mode]
        for x, plane, step, linear in zip((y, cb, cr), planes(file), steps, linears, strict=True):
            rounded = torch.from_numpy(np.clip(np.round(plane), 0, 255))[None]
            if rounded.shape[1] != 8 * x.shape[1]:  # 4:4:4: chroma is halved on the way to tensors
                rounded = torch.nn.functional.avg_pool2d(rounded[None], 2)[0]
            again = dct.forward(linear.values(rounded))[0].numpy()
            assert (np.abs(x - again) <= step / 2).all()


def test_luma_is_the_decoders_within_a_level() -> None:
    data = saved(picture(96, 96), subsampling="4:2:0", quality=80)
    decoder = Image.open(io.BytesIO(data))
    decoder.draft("L", decoder.size)
    y, _, _ = load(data, size=96, range_mode="full")
    plane = dct.inverse(torch.from_numpy(y)[None])[0].numpy()
    assert np.abs(np.clip(plane, 0, 255) - np.asarray(decoder)).max() <= 1


def test_tensors_are_those_of_the_recomputed_path() -> None:
    image = picture(96, 96)
    data = saved(image, subsampling="4:2:0", quality=97)
    measured = statistics.load("imagenet")
    budget = Budget(20, 7, 0)
    pixels = torch.from_numpy(jpeg_files.pixels(data).copy()).permute(2, 0, 1)[None]
    for trim in (True, False):
        recomputed = pipeline.from_pictures(pixels, budget, trim=trim, statistics=measured)
        found = coefficients([data], budget, size=96, trim=trim, statistics=measured)
        for a, b in zip(found, recomputed, strict=True):
            assert a.shape == b.shape
            assert a.numel() == 0 or (a - b).abs().mean() < 0.1  # in deviations of ImageNet; decoders smooth chroma


@pytest.mark.parametrize("counts", [(64, 64, 64), (16, 4, 1), (1, 0, 9)])
def test_budget_and_statistics_are_applied_as_the_pipeline_does(counts: tuple[int, int, int]) -> None:
    data = saved(picture(48, 48), subsampling="4:2:0", orientation=6)
    whole = coefficients([data], range_mode="full", size=48)
    budget, measured = Budget(*counts), statistics.load("imagenet", "full")
    for trim in (True, False):
        kept = pipeline.trimmed(whole, budget)
        kept = kept if trim else pipeline.untrimmed(kept, budget)
        normalised = measured.normalise(kept, budget, trim)
        for a, b in zip(
            coefficients([data], budget, "full", size=48, trim=trim, statistics=measured), normalised, strict=True
        ):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_grey_pictures_have_neutral_chroma() -> None:
    data = saved(picture(48, 48).convert("L"))
    for mode in ("studio", "full"):
        y, cb, cr = load(data, size=48, range_mode=mode)
        grey = load(saved(picture(48, 48).convert("L").convert("RGB"), subsampling="4:2:0"), size=48, range_mode=mode)
        np.testing.assert_allclose(y, grey[0], atol=1e-3)
        for chroma in (cb, cr):
            assert (chroma[0] == 1024).all() and not chroma[1:].any()


def test_batches_take_a_crop_and_a_flip_for_each_file() -> None:
    files = [saved(picture(64, 96, seed), subsampling="4:2:0") for seed in range(3)]
    crops, flips = [Crop(16, 0, 32, 32), None, Crop(0, 0, 64, 64)], [True, False, True]
    batch = coefficients(files, Budget(9, 4, 4), size=32, crops=crops, flips=flips)
    assert [tuple(x.shape) for x in batch] == [(3, 9, 4, 4), (3, 4, 2, 2), (3, 4, 2, 2)]
    for i in range(3):
        alone = load(files[i], size=32, crop=crops[i], flip=flips[i], budget=Budget(9, 4, 4))
        assert all(np.array_equal(x[i].numpy(), y) for x, y in zip(batch, alone, strict=True))
    for wrong in ({"crops": crops[:2]}, {"flips": flips[:2]}):
        with pytest.raises(OptionsError, match="make no batch"):
            coefficients(files, size=32, **wrong)


def test_what_is_impossible_is_refused() -> None:
    data = saved(picture(48, 64))
    for size in (0, 24, 1 << 15):
        with pytest.raises(OptionsError, match="multiple of 16"):
            load(data, size=size)
    for crop in (Crop(0, 0, 49, 16), Crop(-1, 0, 16, 16), Crop(0, 60, 16, 16), Crop(0, 0, 0, 16)):
        with pytest.raises(OptionsError, match="does not lie in a picture of 48 x 64"):
            load(data, size=16, crop=crop)
    with pytest.raises(OptionsError, match="range"):
        load(data, size=16, statistics=statistics.load("imagenet", "full"))
    with pytest.raises(InputError, match="at most 100 pixels"):
        load(data, size=16, most_pixels=100)


def test_threads_load_what_one_does() -> None:
    files = [saved(picture(90, 120, seed), subsampling="4:2:0") for seed in range(4)] * 8

    def work(data: bytes) -> list[bytes]:
        return [x.tobytes() for x in load(data, size=64, crop=Crop(3, 5, 80, 101))]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, files)) == [work(data) for data in files]
