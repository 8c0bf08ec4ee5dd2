"""What JPEG files hold besides their picture comes back with the picture, and harms nobody."""

import io
import struct
import tracemalloc
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageCms

from codectk.arrays import ArrayInfo
from codectk.compression import LoadedCodec, load_codec
from codectk.container import unpack
from codectk.errors import ContainerError, InputError
from codectk.images import read_image
from codectk_cli.main import cli
from codectk_dct_backbones.details import details
from codectk_dct_backbones.jpeg import metadata
from codectk_dct_backbones.jpeg.file import read
from codectk_dct_backbones.jpeg.writing import usual_metadata, write

from .jpeg_files import coded, find, picture, same, saved, upright

GOLDEN = Path(__file__).parent / "golden_codec" / "metadata-v2.ctk"


def segment(code: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, code, len(content) + 2) + content


def exif(orientation: int) -> bytes:
    entries = struct.pack("<HHII", 0x010F, 2, 4, 0x21747541) + struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + bytes(4))


JFIF = segment(0xE0, b"JFIF\0\x01\x01\x01\0\x48\0\x48\0\0")
XMP = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
PROFILE = segment(0xE2, b"ICC_PROFILE\0\x01\x01" + ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
COMMENT = segment(0xFE, b"at noon, in the rain")
ALL = (
    JFIF + exif(6) + XMP + PROFILE + segment(0xE5, b"what a maker likes") + segment(0xED, b"Photoshop 3.0\0") + COMMENT
)


@pytest.fixture(scope="module")
def dct() -> LoadedCodec:
    return load_codec("dct")


def photo(segments: bytes, size: tuple[int, int] = (33, 50), **options: object) -> bytes:
    """A file of these segments and no others."""
    data = saved(picture(*size), **options)
    return data[:2] + segments + data[2 + len(metadata.taken(data)[0]) :]


def kept(data: bytes) -> bytes:
    return metadata.taken(data)[0]


@pytest.mark.parametrize("segments", [ALL, JFIF, COMMENT, exif(1), XMP + JFIF, PROFILE * 3, exif(6) + exif(2)])
@pytest.mark.parametrize("progressive", [False, True])
def test_metadata_come_back_byte_for_byte(dct: LoadedCodec, segments: bytes, progressive: bool) -> None:
    data = photo(segments, progressive=progressive)
    back = dct.decompress_file(coded(dct, data))
    assert kept(back) == kept(data) == segments
    assert same(read(back), read(data))


def test_another_program_reads_the_same_of_them(dct: LoadedCodec) -> None:
    data = photo(ALL)
    before, after = (Image.open(io.BytesIO(x)) for x in (data, dct.decompress_file(coded(dct, data))))
    assert before.info == after.info and before.info["dpi"] == (72, 72) and before.info["icc_profile"]
    assert before.getexif() == after.getexif() and before.getexif()[0x010F] == "Aut!"


def test_grey_files_keep_theirs(dct: LoadedCodec) -> None:
    data = saved(picture(40, 50).convert("L"), comment="grey", orientation=3)
    file = coded(dct, data)
    assert len(file.segments) == 2
    assert kept(dct.decompress_file(file)) == kept(data)
    np.testing.assert_array_equal(dct.decompress(file)[:, :, :1], upright(data))


@pytest.mark.parametrize("options", [{}, {"keep_rgb": True}, {"orientation": 8}])
def test_what_is_written_anyway_takes_no_segment(dct: LoadedCodec, options: dict[str, object]) -> None:
    data = saved(picture(24, 24), **options)
    assert kept(data) == usual_metadata(read(data))
    assert len(coded(dct, data).segments) == 3
    bare = photo(b"")
    assert len(coded(dct, bare).segments) == 3


def test_without_metadata_a_file_keeps_its_orientation_alone(dct: LoadedCodec) -> None:
    data = photo(ALL)
    file = coded(dct, data, metadata=False)
    back = dct.decompress_file(file)
    assert len(file.segments) == 3
    assert kept(back) == usual_metadata(read(data))
    np.testing.assert_array_equal(dct.decompress(file), upright(data))


@cache
def wide_gamut() -> bytes:  # once: profiles hold the time when they were made
    """The segment of a profile with matrices, whose colours are not sRGB's: red, green and blue change places."""
    found = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for before, after in ((b"rXYZ", b"?XYZ"), (b"gXYZ", b"rXYZ"), (b"bXYZ", b"gXYZ"), (b"?XYZ", b"bXYZ")):
        found = found.replace(before, after, 1)
    return segment(0xE2, b"ICC_PROFILE\0\x01\x01" + found.replace(b"s\0R\0G\0B", b"w\0i\0d\0e"))


@pytest.mark.parametrize("options", [{}, {"metadata": False}, {"quality": 92, "metadata": False}, {"quality": 92}])
def test_colours_of_a_profile_come_back_as_they_are_and_are_shown_converted(
    dct: LoadedCodec, tmp_path: Path, options: dict[str, object]
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo(exif(6) + wide_gamut()))
    shown = read_image(path)
    assert any("converted its colours" in note for note in shown.notes)
    assert np.abs(shown.x.astype(int) - upright(path.read_bytes())).max() > 20
    file = unpack(dct.compress(shown.x, shown.info, dct.encode_options(options), file=shown.data).data)
    back = dct.decompress_file(file)
    assert metadata.profile(kept(back)) == wide_gamut()[18:]
    assert kept(back) == exif(6) + wide_gamut() or not options.get("metadata", True)
    error = np.abs(dct.decompress(file).astype(int) - shown.x)
    assert error.mean() < 12 if "quality" in options else error.max() == 0
    (tmp_path / "back.jpg").write_bytes(back)
    np.testing.assert_array_equal(read_image(tmp_path / "back.jpg").x, dct.decompress(file))


def test_colours_that_stay_are_not_said_to_be_converted(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo(wide_gamut()))
    done = CliRunner().invoke(cli, ["compress", str(path), "-c", "dct"])
    assert done.exit_code == 0 and "converted its colours" not in done.output
    done = CliRunner().invoke(cli, ["compress", str(path), "-c", "png", "-o", str(tmp_path / "png.ctk")])
    assert done.exit_code == 0 and "converted its colours" in done.output


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"keep_rgb": True}])
def test_a_file_coded_anew_keeps_them_and_is_shown_the_same_way_up(
    dct: LoadedCodec, options: dict[str, object]
) -> None:
    data = photo(
        exif(6) + PROFILE + segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([not options.get("keep_rgb")])), **options
    )
    file = coded(dct, data, quality=92, subsampling="4:4:4")
    back = dct.decompress_file(file)
    assert kept(back) == exif(6) + PROFILE
    np.testing.assert_array_equal(upright(back), dct.decompress(file))
    assert np.square(upright(back).astype(float) - upright(data)).mean() < 30


def test_the_picture_comes_before_its_metadata(dct: LoadedCodec) -> None:
    data = photo(ALL)
    file = coded(dct, data)
    np.testing.assert_array_equal(dct.decompress(file, segments=3), upright(data))
    back = dct.decompress_file(file, segments=3)
    assert kept(back) == usual_metadata(read(data)) and same(read(back), read(data))


def test_info_counts_them(dct: LoadedCodec) -> None:
    file = coded(dct, photo(ALL))
    told = details(file.header, file.segments)
    assert told["metadata_bytes"] == len(file.segments[3]) < len(ALL)
    assert {row["what"]: row["bytes"] for row in told["metadata"]} == {
        "density": len(JFIF),
        "EXIF": len(exif(6)),
        "XMP": len(XMP),
        "colour profile": len(PROFILE),
        "APP5": 22,
        "Photoshop's data": 18,
        "comment": len(COMMENT),
    }
    assert details(file.header, file.segments[:3])["metadata_bytes"] == 0


def test_users_get_them_back_or_not_as_they_like(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(photo(ALL))
    for flag, expected in (("--metadata", ALL), ("--no-metadata", usual_metadata(read(photo(ALL))))):
        for words in (
            ["compress", "photo.jpg", "-c", "dct", flag, "-o", "x.ctk"],
            ["decompress", "x.ctk", "-o", "x.jpg"],
        ):
            paths = [str(tmp_path / word) if "." in word else word for word in words]
            done = CliRunner().invoke(cli, [*paths, "--force"])
            assert done.exit_code == 0, done.output
        assert kept((tmp_path / "x.jpg").read_bytes()) == expected


def test_fill_bytes_before_markers_do_not_hide_them(dct: LoadedCodec) -> None:
    data = photo(ALL)
    filled = data[:2] + b"\xff\xff" + data[2:-2] + b"\xff\xff\xff\xd9"
    assert kept(filled) == ALL
    assert kept(dct.decompress_file(coded(dct, filled))) == ALL
    assert kept(data[:2] + b"\xff" * 2000 + bytes(3) + data[2:]) == ALL


def test_what_cannot_be_kept_is_told(dct: LoadedCodec) -> None:
    x = upright(photo(ALL, progressive=True))
    data = photo(ALL + segment(0xE2, b"MPF\0II*\0" + bytes(40)), progressive=True)
    at = data.rfind(b"\xff\xda")
    data = data[:at] + COMMENT + data[at:] + bytes(9)
    info = ArrayInfo("image/rgb8", x.shape)
    told = "the place of further pictures, what stands between scans"
    assert dct.compress(x, info, file=data).messages == (f"Left out: {told}.",)
    assert dct.compress(x, info, file=data + b"film").messages == (f"Left out: {told}, what follows the picture.",)
    assert dct.compress(x, info, dct.encode_options({"metadata": False}), file=data).messages == ()
    assert kept(dct.decompress_file(unpack(dct.compress(x, info, file=data).data))) == ALL


def test_far_too_many_are_left_out_as_told(dct: LoadedCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codectk_dct_backbones.codec.MOST_BYTES", len(ALL) - 1)
    data = photo(ALL)
    x = upright(data)
    packed = dct.compress(x, ArrayInfo("image/rgb8", x.shape), file=data)
    assert packed.messages == (f"Left out: {len(ALL)} bytes of metadata.",)
    assert len(unpack(packed.data).segments) == 3


def deflated(segments: bytes) -> bytes:
    return metadata.pack(segments)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\0",
        deflated(b""),
        deflated(ALL)[:-3],
        deflated(ALL[:-1]),
        deflated(ALL + b"\xff"),
        deflated(b"\xff\xe1\0\x01"),
        deflated(b"\xff\xe1\0\0"),
        deflated(segment(0xDB, bytes(65))),
        deflated(segment(0xE1, b"") + b"\xff\xd9\0\x02"),
        deflated(b"junk"),
        zlib.compress(ALL),
    ],
)
def test_damaged_metadata_are_refused(dct: LoadedCodec, packed: bytes) -> None:
    file = coded(dct, photo(ALL))
    with pytest.raises(ContainerError, match="metadata are damaged"):
        dct.decompress_file(replace(file, segments=(*file.segments[:3], packed)))
    with pytest.raises(ContainerError):
        details(file.header, (*file.segments[:3], packed))


def test_metadata_that_unpack_to_more_than_is_read_take_bounded_memory() -> None:
    bomb = deflated(segment(0xE1, bytes(60000)) * 2000)
    tracemalloc.start()
    with pytest.raises(ContainerError, match="metadata are damaged"):
        metadata.unpack(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(bomb) < 1 << 20 and peak < 3 * metadata.MOST_BYTES


@pytest.mark.parametrize("segments", [exif(3), segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")])
def test_metadata_that_contradict_the_picture_are_refused(dct: LoadedCodec, segments: bytes) -> None:
    file = coded(dct, photo(COMMENT))
    with pytest.raises(InputError, match="another orientation or colour"):
        dct.decompress_file(replace(file, segments=(*file.segments[:3], metadata.pack(segments))))


def test_there_is_no_room_for_more_segments(dct: LoadedCodec) -> None:
    file = coded(dct, photo(ALL))
    with pytest.raises(ContainerError, match="5 segments of 3 planes"):
        dct.decompress_file(replace(file, segments=(*file.segments, file.segments[3])))


def test_writing_keeps_what_it_is_given() -> None:
    file = read(photo(ALL))
    for progressive in (False, True):
        data = write(file, progressive=progressive, metadata=ALL)
        assert kept(data) == ALL and same(read(data), file)
        assert len(data) == len(write(file, progressive=progressive)) + len(ALL) - len(usual_metadata(file))


def test_the_first_exif_before_the_scan_says_the_orientation() -> None:
    data = photo(segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0") + exif(6), progressive=True)
    assert read(data).orientation == 1
    assert read(photo(exif(5) + exif(6))).orientation == 5
    plain = photo(JFIF, progressive=True)
    at = plain.rfind(b"\xff\xda")
    assert read(plain[:at] + exif(6) + plain[at:]).orientation == 1
    assert find(plain, 0xDA)[0] < at


def test_metadata_of_an_older_release_come_back(dct: LoadedCodec) -> None:
    file = unpack(GOLDEN.read_bytes())
    back = dct.decompress_file(file)
    assert kept(back) == JFIF + exif(6) + XMP + COMMENT
    assert read(back).orientation == 6
