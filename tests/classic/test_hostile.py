"""Files with valid check sums whose content is wrong: an error in plain words or a picture of the announced size.

Those of fields are in test_fields.
"""

import struct
import time
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest

from codectk import ArrayInfo, decompress, load_codec
from codectk.container import pack, unpack
from codectk.errors import CodectkError, ContainerError
from codectk_classic import headers
from codectk_classic.avif_header import avif_frame
from codectk_classic.plugin import codectk_codecs

SPECS = {spec.name: spec for spec in codectk_codecs() if spec.kinds[0].startswith("image/")}
CASES = [(name, kind) for name, spec in SPECS.items() for kind in spec.kinds]
FAST = {"avif": {"speed": 10}}


def compressed(name, x, info, **values):
    codec = load_codec(name)
    return codec.compress(x, info, codec.encode_options({**FAST.get(name, {}), **values})).data


def with_segment(data, *segments):
    return pack(unpack(data).header, segments)


def announcing(data, info):
    file = unpack(data)
    return pack(replace(file.header, info=info), file.segments)


@pytest.fixture
def no_decoding(monkeypatch):
    """Whatever would allocate a picture fails the test."""

    def refuse(*args, **kwargs):
        pytest.fail("a decoder was called")

    for name in ("Jpeg", "WebP", "Avif", "Jpeg2000", "Png"):
        reader = getattr(__import__("codectk_classic.codec", fromlist=[name]), name).reader
        monkeypatch.setattr(reader, "load", refuse)
    monkeypatch.setattr(imagecodecs, "jpegls_decode", refuse)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_another_format_inside_is_refused(picture, name):
    x, info = picture("image/rgb8", 20, 30)
    mine = compressed(name, x, info)
    for other in SPECS:
        if other != name:
            with pytest.raises(ContainerError):
                decompress(with_segment(mine, unpack(compressed(other, x, info)).segments[0]))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_larger_picture_inside_is_refused_undecoded(picture, name, kind, request):
    data = compressed(name, *picture(kind, 40, 50))
    request.getfixturevalue("no_decoding")
    for height, width in ((39, 50), (40, 49), (1, 1), (50, 40), (41, 50)):
        info = ArrayInfo(kind, (height, width, picture(kind, 1, 1)[1].shape[2]))
        with pytest.raises(ContainerError, match=r"50 × 40.*are announced"):
            decompress(announcing(data, info))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_another_kind_inside_is_refused(picture, name, kind):
    for other in SPECS[name].kinds:
        if other != kind:
            x, info = picture(other, 12, 14)
            data = announcing(compressed(name, x, info), picture(kind, 12, 14)[1])
            if (name, other, kind) in {("avif", "image/rgb8", "image/rgba8"), ("webp", "image/rgb8", "image/rgba8")}:
                assert (decompress(data)[0][:, :, 3] == 255).all()
            else:
                with pytest.raises(ContainerError):
                    decompress(data)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_one_segment_is_wanted(picture, name):
    data = compressed(name, *picture("image/rgb8", 8, 8))
    segment = unpack(data).segments[0]
    for segments in ((), (segment, segment), (segment, b"")):
        with pytest.raises(ContainerError, match="segments instead of one"):
            decompress(with_segment(data, *segments))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_cut_picture_is_refused_or_has_its_size(picture, name, kind):
    x, info = picture(kind, 17, 23)
    data = compressed(name, x, info)
    segment = unpack(data).segments[0]
    for length in sorted({*range(0, len(segment), max(1, len(segment) // 40)), len(segment) - 1}):
        survives(with_segment(data, segment[:length]), info)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_half_a_picture_is_refused(picture, name, kind):
    data = compressed(name, *picture(kind, 40, 40))
    segment = unpack(data).segments[0]
    with pytest.raises(ContainerError):
        decompress(with_segment(data, segment[: len(segment) // 2]))


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("where", ["start", "anywhere"])
def test_flipped_bits_give_an_error_or_a_picture_of_the_announced_size(picture, name, kind, where):
    x, info = picture(kind, 17, 23)
    data = compressed(name, x, info)
    segment = unpack(data).segments[0]
    rng = np.random.default_rng(7)
    for _ in range(60):
        broken = bytearray(segment)
        end = min(len(segment), 200) if where == "start" else len(segment)
        for at in rng.integers(0, end, rng.integers(1, 4)):
            broken[at] ^= 1 << rng.integers(0, 8)
        survives(with_segment(data, bytes(broken)), info)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_random_bytes_are_refused(picture, name):
    data = compressed(name, *picture("image/rgb8", 8, 8))
    start = unpack(data).segments[0][:16]
    rng = np.random.default_rng(3)
    for length in (0, 1, 2, 11, 30, 50, 500):
        for prefix in (b"", start):
            with pytest.raises(ContainerError):
                decompress(with_segment(data, prefix + rng.bytes(length)))


def survives(data, info):
    try:
        x_hat, _ = decompress(data)
    except CodectkError as error:
        assert error.next_step
    else:
        assert x_hat.shape == info.shape and x_hat.dtype.name == info.dtype


def test_avif_that_lies_to_pillow_is_refused_undecoded(picture, request):
    segment = bytearray(unpack(compressed("avif", *picture("image/rgb8", 60, 70))).segments[0])
    small = compressed("avif", *picture("image/rgb8", 6, 7))
    at = segment.index(b"ispe") + 8
    segment[at : at + 8] = struct.pack(">II", 7, 6)
    request.getfixturevalue("no_decoding")
    with pytest.raises(ContainerError, match="70 × 60"):
        decompress(with_segment(small, bytes(segment)))


def test_avif_header_sees_colour_and_alpha(picture):
    segment = unpack(compressed("avif", *picture("image/rgba8", 33, 130))).segments[0]
    assert avif_frame(segment) == headers.Frame(130, 33)
    for length in range(len(segment)):
        with pytest.raises(ContainerError):
            avif_frame(segment[:length])


@pytest.mark.parametrize("first", ["large", "small"])
def test_jpeg_with_two_frame_headers_is_refused(picture, first):
    data = compressed("jpeg", *picture("image/rgb8", 16, 16))
    segment = unpack(data).segments[0]
    at = segment.index(b"\xff\xc0")
    frame = segment[at : at + 19]
    other = frame[:5] + struct.pack(">HH", 9999, 9999) + frame[9:]
    both = other + frame if first == "large" else frame + other
    with pytest.raises(ContainerError):
        decompress(with_segment(data, segment[:at] + both + segment[at + 19 :]))


def test_jpeg_with_anything_between_its_segments_is_refused(picture):
    data = compressed("jpeg", *picture("image/rgb8", 16, 16))
    segment = unpack(data).segments[0]
    for junk in (b"\0", b"\xff\x01", b"\xff\xd0", b"\xff\xda\0\x02", b"\xff\xff"):
        with pytest.raises(ContainerError, match="frame header"):
            decompress(with_segment(data, segment[:2] + junk + segment[2:]))


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (24, struct.pack(">II", 1, 1), "one tile"),
        (16, struct.pack(">II", 1, 1), "one tile"),
        (42, b"\x0f", "one tile"),
        (43, b"\x02", "one tile"),
    ],
)
def test_jpeg2000_that_is_not_one_plain_tile_is_refused_undecoded(picture, offset, value, reason, request):
    data = compressed("jpeg2000", *picture("image/rgb8", 40, 40))
    segment = bytearray(unpack(data).segments[0])
    segment[offset : offset + len(value)] = value
    request.getfixturevalue("no_decoding")
    with pytest.raises(ContainerError, match=reason):
        decompress(with_segment(data, bytes(segment)))


def test_jpeg2000_with_small_precincts_is_refused_undecoded(picture, request):
    data = compressed("jpeg2000", *picture("image/rgb8", 40, 40))
    segment = bytearray(unpack(data).segments[0])
    segment[segment.index(b"\xff\x52") + 4] |= 1
    request.getfixturevalue("no_decoding")
    with pytest.raises(ContainerError, match="precincts"):
        decompress(with_segment(data, bytes(segment)))


def test_webp_with_a_larger_canvas_is_refused_undecoded(picture, request):
    x, info = picture("image/rgba8", 16, 16)
    data = compressed("webp", x, info)
    segment = bytearray(unpack(data).segments[0])
    assert segment[12:16] == b"VP8X"
    segment[24:30] = b"\xff\x3f\0\xff\x3f\0"
    request.getfixturevalue("no_decoding")
    with pytest.raises(ContainerError, match="16384 × 16384"):
        decompress(with_segment(data, bytes(segment)))


def test_jpegls_without_its_end_is_refused_undecoded(picture, request):
    data = compressed("jpegls", *picture("image/rgb8", 40, 40))
    segment = unpack(data).segments[0]
    request.getfixturevalue("no_decoding")
    for length in (26, 40, len(segment) // 2, len(segment) - 1):
        with pytest.raises(ContainerError, match="cut"):
            decompress(with_segment(data, segment[:length]))


def test_a_cut_jpegls_with_an_end_put_on_is_refused_at_once(picture):
    data = compressed("jpegls", *picture("image/rgb8", 40, 40))
    segment = unpack(data).segments[0]
    start = time.perf_counter()
    for length in range(40, len(segment) - 3, 40):
        with pytest.raises(ContainerError):
            decompress(with_segment(data, segment[:length] + b"\xff\xd9"))
    assert time.perf_counter() - start < 2.0
