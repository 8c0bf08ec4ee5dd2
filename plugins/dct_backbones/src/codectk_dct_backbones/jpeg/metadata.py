"""What a JPEG file says besides its picture, in segments of applications (APPn) and comments (COM): taken, kept, named.

Kept are segments as they are, one after the other: density, EXIF, XMP, colour profile, comments, whatever programs put
there. Left out is what names other bytes of the file by their place (MPF, of further pictures), and what stands behind
the first scan's begin.
"""

import re
import zlib
from collections.abc import Iterator

from codectk.errors import ContainerError

MOST_BYTES = 1 << 24
"""Of all segments together; the largest colour profile fits."""

_START_OF_SCAN, _END, _COMMENT, _ADOBE = 0xDA, 0xD9, 0xFE, 0xEE
_KEPT = frozenset((*range(0xE0, 0xF0), _COMMENT))
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
"""Of segments: not of restarts and TEM, which have none, nor the zeros behind FF within a scan."""

_FURTHER_PICTURES = (0xE2, b"MPF\0")
_NAMES = {
    (0xE0, b"JFIF\0"): "density",
    (0xE1, b"Exif\0"): "EXIF",
    (0xE1, b"http://ns.adobe.com/"): "XMP",
    (0xE2, b"ICC_PROFILE\0"): "colour profile",
    (0xED, b"Photoshop"): "Photoshop's data",
    (_COMMENT, b""): "comment",
}
_USUAL = (
    b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>\xff\xe2ICC_PROFILE\0\x01\x01'
    b"\xff\xe1Exif\0\0II*\0\x08\0\0\0\xff\xe1Exif\0\0MM\0*\0\0\0\x08\xff\xe0\0\x10JFIF\0\x01\x01\x01\0\x48\0\x48\0\0"
)
"""What streams are taken to follow; part of their format."""


def taken(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The segments to keep, one after the other, and in words what else the file holds besides its picture.

    Args:
        data: a JPEG file that was read without an error.
    """
    kept: list[bytes] = []
    left_out: dict[str, None] = {}
    at, in_scans = 2, False
    while (marker := _MARKER.search(data, at)) and (code := data[marker.end() - 1]) != _END:
        at = marker.end() + max(2, int.from_bytes(data[marker.end() : marker.end() + 2], "big"))
        in_scans = in_scans or code == _START_OF_SCAN
        if code not in _KEPT:
            continue
        if code == _FURTHER_PICTURES[0] and data.startswith(_FURTHER_PICTURES[1], marker.end() + 2):
            left_out["the place of further pictures"] = None
        elif in_scans:
            left_out["what stands between scans"] = None
        else:
            kept.append(data[marker.start() : at])
    if marker and data[marker.end() :].strip(b"\0"):
        left_out["what follows the picture"] = None
    return b"".join(kept), tuple(left_out)


def without_colour(segments: bytes) -> bytes:
    """All segments but Adobe's, which says how red, green and blue became planes."""
    return b"".join(segment for segment in _each(segments) if segment[1] != _ADOBE)


def profile(segments: bytes) -> bytes | None:
    """ICC's profile of the colours; None if there is none, or not all parts of it."""
    parts = sorted(part for part in _each(segments) if _is_profile(part))
    return b"".join(part[18:] for part in parts) if parts and parts[0][17] == len(parts) else None


def profile_alone(segments: bytes) -> bytes:
    """The segments of a profile."""
    return b"".join(segment for segment in _each(segments) if _is_profile(segment))


def _is_profile(segment: bytes) -> bool:
    return segment[1] == 0xE2 and segment.startswith(b"ICC_PROFILE\0", 4) and len(segment) >= 18


def pack(segments: bytes) -> bytes:
    """Segments as a raw stream of Deflate."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=_USUAL)
    return stream.compress(segments) + stream.flush()


def unpack(packed: bytes) -> bytes:
    """What `pack` was given.

    Args:
        packed: as read from a file, which may be hostile.

    Raises:
        ContainerError: it is damaged, holds nothing, other segments than those that are kept, or too much.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS, zdict=_USUAL)
    try:
        segments = stream.decompress(packed, MOST_BYTES + 1)
        whole = stream.eof and 0 < len(segments) <= MOST_BYTES
        if not whole or not all(_is_right(segment) for segment in _each(segments)):
            raise ValueError("not of the form that is written")
    except (ValueError, zlib.error):
        raise ContainerError(
            "The metadata are damaged.", "Copy or download the file again, or decode the segments before the last."
        ) from None
    return segments


def sizes(segments: bytes) -> dict[str, int]:
    """Bytes by what they hold, such as "EXIF"; of unknown programs by marker, such as "APP5"."""
    found: dict[str, int] = {}
    for segment in _each(segments):
        code = segment[1]
        known = (name for (of, start), name in _NAMES.items() if of == code and segment.startswith(start, 4))
        name = next(known, f"APP{code - 0xE0}")
        found[name] = found.get(name, 0) + len(segment)
    return found


def _each(segments: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(segments):
        end = at + 2 + max(2, int.from_bytes(segments[at + 2 : at + 4], "big"))
        yield segments[at:end]
        at = end


def _is_right(segment: bytes) -> bool:
    """Whether it has a marker that is kept, and as many bytes as it says."""
    right = len(segment) >= 4 and segment[0] == 0xFF and segment[1] in _KEPT
    return right and int.from_bytes(segment[2:4], "big") == len(segment) - 2
