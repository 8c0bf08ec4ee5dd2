"""What a picture file says about its size, read before a library is allowed to allocate anything.

Pillow's own reading of a header is not always what the library below it goes by: libjpeg, libwebp, OpenJPEG and dav1d
each read the size again from the coded data, and a hostile file can tell them something else. The functions here are
strict instead: they accept the structure that the encoders of this plugin write, find the size where the library finds
it, and refuse everything else.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from codectk.arrays import ArrayInfo
from codectk.codec import Encoded
from codectk.errors import CodectkError, ContainerError, InputError

JPEG_FRAMES = frozenset((0xC0, 0xC1, 0xC2))
"""Baseline, extended and progressive JPEG with Huffman codes."""

JPEG_LS_FRAMES = frozenset((0xF7,))

_COPY_AGAIN = "Copy or download the file again, or compress the original again."


@dataclass(frozen=True)
class Frame:
    """Size of a coded picture in pixels, channels, and bits per sample; None where the header does not say."""

    width: int
    height: int
    channels: int | None = None
    bits: int | None = None


def damaged(format_name: str, reason: str) -> ContainerError:
    """The error for a segment that does not hold the picture that its file announces."""
    return ContainerError(f"The {format_name} data is damaged: {reason}.", _COPY_AGAIN)


@contextmanager
def plain_errors(format_name: str) -> Iterator[None]:
    """Turn whatever a decoder raises on hostile bytes into a `ContainerError`."""
    try:
        yield
    except CodectkError:
        raise
    except Exception as error:  # SyntaxError, struct.error, OSError, zlib.error, MemoryError, …
        raise damaged(format_name, str(error).strip().rstrip(".") or type(error).__name__) from error


def only_segment(encoded: Encoded, format_name: str) -> bytes:
    """The one segment of a file.

    Raises:
        ContainerError: there is none, or more than one.
    """
    if len(encoded.segments) != 1:
        raise damaged(format_name, f"there are {len(encoded.segments)} segments instead of one")
    return encoded.segments[0]


def require_frame(format_name: str, found: Frame, info: ArrayInfo) -> None:
    """Compare a coded picture's size with the one that its `.ctk` file announces.

    Raises:
        ContainerError: they differ.
    """
    height, width, channels = info.shape
    bits = np.dtype(info.dtype).itemsize * 8
    wanted = Frame(width, height, None if found.channels is None else channels, None if found.bits is None else bits)
    if found != wanted:
        raise damaged(format_name, f"it holds {_words(found)} where {_words(wanted)} are announced")


def require_size(format_name: str, info: ArrayInfo, longest_side: int, most_pixels: int | None = None) -> None:
    """Check before encoding that a format can hold a picture of this size.

    Raises:
        InputError: a side is longer than `longest_side` pixels, or there are more pixels than `most_pixels`.
    """
    height, width, _ = info.shape
    limit = ""
    if max(height, width) > longest_side:
        limit = f"{longest_side} pixels a side"
    elif most_pixels is not None and height * width > most_pixels:
        limit = f"{most_pixels} pixels"
    if limit:
        raise InputError(
            f"{format_name} holds at most {limit}; this picture has {width} × {height}.",
            "Cut it into smaller pictures, or choose another codec, such as png.",
        )


def jpeg_frame(data: bytes, format_name: str, frames: frozenset[int]) -> Frame:
    """The frame header of a JPEG or JPEG-LS file.

    Args:
        data: the file.
        format_name: for messages.
        frames: second bytes of the start-of-frame markers to accept.

    Raises:
        ContainerError: the bytes before the frame header are not a plain sequence of marker segments.

    Source: ITU-T T.81, annex B.
    """
    at = 2
    while data[:2] == b"\xff\xd8" and data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in frames and length >= 8 and at + 10 <= len(data):
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            return Frame(width, height, channels, bits)
        # Parameters without a length, the other frame headers, and the start of a scan cannot stand here.
        tables = marker in (0xC4, 0xDB, 0xDD, 0xF8, 0xFE) or 0xE0 <= marker <= 0xEF
        if not tables or length < 2:
            break
        at += 2 + length
    raise damaged(format_name, "it has no readable frame header")


def webp_frame(data: bytes) -> Frame:
    """The canvas of a WebP file.

    Raises:
        ContainerError: the file does not start like a WebP file.

    Source: RFC 9649, sections 2.4 to 2.7 and 3.4.
    """
    chunk = data[12:16] if len(data) >= 30 and data[:4] == b"RIFF" and data[8:12] == b"WEBP" else b""
    if chunk == b"VP8X":
        return Frame(*(1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27)))
    if chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return Frame(*(int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28)))
    if chunk == b"VP8L" and data[20:21] == b"\x2f":
        bits = int.from_bytes(data[21:25], "little")
        return Frame(1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF))
    raise damaged("WebP", "it has no readable frame header")


def jpeg2000_frame(data: bytes) -> Frame:
    """The image size of a JPEG 2000 code stream of one tile with one tile-part and precincts of the usual size.

    Many small tiles or precincts would make OpenJPEG allocate hundreds of times the picture's size.

    Raises:
        ContainerError: it is not such a code stream.

    Source: ITU-T T.800, annex A.
    """
    if data[:4] != b"\xff\x4f\xff\x51" or len(data) < 42:
        raise damaged("JPEG 2000", "it is not a code stream")
    length, _, width, height, left, top, tile_width, tile_height, tile_left, tile_top, channels = struct.unpack_from(
        ">HHIIIIIIIIH", data, 4
    )
    components = data[42 : 42 + 3 * channels]
    bits = components[0] + 1 if components else 0
    one_tile = tile_width >= width and tile_height >= height and not (left or top or tile_left or tile_top)
    if not one_tile or length != 38 + 3 * channels or components != bytes(((bits - 1) & 0xFF, 1, 1)) * channels:
        raise damaged("JPEG 2000", "its image header is not that of one tile")
    at = 4 + length
    while data[at : at + 2] in (b"\xff\x52", b"\xff\x5c", b"\xff\x64") and at + 5 <= len(data):
        if data[at : at + 2] == b"\xff\x52" and data[at + 4] & 1:
            raise damaged("JPEG 2000", "its precincts are not of the usual size")
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    part_length = int.from_bytes(data[at + 6 : at + 10], "big")
    if data[at : at + 4] + data[at + 12 : at + 14] != b"\xff\x90\x00\x0a\xff\x93" or at + part_length + 2 != len(data):
        raise damaged("JPEG 2000", "it is cut, or not of one tile-part")
    return Frame(width, height, channels, bits)


def _words(frame: Frame) -> str:
    channels = "" if frame.channels is None else f" × {frame.channels}"
    return f"{frame.width} × {frame.height}{channels} samples" + (
        "" if frame.bits is None else f" of {frame.bits} bits"
    )
