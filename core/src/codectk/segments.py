"""Segments of a `.ctk` file one by one, without reading the others."""

from itertools import accumulate
from typing import BinaryIO
from zlib import crc32

from codectk.container import CONTAINER_VERSION, MAGIC, MAX_HEADER, Header, Reader, unpack_header
from codectk.errors import ContainerError

_START = 10
"""Bytes up to and with the longest length of a header."""

_COPY_AGAIN = "Copy or download it again, or compress the original again."


class SegmentReader:
    """The header of an open `.ctk` file, and its segments on demand. Not for several threads at a time.

    Args:
        stream: the file, readable and seekable; it stays the caller's to close.
        source: its name, for messages.

    Attributes:
        header: what the file says about itself. The announced array may be of any size; see `codectk.container`.
        header_bytes: size of the part before the segments.

    Raises:
        ContainerError: not a `.ctk` file, newer than this program, damaged in its header, or with bytes after its end.
            A file that was cut behind its header opens; reading what it lacks is the error.
    """

    def __init__(self, stream: BinaryIO, source: str = "the file") -> None:
        self._stream, self._source = stream, source
        stream.seek(0)
        data = stream.read(_START)
        if data[: len(MAGIC) + 1] == MAGIC + bytes([CONTAINER_VERSION]):  # others have a length elsewhere, if at all
            reader = Reader(data, len(MAGIC) + 2, len(data), source)
            length = reader.varint(MAX_HEADER)
            data += stream.read(max(0, reader.at + length + 4 - len(data)))
        self.header: Header
        self.header, self._checks, self.header_bytes = unpack_header(data, source, 1 << 62)
        self._starts = list(accumulate(self.header.segment_lengths, initial=self.header_bytes))
        self._end = stream.seek(0, 2)
        if self._end > self._starts[-1]:
            raise ContainerError(f"{source} is damaged: bytes follow its end.", _COPY_AGAIN)

    def read(self, i: int) -> bytes:
        """Segment i, 0 <= i < `len(header.segment_lengths)`; nothing else is read.

        Raises:
            ContainerError: it is damaged, or the file was cut before its end.
        """
        place, length = f"segment {i + 1} of {len(self._checks)}", self.header.segment_lengths[i]
        if length and self._starts[i] + length > self._end:  # before so much memory is asked for
            raise ContainerError(f"{self._source} is cut in {place}.", _COPY_AGAIN)
        self._stream.seek(self._starts[i])
        segment = self._stream.read(length)
        if crc32(segment) != self._checks[i]:
            raise ContainerError(f"{self._source} is damaged in {place}.", _COPY_AGAIN)
        return segment
