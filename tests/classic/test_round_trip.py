"""What comes out of every codec for every kind of picture that it names."""

import numpy as np
import pytest

from codectk import Registry, decompress, load_codec
from codectk.arrays import ArrayInfo
from codectk.container import unpack
from codectk.errors import InputError

NAMES = ("avif", "jpeg", "jpeg2000", "jpegls", "png", "webp")
SPECS = {
    item.spec.name: item.spec
    for item in Registry().codecs()
    if item.distribution == "codectk-classic" and item.spec.kinds[0].startswith("image/")
}
CASES = [(name, kind) for name in NAMES for kind in SPECS[name].kinds]
SHAPES = ((1, 1), (1, 7), (7, 1), (17, 23), (64, 48))
LOW_AND_HIGH = {
    "avif": ({"quality": 20, "speed": 10}, {"quality": 85, "speed": 10}),
    "jpeg": ({"quality": 10}, {"quality": 90}),
    "jpeg2000": ({"quality": 25}, {"quality": 45}),
    "jpegls": ({"near": 20}, {"near": 2}),
    "webp": ({"quality": 5}, {"quality": 95}),
}
FAST = {"avif": {"speed": 10}}
LOSSLESS = {"jpegls": {}, "png": {}, "webp": {"lossless": True}}


def round_trip(name, x, info, **values):
    codec = load_codec(name)
    data = codec.compress(x, info, codec.encode_options({**FAST.get(name, {}), **values})).data
    x_hat, info_hat = decompress(data)
    assert info_hat == info and x_hat.shape == x.shape and x_hat.dtype == x.dtype
    return data, x_hat


def mean_square(x, x_hat):
    return float(np.mean((x.astype(float) - x_hat) ** 2))


def test_the_plugin_brings_six_codecs_for_pictures():
    assert tuple(sorted(SPECS)) == NAMES


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_size_comes_back_in_its_kind(picture, name, kind, shape):
    x, info = picture(kind, *shape)
    round_trip(name, x, info)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_photo_comes_back_close(picture, name, kind):
    x, info = picture(kind, 96, 80, noise=1.0)
    _, x_hat = round_trip(name, x, info)
    assert mean_square(x, x_hat) < (0.05 * info.value_range[1]) ** 2


@pytest.mark.parametrize("name", sorted(LOSSLESS))
@pytest.mark.parametrize("shape", SHAPES)
def test_lossless_codecs_return_the_original(picture, name, shape):
    for kind in SPECS[name].kinds:
        x, info = picture(kind, *shape, noise=80.0)
        _, x_hat = round_trip(name, x, info, **LOSSLESS[name])
        np.testing.assert_array_equal(x_hat, x)


@pytest.mark.parametrize("name", sorted(LOSSLESS))
def test_lossless_codecs_keep_the_colours_of_transparent_pixels(picture, name):
    x, info = picture("image/rgba8", noise=80.0)
    x[:20, :, 3] = 0
    _, x_hat = round_trip(name, x, info, **LOSSLESS[name])
    np.testing.assert_array_equal(x_hat, x)


@pytest.mark.parametrize("name", [name for name in NAMES if "image/rgba8" in SPECS[name].kinds])
@pytest.mark.parametrize("alpha", [0, 255])
def test_an_even_alpha_channel_stays(picture, name, alpha):
    x, info = picture("image/rgba8", 16, 16)
    x[:, :, 3] = alpha
    _, x_hat = round_trip(name, x, info)
    assert np.abs(x_hat[:, :, 3].astype(int) - alpha).max() <= (8 if name == "jpeg2000" else 0)


@pytest.mark.parametrize("name", NAMES)
def test_grey_stays_grey(picture, name):
    x, info = picture("image/gray8", 33, 47, noise=1.0)
    _, x_hat = round_trip(name, x, info)
    assert x_hat.shape == (33, 47, 1) and mean_square(x, x_hat) < 60


def test_a_grey_jpeg_has_one_channel(picture):
    data, _ = round_trip("jpeg", *picture("image/gray8"))
    segment = unpack(data).segments[0]
    frame = segment.index(b"\xff\xc0")
    assert segment[frame + 9] == 1


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[0] in LOW_AND_HIGH])
def test_more_quality_is_closer_and_larger(picture, name, kind):
    x, info = picture(kind, 96, 128)
    (small, rough), (large, fine) = (round_trip(name, x, info, **values) for values in LOW_AND_HIGH[name])
    assert len(small) < len(large) and mean_square(x, fine) < mean_square(x, rough)


@pytest.mark.parametrize("near", [0, 1, 5, 127])
def test_jpegls_keeps_its_bound_on_noise(picture, near):
    for kind in SPECS["jpegls"].kinds:
        x, info = picture(kind, 40, 37, noise=200.0)
        _, x_hat = round_trip("jpegls", x, info, near=near)
        assert np.abs(x.astype(int) - x_hat).max() <= near


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_same_input_gives_same_bytes_and_is_left_alone(picture, name, kind):
    x, info = picture(kind, 70, 50)
    before = x.copy()
    x.setflags(write=False)
    first, _ = round_trip(name, x, info)
    second, _ = round_trip(name, np.asfortranarray(x), info)
    assert first == second
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", NAMES)
def test_the_result_can_be_written_to(picture, name):
    _, x_hat = round_trip(name, *picture("image/rgb8", 9, 9))
    x_hat[0, 0, 0] = 1


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_codes_noise_at_the_best_quality(picture, capfd, subsampling, progressive):
    x, info = picture("image/rgb8", 200, 300, noise=300.0)
    _, x_hat = round_trip("jpeg", x, info, quality=100, subsampling=subsampling, progressive=progressive)
    assert subsampling == "4:2:0" or mean_square(x, x_hat) < 10
    assert capfd.readouterr().err == ""


def test_jpeg_codes_colour_more_finely_without_subsampling(picture):
    x, info = picture("image/rgb8", 64, 64)
    coarse, fine = (round_trip("jpeg", x, info, subsampling=s)[1] for s in ("4:2:0", "4:4:4"))
    assert mean_square(x, fine) < mean_square(x, coarse)


@pytest.mark.parametrize(("name", "longest"), [("avif", 32768), ("jpeg", 65500), ("jpegls", 65535), ("webp", 16383)])
def test_the_longest_side_is_the_last_that_works(name, longest):
    x = np.full((1, longest, 3), 128, np.uint8)
    round_trip(name, x, ArrayInfo("image/rgb8", x.shape))
    x = np.full((longest + 1, 1, 3), 128, np.uint8)
    with pytest.raises(InputError, match=f"{longest} pixels a side.*Cut it"):
        round_trip(name, x, ArrayInfo("image/rgb8", x.shape))


@pytest.mark.parametrize("name", ["avif", "webp"])
def test_too_many_pixels_are_refused_before_encoding(name):
    side = 16383 if name == "webp" else 16400
    x = np.broadcast_to(np.zeros(3, np.uint8), (side, side, 3))
    with pytest.raises(InputError, match=rf"holds at most \d+ pixels; this picture has {side}"):
        load_codec(name).compress(x, ArrayInfo("image/rgb8", x.shape))
