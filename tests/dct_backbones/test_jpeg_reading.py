"""Coefficients are those that libjpeg reads, whatever the file; what cannot be read is refused by name."""

import io
import struct
import tracemalloc
from pathlib import Path

import jpeglib
import numpy as np
import pytest
from PIL import Image

from codectk.errors import InputError
from codectk_dct_backbones.jpeg import writing
from codectk_dct_backbones.jpeg.file import JpegFile, read

from .jpeg_files import find, picture, random_file, same, saved, without

KINDS = [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 3}, {"restart_marker_rows": 1}]
KINDS += [{"progressive": True, "restart_marker_blocks": 5}, {"quality": 100}, {"quality": 3}, {"keep_rgb": True}]
FACTORS = {
    "4:4:4": ((1, 1), (1, 1), (1, 1)),
    "4:2:2": ((2, 1), (1, 1), (1, 1)),
    "4:2:0": ((2, 2), (1, 1), (1, 1)),
    "4:4:0": ((1, 2), (1, 1), (1, 1)),
    "4:1:1": ((4, 1), (1, 1), (1, 1)),
    "odd": ((2, 2), (2, 1), (1, 2)),
}


def libjpegs(data: bytes, folder: Path) -> list[np.ndarray]:
    """Blocks of all planes as libjpeg reads them, (rows, columns, 64)."""
    path = folder / "file.jpg"
    path.write_bytes(data)
    found = jpeglib.read_dct(str(path))
    planes = [found.Y] if found.Cb is None else [found.Y, found.Cb, found.Cr]
    return [plane.reshape(*plane.shape[:2], 64) for plane in planes]


def equal(file: JpegFile, planes: list[np.ndarray]) -> bool:
    shown = [plane.shown for plane in file.planes]
    return len(planes) == len(file.planes) and all(
        np.array_equal(plane.blocks[:rows, :columns], other[:rows, :columns])
        for plane, other, (rows, columns) in zip(file.planes, planes, shown, strict=True)
    )


def patched(data: bytes, at: int, *values: int) -> bytes:
    return data[:at] + bytes(values) + data[at + len(values) :]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_files_of_libjpeg_give_its_coefficients(kind: dict[str, object], subsampling: str, tmp_path: Path) -> None:
    for size in ((1, 1), (16, 16), (39, 50), (120, 97)):
        for mode in ("RGB", "L"):
            options = {"subsampling": "4:4:4" if "keep_rgb" in kind else subsampling, **kind}
            data = saved(picture(*size).convert(mode), **(options if mode == "RGB" else {}))
            file = read(data)
            assert (file.height, file.width) == size
            assert equal(file, libjpegs(data, tmp_path))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("factors", FACTORS.values(), ids=FACTORS)
def test_any_sampling_is_read(factors: tuple[tuple[int, int], ...], progressive: bool, tmp_path: Path) -> None:
    made = random_file(factors, 45, 70)
    data = writing.write(made, progressive=progressive)
    assert same(read(data), made)
    assert equal(made, libjpegs(data, tmp_path))


def test_planes_in_scans_of_their_own_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = saved(picture(45, 70), subsampling="4:2:0")
    monkeypatch.setattr(writing, "MOST_BLOCKS", 0)
    apart = writing.write(read(data))
    assert apart.count(b"\xff\xda") == 3
    assert same(read(apart), read(data))
    assert equal(read(data), libjpegs(apart, tmp_path))


def test_factors_of_a_lone_plane_mean_nothing() -> None:
    data = saved(picture(37, 53).convert("L"))
    frame = find(data, 0xC0)[0]
    assert data[frame + 11] == 0x11
    assert same(read(patched(data, frame + 11, 0x42)), read(data))


def test_fill_bytes_before_markers_are_passed_over() -> None:
    data = saved(picture(40, 40), restart_marker_blocks=2)
    filled = data
    for code in (0xD0, 0xD1, 0xDB, 0xC4, 0xD9):
        filled = filled.replace(bytes([0xFF, code]), bytes([0xFF, 0xFF, 0xFF, code]))
    assert len(filled) > len(data)
    assert same(read(filled), read(data))


def test_tables_are_those_of_the_file_in_natural_order() -> None:
    data = saved(picture(16, 16), quality=60)
    stored = Image.open(io.BytesIO(data)).quantization  # Pillow's are in natural order, too
    file = read(data)
    assert [plane.table.tolist() for plane in file.planes] == [list(stored[0]), list(stored[1]), list(stored[1])]


@pytest.mark.parametrize("order", ["big", "little"])
def test_orientation_is_read_and_nonsense_is_not(order: str) -> None:
    data = saved(picture(8, 8))
    short, long = (">H", ">I") if order == "big" else ("<H", "<I")
    for value, expected in ((6, 6), (1, 1), (0, 1), (9, 1)):
        tiff = (b"MM" if order == "big" else b"II") + struct.pack(short, 42) + struct.pack(long, 8)
        tiff += struct.pack(short, 1) + struct.pack(short, 0x0112) + struct.pack(short, 3) + struct.pack(long, 1)
        tiff += struct.pack(short, value) + bytes(6)
        for cut in (len(tiff), len(tiff) - 11, 15, 9):  # directories that are cut are passed over
            exif = b"Exif\0\0" + tiff[:cut]
            segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
            assert read(data[:2] + segment + data[2:]).orientation == (expected if cut == len(tiff) else 1)


def test_colour_is_told_as_libjpeg_tells_it() -> None:
    assert read(saved(picture(8, 8))).colour == "ycc"
    assert read(saved(picture(8, 8).convert("L"))).colour == "grey"
    rgb = saved(picture(8, 8), keep_rgb=True)
    assert read(rgb).colour == "rgb"
    assert read(without(rgb, 0xEE)).colour == "rgb"  # components are named R, G and B


def test_other_kinds_of_files_are_refused_by_name() -> None:
    data = saved(picture(24, 24))
    frame = find(data, 0xC0)[0]
    cases = {
        "arithmetic": patched(data, frame + 1, 0xC9),
        "lossless": patched(data, frame + 1, 0xC3),
        "hierarchical": patched(data, frame + 1, 0xC5),
        "8 bits": patched(data, frame + 4, 12),
        "DNL": patched(data, frame + 5, 0, 0),
        "CMYK": saved(picture(24, 24).convert("CMYK")),
        "sampling factors": patched(data, frame + 11, 0x52),
        "Huffman": without(data, 0xC4),
        "quantisation": without(data, 0xDB),
        "no JPEG": b"\x89PNG\r\n\x1a\n" + bytes(30),
        "without a picture": b"\xff\xd8\xff\xd9",
    }
    for words, damaged in cases.items():
        with pytest.raises(InputError, match=words) as refusal:
            read(damaged, name="photo.jpg")
        assert "photo.jpg" in refusal.value.problem


def test_no_memory_is_taken_on_a_files_word() -> None:
    data = saved(picture(24, 24))
    frame = find(data, 0xC0)[0]
    huge = patched(data, frame + 5, 0xFF, 0xDC, 0xFF, 0xDC)
    tracemalloc.start()
    with pytest.raises(InputError, match="65500 x 65500 pixels"):
        read(huge)
    with pytest.raises(InputError, match="too early"):
        read(huge, most_pixels=1 << 33)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    with pytest.raises(InputError, match="at most 500 pixels"):
        read(data, most_pixels=500)


@pytest.mark.parametrize("kind", [{}, {"progressive": True}, {"restart_marker_blocks": 3}], ids=str)
def test_a_cut_file_is_refused_wherever_it_is_cut(kind: dict[str, object]) -> None:
    data = saved(picture(48, 48), quality=70, **kind)
    end = len(data) - 2  # the last marker alone is not missed where all coefficients are there
    for cut in [*range(0, end, 7), *range(end - 20, end)]:
        with pytest.raises(InputError):
            read(data[:cut])
    if "progressive" in kind:
        with pytest.raises(InputError, match="too early"):
            read(data[:end])
    else:
        assert same(read(data[:end]), read(data))


def test_lost_blocks_and_restarts_are_seen() -> None:
    data = saved(picture(96, 96), restart_marker_blocks=4)
    begin = find(data, 0xDA)[1]
    first, second = data.index(b"\xff\xd0", begin), data.index(b"\xff\xd1", begin)
    for damaged in (
        data[: begin + 40] + data[begin + 240 :],
        data[:first] + data[first + 2 :],
        data[:first] + data[second:],
        data[: begin + 40] + data[begin : begin + 150] + data[begin + 40 :],
    ):
        with pytest.raises(InputError):
            read(damaged)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_scan_that_is_there_twice_is_refused(progressive: bool) -> None:
    data = saved(picture(24, 24), progressive=progressive)
    begin = find(data, 0xDA)[0]
    end = data.index(b"\xff", find(data, 0xDA)[1])
    while data[end + 1] == 0:
        end = data.index(b"\xff", end + 2)
    again = data[:end] + data[begin:end] + data[end:]
    if progressive:
        with pytest.raises(InputError, match="damaged"):
            read(again)
    else:
        assert same(read(again), read(data))  # everything was there after the first


def test_changed_bytes_end_in_a_refusal_or_a_picture() -> None:
    rng = np.random.default_rng(0)
    files = [saved(picture(33, 47), **kind) for kind in KINDS]
    outcomes = set()
    for _ in range(1500):
        data = bytearray(files[rng.integers(len(files))])
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(2, len(data))] = rng.integers(256)
        try:
            file = read(bytes(data), most_pixels=1 << 20)
        except InputError:
            outcomes.add("refused")
        else:
            outcomes.add("read")
            assert all(np.abs(plane.blocks[..., 1:]).max() <= 1023 for plane in file.planes)
    assert outcomes == {"refused", "read"}
