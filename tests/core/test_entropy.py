"""The entropy coder: what was encoded is decoded, in few bits, in the same bytes everywhere, and never a crash."""

import hashlib
import importlib.util

import numpy as np
import pytest

from codectk.entropy import (
    Decoder,
    Encoder,
    Tables,
    coder,
    fallback,
    gaussian_tables,
    native,
    pmf_tables,
    scale_levels,
    scale_thresholds,
    table_indexes,
)
from codectk.errors import ContainerError

LEVELS = scale_levels()
GAUSSIAN = gaussian_tables(LEVELS)
INT32 = np.iinfo(np.int32)
LONG = native.ALONE + 5000
"""More items than one state codes alone."""


@pytest.fixture(params=["native", "fallback"])
def backend(request, monkeypatch):
    """Both coders, one after the other."""
    chosen = getattr(coder, request.param)
    monkeypatch.setattr(coder, "backend", chosen)
    return chosen


def stream(*calls):
    encoder = Encoder()
    for symbols, tables, indexes in calls:
        encoder.encode(symbols, tables, indexes)
    return encoder.finish()


def decoded(data, *calls):
    decoder = Decoder(data)
    found = [decoder.decode(tables, indexes) for tables, indexes in calls]
    decoder.finish()
    return found


def check(*calls):
    """Encode, decode, compare; the stream's length."""
    data = stream(*calls)
    for (symbols, _, _), found in zip(calls, decoded(data, *(call[1:] for call in calls)), strict=True):
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, symbols)
    return len(data)


def sample(count, seed=0, mean=-1.0, spread=1.0):
    """Symbols with random scales, and the indexes of their tables."""
    random = np.random.default_rng(seed)
    scales = np.exp(random.normal(mean, spread, count))
    symbols = np.rint(random.normal(size=count) * scales).astype(np.int32)
    return symbols, table_indexes(np.rint(scales * 256).astype(np.int32), scale_thresholds(LEVELS, 8)), scales


def fixed(count):
    """Symbols, tables and indexes from integer arithmetic alone."""
    mixed = np.arange(count, dtype=np.uint64) * np.uint64(2654435761) % np.uint64(2**32) >> np.uint64(8)
    lengths = np.array([2, 4, 301], np.int32)
    last = [65536 - 300, *[1] * 300]
    frequencies = np.array([65535, 1, 20000, 40000, 5000, 536, *last[::-1]], np.uint16)
    tables = Tables(frequencies, lengths, np.array([0, -1, -50], np.int32), np.array([1, 0, 0], np.uint8))
    indexes = (mixed % np.uint64(3)).astype(np.uint16)
    symbols = (mixed // np.uint64(3) % np.uint64(97)).astype(np.int32) - 40
    symbols[indexes == 0] = 0
    symbols[indexes == 1] = symbols[indexes == 1] % 3 - 1
    return symbols, tables, indexes


def test_the_compiled_coder_is_there():
    assert native.library() is not None
    assert coder.backend is native


@pytest.mark.parametrize("content", [None, b"of another platform"])
def test_without_the_compiled_coder_the_other_is_used(content, monkeypatch, tmp_path):
    if content:
        (tmp_path / "_native.so").write_bytes(content)
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "_native.so")
    native.library.cache_clear()
    spec = importlib.util.spec_from_file_location("coder_again", coder.__file__)
    again = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(again)
        assert again.backend is fallback
    finally:
        native.library.cache_clear()


@pytest.mark.parametrize("count", [0, 1, 2, native.ALONE, native.ALONE + 1, LONG])
def test_round_trip_with_random_scales(backend, count):
    symbols, indexes, _ = sample(count, seed=count, spread=2.5)
    check((symbols, GAUSSIAN, indexes))


@pytest.mark.parametrize("count", [1, 7, 3000])
def test_every_int32_can_be_coded(backend, count):
    random = np.random.default_rng(count)
    symbols = random.integers(INT32.min, INT32.max, count, np.int32, endpoint=True)
    symbols[::3], symbols[1::5] = INT32.min, INT32.max
    check((symbols, GAUSSIAN, random.integers(0, 64, count)))


def test_values_next_to_the_ends_of_tables(backend):
    tables = pmf_tables([np.full(4, 0.25)] * 3, [INT32.min, INT32.max - 3, 10])
    symbols = np.array([INT32.min, INT32.min + 3, INT32.min + 4, INT32.max, -1, 0, 9, 10, 13, 14], np.int32)
    for index in range(3):
        check((symbols, tables, np.full(10, index)))


@pytest.mark.parametrize("place", ["first", "last", "rare"])
def test_escapes_in_the_middle_of_long_streams(backend, place):
    symbols, indexes, _ = sample(LONG + 3)
    where = {"first": [0], "last": [-1], "rare": np.arange(native.ALONE - 9, LONG, 37)}[place]
    symbols[where] += 2_000_000_000
    check((symbols, GAUSSIAN, indexes))


def test_groups_whose_tables_depend_on_groups_before(backend):
    symbols, _, _ = sample(3 * 8000, spread=0.5)
    groups = symbols.reshape(3, 2, 40, 100)
    encoder, before = Encoder(), np.zeros(groups[0].shape, np.int32)
    for group in groups:
        encoder.encode(group, GAUSSIAN, np.abs(before) + 20)
        before = group
    decoder, before = Decoder(encoder.finish()), np.zeros(groups[0].shape, np.int32)
    for group in groups:
        before = decoder.decode(GAUSSIAN, np.abs(before) + 20)
        np.testing.assert_array_equal(before, group)
    decoder.finish()


def test_one_stream_takes_several_tables_and_shapes(backend):
    symbols, indexes, _ = sample(600)
    channels = pmf_tables([np.array([0.2, 0.6, 0.1]), np.array([0.5, 0.5])], [-1, 4])
    z = np.array([[[0, 1], [-1, 9]], [[4, 5], [5, 4]]])
    calls = [
        (z, channels, np.broadcast_to(np.arange(2)[:, None, None], z.shape)),
        (symbols.reshape(2, 3, 100), GAUSSIAN, indexes.reshape(2, 3, 100)),
        (np.zeros((0, 3), np.int8), GAUSSIAN, np.zeros((0, 3), np.int64)),
        (np.array(7), GAUSSIAN, np.array(40)),
        (symbols[::2], GAUSSIAN, indexes[::2]),
    ]
    check(*calls)


def test_indexes_spread_over_the_symbols():
    z = np.arange(12).reshape(2, 2, 3) % 3 - 1
    tables = pmf_tables([np.full(3, 1 / 3)] * 2, [-1, -1])
    channel = np.arange(2)[:, None, None]
    assert stream((z, tables, channel)) == stream((z, tables, np.broadcast_to(channel, z.shape)))


def test_bits_are_within_a_fifth_of_a_per_cent_of_the_ideal():
    symbols, indexes, scales = sample(400_000)
    from scipy.special import ndtr

    distance = np.abs(symbols)
    ideal = -np.log2(ndtr((0.5 - distance) / scales) - ndtr((-0.5 - distance) / scales)).sum()
    assert 8 * len(stream((symbols, GAUSSIAN, indexes))) < 1.002 * ideal


@pytest.mark.parametrize(("count", "waste"), [(200, 5), (native.ALONE, 5), (LONG, 18)])
def test_few_bytes_are_added_to_what_the_tables_say(backend, count, waste):
    symbols, tables, indexes = fixed(count)
    place = tables.first[indexes] + symbols - tables.offsets[indexes]
    widths = np.diff(tables.cumulative.astype(int))[place]
    ideal = -np.log2(widths[indexes > 0] / 65536).sum() / 8
    assert ideal <= len(stream((symbols, tables, indexes))) <= ideal + waste


def test_no_symbols_take_no_bytes(backend):
    assert stream() == stream((np.zeros(0, int), GAUSSIAN, np.zeros(0, int))) == b""
    assert decoded(b"") == []


def test_zeros_of_skippable_tables_cost_nothing_however_many(backend):
    sizes = [check((np.zeros(count, int), GAUSSIAN, np.zeros(count, int))) for count in (1, 100_000)]
    assert sizes[0] == sizes[1] <= 5


def test_without_skippable_zeros_nothing_is_lost(backend):
    """A single other symbol, and all are coded: the stream is longer by that symbol, and states for so many items."""
    symbols, indexes, _ = sample(LONG, mean=-2.0)
    assert (indexes == 0).mean() > 0.3
    symbols[indexes == 0] = 0
    skipped = check((symbols, GAUSSIAN, indexes))
    symbols[np.flatnonzero(indexes == 0)[50]] = -1
    coded = check((symbols, GAUSSIAN, indexes))
    assert skipped < coded <= skipped + 3 + 3 * native.STATE_BYTES


def test_skipped_and_coded_calls_follow_each_other(backend):
    calls = []
    for seed in range(6):
        symbols, indexes, _ = sample(500, seed, mean=-2.0)
        symbols[(indexes == 0)] = 0
        symbols[np.flatnonzero(indexes == 0)[0]] = seed % 2 * 3
        calls.append((symbols, GAUSSIAN, indexes))
    check(*calls)


@pytest.mark.parametrize(
    ("count", "digest"),
    [(0, "e3b0c44298fc1c14"), (1000, "0a62a59d2f710558"), (50000, "f80e51f3f4f92a0e"), (80000, "a0b27936158c5b39")],
)
def test_the_bytes_stay_what_they_are(backend, count, digest):
    """Files are opened years later: never change these."""
    symbols, tables, indexes = fixed(count)
    symbols[5::1001] = 123456789
    data = stream((symbols, tables, indexes), (symbols[:300], tables, np.full(len(symbols[:300]), 2)))
    assert hashlib.sha256(data).hexdigest()[:16] == digest


def test_both_coders_write_the_same_bytes():
    for seed, count in enumerate([1, 50, LONG]):
        symbols, indexes, _ = sample(count, seed, spread=3.0)
        found = native.items(GAUSSIAN, symbols, indexes)
        np.testing.assert_array_equal(fallback.items(GAUSSIAN, symbols, indexes), found, strict=True)
        assert fallback.pack(found) == native.pack(found)


def mutations(data, random, count):
    """Streams with altered, cut, lengthened, repeated and random bytes."""
    for kind in range(count):
        changed = bytearray(data)
        at = int(random.integers(len(data)))
        if kind % 5 == 0:
            changed[at] ^= int(random.integers(1, 256))
        elif kind % 5 == 1:
            del changed[at:]
        elif kind % 5 == 2:
            del changed[at : at + int(random.integers(1, 9))]
        elif kind % 5 == 3:
            changed[at:at] = random.bytes(int(random.integers(1, 9)))
        else:
            changed[at:] = random.bytes(len(data) - at)
        yield bytes(changed)


@pytest.mark.parametrize(("count", "tries"), [(200, 300), (LONG, 8)])
def test_hostile_streams_give_an_error_or_symbols_and_the_same_in_both_coders(count, tries):
    random = np.random.default_rng(count)
    symbols, indexes, _ = sample(count, mean=-0.5, spread=2.0)
    symbols[::50] = random.integers(INT32.min, INT32.max, len(symbols[::50]))
    data, refused, noticed = stream((symbols, GAUSSIAN, indexes)), 0, 0
    for changed in mutations(data, random, tries):
        readers = native.Reader(changed), fallback.Reader(changed)
        found, again = (reader.decode(GAUSSIAN, indexes) for reader in readers)
        assert (found is None) == (again is None)
        refused += found is None
        if found is not None:
            np.testing.assert_array_equal(found, again)
            assert readers[0].finished() == readers[1].finished()
            noticed += not readers[0].finished()
    assert refused > tries // 5, "of cut streams at least"
    assert refused + noticed > 0.95 * tries, "of all but those that alter the bits of an escape"


def test_long_hostile_streams_do_no_harm():
    symbols, indexes, _ = sample(100_000, spread=2.0)
    data = stream((symbols, GAUSSIAN, indexes))
    for changed in mutations(data, np.random.default_rng(1), 200):
        decoder = Decoder(changed)
        try:
            assert decoder.decode(GAUSSIAN, indexes).shape == indexes.shape
        except ContainerError as error:
            assert "damaged or cut" in str(error)


@pytest.mark.parametrize("size", range(6))
def test_every_start_of_a_short_stream_is_refused(backend, size):
    symbols, indexes, _ = sample(30)
    data = stream((symbols, GAUSSIAN, indexes))
    assert len(data) >= 6
    with pytest.raises(ContainerError, match="damaged or cut"):
        decoded(data[:size], (GAUSSIAN, indexes))


def test_a_state_that_no_encoder_has_is_refused(backend):
    with pytest.raises(ContainerError, match="damaged or cut"):
        decoded(bytes([0, 0, 255, 255, 255, 7, 7]), (GAUSSIAN, np.array([30])))


def test_an_escape_beyond_int32_is_refused(backend):
    tables = pmf_tables([np.array([0.5, 0.5])], [0])
    for number, bits in [(2**34 - 1, 33), (2**33, 33), (2**32 + 1, 32)]:
        found = [65535 << 16, fallback._even(bits, 6)]
        left = bits
        for chunk in fallback._chunks(bits):
            left -= chunk
            found.append(fallback._even(number >> left & ((1 << chunk) - 1), chunk))
        data = backend.pack(np.array(found, np.uint32))
        if number == 2**32 + 1:
            assert decoded(data, (tables, np.array([0])))[0].tolist() == [INT32.min]
        else:
            with pytest.raises(ContainerError):
                decoded(data, (tables, np.array([0])))
    for bits in (0, 34, 63):
        data = backend.pack(np.array([65535 << 16, fallback._even(bits, 6)], np.uint32))
        with pytest.raises(ContainerError):
            decoded(data, (tables, np.array([0])))


def test_what_follows_the_symbols_is_noticed(backend):
    symbols, indexes, _ = sample(50)
    data = stream((symbols, GAUSSIAN, indexes))
    for wrong, which in [(data + b"\0", indexes), (data, indexes[:-1]), (b"\0", None)]:
        with pytest.raises(ContainerError, match="at the end"):
            decoded(wrong, *([] if which is None else [(GAUSSIAN, which)]))


@pytest.mark.parametrize("symbols", [np.array([2**31]), np.array([-(2**31) - 1]), np.array([2**64 - 1], np.uint64)])
def test_symbols_beyond_int32_are_refused(symbols):
    with pytest.raises(ValueError, match="symbols must be from -2147483648 to 2147483647"):
        Encoder().encode(symbols, GAUSSIAN, np.array([0]))


@pytest.mark.parametrize("indexes", [np.array([64]), np.array([-1]), np.array([65536])])
def test_indexes_of_no_table_are_refused(indexes):
    with pytest.raises(ValueError, match="indexes must be from 0 to 63"):
        Encoder().encode(np.array([0]), GAUSSIAN, indexes)
    with pytest.raises(ValueError, match="indexes must be from 0 to 63"):
        Decoder(b"12345678").decode(GAUSSIAN, indexes)


def test_floats_and_other_shapes_are_refused():
    with pytest.raises(ValueError, match="symbols must be integers"):
        Encoder().encode(np.array([0.0]), GAUSSIAN, np.array([0]))
    with pytest.raises(ValueError, match="indexes must be integers"):
        Encoder().encode(np.array([0]), GAUSSIAN, np.array([0.0]))
    with pytest.raises(ValueError, match="broadcast"):
        Encoder().encode(np.zeros(3, int), GAUSSIAN, np.zeros(2, int))
