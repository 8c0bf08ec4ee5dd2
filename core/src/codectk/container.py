"""The `.ctk` file: a small self-describing header, then segments in order of importance.

Layout, little endian; a varint is LEB128 in its shortest form:

    magic            4 bytes  89 43 54 4B
    container        u8       1
    flags            u8       1: weights digest present, 2: symbol check present, 4: metadata present
    header length    varint   bytes from here to the header check
      codec          text     varint length, UTF-8; names hold 1 to 64 of the characters A-Z a-z 0-9 . _ -
      distribution   text     empty where it is `codectk-` and the codec's name with `-` for `_`
      bitstream      varint   version of the codec's own bytes
      weights        8 bytes  start of the weights' digest, if flagged
      kind           u8       array kind, see `codectk.arrays`
      shape          u8 rank, one varint per axis
      value range    2 × f64  only for kinds without a range of their own
      params         text     canonical JSON; empty where there are none
      symbol check   u32      CRC-32 of the integer symbols, if flagged
      segments       varint count; per segment varint length, u32 CRC-32
      metadata       varint length unpacked, varint length packed, canonical JSON as a zlib stream, if flagged
    header check     u32      CRC-32 of everything before it
    segments         bytes    as many as the lengths say, nothing after them

Everything is checked before anything of the announced size is allocated.
"""

import json
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

from codectk.arrays import KINDS, ArrayInfo, kind_code, kind_from_code
from codectk.errors import CodectkError, ContainerError

MAGIC = b"\x89CTK"
CONTAINER_VERSION = 1
HAS_WEIGHTS = 1
HAS_SYMBOL_CHECK = 2
HAS_METADATA = 4
DIGEST_BYTES = 8

MAX_TEXT = 64
MAX_PARAMS = 1 << 16
MAX_SEGMENTS = 1 << 16
MAX_METADATA = 1 << 20  # bytes, unpacked
MAX_HEADER = 1 << 21
MAX_ARRAY_BYTES = 1 << 31
"""Files that announce a larger array are refused unless the caller raises the limit."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")

_COPY_AGAIN = "Copy or download it again, or compress the original again."


@dataclass(frozen=True)
class Header:
    """All that a `.ctk` file says about itself.

    Attributes:
        codec, distribution: which codec wrote it and which distribution holds that codec.
        bitstream_version: version of the codec's own bytes.
        info: kind and shape of the original array.
        params: what the codec's decoder needs besides the segments; defaults are left out.
        segment_lengths: bytes per segment.
        weights_digest: first 8 bytes of the digest of the weights, or None for a codec without weights.
        symbol_check: CRC-32 of the integer symbols, or None.
        metadata: what belongs to the array besides its values, unchecked JSON; see `codectk.fields.metadata`.
    """

    codec: str
    distribution: str
    bitstream_version: int
    info: ArrayInfo
    params: dict[str, Any] = field(default_factory=dict)
    segment_lengths: tuple[int, ...] = ()
    weights_digest: bytes | None = None
    symbol_check: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Container:
    """A `.ctk` file in memory.

    Attributes:
        header: what the file says about itself.
        header_bytes: size of the part before the segments.
        segments: the segments, all of them checked; of a file that was cut only those that are whole.
        missing_bytes: how many bytes a file that was cut lacks; 0 for a whole one.
    """

    header: Header
    header_bytes: int
    segments: tuple[bytes, ...]
    missing_bytes: int = 0

    @property
    def ends_inside_a_segment(self) -> bool:
        """Whether a file that was cut holds a part of the segment after the last whole one."""
        return 0 < self.missing_bytes != sum(self.header.segment_lengths[len(self.segments) :])

    def cut_error(self, source: str, next_step: str = _COPY_AGAIN) -> ContainerError:
        """The error that says what a file that was cut lacks, and how many whole segments are there."""
        there, all_of_them = len(self.segments), len(self.header.segment_lengths)
        missing = f"{self.missing_bytes} bytes are missing; {there} of {all_of_them} segments are whole"
        return ContainerError(f"{source} is damaged: {missing}.", next_step)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    Raises:
        ValueError: the value holds NaN or infinity, which JSON cannot.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def default_distribution(codec: str) -> str:
    """The distribution that a codec is expected in."""
    return "codectk-" + codec.partition(".")[0].replace("_", "-")


def pack(header: Header, segments: tuple[bytes, ...]) -> bytes:
    """The bytes of a `.ctk` file. `header.segment_lengths` is taken from `segments`.

    Raises:
        ValueError: readers would refuse the file: a name of the codec or its distribution, params that are no JSON or
            too long, a digest that is too short, metadata that are no JSON or too long.
    """
    metadata = _pack_metadata(header)
    flags = HAS_WEIGHTS * (header.weights_digest is not None) | HAS_SYMBOL_CHECK * (header.symbol_check is not None)
    flags |= HAS_METADATA * bool(metadata)
    usual = header.distribution == default_distribution(header.codec)
    for name in (header.codec,) if usual else (header.codec, header.distribution):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not 1 to {MAX_TEXT} of the characters A-Z a-z 0-9 . _ -")
    params = canonical_json(header.params).encode() if header.params else b""
    if len(params) > MAX_PARAMS:
        raise ValueError(f"params take {len(params)} bytes; at most {MAX_PARAMS} are read")
    if header.weights_digest is not None and len(header.weights_digest) < DIGEST_BYTES:
        raise ValueError(f"a weights digest has at least {DIGEST_BYTES} bytes")
    body = b"".join(
        [
            _text(header.codec.encode()),
            _text(b"" if usual else header.distribution.encode()),
            varint(header.bitstream_version),
            (header.weights_digest or b"")[:DIGEST_BYTES],
            bytes([kind_code(header.info.kind), len(header.info.shape)]),
            *(varint(length) for length in header.info.shape),
            _pack_range(header.info),
            _text(params),
            b"" if header.symbol_check is None else struct.pack("<I", header.symbol_check),
            varint(len(segments)),
            *(varint(len(segment)) + struct.pack("<I", crc32(segment)) for segment in segments),
            metadata,
        ]
    )
    head = MAGIC + bytes([CONTAINER_VERSION, flags]) + varint(len(body)) + body
    return b"".join([head, struct.pack("<I", crc32(head)), *segments])


def unpack(
    data: bytes, source: str = "the file", max_array_bytes: int = MAX_ARRAY_BYTES, allow_cut: bool = False
) -> Container:
    """Read and check a whole `.ctk` file.

    Args:
        data: the file's bytes.
        source: the file's name, for messages.
        max_array_bytes: refuse files that announce a larger array than this.
        allow_cut: take a file that ends too early, behind its header, with the segments that are whole. Only a
            progressive codec can do anything with them.

    Raises:
        ContainerError: not a `.ctk` file, newer than this program, damaged, cut, or with bytes after its end.
    """
    header, checks, at = unpack_header(data, source, max_array_bytes)
    missing = at + sum(header.segment_lengths) - len(data)
    if missing < 0:
        raise ContainerError(f"{source} is damaged: {-missing} bytes follow its end.", _COPY_AGAIN)
    segments: list[bytes] = []
    start = at
    for number, (length, check) in enumerate(zip(header.segment_lengths, checks, strict=True)):
        if start + length > len(data):
            break
        segments.append(data[start : start + length])
        start += length
        if crc32(segments[-1]) != check:
            raise ContainerError(f"{source} is damaged in segment {number + 1} of {len(checks)}.", _COPY_AGAIN)
    file = Container(header, at, tuple(segments), missing)
    if missing and not allow_cut:
        raise file.cut_error(source)
    return file


def read_header(data: bytes, source: str = "the file") -> Header:
    """The header of a `.ctk` file, from its first `MAX_HEADER` bytes or more; what follows it is not looked at.

    Raises:
        ContainerError: not a `.ctk` file, newer than this program, or damaged.
    """
    return unpack_header(data, source, 1 << 62)[0]


def first_segments(file: Container, count: int, source: str = "the file") -> bytes:
    """The bytes of the file that holds the first segments of another alone.

    It decodes to what these segments of the other decode to. The check of the symbols speaks of all segments and is
    left out; each segment keeps its own.

    Args:
        file: a file of a progressive codec, from `unpack`.
        count: how many segments, 1 to `len(file.segments)`.
        source: the file's name, for messages.

    Raises:
        ContainerError: its parameters are such that they cannot be written.
        ValueError: there are not so many segments.
    """
    if not 1 <= count <= len(file.segments):
        raise ValueError(f"there are {len(file.segments)} segments, not {count}")
    try:
        return pack(replace(file.header, symbol_check=None), file.segments[:count])
    except (ValueError, RecursionError) as error:
        raise ContainerError(f"{source} holds what cannot be written again ({error}).", _COPY_AGAIN) from None


def unpack_header(data: bytes, source: str, max_array_bytes: int) -> tuple[Header, list[int], int]:
    """The header, the check sums of the segments, and where these begin; see `unpack`."""
    if data[: len(MAGIC)] != MAGIC:
        raise ContainerError(f"{source} is not a .ctk file.", "Compress a file with `codectk compress` to make one.")
    reader = Reader(data, len(MAGIC), len(data), source)
    version = reader.byte()
    if version != CONTAINER_VERSION:
        raise ContainerError(
            f"{source} has container version {version}; this codectk reads {CONTAINER_VERSION}.",
            "If the file is not damaged, update codectk-core.",
        )
    flags = reader.byte()
    length = reader.varint(MAX_HEADER)
    end = reader.at + length
    check = Reader(data, end, len(data), source).u32()
    if crc32(data[:end]) != check:
        raise ContainerError(f"{source} is damaged: its header does not match its check sum.", _COPY_AGAIN)
    if flags & ~(HAS_WEIGHTS | HAS_SYMBOL_CHECK | HAS_METADATA):
        raise ContainerError(f"{source} uses features that this codectk does not know.", "Update codectk-core.")
    body = Reader(data, reader.at, end, source)
    header, checks = _unpack_body(body, flags, source)
    if body.at != end:
        raise ContainerError(f"{source} has a header of the wrong length.", _COPY_AGAIN)
    if header.info.nbytes > max_array_bytes:
        raise ContainerError(
            f"{source} announces an array of {header.info.nbytes} bytes; the limit is {max_array_bytes}.",
            "If you trust the file, raise the limit with --max-bytes.",
        )
    return header, checks, end + 4


def _unpack_body(reader: "Reader", flags: int, source: str) -> tuple[Header, list[int]]:
    codec = reader.name()
    distribution = reader.name(default_distribution(codec))
    bitstream_version = reader.varint(1 << 31)
    digest = reader.bytes(DIGEST_BYTES) if flags & HAS_WEIGHTS else None
    info = _unpack_info(reader, source)
    params = _unpack_params(reader.text(MAX_PARAMS), source)
    symbol_check = reader.u32() if flags & HAS_SYMBOL_CHECK else None
    segments = [(reader.varint(1 << 40), reader.u32()) for _ in range(reader.varint(MAX_SEGMENTS))]
    lengths, checks = tuple(length for length, _ in segments), [check for _, check in segments]
    header = Header(codec, distribution, bitstream_version, info, params, lengths, digest, symbol_check)
    return (_with_metadata(header, reader, source) if flags & HAS_METADATA else header), checks


def _unpack_info(reader: "Reader", source: str) -> ArrayInfo:
    code = reader.byte()
    kind = kind_from_code(code)
    if kind is None:
        raise ContainerError(f"{source} holds an array of unknown kind {code}.", "Update codectk-core.")
    shape = tuple(reader.varint(1 << 40) for _ in range(reader.byte()))
    value_range = None if kind.value_range else struct.unpack("<dd", reader.bytes(16))
    try:
        return ArrayInfo(kind.name, shape, value_range)
    except CodectkError as error:
        raise ContainerError(f"{source} is damaged: {error.problem}", _COPY_AGAIN) from None


def _unpack_params(text: str, source: str) -> dict[str, Any]:
    try:
        params = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        params = None
    if not isinstance(params, dict):
        raise ContainerError(f"{source} has parameters that are not a JSON object.", _COPY_AGAIN)
    return params


def _pack_metadata(header: Header) -> bytes:
    """The header's last part; empty where there is nothing to say."""
    document: dict[str, Any] = {"metadata": dict(header.metadata)} if header.metadata else {}
    if header.info.fill_value is not None:
        document["fill_value"] = header.info.fill_value
    if not document:
        return b""
    text = canonical_json(document).encode()
    if len(text) > MAX_METADATA:
        raise ValueError(f"metadata take {len(text)} bytes; at most {MAX_METADATA} are read")
    packed = zlib.compress(text, 9)
    return varint(len(text)) + varint(len(packed)) + packed


def _with_metadata(header: Header, reader: "Reader", source: str) -> Header:
    length = reader.varint(MAX_METADATA)
    packed = reader.bytes(reader.varint(MAX_METADATA))
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(packed, length + 1)  # a bomb gives one byte too much, not all that it could
        if not stream.eof or stream.unused_data or len(text) != length:
            raise ValueError("not of the length that was announced")
        document = json.loads(text.decode())
        metadata = document.get("metadata", {})  # what a reader makes of it, it checks
        if not isinstance(metadata, dict) or not document.keys() <= {"metadata", "fill_value"}:
            raise ValueError("of another form")
        return replace(header, info=replace(header.info, fill_value=document.get("fill_value")), metadata=metadata)
    except (ValueError, AttributeError, RecursionError, zlib.error, CodectkError):
        raise ContainerError(f"{source} has metadata that make no sense.", _COPY_AGAIN) from None


def _pack_range(info: ArrayInfo) -> bytes:
    return b"" if KINDS[info.kind].value_range else struct.pack("<dd", *(info.value_range or (0.0, 0.0)))


def varint(value: int) -> bytes:
    """A number of 0 or more as LEB128, in its shortest form."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _text(data: bytes) -> bytes:
    return varint(len(data)) + data


class Reader:
    """Reads values from `data[at:end]`; whatever is missing or out of bounds is a `ContainerError`."""

    def __init__(self, data: bytes, at: int, end: int, source: str) -> None:
        self.data, self.at, self.end, self.source = data, at, end, source

    def bytes(self, count: int) -> bytes:
        """So many bytes."""
        if count > self.end - self.at:
            raise ContainerError(f"{self.source} is cut off inside its header.", _COPY_AGAIN)
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        """A number of 8 bits."""
        return self.bytes(1)[0]

    def u32(self) -> int:
        """A number of 32 bits."""
        return int.from_bytes(self.bytes(4), "little")

    def varint(self, limit: int) -> int:
        """A number in LEB128, in its shortest form, of at most `limit`."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
            if shift > 56:
                raise ContainerError(f"{self.source} holds a number that is too long.", _COPY_AGAIN)
        if (byte == 0 and shift > 7) or value > limit:
            raise ContainerError(f"{self.source} holds a number out of bounds.", _COPY_AGAIN)
        return value

    def name(self, default: str = "") -> str:
        """A name. It is shown, also within commands to type, so it is plain whatever the file is."""
        text = self.text(MAX_TEXT)
        if not _NAME.fullmatch(text) and (text or not default):
            raise ContainerError(
                f"{self.source} names a codec or distribution by a name that no plugin has.", _COPY_AGAIN
            )
        return text or default

    def text(self, limit: int) -> str:
        """UTF-8 of at most `limit` bytes, behind their number."""
        try:
            return self.bytes(self.varint(limit)).decode()
        except UnicodeDecodeError:
            raise ContainerError(f"{self.source} holds text that is not UTF-8.", _COPY_AGAIN) from None
