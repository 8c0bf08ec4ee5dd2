"""Segments of a file one by one: as in the whole file, and no byte more is read."""

import io
import tracemalloc
from pathlib import Path
from zlib import crc32

import pytest

from codectk import ArrayInfo
from codectk.container import Header, pack, unpack
from codectk.errors import ContainerError
from codectk.segments import SegmentReader

SEGMENTS = (b"first", b"", bytes(range(200)), b"last")
HUGE = b"\x80\x80\x80\x80\x80\x20" + bytes(4)
"""A length of 2^40, and a check sum."""


class Counted(io.BytesIO):
    """A file that knows which of its bytes were read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.places: set[int] = set()

    def read(self, size: int | None = -1) -> bytes:
        start = self.tell()
        data = super().read(size)
        self.places |= set(range(start, start + len(data)))
        return data


def packed(**changes: object) -> bytes:
    """A file whose header is longer than what is read of it first."""
    header = Header("tiny", "codectk-tiny", 1, ArrayInfo("field/f32", (3, 4)), {"step": 2}, **changes)  # type: ignore[arg-type]
    return pack(header, SEGMENTS)


@pytest.mark.parametrize("changes", [{}, {"metadata": {"name": "x" * 5000}}])
def test_header_and_segments_are_those_of_the_whole_file(changes: dict[str, object]) -> None:
    whole = unpack(packed(**changes))
    reader = SegmentReader(io.BytesIO(packed(**changes)))
    assert reader.header == whole.header and reader.header_bytes == whole.header_bytes
    assert tuple(map(reader.read, (3, 1, 0, 2))) == (b"last", b"", b"first", SEGMENTS[2])


def test_no_byte_is_read_besides_the_header_and_what_is_asked_for() -> None:
    stream = Counted(packed())
    reader = SegmentReader(stream)
    assert stream.places == set(range(reader.header_bytes))
    reader.read(3)
    assert stream.places == set(range(reader.header_bytes)) | set(range(len(packed()) - 4, len(packed())))


def test_a_damaged_segment_is_an_error_when_it_is_read_and_only_then() -> None:
    data = bytearray(packed())
    data[-1] ^= 1
    reader = SegmentReader(io.BytesIO(bytes(data)), "x.ctk")
    assert reader.read(0) == b"first"
    with pytest.raises(ContainerError, match=r"x\.ctk is damaged in segment 4 of 4"):
        reader.read(3)


def test_of_a_file_that_was_cut_whole_segments_can_be_read() -> None:
    reader = SegmentReader(io.BytesIO(packed()[:-201]), "x.ctk")
    assert (reader.read(0), reader.read(1)) == (b"first", b"")
    reader = SegmentReader(io.BytesIO(packed()[:-1]), "x.ctk")
    assert reader.read(2) == SEGMENTS[2]
    with pytest.raises(ContainerError, match=r"x\.ctk is cut in segment 4 of 4"):
        reader.read(3)


def test_what_is_no_such_file_is_an_error() -> None:
    good = packed()
    for data in (b"", good[:3], good[:7], good[:20], b"PK" + good, good[:4] + b"\x07" + good[5:], good + b"\0"):
        with pytest.raises(ContainerError):
            SegmentReader(io.BytesIO(data))
    damaged = bytearray(good)
    damaged[12] ^= 1
    with pytest.raises(ContainerError, match="check sum"):
        SegmentReader(io.BytesIO(bytes(damaged)))


def test_a_segment_that_the_file_cannot_hold_is_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x.ctk"
    body = unpack(packed())
    lengths = packed()[: body.header_bytes - 4].replace(b"\xc8\x01" + crc32(SEGMENTS[2]).to_bytes(4, "little"), HUGE)
    path.write_bytes(lengths[:6] + bytes([lengths[6] + 4]) + lengths[7:])
    path.write_bytes(path.read_bytes() + crc32(path.read_bytes()).to_bytes(4, "little"))
    with path.open("rb") as stream:
        reader = SegmentReader(stream)
        assert reader.header.segment_lengths[2] == 1 << 40
        tracemalloc.start()
        with pytest.raises(ContainerError, match="cut in segment 3"):
            reader.read(2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 20
