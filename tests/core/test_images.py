"""Pictures: read as a person sees them, refused where something would be lost in silence, written losslessly."""

import struct
import zlib
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from codectk import ArrayInfo
from codectk.errors import InputError, OutputError
from codectk.images import read_image, write_image


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def write_png(path, x, colour_type, extra=b""):
    """A PNG by hand, because Pillow writes no colour of 16 bits. x: (H, W, C)."""
    height, width, _ = x.shape
    depth = 8 * x.dtype.itemsize
    rows = b"".join(b"\0" + row.astype(x.dtype.newbyteorder(">")).tobytes() for row in x)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header), extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "picture.png"


@pytest.fixture
def rgb(make_array):
    return make_array("image/rgb8", (6, 9, 3))[0]


def grey_ramp():
    return np.arange(54, dtype=np.uint8).reshape(6, 9)


def test_grey_is_read_with_one_channel(path):
    Image.fromarray(grey_ramp()).save(path)
    picture = read_image(path)
    assert picture.info == ArrayInfo("image/gray8", (6, 9, 1))
    assert picture.notes == ()
    np.testing.assert_array_equal(picture.x[:, :, 0], grey_ramp())


def test_grey_with_transparency_is_read_as_colour_with_transparency(path):
    alpha = np.full((6, 9), 100, np.uint8)
    Image.fromarray(np.dstack([grey_ramp(), alpha]), "LA").save(path)
    picture = read_image(path)
    assert picture.info.kind == "image/rgba8"
    np.testing.assert_array_equal(picture.x, np.dstack([grey_ramp()] * 3 + [alpha]))


def palette_picture():
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([2, 0, 1])
    return image


def test_a_palette_is_read_as_colour(path):
    palette_picture().save(path)
    picture = read_image(path)
    assert picture.info.kind == "image/rgb8"
    assert picture.x.tolist() == [[[70, 80, 90], [10, 20, 30], [40, 50, 60]]]


def test_a_palette_with_a_transparent_colour_keeps_the_transparency(path):
    palette_picture().save(path, transparency=2)
    picture = read_image(path)
    assert picture.info.kind == "image/rgba8"
    assert picture.x[0, :, 3].tolist() == [0, 255, 255]
    assert picture.x[0, 1:, :3].tolist() == [[10, 20, 30], [40, 50, 60]]


def test_one_bit_is_read_as_grey(path):
    bits = (grey_ramp() % 2).astype(bool)
    Image.fromarray(bits).save(path)
    assert path.read_bytes()[24] == 1, "Pillow wrote more than one bit"
    picture = read_image(path)
    assert picture.info.kind == "image/gray8"
    np.testing.assert_array_equal(picture.x[:, :, 0], bits * 255)


def test_colour_is_read_as_it_is(path, rgb):
    Image.fromarray(rgb).save(path)
    picture = read_image(path)
    assert picture.info == ArrayInfo("image/rgb8", (6, 9, 3))
    np.testing.assert_array_equal(picture.x, rgb, strict=True)


def test_transparency_is_kept(path, rgb):
    rgba = np.dstack([rgb, np.arange(54, dtype=np.uint8).reshape(6, 9)])
    Image.fromarray(rgba).save(path)
    picture = read_image(path)
    assert picture.info.kind == "image/rgba8"
    assert picture.notes == ()
    np.testing.assert_array_equal(picture.x, rgba, strict=True)


def test_an_opaque_alpha_channel_is_left_out_with_a_note(path, rgb):
    Image.fromarray(np.dstack([rgb, np.full((6, 9), 255, np.uint8)])).save(path)
    picture = read_image(path)
    np.testing.assert_array_equal(picture.x, rgb, strict=True)
    assert len(picture.notes) == 1
    assert "opaque" in picture.notes[0]


def test_transparency_is_laid_on_a_background_when_asked(path):
    Image.fromarray(np.array([[[10, 20, 30, 0], [10, 20, 30, 255]]], np.uint8)).save(path)
    picture = read_image(path, background="#ff8000")
    assert picture.x.tolist() == [[[255, 128, 0], [10, 20, 30]]]
    assert "#ff8000" in picture.notes[0]
    with pytest.raises(InputError, match="'nocolour' is not a colour"):
        read_image(path, background="nocolour")


def test_ink_values_are_refused(tmp_path):
    path = tmp_path / "print.jpg"
    Image.new("CMYK", (5, 4)).save(path)
    with pytest.raises(InputError, match=r"print\.jpg holds CMYK"):
        read_image(path)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_that_no_picture_kind_holds_are_refused(tmp_path, mode):
    path = tmp_path / "field.tif"
    Image.new(mode, (5, 4)).save(path)
    with pytest.raises(InputError, match=rf"field\.tif holds {mode} values"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_of_grey_are_kept(tmp_path, suffix):
    path = tmp_path / f"deep{suffix}"
    x = (np.arange(54, dtype=np.uint16) * 1213).reshape(6, 9)
    Image.fromarray(x).save(path)
    picture = read_image(path)
    assert picture.info == ArrayInfo("image/gray16", (6, 9, 1))
    np.testing.assert_array_equal(picture.x[:, :, 0], x, strict=True)


def test_sixteen_bits_of_grey_are_rounded_to_eight_when_asked(path):
    x = np.array([[0, 128, 129, 257, 32896, 65535, 65406, 65407]], np.uint16)
    Image.fromarray(x).save(path)
    picture = read_image(path, depth=8)
    assert picture.info.kind == "image/gray8"
    assert picture.x[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255, 254, 255]
    assert picture.notes == ("reduced to 8 bits",)


@pytest.mark.parametrize(
    ("channels", "colour_type", "kind"),
    [(3, 2, "image/rgb8"), (4, 6, "image/rgba8"), (2, 4, "image/rgba8")],
    ids=["colour", "colour and transparency", "grey and transparency"],
)
def test_sixteen_bits_of_colour_are_refused_unless_eight_are_asked_for(path, channels, colour_type, kind):
    x = np.random.default_rng(0).integers(0, 65536, (5, 7, channels)).astype(np.uint16)
    write_png(path, x, colour_type)
    with pytest.raises(InputError, match=r"picture\.png has more than 8 bits.*--depth 8"):
        read_image(path)
    picture = read_image(path, depth=8)
    assert picture.info.kind == kind
    assert picture.notes == ("reduced to 8 bits",)
    wanted = x / 257 if channels > 2 else x[:, :, [0, 0, 0, 1]] / 257
    assert np.abs(picture.x - wanted).max() < 1


def test_a_deep_portable_pixmap_is_refused(tmp_path):
    path = tmp_path / "deep.ppm"
    path.write_bytes(b"P6 2 1 65535\n" + bytes(range(12)))
    with pytest.raises(InputError, match="more than 8 bits"):
        read_image(path)


@pytest.mark.parametrize("depth", [None, 8])
@pytest.mark.parametrize(("channels", "colour_type"), [(1, 0), (3, 2)], ids=["grey", "colour"])
def test_a_transparent_value_of_sixteen_bits_is_refused(path, channels, colour_type, depth):
    x = np.random.default_rng(0).integers(0, 65536, (5, 7, channels)).astype(np.uint16)
    transparent = chunk(b"tRNS", x[2, 3].astype(">u2").tobytes())
    write_png(path, x, colour_type, transparent)
    with pytest.raises(InputError, match=r"picture\.png .*transparent"):
        read_image(path, depth=depth)


def j2k(path, x, dtype=np.uint16):
    path.write_bytes(imagecodecs.jpeg2k_encode(x.astype(dtype), codecformat=path.suffix[1:], reversible=True, level=0))


@pytest.mark.parametrize("suffix", [".j2k", ".jp2"])
@pytest.mark.parametrize("depth", [None, 8])
def test_deep_colour_in_jpeg_2000_is_refused(tmp_path, suffix, depth):
    path = tmp_path / f"deep{suffix}"
    j2k(path, np.full((40, 56, 3), 65535))
    with pytest.raises(InputError, match=r"more than 8 bits.*with another program"):
        read_image(path, depth=depth)


@pytest.mark.parametrize("suffix", [".j2k", ".jp2"])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_2000_of_eight_bits_and_of_deep_grey_is_read_whole(tmp_path, suffix, channels):
    path = tmp_path / f"plain{suffix}"
    x = np.random.default_rng(0).integers(0, 256, (40, 56, channels))
    j2k(path, x.squeeze(), np.uint8)
    picture = read_image(path)
    assert picture.notes == ()
    np.testing.assert_array_equal(picture.x, x)
    if channels == 1:
        j2k(path, 257 * x.squeeze())
        np.testing.assert_array_equal(read_image(path).x, 257 * x)


def test_a_bitmap_of_sixteen_bits_a_pixel_is_not_deep(tmp_path):
    path = tmp_path / "old.bmp"
    head = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0) + struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    pixels = struct.pack("<HH", 0xF800, 0x07FF)
    path.write_bytes(b"BM" + struct.pack("<IHHI", 14 + len(head) + 4, 0, 0, 14 + len(head)) + head + pixels)
    picture = read_image(path)
    assert picture.notes == ()
    assert picture.x.tolist() == [[[255, 0, 0], [0, 255, 255]]]


# Where the visual top left of the picture lies in the stored one, from the Exif standard (tag 0x0112).
STORED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_a_turned_picture_is_read_upright(path, rgb, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(STORED[orientation](rgb))).save(path, exif=exif)
    picture = read_image(path)
    assert picture.info.shape == rgb.shape
    np.testing.assert_array_equal(picture.x, rgb)


def swapped_profile():
    """An ICC profile (version 2, matrix and gamma) of sRGB with the red and the blue primary exchanged."""

    def fixed(*values):
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    def xyz(*values):
        return b"XYZ \0\0\0\0" + fixed(*values)

    name = b"swapped\0"
    gamma = b"curv\0\0\0\0" + struct.pack(">IH", 1, 563) + b"\0\0"
    red, green, blue = (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(8 + 67 + 3 + 2),
        b"cprt": b"text\0\0\0\0none",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(*blue),
        b"gXYZ": xyz(*green),
        b"bXYZ": xyz(*red),
        b"rTRC": gamma,
        b"gTRC": gamma,
        b"bTRC": gamma,
    }
    table, content, at = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        padded = data + bytes(-len(data) % 4)
        table += tag + struct.pack(">II", at + len(content), len(data))
        content += padded
    head = struct.pack(
        ">I4sI4s4s4s12s4s", at + len(content), b"lcms", 2 << 24, b"mntr", b"RGB ", b"XYZ ", bytes(12), b"acsp"
    )
    head += bytes(28) + fixed(0.9642, 1.0, 0.8249) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + content


def test_another_colour_space_is_converted_to_srgb_with_a_note(path):
    x = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]]], np.uint8)
    Image.fromarray(x).save(path, icc_profile=swapped_profile())
    picture = read_image(path)
    assert picture.notes == ("converted its colours from swapped to sRGB",)
    assert np.abs(picture.x.astype(int) - x[:, :, ::-1]).max() <= 3


def test_transparency_survives_the_conversion_of_colours(path):
    x = np.array([[[255, 0, 0, 7], [0, 0, 255, 99]]], np.uint8)
    Image.fromarray(x).save(path, icc_profile=swapped_profile())
    picture = read_image(path)
    assert picture.x[0, :, 3].tolist() == [7, 99]
    assert np.abs(picture.x[..., :3].astype(int) - x[..., 2::-1]).max() <= 3


def test_an_srgb_profile_changes_nothing(path, rgb):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(rgb).save(path, icc_profile=profile)
    picture = read_image(path)
    assert picture.notes == ()
    np.testing.assert_array_equal(picture.x, rgb)


def test_a_damaged_colour_profile_is_ignored_with_a_note(path, rgb):
    Image.fromarray(rgb).save(path, icc_profile=b"rubbish")
    picture = read_image(path)
    assert picture.notes == ("ignored its colour profile, which is damaged",)
    np.testing.assert_array_equal(picture.x, rgb)


def test_an_animation_is_refused(tmp_path):
    path = tmp_path / "moving.gif"
    frames = [Image.new("L", (4, 4), value) for value in (0, 100, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"moving\.gif holds 3 pictures"):
        read_image(path)


def test_a_still_gif_is_read(tmp_path):
    path = tmp_path / "still.gif"
    Image.new("L", (4, 4), 100).save(path)
    assert (read_image(path).x == 100).all()


def test_a_cut_picture_is_refused_at_every_length_at_which_values_are_missing(path, rgb):
    Image.fromarray(rgb).save(path)
    data = path.read_bytes()
    accepted = []
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            picture = read_image(path)
        except InputError as error:
            assert "picture.png" in str(error)
            continue
        np.testing.assert_array_equal(picture.x, rgb)
        accepted.append(length)
    # After the values come the check sums of zlib (4 bytes) and of the chunk (4), and a last chunk (12).
    assert all(length >= len(data) - 20 for length in accepted)


@pytest.mark.parametrize("content", [b"", b"A letter, not a picture.\n", b"\x89PNG\r\n\x1a\n", bytes(1000)])
def test_what_is_no_picture_is_refused_by_name(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"picture\.png"):
        read_image(path)


def test_a_folder_and_a_missing_file_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path} is a folder"):
        read_image(tmp_path)
    with pytest.raises(InputError, match=r"nothing\.png does not exist"):
        read_image(tmp_path / "nothing.png")


def test_a_picture_that_claims_too_many_pixels_is_refused_unread(path):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    with pytest.raises(InputError, match=r"picture\.png claims more pixels"):
        read_image(path)


WRITABLE = [
    (".png", "image/gray8", 1),
    (".png", "image/rgb8", 3),
    (".png", "image/rgba8", 4),
    (".png", "image/gray16", 1),
    (".tif", "image/gray8", 1),
    (".tiff", "image/rgb8", 3),
    (".TIF", "image/rgba8", 4),
    (".tif", "image/gray16", 1),
    (".bmp", "image/gray8", 1),
    (".bmp", "image/rgb8", 3),
    (".ppm", "image/rgb8", 3),
    (".pgm", "image/gray8", 1),
    (".pgm", "image/gray16", 1),
    (".pnm", "image/rgb8", 3),
    (".pnm", "image/gray16", 1),
]


@pytest.mark.parametrize(("suffix", "kind", "channels"), WRITABLE)
@pytest.mark.parametrize("size", [(1, 1), (6, 9)])
def test_what_is_written_is_read_back(tmp_path, make_array, suffix, kind, channels, size):
    x, info = make_array(kind, (*size, channels))
    path = tmp_path / f"out{suffix}"
    write_image(path, x, info)
    picture = read_image(path)
    assert picture.info == info
    np.testing.assert_array_equal(picture.x, x, strict=True)


@pytest.mark.parametrize(("size", "effort"), [((64, 64), 2), ((2049, 2048), 1)])
def test_large_pictures_are_compressed_with_less_effort_and_as_exactly(path, size, effort):
    x = np.zeros((*size, 1), np.uint8)
    x[::7, ::5] = 200
    write_image(path, x, ArrayInfo("image/gray8", x.shape))
    data = path.read_bytes()
    assert data[data.index(b"IDAT") + 5] >> 6 == effort, "zlib's own note of its level: 1 fast, 2 default"
    np.testing.assert_array_equal(read_image(path).x, x)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".gif", ".ctk", ""])
def test_a_format_that_loses_something_or_is_unknown_is_refused(tmp_path, make_array, suffix):
    x, info = make_array()
    with pytest.raises(OutputError, match=rf"out{suffix}: '{suffix}' is not a lossless"):
        write_image(tmp_path / f"out{suffix}", x, info)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("suffix", "kind", "channels"),
    [(".bmp", "image/rgba8", 4), (".bmp", "image/gray16", 1), (".ppm", "image/gray8", 1), (".pgm", "image/rgb8", 3)],
)
def test_a_kind_that_a_format_cannot_hold_is_refused(tmp_path, make_array, suffix, kind, channels):
    x, info = make_array(kind, (4, 5, channels))
    with pytest.raises(OutputError, match=kind):
        write_image(tmp_path / f"out{suffix}", x, info)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_picture_is_kept_without_force(path, make_array):
    x, info = make_array()
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="--force"):
        write_image(path, x, info)
    assert path.read_bytes() == b"precious"
    write_image(path, x, info, force=True)
    assert Image.open(BytesIO(path.read_bytes())).size == (17, 12)
