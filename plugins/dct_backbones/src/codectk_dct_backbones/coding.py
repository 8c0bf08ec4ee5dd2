"""Coefficients of a picture as params and segments of a `.ctk` file, and back.

JpegFile ─ drop what the budget leaves out ─ one stream a plane ─> params, segments <─ metadata
params, segments, size of the picture ─> JpegFile, metadata ─> JPEG file, or pixels

Params, each left out where it has its usual value: `quality` (without it, the first segment begins with the tables),
`kept` (counts of Y, Cb and Cr; usually all 64), `sampling` (factors h, v of each plane; usually those of 4:2:0),
`colour` ("ycc"), `orientation` (1), `progressive` (false). The tables are a zlib stream behind its length (u16): 64
steps (u16, little endian) of each plane in natural order. One segment more than there are planes holds metadata, see
`jpeg.metadata`; bitstream version 1 has none.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from codectk.arrays import Array, ArrayInfo
from codectk.codec import Encoded, symbol_check
from codectk.errors import ContainerError, InputError
from codectk_dct_backbones import quality as tables_by
from codectk_dct_backbones.budget import COEFFICIENTS, Budget, channels
from codectk_dct_backbones.jpeg import metadata as metadata_by
from codectk_dct_backbones.jpeg.file import COLOURS, Colour, JpegFile, Plane
from codectk_dct_backbones.native_entropy import (
    Blocks,
    Pixels,
    Table,
    decode_planes,
    encode_planes,
    enlarge,
    rgb,
    samples,
)

Factors = tuple[tuple[int, int], ...]
"""Sampling factors h, v of each plane."""

USUAL: dict[int, Factors] = {1: ((1, 1),), 3: ((2, 2), (1, 1), (1, 1))}
TURNED = 5
"""Orientations from this on exchange height and width."""

MOST_PADDING = 1 << 24
"""Coefficients of blocks outside the picture; only strips of a million pixels' length and more have so many."""

_DAMAGED = "Copy or download the file again."


def pack(file: JpegFile, budget: Budget, metadata: bytes = b"") -> Encoded:
    """Params and segments of a picture's coefficients, of those that the budget keeps.

    Args:
        file: the picture.
        budget: which coefficients are kept.
        metadata: segments to keep beside it, see `jpeg.metadata`.

    Raises:
        CodectkError: the streams would be larger than the coefficients.
    """
    counts = budget.counts[: len(file.planes)]
    tables = [plane.table for plane in file.planes]
    blocks = [_kept_blocks(plane.blocks, count) for plane, count in zip(file.planes, counts, strict=True)]
    streams = list(encode_planes(blocks, tables, [kept_mask(count) for count in counts]))
    factors = sampling_of(file)
    quality = tables_by.quality_of(tables)
    params: dict[str, Any] = {
        "quality": quality,
        "kept": list(counts) if min(counts) < COEFFICIENTS else None,
        "sampling": [list(pair) for pair in factors] if factors != USUAL[len(factors)] else None,
        "colour": file.colour if file.colour != "ycc" else None,
        "orientation": file.orientation if file.orientation != 1 else None,
        "progressive": file.progressive or None,
    }
    if quality is None:
        packed = zlib.compress(np.stack(tables).astype("<u2").tobytes(), 9)
        streams[0] = len(packed).to_bytes(2, "little") + packed + streams[0]
    if metadata:
        streams.append(metadata_by.pack(metadata))
    stored = {name: value for name, value in params.items() if value is not None}
    return Encoded(stored, tuple(streams), symbol_check(*blocks))


def unpack(encoded: Encoded, info: ArrayInfo) -> tuple[JpegFile, bytes]:
    """The coefficients of a picture and its metadata; planes whose segments are missing are 0.

    Args:
        encoded: of `pack`, as read from a file, which may be hostile.
        info: kind and shape of the picture, upright.

    Raises:
        ContainerError: these are no params and segments of such a picture.
        InputError: see `block_shapes`.
        DesyncError: the coefficients are not those that were encoded.
    """
    params, segments = encoded.params, encoded.segments
    colour, orientation = colour_of(params), orientation_of(params)
    factors = factors_of(params, colour)
    metadata = metadata_of(segments, len(factors))
    tables, streams = tables_of(params, segments, len(factors))
    counts = counts_of(params, len(factors))
    height, width = stored_size(info, orientation)
    shapes, shown = block_shapes(height, width, factors)
    blocks = decode_planes(shapes, tables, [kept_mask(count) for count in counts], streams)
    encoded.verify(*blocks)
    planes = zip(blocks, factors, tables, shown, strict=True)
    file = JpegFile(
        height=height,
        width=width,
        planes=tuple(Plane(x, h, v, table, part) for x, (h, v), table, part in planes),
        orientation=orientation,
        colour=colour,
        progressive=params.get("progressive") is True,
    )
    return file, metadata


def kept_mask(count: int) -> int:
    """Bit 8 v + u is set for each of the coefficients that a count keeps."""
    return sum(1 << (8 * (channel % 8) + channel // 8) for channel in channels(count))


def sampling_of(file: JpegFile) -> Factors:
    """Sampling factors of each plane; those of a single plane mean nothing and are 1."""
    return tuple((plane.h, plane.v) for plane in file.planes) if len(file.planes) > 1 else USUAL[1]


def block_shapes(height: int, width: int, factors: Factors) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Rows and columns of blocks of each plane: of whole MCUs, and of those that the picture covers.

    Raises:
        InputError: far more of them are outside the picture than inside, as of one row of millions of pixels.
    """
    most_h, most_v = (max(factor) for factor in zip(*factors, strict=True))
    rows, columns = -(-height // (8 * most_v)), -(-width // (8 * most_h))
    coefficients = COEFFICIENTS * rows * columns * sum(h * v for h, v in factors)
    if coefficients > len(factors) * height * width + MOST_PADDING:
        raise InputError(
            f"A strip of {width} x {height} pixels takes {coefficients} coefficients.",
            "Cut it into shorter ones.",
        )
    shown = [(-(-height * v // (8 * most_v)), -(-width * h // (8 * most_h))) for h, v in factors]
    return [(rows * v, columns * h) for h, v in factors], shown


def pixels(file: JpegFile) -> Pixels:
    """The picture (H, W, 3), upright, pixel for pixel as libjpeg decodes it; grey ones with three equal channels."""
    most_h, most_v = (max(factor) for factor in zip(*sampling_of(file), strict=True))
    whole = []
    for plane, (h, v) in zip(file.planes, sampling_of(file), strict=True):
        height, width = -(-file.height * v // most_v), -(-file.width * h // most_h)
        plain = samples(plane.blocks, plane.table)[:height, :width]
        if most_h % h or most_v % v:
            raise InputError(
                f"Planes are sampled {h} x {v} in {most_h} x {most_v}, which is no whole number.",
                "Leave --quality out, and decode to a JPEG file (-o NAME.jpg), which holds the same.",
            )
        same = (h, v) == (most_h, most_v)
        plain = plain if same else enlarge(plain, most_v // v, most_h // h)
        whole.append(plain[: file.height, : file.width])
    first, *others = whole if len(whole) > 1 else whole * 3
    picture = rgb(first, *others) if file.colour == "ycc" else np.stack((first, *others), axis=2)
    return np.ascontiguousarray(_upright(picture, file.orientation))


def _upright(x: Pixels, orientation: int) -> Pixels:
    """The picture turned as EXIF's orientation says."""
    turned = np.swapaxes(x, 0, 1) if orientation >= TURNED else x
    back_down, back_across = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return turned[:: -1 if back_down else 1, :: -1 if back_across else 1]


def from_pixels(x: Array, quality: int, factors: Factors) -> JpegFile:
    """The coefficients of a picture (H, W, 3); of one plane where its channels are equal.

    Colour as of ITU-T T.871, chroma by means of pixels, quantiser's steps by `quality`.

    Raises:
        InputError: see `block_shapes`.
    """
    height, width = x.shape[:2]
    if (x == x[:, :, :1]).all():
        planes, factors = [x[:, :, 0].astype(np.float32)], USUAL[1]
    else:
        planes = _ycc(x.astype(np.float32))
    tables = tables_by.standard(quality, len(planes))
    most_h, most_v = (max(factor) for factor in zip(*factors, strict=True))
    shapes, shown = block_shapes(height, width, factors)
    coded = []
    for plane, (h, v), (rows, columns), part, table in zip(planes, factors, shapes, shown, tables, strict=True):
        down, across = most_v // v, most_h // h
        missing = ((0, 8 * rows * down - height), (0, 8 * columns * across - width))
        padded = np.pad(plane, missing, mode="edge").reshape(8 * rows, down, 8 * columns, across)
        coded.append(Plane(_quantised(padded.mean((1, 3)), table), h, v, table, part))
    return JpegFile(height, width, tuple(coded), colour="ycc" if len(coded) > 1 else "grey")


def _ycc(x: Any) -> list[Any]:
    red, green, blue = (x[:, :, channel] for channel in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return [luma, (blue - luma) * np.float32(0.5 / 0.886) + 128, (red - luma) * np.float32(0.5 / 0.701) + 128]


def _quantised(plane: Any, table: Table) -> Blocks:
    """Blocks of a plane whose sides are multiples of 8."""
    frequency, place = np.arange(8)[:, None], np.arange(8)
    basis = np.sqrt(0.25) * np.cos((2 * place + 1) * frequency * np.pi / 16)
    basis[0] = np.sqrt(0.125)
    rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
    blocks = (plane - 128).reshape(rows, 8, columns, 8).swapaxes(1, 2)
    values = (basis @ blocks @ basis.T).reshape(rows, columns, COEFFICIENTS)
    quantised: Blocks = np.round(values / table).astype(np.int16)
    return quantised


def _kept_blocks(blocks: Blocks, count: int) -> Blocks:
    if count == COEFFICIENTS:
        return np.ascontiguousarray(blocks)
    mask = kept_mask(count)
    kept = np.array([mask >> at & 1 for at in range(COEFFICIENTS)], np.int16)
    return np.ascontiguousarray(blocks * kept)


def stored_size(info: ArrayInfo, orientation: int) -> tuple[int, int]:
    """Height and width, before the picture is turned as the orientation says, of what is shown."""
    height, width = info.shape[:2]
    return (width, height) if orientation >= TURNED else (height, width)


def orientation_of(params: dict[str, Any]) -> int:
    """How the stored picture is to be turned, as of EXIF.

    Raises:
        ContainerError: it is outside 1 to 8.
    """
    return _number(params, "orientation", 1, 1, 8)


def colour_of(params: dict[str, Any]) -> Colour:
    """What the planes are.

    Raises:
        ContainerError: it is unknown.
    """
    colour = params.get("colour", "ycc")
    if not isinstance(colour, str) or colour not in COLOURS:
        raise ContainerError(f"Planes of '{colour!r:.20}' are unknown.", _DAMAGED)
    return colour


def factors_of(params: dict[str, Any], colour: Colour) -> Factors:
    """Sampling factors of each plane.

    Raises:
        ContainerError: they are outside 1 to 4, or of other planes.
    """
    usual = USUAL[1 if colour == "grey" else 3]
    given = params.get("sampling", usual)
    right = isinstance(given, list | tuple) and len(given) == len(usual)
    if not right or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in given):
        raise ContainerError("The sampling factors make no sense.", _DAMAGED)
    factors = tuple((_in_range(h, 1, 4, "sampling"), _in_range(v, 1, 4, "sampling")) for h, v in given)
    if len(factors) == 3 and factors[1] != factors[2]:
        raise ContainerError("Cb and Cr are of different sizes.", _DAMAGED)
    return factors


def counts_of(params: dict[str, Any], planes: int) -> tuple[int, ...]:
    """How many coefficients of each plane are kept.

    Raises:
        ContainerError: they are outside 0 to 64, or of other planes.
    """
    given = params.get("kept", (COEFFICIENTS,) * planes)
    if not isinstance(given, list | tuple) or len(given) != planes:
        raise ContainerError("The numbers of coefficients make no sense.", _DAMAGED)
    return tuple(_in_range(count, 0, COEFFICIENTS, "kept") for count in given)


def metadata_of(segments: Sequence[bytes], planes: int) -> bytes:
    """The metadata behind the planes' segments, empty where there are none.

    Raises:
        ContainerError: they are damaged.
    """
    return metadata_by.unpack(segments[planes]) if len(segments) > planes else b""


def tables_of(params: dict[str, Any], segments: Sequence[bytes], planes: int) -> tuple[list[Table], list[bytes]]:
    """Steps of each plane's quantiser, and the planes' streams without what stands before the first.

    Raises:
        ContainerError: they are damaged, or there are more segments than those of planes and metadata, or none.
    """
    if not 1 <= len(segments) <= planes + 1:
        raise ContainerError(f"There are {len(segments)} segments of {planes} planes.", _DAMAGED)
    first, *others = segments[:planes]
    if "quality" in params:
        return tables_by.standard(_number(params, "quality", 0, 1, 100), planes), [first, *others]
    end = 2 + int.from_bytes(first[:2], "little")
    try:
        plain = zlib.decompressobj().decompress(first[2:end], 2 * COEFFICIENTS * planes + 1)
    except zlib.error:
        plain = b""
    if len(plain) != 2 * COEFFICIENTS * planes:
        raise ContainerError("The quantiser's tables are damaged.", _DAMAGED)
    tables = np.frombuffer(plain, "<u2").astype(np.uint16).reshape(planes, COEFFICIENTS)
    return list(tables), [first[end:], *others]


def _number(params: dict[str, Any], name: str, otherwise: int, low: int, high: int) -> int:
    return _in_range(params.get(name, otherwise), low, high, name)


def _in_range(value: Any, low: int, high: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ContainerError(f"'{name}' is {value!r:.40}, not a number from {low} to {high}.", _DAMAGED)
    return value
