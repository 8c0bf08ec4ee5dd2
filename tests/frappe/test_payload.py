"""Latents as segments: strips, threads, the coders to compare with, and what is refused."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from codectk import container
from codectk.arrays import ArrayInfo
from codectk.compression import LoadedCodec, load_codec
from codectk.errors import ContainerError
from codectk_frappe import strips
from codectk_frappe.options import EncodeOptions

from .conftest import make_checkpoint, make_joint_checkpoint


@pytest.fixture(scope="module")
def joint() -> LoadedCodec:
    return load_codec("frappe", make_joint_checkpoint())


@pytest.fixture(scope="module")
def large(photo: np.ndarray) -> np.ndarray:
    return np.tile(photo, (8, 6, 1))


@pytest.fixture
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "AREA", 1 << 14)


def made(codec: LoadedCodec, x: np.ndarray, **options: object) -> container.Container:
    info = ArrayInfo("image/rgb8", x.shape)
    return container.unpack(codec.compress(x, info, EncodeOptions.parse(options)).data)


@pytest.mark.usefixtures("small_strips")
def test_strips_are_coded_apart_and_decode_to_the_same_picture(joint: LoadedCodec, large: np.ndarray) -> None:
    whole_options = {"threads": 1}
    cut = made(joint, large, **whole_options)
    assert cut.header.params["strips"] > 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "AREA", 1 << 30)
        whole = made(joint, large, **whole_options)
    assert "strips" not in whole.header.params
    assert np.array_equal(joint.decompress(cut), joint.decompress(whole))


@pytest.mark.usefixtures("small_strips")
def test_threads_do_not_change_the_file(joint: LoadedCodec, large: np.ndarray) -> None:
    files = [made(joint, large, threads=threads).segments for threads in (1, 2, 5)]
    assert files[0] == files[1] == files[2]


@pytest.mark.usefixtures("small_strips")
def test_a_strip_is_the_picture_of_its_rows_alone(joint: LoadedCodec, large: np.ndarray) -> None:
    """Its bytes say all: random access needs no other strip."""
    cut = made(joint, large)
    count, cell = cut.header.params["strips"], joint.codec.multiple_of
    rows = strips.strip_rows(large.shape[0] // cell * cell, cell, count)
    top, bottom = rows[1]
    padded = np.ascontiguousarray(np.pad(large, [(0, 0), (0, -large.shape[1] % cell), (0, 0)], mode="edge"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "AREA", 1 << 30)
        alone = made(joint, padded[top:bottom])
    assert [strips.split(segment, count)[1] for segment in cut.segments] == list(alone.segments)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_lengths_of_strips_come_back(count: int) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.bytes(int(rng.integers(0, 40000))) for _ in range(count)]
    assert strips.split(strips.join(parts), count) == parts


def test_lengths_that_do_not_fit_are_refused() -> None:
    for data in (b"", b"\xff\xff\xff\xff\xff\xff", b"\x05abc", b"\xff\xff\xff\x7fabc"):
        with pytest.raises(ContainerError, match="strips"):
            strips.split(data, 2)


@pytest.mark.parametrize("area", [1, 1000, 1 << 19])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 80000), (80000, 8), (1088, 1920)])
def test_strips_cover_every_row_once(height: int, width: int, area: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "AREA", area)
    rows = strips.strip_rows(height, 8, strips.strip_count(height, width, 8))
    assert rows[0][0] == 0 and rows[-1][1] == height
    assert all(a < b and a % 8 == 0 for a, b in rows)
    assert all(before[1] == after[0] for before, after in pairwise(rows))


def test_strips_without_bytes_take_no_memory(joint: LoadedCodec) -> None:
    file = made(joint, np.zeros((16, 16, 3), np.uint8))
    count = 10**6
    info = ArrayInfo("image/rgb8", (16 * count, 16, 3))
    header = container.Header(**{**vars(file.header), "info": info, "params": {"strips": count}})
    hostile = container.unpack(container.pack(header, [b"\x00" * 100] * 4))
    tracemalloc.start()
    try:
        with pytest.raises(ContainerError, match="strips"):
            joint.decompress(hostile)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_all_coders_hold_the_same_latents(joint: LoadedCodec, large: np.ndarray) -> None:
    pictures, checks = [], set()
    for options in ({}, {"effort": "fast"}, {"coder": "jpegls"}, {"coder": "hybrid"}):
        file = made(joint, large, **options)
        checks.add(file.header.symbol_check)
        pictures.append(joint.decompress(file))
    assert len(checks) == 1
    assert all(np.array_equal(pictures[0], other) for other in pictures[1:])


def test_weights_of_mode_progressive_can_use_the_own_coder(loaded: LoadedCodec, large: np.ndarray) -> None:
    usual, own = made(loaded, large), made(loaded, large, coder="own")
    assert own.header.params["coder"] == "own" and len(own.segments) == 4 and len(usual.segments) == 3
    assert np.array_equal(loaded.decompress(usual), loaded.decompress(own))


def test_the_hybrid_differs_for_small_groups_alone(photo: np.ndarray) -> None:
    codec = load_codec("frappe", make_checkpoint(ps="8x2,4,2", decoder_ps=4))
    jpegls, hybrid = made(codec, photo), made(codec, photo, coder="hybrid")
    same = [a == b for a, b in zip(jpegls.segments, hybrid.segments, strict=True)]
    assert same == [False, False, False]
    big = np.tile(photo, (6, 6, 1))
    same = [a == b for a, b in zip(made(codec, big).segments, made(codec, big, coder="hybrid").segments, strict=True)]
    assert same == [True, True, True]


@pytest.mark.parametrize("coder", ["jpegls", "hybrid", "own", "fast"])
def test_damaged_segments_are_an_error_or_a_picture(joint: LoadedCodec, photo: np.ndarray, coder: str) -> None:
    options = {"effort": "fast"} if coder == "fast" else {"coder": coder}
    file, rng = made(joint, photo, **options), np.random.default_rng(1)
    header = container.Header(**{**vars(file.header), "symbol_check": None})
    for _ in range(60):
        hostile = [rng.bytes(int(rng.integers(len(part) + 9))) for part in file.segments]
        try:
            x = joint.decompress(container.unpack(container.pack(header, hostile)))
        except ContainerError:
            continue
        assert x.shape == photo.shape


@pytest.mark.parametrize(
    "params", [{"strips": 0}, {"strips": 10**6}, {"strips": "2"}, {"coder": "zip"}, {"strips": 2, "coder": "jpegls"}]
)
def test_impossible_coders_and_strips_are_refused(joint: LoadedCodec, photo: np.ndarray, params: dict) -> None:
    file = made(joint, photo)
    header = container.Header(**{**vars(file.header), "params": params})
    with pytest.raises(ContainerError, match="do not fit"):
        joint.decompress(container.unpack(container.pack(header, file.segments)))


def test_the_stages_of_encoding_are_told(joint: LoadedCodec, photo: np.ndarray) -> None:
    for coder in ("own", "jpegls"):
        notes = joint.compress(photo, ArrayInfo("image/rgb8", photo.shape), EncodeOptions(coder=coder)).notes
        assert set(notes) == {"analysis_seconds", "entropy_coding_seconds"} and min(notes.values()) > 0
