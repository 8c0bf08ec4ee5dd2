"""SZ3, ZFP and SPERR: bounds that hold, values that no library takes, and files that are made to hurt."""

import os
import signal
import struct
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from codectk import ArrayInfo, decompress, load_codec
from codectk.container import pack, unpack
from codectk.errors import ContainerError, OptionsError, PluginError
from codectk_classic import isolation
from codectk_classic.fields import folded
from codectk_classic.isolation import FieldProcess, LibraryError, field_process

NAMES = ["sperr", "zfp", *(["sz3"] if find_spec("hdf5plugin") else [])]
SHAPES = ((1,), (40,), (1, 9), (24, 20), (1, 16, 24), (12, 16, 20), (2, 5, 16, 12), (2, 1, 5, 9, 16))


def field(shape=(12, 16, 20), dtype="float32"):
    """A smooth field with a little noise, of values around 280."""
    axes = np.meshgrid(*(np.arange(length) for length in shape), indexing="ij")
    smooth = sum(np.sin(axis / (4 + number)) for number, axis in enumerate(axes))
    x = 280 + 10 * smooth + np.random.default_rng(5).normal(0, 0.05, shape)
    return x.astype(dtype), ArrayInfo("field/f32" if dtype == "float32" else "field/f64", shape)


def compressed(name, x, info, **values):
    codec = load_codec(name)
    return codec.compress(x, info, codec.encode_options(values))


def round_trip(name, x, info, **values):
    data = compressed(name, x, info, **values).data
    x_hat, info_hat = decompress(data)
    assert (info_hat.kind, x_hat.shape, x_hat.dtype) == (info.kind, x.shape, x.dtype)
    return data, x_hat


def largest(x, x_hat):
    return np.abs(x.astype(np.float64) - x_hat).max()


def changed(data, params=(), **segments):
    """The file with other params, and with other bytes for its `first` or `second` segment."""
    file = unpack(data)
    both = [segments.get(place, segment) for place, segment in zip(("first", "second"), file.segments, strict=False)]
    both += [segments["second"]] if len(both) < 2 and "second" in segments else []
    return pack(replace(file.header, params={**file.header.params, **dict(params)}), tuple(both))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_bounds_hold_for_every_number_of_axes(name, dtype, shape):
    x, info = field(shape, dtype)
    spread = float(x.max()) - float(x.min())
    for bound in (2.0, 1e-3):
        assert largest(x, round_trip(name, x, info, abs_error=bound)[1]) <= bound
    for part in (0.1, 1e-4):
        assert largest(x, round_trip(name, x, info, rel_error=part)[1]) <= part * spread
    assert largest(x, round_trip(name, x, info)[1]) <= 1e-3 * spread


@pytest.mark.parametrize("name", NAMES)
def test_a_bound_is_used_and_not_only_kept(name):
    x, info = field()
    spread = float(x.max() - x.min())
    data, x_hat = round_trip(name, x, info, rel_error=0.01)
    assert largest(x, x_hat) > 0.0005 * spread and len(data) < x.nbytes / 5


@pytest.mark.parametrize("name", NAMES)
def test_narrower_bounds_give_larger_files(name):
    x, info = field()
    ladder = load_codec(name).rate_ladder
    sizes = [len(compressed(name, x, info, **ladder[step])) for step in range(0, len(ladder), 12)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1] / 4


@pytest.mark.parametrize("name", NAMES)
def test_both_bounds_are_refused(name):
    x, info = field((4, 4))
    with pytest.raises(OptionsError, match="both"):
        compressed(name, x, info, abs_error=1.0, rel_error=0.1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_and_infinities_come_back_bit_by_bit(name, dtype):
    x, info = field(dtype=dtype)
    x[0, :, 3], x[5, 5, 5], x[6, 5, 5] = np.nan, np.inf, -np.inf
    x.view(f"u{x.itemsize}")[1, 1, 1] = x.view(f"u{x.itemsize}")[0, 0, 3] | 5  # a NaN with a payload
    whole = np.isfinite(x)
    result = compressed(name, x, info, abs_error=0.01)
    x_hat, _ = decompress(result.data)
    assert result.notes["exact_values"] >= 19 and len(result) < x.nbytes
    assert x_hat[~whole].tobytes() == x[~whole].tobytes()
    assert largest(x[whole], x_hat[whole]) <= 0.01


@pytest.mark.parametrize("name", NAMES)
def test_fill_values_are_missing_values(name):
    x, info = field()
    plain = compressed(name, x, info).data
    x[:3, :, 3] = 1e20
    data = compressed(name, x, replace(info, fill_value=1e20)).data
    x_hat, _ = decompress(data)
    there = x < 1e20
    assert (x_hat[~there] == x[~there]).all()
    assert largest(x[there], x_hat[there]) <= 1e-3 * float(x[there].max() - x[there].min())
    assert len(data) < 1.5 * len(plain), "the bound is a part of the range without them"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 273.15, np.nan, np.inf, -1e38])
def test_a_field_of_one_value_comes_back_exactly(name, value):
    x = np.full((6, 7, 8), value, np.float32)
    data, x_hat = round_trip(name, x, ArrayInfo("field/f32", x.shape))
    assert x_hat.tobytes() == x.tobytes() and len(data) < 150


@pytest.mark.parametrize("name", NAMES)
def test_a_range_beyond_the_type_is_kept_exactly(name):
    x = np.array([[-1.7e308, 1.7e308, 1.0]])
    assert round_trip(name, x, ArrayInfo("field/f64", x.shape))[1].tobytes() == x.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_values_beyond_the_bound_are_stored_exactly(name, monkeypatch):
    x, info = field()
    usual = FieldProcess.decode

    def off_by_one(self, *arguments):
        x_hat = usual(self, *arguments).copy()
        x_hat.flat[::100] += 1
        return x_hat

    monkeypatch.setattr(FieldProcess, "decode", off_by_one)
    result = compressed(name, x, info, abs_error=0.1)
    assert result.notes["exact_values"] == len(x.flat[::100])
    x_hat, _ = decompress(result.data)
    assert largest(x, x_hat) <= 0.1 and (x_hat.flat[::100] == x.flat[::100]).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_field_that_the_library_refuses_is_kept_exactly(name, monkeypatch):
    def refuse(*arguments):
        raise LibraryError("no")

    monkeypatch.setattr(FieldProcess, "encode", refuse)
    x, info = field((5, 6))
    result = compressed(name, x, info)
    assert decompress(result.data)[0].tobytes() == x.tobytes() and result.notes["exact_values"] == 30


def test_the_zfp_segment_is_the_stream_of_the_library():
    x, info = field()
    stream = imagecodecs.zfp_encode(x, 0.25, mode=imagecodecs.ZFP.MODE.FIXED_ACCURACY, header=False)
    assert unpack(compressed("zfp", x, info, abs_error=0.25).data).segments == (stream,)


def test_the_sperr_segment_is_the_stream_of_the_library():
    x, info = field()
    stream = imagecodecs.sperr_encode(x, 0.25, imagecodecs.SPERR.MODE.PWE)
    assert unpack(compressed("sperr", x, info, abs_error=0.25).data).segments == (stream,)


@pytest.mark.skipif("sz3" not in NAMES, reason="codectk-classic[fields] is not installed")
def test_the_sz3_segment_is_the_chunk_of_an_hdf5_file(tmp_path):
    import h5py
    import hdf5plugin

    x, info = field()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        held = file.create_dataset("x", data=x, chunks=x.shape, **hdf5plugin.SZ3(absolute=0.25))
        chunk = held.id.read_direct_chunk((0, 0, 0))[1]
    assert unpack(compressed("sz3", x, info, abs_error=0.25).data).segments == (chunk,)


@pytest.mark.parametrize("name", NAMES)
def test_axes_of_length_one_in_front_cost_nothing(name):
    x, info = field()
    plain = compressed(name, x, info).data
    deep = compressed(name, x[np.newaxis, np.newaxis], ArrayInfo("field/f32", (1, 1, *x.shape))).data
    assert unpack(deep).segments == unpack(plain).segments


@pytest.mark.parametrize(
    ("shape", "least_axes", "wanted"),
    [
        ((7,), 1, (7,)),
        ((7,), 2, (1, 7)),
        ((1, 1), 1, (1,)),
        ((1, 5, 7), 1, (5, 7)),
        ((5, 1, 7), 1, (5, 1, 7)),
        ((2, 3, 5, 7), 2, (6, 5, 7)),
        ((2, 1, 3, 5, 7), 1, (6, 5, 7)),
        ((1, 1, 1, 5, 7), 2, (5, 7)),
    ],
)
def test_fields_are_folded_to_at_most_three_axes(shape, least_axes, wanted):
    assert folded(shape, least_axes) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_stream_is_refused(name):
    data = compressed(name, *field()).data
    stream = unpack(data).segments[0]
    for length in (0, 1, len(stream) // 2, len(stream) - 1):
        with pytest.raises(ContainerError, match="cut"):
            decompress(changed(data, first=stream[:length]))


@pytest.mark.parametrize("name", NAMES)
def test_bytes_of_chance_end_no_process_but_their_own(name):
    x, info = field()
    data = compressed(name, x, info).data
    rng = np.random.default_rng(1)
    for length in (1, 3, 20, 300):
        stream = rng.bytes(length)
        with pytest.raises(ContainerError):
            decompress(changed(data, {"length": length}, first=stream))
    assert decompress(data)[0].shape == x.shape


def test_a_sperr_stream_of_another_shape_is_refused_before_room_is_made():
    data = compressed("sperr", *field()).data
    stream = bytearray(unpack(data).segments[0])
    stream[2:14] = struct.pack("<3I", 20, 16, 1 << 20)
    start = time.perf_counter()
    with pytest.raises(ContainerError, match="another shape"):
        decompress(changed(data, first=bytes(stream)))
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("params", [{"exact": 1}, {"exact": 700}, {"exact": -1}, {"exact": True}, {"exact": 1 << 40}])
def test_exact_values_are_those_that_are_announced(name, params):
    x, info = field()
    x[2, 2, :19] = np.nan
    data = compressed(name, x, info).data
    with pytest.raises(ContainerError):
        decompress(changed(data, params))
    with pytest.raises(ContainerError):
        decompress(changed(compressed(name, *field()).data, params))


@pytest.mark.parametrize("name", NAMES)
def test_damaged_exact_values_are_refused(name):
    x, info = field()
    x[2, 2, 2] = np.nan
    data = compressed(name, x, info, abs_error=0.5).data
    second = unpack(data).segments[1]
    for other in (b"", second[:-1], second + b"\0", bytes(len(second)), unpack(data).segments[0]):
        with pytest.raises(ContainerError):
            decompress(changed(data, second=other))


def test_the_process_is_started_again_after_its_end():
    x, info = field()
    data, before = round_trip("zfp", x, info)
    first = field_process._process
    first.kill()
    first.wait()
    np.testing.assert_array_equal(decompress(data)[0], before)
    assert field_process._process is not first


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGSTOP")
def test_a_library_that_does_not_end_is_given_up(monkeypatch):
    data, before = round_trip("zfp", *field())
    monkeypatch.setattr(isolation, "_SECONDS", 0.2)
    os.kill(field_process._process.pid, signal.SIGSTOP)
    with pytest.raises(ContainerError, match="ends its process"):
        decompress(data)
    monkeypatch.undo()
    np.testing.assert_array_equal(decompress(data)[0], before)


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_starts_one_of_its_own():
    data, before = round_trip("zfp", *field())
    child = os.fork()
    if child == 0:
        same = np.array_equal(decompress(data)[0], before)
        field_process.close()
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(decompress(data)[0], before)


def test_a_process_that_does_not_start_is_said_so(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(PluginError, match="does not start"):
        FieldProcess().decode("zfp", b"x", (1,), "float32")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep no such limit")
def test_the_process_may_not_take_much_more_than_the_field_needs():
    round_trip("zfp", *field())
    limits = Path(f"/proc/{field_process._process.pid}/limits").read_text()
    (line,) = (line for line in limits.splitlines() if line.startswith("Max address space"))
    assert int(line.split()[3]) < 2 << 30
