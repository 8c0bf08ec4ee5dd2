"""The codec `dct`: what it keeps, and what it decodes to."""

import io
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from codectk.arrays import ArrayInfo
from codectk.codec import Encoded, symbol_check
from codectk.compression import LoadedCodec, load_codec
from codectk.container import Container, unpack
from codectk.errors import CodectkError, ContainerError, DesyncError, InputError, OptionsError
from codectk_dct_backbones import coding
from codectk_dct_backbones.budget import ZIGZAG
from codectk_dct_backbones.details import details
from codectk_dct_backbones.jpeg.file import JpegFile, Plane, read
from codectk_dct_backbones.jpeg.writing import write
from codectk_dct_backbones.native_entropy import decode_planes, encode_planes

from .jpeg_files import coded, picture, random_file, saved, upright

ALL = (1 << 64) - 1
RGB_40_50 = ArrayInfo("image/rgb8", (40, 50, 3))

FILES = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_blocks": 2},
    "coarse": {"quality": 3},
    "fine": {"quality": 100},
    "red, green and blue": {"keep_rgb": True},
    "steps of its own": {"qtables": [list(range(1, 65)), list(range(200, 136, -1))]},
    "turned": {"orientation": 6},
    "mirrored": {"orientation": 7},
}


@pytest.fixture(scope="module")
def dct() -> LoadedCodec:
    return load_codec("dct")


def same(a: JpegFile, b: JpegFile) -> bool:
    """Whether two files hold the same, bit for bit."""
    planes = zip(a.planes, b.planes, strict=True)
    about = [(f.height, f.width, f.orientation, f.colour, f.progressive) for f in (a, b)]
    return about[0] == about[1] and all(
        np.array_equal(p.blocks, q.blocks) and np.array_equal(p.table, q.table) and (p.h, p.v) == (q.h, q.v)
        for p, q in planes
    )


@pytest.mark.parametrize("name", FILES)
def test_a_file_keeps_all_that_its_picture_is_made_of(dct, name):
    data = saved(picture(75, 118), **FILES[name])
    assert same(read(dct.decompress_file(coded(dct, data))), read(data))


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_libjpeg(dct, name):
    data = saved(picture(75, 118), **FILES[name])
    np.testing.assert_array_equal(dct.decompress(coded(dct, data)), upright(data))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (5, 6), (16, 17), (33, 8)])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_pixels_of_small_and_odd_pictures_are_those_of_libjpeg(dct, size, subsampling):
    data = saved(picture(*size), subsampling=subsampling)
    np.testing.assert_array_equal(dct.decompress(coded(dct, data)), upright(data))


@pytest.mark.parametrize("factors", [(1, 2), (4, 1), (4, 2), (2, 4)])
def test_other_sampling_is_that_of_libjpeg(dct, factors):
    file = coding.from_pixels(np.asarray(picture(50, 70)), 85, (factors, (1, 1), (1, 1)))
    data = write(file)
    np.testing.assert_array_equal(dct.decompress(coded(dct, data)), upright(data))


def test_grey_files_have_one_plane(dct):
    data = saved(picture(40, 50).convert("L"))
    file = coded(dct, data)
    assert len(file.segments) == 1
    assert same(read(dct.decompress_file(file)), read(data))
    np.testing.assert_array_equal(dct.decompress(file), upright(data))


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ({"coeff_count": 5}, (5, 5, 5)),
        ({"coeff_window": 4, "coeff_count_chroma": 1}, (16, 1, 1)),
        ({"coeff_count_luma": 16, "coeff_count_cb": 4, "coeff_count_cr": 0}, (16, 4, 0)),
        ({"coeff_count_luma": 0, "coeff_count_chroma": 64}, (0, 64, 64)),
    ],
)
def test_counts_keep_the_first_coefficients_of_the_transposed_scan(dct, options, counts):
    data = saved(picture(64, 80))
    whole, kept = read(data), read(dct.decompress_file(coded(dct, data, **options)))
    for before, after, count in zip(whole.planes, kept.planes, counts, strict=True):
        by_channel = [plane.blocks.reshape(-1, 8, 8).swapaxes(1, 2).reshape(-1, 64) for plane in (before, after)]
        first, rest = list(ZIGZAG[:count]), list(ZIGZAG[count:])
        np.testing.assert_array_equal(by_channel[1][:, first], by_channel[0][:, first])
        assert not by_channel[1][:, rest].any()


def test_nothing_kept_is_refused_before_a_file_is_read(dct):
    with pytest.raises(OptionsError, match="No coefficient is kept"):
        dct.encode_options({"coeff_count": 0})


def test_pictures_become_coefficients_and_finer_steps_come_nearer(dct):
    x = np.asarray(picture(61, 90))
    info = ArrayInfo("image/rgb8", x.shape)
    errors, sizes = [], []
    for quality in (10, 50, 90, 98):
        packed = dct.compress(x, info, dct.encode_options({"quality": quality, "subsampling": "4:4:4"}))
        x_hat = dct.decompress(unpack(packed.data)).astype(float)
        errors.append(float(np.square(x_hat - x).mean()))
        sizes.append(len(packed))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 4
    assert sizes == sorted(sizes)


def test_pictures_are_as_near_as_those_that_libjpeg_codes(dct):
    image = picture(96, 128)
    x = np.asarray(image)
    theirs = saved(image, quality=90, subsampling=2)
    packed = unpack(dct.compress(x, ArrayInfo("image/rgb8", x.shape)).data)
    made = read(dct.decompress_file(packed))
    np.testing.assert_array_equal(made.planes[0].table, read(theirs).planes[0].table)
    mine, other = (np.square(y.astype(float) - x).mean() for y in (dct.decompress(packed), upright(theirs)))
    assert mine < 1.05 * other


def test_a_picture_of_equal_channels_is_coded_as_grey(dct):
    x = np.repeat(np.asarray(picture(30, 30).convert("L"))[:, :, None], 3, 2)
    file = unpack(dct.compress(x, ArrayInfo("image/rgb8", x.shape)).data)
    assert len(file.segments) == 1
    assert read(dct.decompress_file(file)).colour == "grey"


def test_a_quality_codes_a_file_anew(dct):
    data = saved(picture(64, 64), quality=95)
    file = coded(dct, data, quality=40)
    assert file.header.params["quality"] == 40
    x_hat = dct.decompress(file).astype(float)
    assert np.square(x_hat - upright(data)).mean() < 200


def test_the_first_segment_is_the_grey_picture(dct):
    data = saved(picture(48, 64), subsampling=0)
    grey = dct.decompress(coded(dct, data), segments=1)
    luma = np.asarray(Image.open(io.BytesIO(data)).convert("YCbCr"))[:, :, 0].astype(int)
    assert (grey == grey[:, :, :1]).all()
    assert np.abs(grey[:, :, 0] - luma).mean() < 1.5


def test_any_coefficients_come_back():
    rng = np.random.default_rng(0)
    shapes, table = [(3, 5), (2, 3), (2, 3)], np.full(64, 65535, np.uint16)
    extreme = [rng.choice(np.array([-32768, -1, 0, 0, 0, 1, 32767], np.int16), (*shape, 64)) for shape in shapes]
    noise = [rng.integers(-2000, 2000, (*shape, 64), np.int16) for shape in shapes]
    for blocks in (extreme, noise, [np.zeros((*shape, 64), np.int16) for shape in shapes]):
        streams = encode_planes(blocks, [table] * 3, [ALL] * 3)
        for x, y in zip(blocks, decode_planes(shapes, [table] * 3, [ALL] * 3, streams), strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("stream", [b"", bytes(40), b"\xff" * 40])
def test_a_stream_far_too_short_is_given_up_where_it_ends(stream):
    with pytest.raises(ContainerError, match="stream of coefficients is damaged"):
        decode_planes([(3000, 4000)], [np.ones(64, np.uint16)], [ALL], [stream])


def test_damaged_streams_never_give_other_coefficients(dct):
    data = saved(picture(64, 80))
    file = coded(dct, data)
    rng, right = np.random.default_rng(1), dct.decompress(file)
    for _ in range(60):
        segments = [bytearray(segment) for segment in file.segments]
        broken = segments[rng.integers(3)]
        broken[rng.integers(len(broken))] ^= 1 << int(rng.integers(8))
        changed = Container(file.header, file.header_bytes, tuple(bytes(segment) for segment in segments))
        try:
            np.testing.assert_array_equal(dct.decompress(changed), right)
        except (ContainerError, DesyncError):
            continue


def test_the_check_is_of_the_coefficients(dct):
    data = saved(picture(32, 32))
    blocks = [plane.blocks for plane in read(data).planes]
    assert coded(dct, data).header.symbol_check == symbol_check(*blocks)


@pytest.mark.parametrize(
    ("name", "message"),
    [("cut", "ends too early"), ("cmyk", "CMYK"), ("png", "is no JPEG file"), ("other", "shows")],
)
def test_what_cannot_be_recoded_is_refused_by_name(dct, name, message):
    image = picture(40, 40)
    whole = saved(image)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    bad = {
        "cut": whole[: len(whole) // 2],
        "cmyk": saved(image.convert("CMYK")),
        "png": stream.getvalue(),
        "other": saved(picture(40, 48)),
    }[name]
    x = np.asarray(image)
    with pytest.raises(InputError, match=message):
        dct.compress(x, ArrayInfo("image/rgb8", x.shape), file=bad)


@pytest.mark.parametrize("factors", [((1, 1), (4, 4), (4, 4)), ((4, 4),) * 3])
@pytest.mark.parametrize("shape", [(1, 1 << 26), (1 << 26, 1)])
def test_strips_that_take_far_more_coefficients_than_pixels_are_refused(factors, shape):
    params = {"quality": 50, "sampling": [list(pair) for pair in factors], "kept": [0, 0, 0]}
    tracemalloc.start()
    with pytest.raises(InputError, match="A strip of"):
        coding.unpack(Encoded(params, (b"",)), ArrayInfo("image/rgb8", (*shape, 3)))
    with pytest.raises(InputError, match="A strip of"):
        coding.block_shapes(*shape, coding.USUAL[3])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    for side in (1, 8, 9, 65535):
        assert coding.block_shapes(side, 65535, factors)


def test_the_entropy_coder_takes_no_planes_that_it_would_read_beyond():
    blocks, table = np.zeros((2, 2, 64), np.int16), np.ones(64, np.uint16)
    for planes in ([blocks, blocks[:1], blocks], [blocks] * 4):
        with pytest.raises(ValueError, match="three planes at most"):
            encode_planes(planes, [table] * len(planes), [ALL] * len(planes))


def test_samplings_that_are_no_whole_numbers_come_back_as_files_alone(dct):
    file = random_file(((3, 1), (2, 1), (2, 1)), 40, 50)
    coded_file = unpack(dct.compress(np.zeros((40, 50, 3), np.uint8), RGB_40_50, file=write(file)).data)
    assert same(read(dct.decompress_file(coded_file)), file)
    with pytest.raises(InputError, match=r"no whole number.*-o NAME.jpg"):
        dct.decompress(coded_file)


def test_info_tells_nothing_that_makes_no_sense(dct):
    file = coded(dct, saved(picture(24, 24)))
    for params in ({"orientation": "\x1b[31m"}, {"orientation": 9}, {"colour": 3}, {"kept": [65, 1, 1]}):
        with pytest.raises(ContainerError):
            details(replace(file.header, params={**file.header.params, **params}), file.segments)
    odd = replace(file.header, params={**file.header.params, "progressive": "\x1b"})
    assert details(odd, file.segments)["progressive"] is False


def test_chroma_of_two_sizes_is_refused(dct):
    blocks, table = np.zeros((2, 2, 64), np.int16), np.ones(64, np.uint16)
    half = np.zeros((2, 1, 64), np.int16)
    planes = (
        Plane(blocks, 2, 2, table, (2, 2)),
        Plane(half, 1, 2, table, (2, 1)),
        Plane(half[:1], 1, 1, table, (1, 1)),
    )
    data = write(JpegFile(16, 16, planes))
    with pytest.raises(CodectkError, match="of different sizes"):
        dct.compress(np.zeros((16, 16, 3), np.uint8), ArrayInfo("image/rgb8", (16, 16, 3)), file=data)


def test_info_says_what_a_file_holds(dct):
    data = saved(picture(40, 100), quality=83, subsampling=1, progressive=True, orientation=8)
    file = coded(dct, data, coeff_count_luma=9, coeff_count_chroma=4)
    told = details(file.header, file.segments)
    assert (told["colour"], told["orientation"], told["progressive"], told["tables"]) == ("ycc", 8, True, "quality 83")
    assert [(p["plane"], p["sampling"], p["blocks"], p["coefficients"]) for p in told["planes"]] == [
        ("Y", "2x1", "14 x 5", 9),
        ("Cb", "1x1", "7 x 5", 4),
        ("Cr", "1x1", "7 x 5", 4),
    ]
    assert [p["bytes"] for p in told["planes"]] == [len(segment) for segment in file.segments]


def test_info_tells_the_nearest_quality_of_other_steps(dct):
    made = coding.from_pixels(np.asarray(picture(40, 40)), 60, coding.USUAL[3])
    table = made.planes[0].table.copy()
    table[5] += 1
    file = coded(dct, write(replace(made, planes=(replace(made.planes[0], table=table), *made.planes[1:]))))
    told = details(file.header, file.segments)
    assert told["tables"] == "of the file" and told["tables_bytes"] > 0
    assert [plane["quality"] for plane in told["planes"]] == [60, 60, 60]
