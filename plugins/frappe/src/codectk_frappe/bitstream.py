"""Latents of one scale group as bytes, as the published method stores them, without its headers: to compare with.

`jpegls`: JPEG-LS of the channels stacked into one plane. `hybrid`: the same, but zstandard of the plain integers for up
to 1024 of them.

A JPEG-LS stream begins with headers that say only what the decoder knows anyway (size, 8 bit, one component, lossless).
They are left out of the segment and put back before decoding, which saves 71 bytes a scale and leaves a hostile file
nothing to lie about.
"""

import struct

import imagecodecs
import numpy as np

from codectk.errors import ContainerError, InputError
from codectk_frappe.analysis import Int8
from codectk_frappe.options import LIMIT

SMALL = 1024
"""Integers that the hybrid gives to zstandard."""
ZSTD_LEVEL = 3
MAX_SIDE = 65535
_END = b"\xff\xd9"


def pack(latent: Int8, hybrid: bool = False) -> bytes:
    """The segment of one scale group.

    Args:
        latent: int8 (n_s, h, w), values in [-127, 127].
        hybrid: see the module.

    Raises:
        InputError: the stacked plane is larger than JPEG-LS can hold.
    """
    count, height, width = latent.shape
    if hybrid and latent.size <= SMALL:
        return bytes(imagecodecs.zstd_encode(latent.tobytes(), level=ZSTD_LEVEL))
    if max(count * height, width) > MAX_SIDE:
        raise InputError(
            f"The picture is too large: a plane of {count * height} x {width} latents passes JPEG-LS's {MAX_SIDE}.",
            "Lower --channels, or cut the picture into parts first.",
        )
    plane = (latent.astype(np.int16) + LIMIT).astype(np.uint8).reshape(count * height, width)
    stream = bytes(imagecodecs.jpegls_encode(plane))
    header = _header(count * height, width)
    start = stream.find(header[2:])
    if start < 0 or not stream.endswith(_END):
        raise RuntimeError("CharLS wrote an unknown JPEG-LS header; install another version of imagecodecs")
    return stream[start + len(header) - 2 : -len(_END)]


def unpack(segment: bytes, count: int, height: int, width: int, hybrid: bool = False) -> Int8:
    """Undo `pack`.

    Args:
        segment: from a file, possibly hostile.
        count, height, width: shape of the latents, known from the picture's size and the weights.
        hybrid: see the module.

    Returns:
        int8 (count, height, width).

    Raises:
        ContainerError: the segment does not hold such a plane.
    """
    if hybrid and count * height * width <= SMALL:
        return _unpack_small(segment, count, height, width)
    try:
        plane = imagecodecs.jpegls_decode(_header(count * height, width) + segment + _END)
    except Exception as error:  # CharLS's error type is not part of imagecodecs' stable interface
        raise ContainerError(f"A segment is not valid JPEG-LS ({error}).", "Compress the original again.") from error
    if plane.shape != (count * height, width) or plane.dtype != np.uint8 or (plane.size and plane.max() > 2 * LIMIT):
        raise ContainerError("A segment holds values that no latent has.", "Compress the original again.")
    return (plane.astype(np.int16) - LIMIT).astype(np.int8).reshape(count, height, width)


def _unpack_small(segment: bytes, count: int, height: int, width: int) -> Int8:
    size = count * height * width
    try:
        data = imagecodecs.zstd_decode(segment, out=size + 1)  # no more is ever allocated
    except Exception as error:  # as above
        raise ContainerError(f"A segment is not valid zstandard ({error}).", "Compress the original again.") from error
    if len(data) != size or (size and b"\x80" in data):
        raise ContainerError("A segment holds values that no latent has.", "Compress the original again.")
    return np.frombuffer(data, np.int8).reshape(count, height, width).copy()


def _header(height: int, width: int) -> bytes:
    """Start of image, frame (8 bit, one component) and scan (lossless) markers, ISO 14495-1 annex C."""
    frame = b"\xff\xf7" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
    scan = b"\xff\xda" + struct.pack(">HB", 8, 1) + b"\x01\x00\x00\x00\x00"
    return b"\xff\xd8" + frame + scan
