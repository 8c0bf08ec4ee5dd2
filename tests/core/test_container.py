"""The `.ctk` file: what goes in comes out, and nothing damaged or hostile gets through."""

import struct
import tracemalloc
import zlib
from dataclasses import replace
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codectk import ArrayInfo
from codectk.arrays import KINDS
from codectk.container import MAX_ARRAY_BYTES, Container, Header, canonical_json, first_segments, pack, unpack
from codectk.errors import CodectkError, ContainerError

PROPERTY = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
MEMORY_LIMIT = 3 << 20


def varint(value):
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def text(data):
    return varint(len(data)) + data


def sealed(body, flags=0, version=1, length=None, tail=b""):
    """A file around a header's body, with a correct check sum whatever the body holds."""
    head = b"\x89CTK" + bytes([version, flags]) + (varint(len(body)) if length is None else length) + body
    return head + struct.pack("<I", crc32(head)) + tail


def body(
    codec=b"\x04tiny",
    distribution=b"\x00",
    bitstream=b"\x01",
    kind=b"\x01",
    shape=b"\x03\x02\x03\x03",
    value_range=b"",
    params=b"\x00",
    segments=b"\x00",
):
    """The body of a header, raw field by raw field."""
    return codec + distribution + bitstream + kind + shape + value_range + params + segments


def shape_of(*lengths):
    return bytes([len(lengths)]) + b"".join(map(varint, lengths))


names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", fullmatch=True)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def infos(draw):
    kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    if kind.channels:
        height, width = draw(st.integers(1, 1 << 14)), draw(st.integers(1, 1 << 14))
        return ArrayInfo(kind.name, (height, width, kind.channels))
    shape = tuple(draw(st.lists(st.integers(1, 40), min_size=1, max_size=5)))
    fill = draw(st.none() | st.floats(width=32) | st.integers(0, 100))
    if kind.dtype.startswith(("int", "uint")) and isinstance(fill, float):
        fill = None
    return ArrayInfo(kind.name, shape, (draw(st.floats(allow_nan=False)), draw(st.floats(allow_nan=False))), fill)


headers = st.builds(
    Header,
    codec=names,
    distribution=names,
    bitstream_version=st.integers(0, 1 << 31),
    info=infos(),
    params=st.dictionaries(st.text(max_size=8), json_values, max_size=4),
    weights_digest=st.none() | st.binary(min_size=8, max_size=8),
    symbol_check=st.none() | st.integers(0, (1 << 32) - 1),
    metadata=st.dictionaries(st.text(max_size=8), json_values, max_size=4),
)


@PROPERTY
@given(headers, st.lists(st.binary(max_size=300), max_size=6).map(tuple))
def test_what_is_packed_is_unpacked_and_packs_to_the_same_bytes(header, segments):
    data = pack(header, segments)
    file = unpack(data, max_array_bytes=1 << 40)
    assert file.header == replace(header, segment_lengths=tuple(map(len, segments)))
    assert file.segments == segments
    assert file.header_bytes == len(data) - sum(map(len, segments))
    assert pack(file.header, file.segments) == data


@pytest.fixture
def small_file():
    info = ArrayInfo("image/gray8", (5, 200, 1))
    header = Header("tiny", "other", 3, info, {"q": 7}, weights_digest=b"12345678", symbol_check=99)
    return pack(header, (b"first segment", b"", b"third"))


def test_every_flipped_bit_is_noticed(small_file):
    assert isinstance(unpack(small_file), Container)
    for position in range(len(small_file)):
        for bit in range(8):
            damaged = bytearray(small_file)
            damaged[position] ^= 1 << bit
            with pytest.raises(ContainerError):
                unpack(bytes(damaged))


def test_every_byte_replaced_by_any_other_is_noticed(small_file):
    survivors = [
        (position, value)
        for position in range(len(small_file))
        for value in range(256)
        if value != small_file[position] and opens(small_file[:position] + bytes([value]) + small_file[position + 1 :])
    ]
    assert survivors == []


def opens(data):
    try:
        unpack(data)
    except ContainerError:
        return False
    return True


def test_a_cut_file_is_refused_at_every_length(small_file):
    for length in range(len(small_file)):
        with pytest.raises(ContainerError):
            unpack(small_file[:length])


def test_a_cut_file_is_taken_with_its_whole_segments_where_that_is_asked_for(small_file):
    whole = unpack(small_file)
    taken = {}
    for length in range(whole.header_bytes, len(small_file)):
        file = unpack(small_file[:length], allow_cut=True)
        assert file.header == whole.header
        assert file.missing_bytes == len(small_file) - length
        assert file.segments == whole.segments[: len(file.segments)]
        there = length - whole.header_bytes
        assert file.ends_inside_a_segment == (there not in (0, 13))
        taken[there] = len(file.segments)
    # The second segment is empty: it is there as soon as the first is.
    assert taken == {n: 0 if n < 13 else 2 for n in range(18)}
    assert unpack(small_file, allow_cut=True) == whole
    assert not whole.ends_inside_a_segment


def test_all_other_checks_hold_for_cut_files(small_file):
    header_bytes = unpack(small_file).header_bytes
    for length in range(header_bytes):
        with pytest.raises(ContainerError):
            unpack(small_file[:length], allow_cut=True)
    for position in range(header_bytes + 13):
        damaged = bytearray(small_file[: header_bytes + 14])
        damaged[position] ^= 1
        with pytest.raises(ContainerError):
            unpack(bytes(damaged), allow_cut=True)
    with pytest.raises(ContainerError, match="1 bytes follow its end"):
        unpack(small_file + b"\0", allow_cut=True)
    with pytest.raises(ContainerError, match="the limit is 9"):
        unpack(small_file[:-1], max_array_bytes=9, allow_cut=True)


def test_a_cut_file_that_announces_much_takes_little_memory():
    data = sealed(body(segments=varint(3) + (varint(1 << 40) + bytes(4)) * 3), tail=b"some")
    tracemalloc.start()
    try:
        file = unpack(data, allow_cut=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (file.segments, file.missing_bytes) == ((), 3 * (1 << 40) - 4)
    assert peak < MEMORY_LIMIT


def test_a_cut_file_says_how_many_segments_are_whole(small_file):
    with pytest.raises(
        ContainerError, match=r"photo\.ctk is damaged: 2 bytes are missing; 2 of 3 segments are whole\."
    ):
        unpack(small_file[:-2], "photo.ctk")


def test_the_first_segments_of_a_file_are_a_file_without_the_check_of_all_symbols(small_file):
    whole = unpack(small_file)
    for count in (1, 2, 3):
        short = unpack(first_segments(whole, count))
        assert short.segments == whole.segments[:count]
        lengths = whole.header.segment_lengths[:count]
        assert short.header == replace(whole.header, symbol_check=None, segment_lengths=lengths)
    for count in (0, 4):
        with pytest.raises(ValueError, match="there are 3 segments"):
            first_segments(whole, count)


def test_parameters_that_cannot_be_written_again_are_a_container_error(small_file):
    # Readers take NaN and half a character, which no file made here holds.
    for value in (float("nan"), "\ud800"):
        file = unpack(small_file)
        for change in ({"params": {"q": value}}, {"metadata": {"q": value}}):
            odd = replace(file, header=replace(file.header, **change))
            with pytest.raises(ContainerError, match=r"photo\.ctk holds what cannot be written again"):
                first_segments(odd, 1, "photo.ctk")


@pytest.mark.parametrize("tail", [b"\0", b"x" * 1000])
def test_bytes_after_the_end_are_refused(small_file, tail):
    with pytest.raises(ContainerError, match=f"{len(tail)} bytes follow its end"):
        unpack(small_file + tail)


def test_a_damaged_segment_is_named(small_file):
    damaged = small_file[:-1] + b"\0"
    with pytest.raises(ContainerError, match=r"photo\.ctk is damaged in segment 3 of 3"):
        unpack(damaged, "photo.ctk")


def test_swapped_segments_of_equal_length_are_refused():
    header = Header("tiny", "codectk-tiny", 1, ArrayInfo("image/gray8", (1, 1, 1)))
    data = pack(header, (b"one", b"two"))
    with pytest.raises(ContainerError, match="segment 1"):
        unpack(data[:-6] + b"twoone")


def nested_params(opening, depth):
    return text(opening * depth)


def described_by(document, length=None):
    """The metadata part around any bytes."""
    return varint(len(document) if length is None else length) + text(zlib.compress(document))


def field_body():
    return body(kind=b"\x04", shape=b"\x01\x05", value_range=bytes(16))


HOSTILE = {
    "shape above any memory": sealed(body(shape=shape_of(1 << 40, 1 << 40, 3))),
    "length above its limit": sealed(body(shape=shape_of(1 << 41, 1, 3))),
    "shape just above the limit": sealed(body(kind=b"\0", shape=shape_of(MAX_ARRAY_BYTES + 1, 1, 1))),
    "length of nothing": sealed(body(shape=shape_of(0, 2, 3))),
    "wrong number of channels": sealed(body(shape=shape_of(2, 2, 4))),
    "picture of rank 2": sealed(body(shape=shape_of(2, 2))),
    "field of rank 0": sealed(body(kind=b"\x04", shape=b"\0", value_range=bytes(16))),
    "field of rank 255": sealed(body(kind=b"\x04", shape=shape_of(*[1] * 255), value_range=bytes(16))),
    "field above any memory": sealed(body(kind=b"\x05", shape=shape_of(*[1 << 40] * 5), value_range=bytes(16))),
    "field without its range": sealed(body(kind=b"\x04", shape=b"\x01\x05")),
    "segment above any memory": sealed(body(segments=b"\x01" + varint(1 << 40) + bytes(4))),
    "segment above its limit": sealed(body(segments=b"\x01" + varint(1 << 41) + bytes(4))),
    "segments that are not there": sealed(body(segments=varint(3) + (varint(1 << 39) + bytes(4)) * 3)),
    "more segments than bytes": sealed(body(segments=varint(1 << 16))),
    "more segments than allowed": sealed(body(segments=varint((1 << 16) + 1) + bytes(5) * 9)),
    "params are a list": sealed(body(params=text(b"[1]"))),
    "params are a number": sealed(body(params=text(b"1"))),
    "params are null": sealed(body(params=text(b"null"))),
    "params are cut": sealed(body(params=text(b'{"q":'))),
    "params are nested lists": sealed(body(params=nested_params(b"[", 60_000))),
    "params are nested objects": sealed(body(params=nested_params(b'{"a":', 13_000))),
    "params hold a number of 60 000 digits": sealed(body(params=text(b'{"q":' + b"9" * 60_000 + b"}"))),
    "params above their limit": sealed(body(params=text(b'{"q":"' + b"x" * (1 << 16) + b'"}'))),
    "params longer than the file": sealed(body(params=varint(1 << 16))),
    "params not UTF-8": sealed(body(params=text(b'{"q":"\xff"}'))),
    "codec not UTF-8": sealed(body(codec=text(b"t\xc3ny"))),
    "codec with half a surrogate pair": sealed(body(codec=text(b"\xed\xa0\x80"))),
    "codec above its limit": sealed(body(codec=text(b"x" * 65))),
    "codec without a name": sealed(body(codec=b"\0")),
    "codec with a newline at its end": sealed(body(codec=text(b"tiny\n"))),
    "codec with an escape sequence": sealed(body(codec=text(b"\x1b[2Jtiny"))),
    "codec with letters that look alike": sealed(body(codec=text("tìny".encode()))),
    "codec that is a path": sealed(body(codec=text(b"../tiny"))),
    "distribution that is an option": sealed(body(distribution=text(b"--pre"))),
    "distribution that is a sentence": sealed(body(distribution=text(b"`pip install evil`"))),
    "distribution that is an address": sealed(body(distribution=text(b"http://example.org/x.whl"))),
    "distribution not UTF-8": sealed(body(distribution=text(b"\xff"))),
    "kind of the future": sealed(body(kind=b"\xc8")),
    "flag of the future": sealed(body(), flags=8),
    "highest flag": sealed(body(), flags=0x80),
    "weights flagged and absent": sealed(body(), flags=1),
    "symbol check flagged and absent": sealed(body(), flags=2),
    "metadata flagged and absent": sealed(body(), flags=4),
    "metadata there and not flagged": sealed(body() + described_by(b"{}")),
    "metadata that are a list": sealed(body() + described_by(b"[1]"), flags=4),
    "metadata that are null": sealed(body() + described_by(b"null"), flags=4),
    "metadata that are cut": sealed(body() + described_by(b'{"metadata":'), flags=4),
    "metadata not UTF-8": sealed(body() + described_by(b'{"metadata":{"a":"\xff"}}'), flags=4),
    "metadata with a key of the future": sealed(body() + described_by(b'{"more":1}'), flags=4),
    "metadata of text": sealed(body() + described_by(b'{"metadata":"text"}'), flags=4),
    "metadata of nested lists": sealed(body() + described_by(b"[" * 900_000), flags=4),
    "metadata of nested objects": sealed(body() + described_by(b'{"metadata":' * 80_000), flags=4),
    "metadata with a number of 100 000 digits": sealed(
        body() + described_by(b'{"metadata":{"a":' + b"9" * 100_000 + b"}}"), flags=4
    ),
    "metadata longer than announced": sealed(body() + described_by(b'{"metadata":{}}', length=14), flags=4),
    "metadata shorter than announced": sealed(body() + described_by(b'{"metadata":{}}', length=16), flags=4),
    "metadata above their limit": sealed(body() + described_by(b"x", length=(1 << 20) + 1), flags=4),
    "metadata that unpack to much more": sealed(body() + described_by(bytes(1 << 25), length=100), flags=4),
    "metadata that unpack to much more than the limit": sealed(
        body() + described_by(bytes(1 << 25), length=1 << 20), flags=4
    ),
    "metadata of nothing that unpack to much": sealed(body() + described_by(bytes(1 << 25), length=0), flags=4),
    "metadata that are no zlib stream": sealed(body() + varint(4) + text(b"text"), flags=4),
    "metadata whose zlib stream is cut": sealed(
        body() + varint(15) + text(zlib.compress(b'{"metadata":{}}')[:-1]), flags=4
    ),
    "metadata with bytes after their stream": sealed(
        body() + varint(15) + text(zlib.compress(b'{"metadata":{}}') + b"x"), flags=4
    ),
    "metadata longer than the file": sealed(body() + varint(100) + varint(100), flags=4),
    "fill value of a picture": sealed(body() + described_by(b'{"fill_value":0}'), flags=4),
    "fill value that is text": sealed(field_body() + described_by(b'{"fill_value":"0"}'), flags=4),
    "fill value that is true": sealed(field_body() + described_by(b'{"fill_value":true}'), flags=4),
    "fill value above the type": sealed(field_body() + described_by(b'{"fill_value":1e300}'), flags=4),
    "fill value of 4000 digits": sealed(field_body() + described_by(b'{"fill_value":' + b"9" * 4000 + b"}"), flags=4),
    "newer container": sealed(body(), version=2),
    "container version 0": sealed(body(), version=0),
    "number in two bytes that fits one": sealed(body(bitstream=b"\x81\x00")),
    "number in six bytes that fits one": sealed(body(bitstream=b"\x81\x80\x80\x80\x80\x00")),
    "number without end": sealed(body(bitstream=b"\xff" * 12)),
    "version above its limit": sealed(body(bitstream=varint((1 << 31) + 1))),
    "header length in two bytes that fits one": sealed(body(), length=bytes([len(body()) | 0x80, 0])),
    "header longer than the file": sealed(body(), length=varint(1 << 20)),
    "header length above its limit": sealed(body(), length=varint(1 << 40)),
    "header length without end": sealed(body(), length=b"\xff" * 12),
    "header with a byte too much": sealed(body() + b"\0"),
    "header with a byte too few": sealed(body()[:-1]),
    "empty header": sealed(b""),
    "nothing": b"",
    "magic alone": b"\x89CTK",
    "another magic": b"\x89PNG" + sealed(body())[4:],
}


def test_the_frame_of_the_hostile_headers_is_itself_readable():
    assert unpack(sealed(body())).header.codec == "tiny"
    at_the_limit = sealed(body(kind=b"\0", shape=shape_of(MAX_ARRAY_BYTES, 1, 1)))
    assert unpack(at_the_limit).header.info.nbytes == MAX_ARRAY_BYTES


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_header_with_valid_check_sums_is_refused_in_little_memory(data):
    tracemalloc.start()
    try:
        with pytest.raises(ContainerError) as caught:
            unpack(data, "hostile.ctk")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_LIMIT
    assert "hostile.ctk" in str(caught.value)


@PROPERTY
@given(st.binary(max_size=120), st.sampled_from(range(8)))
def test_any_header_body_gives_a_container_or_a_container_error(content, flags):
    try:
        file = unpack(sealed(content, flags))
    except ContainerError:
        return
    assert file.header.info.nbytes <= MAX_ARRAY_BYTES


def test_a_number_of_a_million_bytes_is_refused_at_its_ninth():
    with pytest.raises(ContainerError, match="a number that is too long"):
        unpack(sealed(body(bitstream=b"\xff" * 1_000_000)))


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "tiny\n", "\x1b[0m", "-x", ".x", "a/b", "é"])
def test_names_that_readers_refuse_are_not_packed(name):
    header = Header("tiny", "codectk-tiny", 1, ArrayInfo("image/gray8", (1, 1, 1)))
    for wrong in (replace(header, codec=name), replace(header, distribution=name)):
        with pytest.raises(ValueError, match="1 to 64"):
            pack(wrong, ())


def test_names_of_every_usual_form_are_packed_and_read():
    longest = "x" * 64
    pairs = [(longest, longest), ("a.b_c", "My.Fork_2-x"), ("_x", "9z"), (longest, f"codectk-{longest}")]
    for codec, distribution in pairs:
        header = Header(codec, distribution, 1, ArrayInfo("image/gray8", (1, 1, 1)))
        assert unpack(pack(header, ())).header == header


def test_the_limit_of_the_array_can_be_raised():
    data = sealed(body(kind=b"\0", shape=shape_of(MAX_ARRAY_BYTES, 2, 1)))
    with pytest.raises(ContainerError, match="--max-bytes"):
        unpack(data)
    assert unpack(data, max_array_bytes=2 * MAX_ARRAY_BYTES).header.info.nbytes == 2 * MAX_ARRAY_BYTES


def test_the_header_of_a_small_photo_is_under_90_bytes():
    header = Header(
        codec="caesar_freq.compressor",
        distribution="codectk-caesar-freq",
        bitstream_version=1,
        info=ArrayInfo("image/rgb8", (512, 768, 3)),
        params={"q": 37},
        weights_digest=b"12345678",
        symbol_check=0xFFFFFFFF,
    )
    data = pack(header, (bytes(9000), bytes(20000), bytes(70000)))
    assert unpack(data).header_bytes == len(data) - 99000 < 90


# Derived by hand from the layout in `codectk.container`, field by field, and never to be regenerated: files out there
# look like this.
GOLDEN_PHOTO = b"".join(
    [
        b"\x89CTK\x01\x03",  # magic, container version 1, flags: weights digest and symbol check
        b"\x3a",  # 58 bytes up to the header check
        b"\x08my_coder\x07my-fork",  # codec, distribution
        b"\x82\x01",  # bitstream version 130
        b"\x01\x23\x45\x67\x89\xab\xcd\xef",  # weights
        b"\x01\x03\x80\x04\x80\x06\x03",  # image/rgb8 of rank 3: 512, 768, 3
        b'\x07{"q":5}',
        b"\xef\xbe\xad\xde",  # symbol check
        b"\x02\x03\xc2\x41\x24\x35\xc8\x01\x76\xa8\x71\xc9",  # 2 segments: 3 and 200 bytes, each with CRC-32
        b"\xd8\x6e\xe3\x00",  # header check
        b"abc" + bytes(200),
    ]
)
GOLDEN_FIELD = b"".join(
    [
        b"\x89CTK\x01\x00",  # neither weights nor symbol check
        b"\x29",  # 41 bytes
        b"\x0bother.wiser\x00",  # the distribution is the usual one, codectk-other
        b"\x01",
        b"\x04\x02\x03\x02",  # field/f32 of rank 2: 3, 2
        b"\x00\x00\x00\x00\x00\x00\xf8\xbf\x00\x00\x00\x00\x00\x00\x00\x40",  # values from -1.5 to 2
        b"\x00",  # no params
        b"\x01\x02\x72\xfd\xdb\x6c",
        b"\x76\xa7\xa1\x15",
        b"\x00\xff",
    ]
)


def test_a_photo_from_the_first_release_still_opens_and_packs_to_the_same_bytes():
    file = unpack(GOLDEN_PHOTO)
    assert file.header == Header(
        codec="my_coder",
        distribution="my-fork",
        bitstream_version=130,
        info=ArrayInfo("image/rgb8", (512, 768, 3)),
        params={"q": 5},
        segment_lengths=(3, 200),
        weights_digest=bytes.fromhex("0123456789abcdef"),
        symbol_check=0xDEADBEEF,
    )
    assert file.segments == (b"abc", bytes(200))
    assert pack(file.header, file.segments) == GOLDEN_PHOTO


def test_a_field_from_the_first_release_still_opens_and_packs_to_the_same_bytes():
    file = unpack(GOLDEN_FIELD)
    info = ArrayInfo("field/f32", (3, 2), (-1.5, 2.0))
    assert file.header == Header("other.wiser", "codectk-other", 1, info, {}, (2,))
    assert file.segments == (b"\x00\xff",)
    assert pack(file.header, file.segments) == GOLDEN_FIELD


GOLDEN_DESCRIBED = b"".join(
    [
        b"\x89CTK\x01\x04",  # metadata
        b"\x5f",  # 95 bytes
        b"\x0bother.wiser\x00\x01",
        b"\x08\x01\x02",  # field/i16 of rank 1: 2
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x40",  # values from 0 to 2
        b"\x00",  # no params
        b"\x00",  # no segments
        b"\x2f\x3a",  # 47 bytes of JSON in 58
        b"\x78\x01\x01\x2f\x00\xd0\xff",  # a zlib stream of one stored block
        b'{"fill_value":-9999,"metadata":{"name":"tide"}}',
        struct.pack(">I", zlib.adler32(b'{"fill_value":-9999,"metadata":{"name":"tide"}}')),
    ]
)


def test_a_field_with_metadata_opens():
    header = unpack(GOLDEN_DESCRIBED + struct.pack("<I", crc32(GOLDEN_DESCRIBED))).header
    info = ArrayInfo("field/i16", (2,), (0.0, 2.0), -9999)
    assert header == Header("other.wiser", "codectk-other", 1, info, metadata={"name": "tide"})


def test_metadata_take_nothing_where_there_are_none_and_are_kept_by_the_first_segments():
    info = ArrayInfo("field/f32", (2,), (0.0, 1.0))
    header = Header("tiny", "codectk-tiny", 1, info)
    described = replace(header, info=replace(info, fill_value=1e20), metadata={"name": "t2m"})
    assert pack(header, ())[5] == 0
    assert len(pack(described, ())) - len(pack(header, ())) < 70
    short = unpack(first_segments(unpack(pack(described, (b"a", b"b"))), 1)).header
    assert (short.info, short.metadata) == (described.info, described.metadata)


def test_canonical_json_is_the_same_for_equal_values():
    assert canonical_json({"b": [1, 2.5], "a": "é"}) == '{"a":"é","b":[1,2.5]}'
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            canonical_json({"q": value})


@pytest.mark.parametrize(
    "change",
    [{"params": {"text": "x" * 70_000}}, {"weights_digest": b"short"}, {"metadata": {"text": "x" * (1 << 20)}}],
)
def test_what_readers_would_refuse_is_not_packed(change):
    info = ArrayInfo("image/rgb8", (2, 2, 3))
    with pytest.raises(ValueError, match=r"at most|at least"):
        pack(Header("mine", "codectk-mine", 1, info, **change), ())


def test_empty_params_take_one_byte():
    header = Header("tiny", "codectk-tiny", 1, ArrayInfo("image/gray8", (1, 1, 1)))
    assert len(pack(replace(header, params={"q": 1}), ())) - len(pack(header, ())) == len('{"q":1}')


def test_container_errors_are_codectk_errors_with_a_next_step():
    with pytest.raises(CodectkError) as caught:
        unpack(b"plain text", "notes.txt")
    assert caught.value.problem == "notes.txt is not a .ctk file."
    assert caught.value.next_step
