"""Parts of fields: the same values as in the whole, and nothing else is read."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codectk
from codectk.arrays import Array
from codectk.compression import load_codec
from codectk.container import pack, unpack
from codectk.errors import CodectkError, ContainerError, InputError, OptionsError, WeightsMismatch
from codectk_caesar_freq import open_field
from codectk_caesar_freq.architecture import STUDENT
from codectk_caesar_freq.region import OutsideField, touched

from .small import moving_waves, part

PROPERTY = settings(deadline=None, max_examples=60)
GROUPS = 3


def field(shape: tuple[int, ...], dtype: str = "float32") -> Array:
    x = np.cumsum(np.random.default_rng(sum(shape)).normal(size=shape), axis=-1)
    x = 100 * x / np.abs(x).max()
    return x.astype(dtype)


def packed(x: Array, **options: Any) -> bytes:
    return codectk.compress(x, "caesar_freq", **{"rel_error": 1e-2, "threads": 1, **options}).data


def whole(data: bytes, segments: int | None = None) -> Array:
    return load_codec("caesar_freq").decompress(unpack(data), segments=segments)


FILES = {
    shape: packed(field(shape, dtype), chunk=chunk)
    for shape, dtype, chunk in (
        ((37,), "float64", (1, 1, 10)),
        ((11, 23), "int16", (1, 4, 9)),
        ((5, 9, 17), "float32", (2, 9, 8)),
        ((2, 5, 9, 7), "uint8", (3, 4, 4)),
        ((2, 3, 4, 9, 8), "float32", (3, 5, 8)),
    )
}
WHOLE = {shape: whole(data) for shape, data in FILES.items()}


@st.composite
def indices(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    shape = draw(st.sampled_from(list(FILES)))
    places = st.integers(-13, 13)
    steps = st.integers(-12, 12).filter(bool)
    slices = st.builds(slice, st.none() | places, st.none() | places, st.none() | steps)
    front = draw(st.integers(0, len(shape)))
    parts: list[Any] = [draw(st.integers(-n, n - 1) | slices) for n in shape[:front]]
    if draw(st.booleans()):
        behind = draw(st.integers(front, len(shape)))
        parts += [..., *(draw(st.integers(-n, n - 1) | slices) for n in shape[behind:])]
    return shape, tuple(parts) if len(parts) != 1 or draw(st.booleans()) else parts[0]


@given(indices())
@PROPERTY
def test_an_index_gives_what_it_gives_of_the_whole_field(case: tuple[tuple[int, ...], Any]) -> None:
    shape, index = case
    part = open_field(io.BytesIO(FILES[shape]))[index]
    expected = WHOLE[shape][index]
    assert part.dtype == expected.dtype and part.shape == expected.shape
    assert np.array_equal(part, expected)


@pytest.mark.parametrize("shape", list(FILES))
def test_a_field_says_what_it_is(shape: tuple[int, ...]) -> None:
    opened = open_field(io.BytesIO(FILES[shape]))
    assert opened.shape == shape and opened.dtype == WHOLE[shape].dtype
    assert len(opened.chunks) == len(shape) and opened.chunks[-1] == unpack(FILES[shape]).header.params["chunk"][-1]
    assert opened.header == unpack(FILES[shape]).header


class Counted(io.BytesIO):
    """A file that knows which of its bytes were read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.places: set[int] = set()

    def read(self, size: int | None = -1) -> bytes:
        start = self.tell()
        data = super().read(size)
        self.places |= set(range(start, start + len(data)))
        return data


def bytes_of(data: bytes, segments: set[int]) -> set[int]:
    """Places of the header and of some segments."""
    file = unpack(data)
    found, at = set(range(file.header_bytes)), file.header_bytes
    for number, length in enumerate(file.header.segment_lengths):
        found |= set(range(at, at + length)) if number in segments else set()
        at += length
    return found


def test_only_header_and_segments_of_the_chunks_in_question_are_read() -> None:
    data = packed(field((8, 32, 32)), chunk=(4, 16, 16), wavelet="fitted")  # 2 × 2 × 2 chunks
    stream = Counted(data)
    opened = open_field(stream)
    assert stream.places == bytes_of(data, set())
    opened[1, 3:5, 20]
    assert stream.places == bytes_of(data, {1 + 8 * group for group in range(GROUPS)})
    opened[5, ::16, 31]
    assert stream.places == bytes_of(data, {i + 8 * group for group in range(GROUPS) for i in (1, 5, 7)})
    opened[3:3]
    opened.coarse(2)[0, 0, 0]
    assert stream.places == bytes_of(data, {i + 8 * group for group in range(GROUPS) for i in (1, 5, 7)} | {0, 8})


def test_chunks_between_the_steps_of_a_slice_are_not_touched() -> None:
    assert list(touched(range(1, 30, 10), 4)) == [0, 2, 5]
    assert list(touched(range(3, 9, 2), 4)) == [0, 1]


def test_fewer_levels_give_what_the_first_segments_of_the_file_give() -> None:
    data = packed(field((4, 32, 32)), chunk=(2, 32, 32), wavelet="fitted")
    opened = open_field(io.BytesIO(data))
    for levels in range(1, GROUPS + 1):
        part = opened.coarse(levels)[1:, ::3]
        assert np.array_equal(part, whole(data, levels * 2)[1:, ::3])
    assert not np.array_equal(opened.coarse(1)[:], opened[:])
    for levels in (0, 4):
        with pytest.raises(OptionsError, match="1 to 3"):
            opened.coarse(levels)


def test_a_file_of_fewer_segments_opens_as_it_does_whole() -> None:
    data = packed(field((4, 32, 32)), chunk=(2, 32, 32), wavelet="fitted")
    file = unpack(data)
    for count in (1, 3, 5):
        less = pack(file.header, file.segments[:count])
        assert np.array_equal(open_field(io.BytesIO(less))[:], whole(less, count))


def test_of_a_cut_file_whole_chunks_can_be_read() -> None:
    data = packed(field((4, 16, 16)), chunk=(2, 16, 16), nrmse=1e-2, rel_error=None, wavelet="none", dct_block_size=8)
    end = len(data) - sum(unpack(data).header.segment_lengths[1:])
    opened = open_field(io.BytesIO(data[: end + 3]))
    assert np.array_equal(opened[:2], whole(data)[:2])
    with pytest.raises(ContainerError, match="is cut in segment 2"):
        opened[2]


def test_damage_is_an_error_where_it_is_read() -> None:
    data = bytearray(packed(field((4, 16, 16)), chunk=(2, 16, 16), wavelet="none", dct_block_size=8))
    data[-1] ^= 1
    opened = open_field(io.BytesIO(bytes(data)))
    assert opened[:2].shape == (2, 16, 16)
    with pytest.raises(ContainerError, match="damaged in segment 2"):
        opened[2]


def test_hostile_segments_are_errors_of_the_file() -> None:
    file = unpack(packed(field((4, 16, 16))))
    for segments in ((b"\1" * 40, b"", b""), (b"", b"", b""), (b"\x03\0" + bytes(60), b"x", b"y")):
        with pytest.raises(CodectkError):
            open_field(io.BytesIO(pack(file.header, segments)))[0]


@pytest.mark.parametrize("index", [(11,), (0, -24), (0, 0, 0), (..., ...), "1", 1.0, True, None, slice(0, 1, 0), [1]])
def test_what_is_no_index_is_an_error(index: Any) -> None:
    with pytest.raises(OutsideField):
        open_field(io.BytesIO(FILES[11, 23]))[index]


def test_a_loop_over_a_field_ends() -> None:
    assert np.array_equal(list(open_field(io.BytesIO(FILES[11, 23]))), WHOLE[11, 23])  # type: ignore[call-overload]


def test_memory_is_limited_whatever_the_file_announces() -> None:
    data = FILES[11, 23]
    with pytest.raises(InputError, match="smaller part"):
        open_field(io.BytesIO(data), max_bytes=100)[:]
    assert open_field(io.BytesIO(data), max_bytes=100)[0].nbytes == 46
    file = unpack(data)
    huge = replace(file.header, info=replace(file.header.info, shape=(1 << 38, 23)))
    opened = open_field(io.BytesIO(pack(huge, file.segments)))
    assert np.array_equal(opened[0, 0], WHOLE[11, 23][0, 0])  # its chunks are as small as before
    huge = replace(huge, params={**huge.params, "chunk": [1, 1 << 38, 23]})
    with pytest.raises(InputError, match="a chunk"):
        open_field(io.BytesIO(pack(huge, file.segments[:1])))


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    file = unpack(FILES[37,])
    for header, error in (
        (replace(file.header, codec="sz3"), ContainerError),
        (replace(file.header, bitstream_version=9), ContainerError),
        (replace(file.header, weights_digest=bytes(8)), WeightsMismatch),
        (replace(file.header, params={}), ContainerError),
    ):
        with pytest.raises(error):
            open_field(io.BytesIO(pack(header, file.segments)))
    with pytest.raises(InputError, match="does not exist"):
        open_field(tmp_path / "none.ctk")
    (tmp_path / "x.ctk").write_bytes(b"something else")
    with pytest.raises(ContainerError, match=r"x\.ctk is not"):
        open_field(tmp_path / "x.ctk")


def test_what_networks_predict_needs_their_weights() -> None:
    x, weights = moving_waves(), part(STUDENT)
    settings = {"mode": "single_step", "n_frame": 7, "interpo_rate": 3, "predict": "student", "chunk": "10,20,28"}
    data = packed(x, weights=weights, **settings)
    expected = load_codec("caesar_freq", weights).decompress(unpack(data))
    assert np.array_equal(open_field(io.BytesIO(data), weights)[0, 0, 3:12, ::2], expected[0, 0, 3:12, ::2])
    for others in (None, part(STUDENT, seed=1)):
        with pytest.raises(WeightsMismatch):
            open_field(io.BytesIO(data), others)


def test_a_file_closes_with_its_field(tmp_path: Path) -> None:
    (tmp_path / "x.ctk").write_bytes(FILES[37,])
    with open_field(tmp_path / "x.ctk") as opened:
        assert np.array_equal(opened[::5], WHOLE[37,][::5])
    with pytest.raises(ValueError, match="closed"):
        opened[0]
