"""Pictures in files: read as what a person sees, with nothing dropped in silence."""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageOps, UnidentifiedImageError

from codectk.arrays import Array, ArrayInfo
from codectk.errors import InputError, OutputError
from codectk.files import MAX_INPUT_BYTES, atomic_output, read_bytes

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".jp2", ".j2k", ".jpx"}) | frozenset(
    {".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".pnm", ".tga", ".ico"}
)
"""Endings by which folders are searched for pictures. A file named by the user may have any ending."""

BAND = 256
"""Rows of a picture that are copied at once."""

REDUCED = "reduced to 8 bits"
"""A note."""

LARGE_PIXELS = 1 << 22
"""PNG files of larger pictures are compressed with less effort."""

_WRITABLE: dict[str, tuple[str, ...]] = {
    ".png": ("image/gray8", "image/rgb8", "image/rgba8", "image/gray16"),
    ".tif": ("image/gray8", "image/rgb8", "image/rgba8", "image/gray16"),
    ".tiff": ("image/gray8", "image/rgb8", "image/rgba8", "image/gray16"),
    ".bmp": ("image/gray8", "image/rgb8"),
    ".ppm": ("image/rgb8",),
    ".pgm": ("image/gray8", "image/gray16"),
    ".pnm": ("image/gray8", "image/rgb8", "image/gray16"),
}

# `RGB;16` and `BGR;16` are 16 bits a pixel, of 5, 6 and 5; the others are 16 bits a channel.
_SIXTEEN_BITS = r";16[A-Z]|(?<!RGB)(?<!BGR);16"


@dataclass(frozen=True)
class Picture:
    """A picture or field that was read from a file.

    Attributes:
        x: array (H, W, C), C also when it is 1; or a field of 1 to 5 axes.
        info: kind and shape of `x`.
        notes: what was changed on the way, one sentence each.
        metadata: what belongs to a field besides its values; see `codectk.fields.metadata`.
        data: the whole file, where it is a picture's and shows just `x`, in the colours of its own profile if not in
            sRGB; else empty.
        suffix: ending of the file of `data`, in small letters.
    """

    x: Array
    info: ArrayInfo
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    data: bytes = field(default=b"", repr=False)
    suffix: str = ""

    def file_for(self, endings: Collection[str]) -> bytes | None:
        """The file's bytes for a codec that codes files of these endings; None where the array is to be coded."""
        return self.data if self.data and self.suffix in endings else None


def read_image(
    path: Path, background: str | None = None, depth: int | None = None, max_bytes: int = MAX_INPUT_BYTES
) -> Picture:
    """Read a picture upright and in sRGB.

    Args:
        path: a file in any format that Pillow opens.
        background: colour to lay under transparent parts, by name or as `#rrggbb`; None keeps the transparency.
        depth: 8 reduces 16-bit pictures to 8 bits; None refuses those that Pillow cannot keep whole.
        max_bytes: refuse larger files.

    Raises:
        InputError: the file is missing, damaged, not a picture, or holds what would be lost.
    """
    data = read_bytes(path, max_bytes)
    notes: list[str] = []
    with _plain_errors(path), Image.open(BytesIO(data)) as image:
        _refuse_lossy_reading(path, image, data, depth, notes)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":
            raise InputError(f"{path} holds {frames} pictures.", "Extract the one you mean first.")
        if frames > 1:
            notes.append("kept the first picture of a multi-picture file")
        image.load()
        format_name = image.format
        ImageOps.exif_transpose(image, in_place=True)  # no copy where the picture is upright
        plain, converted = to_srgb(_to_plain_mode(path, image, format_name), image.info.get("icc_profile"))
        notes += converted
        flat = _flatten(plain, background, notes)
        x = _array(flat)
    x = np.ascontiguousarray(x[:, :, np.newaxis] if x.ndim == 2 else x)
    if x.dtype == np.uint16 and depth == 8:
        x = ((x.astype(np.uint32) + 128) // 257).astype(np.uint8)
        notes.append(REDUCED)
    kind = "image/gray16" if x.dtype == np.uint16 else f"image/{ {1: 'gray8', 3: 'rgb8', 4: 'rgba8'}[x.shape[2]] }"
    whole = data if flat is plain and REDUCED not in notes else b""
    return Picture(x, ArrayInfo(kind, x.shape), tuple(notes), data=whole, suffix=path.suffix.lower())


def write_image(path: Path, x: Array, info: ArrayInfo, force: bool = False) -> None:
    """Write a picture losslessly, in the format that the ending names.

    Raises:
        OutputError: the format is unknown or would lose something, or the file cannot be written.
    """
    kinds = _WRITABLE.get(path.suffix.lower())
    if kinds is None:
        raise OutputError(
            f"{path}: '{path.suffix}' is not a lossless picture format that codectk writes.",
            f"Choose one of {', '.join(_WRITABLE)}, or .npy for the bare array.",
        )
    if info.kind not in kinds:
        raise OutputError(f"{path}: {path.suffix} cannot hold {info.kind}.", "Choose .png.")
    image = to_pillow(x)
    faster = path.suffix.lower() == ".png" and info.pixels > LARGE_PIXELS
    settings: dict[str, Any] = {"compress_level": 3} if faster else {}
    with atomic_output(path, force) as temporary:
        image.save(temporary, **settings)


def to_pillow(x: Array) -> Image.Image:
    """A Pillow image of an array (H, W, C)."""
    return Image.fromarray(x[:, :, 0] if x.shape[2] == 1 else x)


def _array(image: Image.Image) -> Array:
    """The picture's array, taken over in bands: at once, Pillow would hold it twice more for the time of it."""
    width, height = image.size
    first = np.asarray(image.crop((0, 0, width, min(BAND, height))))
    x = np.empty((height, *first.shape[1:]), first.dtype)
    for top in range(0, height, BAND):
        x[top : top + BAND] = np.asarray(image.crop((0, top, width, min(top + BAND, height))))
    return x


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    """Turn whatever a picture decoder raises on hostile bytes into one kind of error."""
    try:
        yield
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(f"{path} claims more pixels than are read safely.", "Cut it into smaller pictures.") from None
    except UnidentifiedImageError:
        raise InputError(f"{path} is not a picture in a known format.", "Convert it to PNG first.") from None
    except Exception as error:  # decoders raise SyntaxError, struct.error, zlib.error, KeyError, … on damaged files
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise InputError(f"{path} is damaged: {reason}.", "Copy or download it again.") from error


def _refuse_lossy_reading(path: Path, image: Image.Image, data: bytes, depth: int | None, notes: list[str]) -> None:
    """Pillow opens deep pictures as 8 bit, and without their transparent value, without a word; say so instead."""
    raw_modes = " ".join(str(tile[3]) for tile in getattr(image, "tile", []))
    sixteen_bits = re.search(_SIXTEEN_BITS, raw_modes) is not None
    if sixteen_bits and image.format == "PNG" and "transparency" in image.info:
        raise InputError(
            f"{path} marks one 16-bit value as transparent, which no picture codec here keeps.",
            "Save it with an alpha channel, or without transparency, first.",
        )
    deep = not image.mode.startswith("I") and (
        sixteen_bits
        or any(int(number) > 255 for number in re.findall(r", (\d+)\)", raw_modes) if image.format == "PPM")
        or _deep_jpeg2000(data, image.format)
        or _deep_avif(data, image.format)
    )
    # Pillow reduces JPEG 2000 with white turned black, because it rounds up without a limit.
    reducible = image.format != "JPEG2000"
    if deep and (depth != 8 or not reducible):
        step = "Reduce it with --depth 8." if reducible else "Reduce it to 8 bits with another program."
        raise InputError(f"{path} has more than 8 bits per channel and colour or transparency.", step)
    if deep:
        notes.append(REDUCED)


def _deep_jpeg2000(data: bytes, format_name: str | None) -> bool:
    """Whether a channel has more than 8 bits, from the SIZ marker segment (ISO 15444-1, A.5.1) of the codestream."""
    at = data.find(b"\xff\x4f\xff\x51") + 2
    if format_name != "JPEG2000" or at < 2:
        return False
    channels = int.from_bytes(data[at + 38 : at + 40], "big")
    depths = data[at + 40 : at + 40 + 3 * channels : 3]
    return any(depth & 0x7F > 7 for depth in depths)


def _deep_avif(data: bytes, format_name: str | None) -> bool:
    at = data.find(b"av1C", 0, 4096)
    return format_name == "AVIF" and at >= 0 and bool((data[at + 6 : at + 7] or b"\0")[0] & 0x40)


def _to_plain_mode(path: Path, image: Image.Image, format_name: str | None) -> Image.Image:
    """The picture as L, I;16, RGB or RGBA."""
    # Pillow opens portable graymaps of 16 bits as 32.
    if image.mode.startswith("I;16") or (image.mode == "I" and format_name == "PPM"):
        return Image.fromarray(np.asarray(image).astype(np.uint16))
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in ("L", "RGB"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "RGBX", "YCbCr"):
        return image.convert("RGB")
    raise InputError(
        f"{path} holds {image.mode} values, which no picture codec here keeps.",
        "Convert it to RGB or grey first, for example with an image editor; arrays of numbers can be given as .npy.",
    )


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, tuple[str, ...]]:
    """A picture's colours as sRGB has them, and what was done about it, as notes.

    Args:
        image: RGB or RGBA; others, such as grey ones, stay as they are.
        profile: ICC's, which may be hostile; None means sRGB.
    """
    if not profile or image.mode not in ("RGB", "RGBA"):
        return image, ()
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        name = ImageCms.getProfileDescription(source).strip()
        if "srgb" in name.lower():
            return image, ()
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=image.mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image, ("ignored its colour profile, which is damaged",)
    return converted if converted is not None else image, (f"converted its colours from {name} to sRGB",)


def _flatten(image: Image.Image, background: str | None, notes: list[str]) -> Image.Image:
    if image.mode != "RGBA":
        return image
    if image.getchannel("A").getextrema() == (255, 255):
        notes.append("left out its alpha channel, which is opaque everywhere")
        return image.convert("RGB")
    if background is None:
        return image
    try:
        colour = ImageColor.getrgb(background)
    except ValueError:
        raise InputError(f"'{background}' is not a colour.", "Name one, such as white or #ff8800.") from None
    notes.append(f"laid its transparent parts on {background}")
    flat = Image.new("RGBA", image.size, (*colour[:3], 255))
    flat.alpha_composite(image)
    return flat.convert("RGB")
