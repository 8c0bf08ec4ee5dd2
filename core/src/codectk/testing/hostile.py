"""Files that are damaged or made to hurt: a plain error, or an array of the announced shape, in bounded memory."""

import bz2
import lzma
import re
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest

from codectk.arrays import Array
from codectk.checkpoint import Checkpoint
from codectk.compression import LoadedCodec, load_codec
from codectk.container import Container, pack, unpack
from codectk.errors import CodectkError, DesyncError, WeightsError, WeightsMismatch
from codectk.registry import Registered
from codectk.specs import CodecSpec
from codectk.testing import samples

BOMB_BYTES = 1 << 27
"""What a few kilobytes of compressed zeros unpack to."""

ODD_VALUES: tuple[Any, ...] = (None, -1, 1 << 28, 1 << 62, 1e300, "x", True, [], [1] * 9, {"a": 1})


class HostileFiles:
    """The part of `CodecConformance` about files whose check sums are right and whose content is not."""

    spec: ClassVar[CodecSpec]
    memory: ClassVar[int] = 1 << 26
    memory_per_byte: ClassVar[int] = 64
    changed_places: ClassVar[int] = 64

    loaded: Callable[[], LoadedCodec]
    registered: Callable[[], Registered]
    checkpoint: Callable[[], Checkpoint | None]
    compress: Callable[..., bytes]
    values_to_try: Callable[[], list[dict[str, Any]]]

    def _file(self) -> Container:
        return unpack(self.compress(*samples.array(self.spec.kinds[0])))

    def _decode(self, file: Container) -> Array | None:
        """The array, or None where the codec says in its own words that there is none."""
        whole = unpack(pack(file.header, file.segments))
        try:
            x_hat = self.loaded().decompress(whole)
        except CodectkError:
            return None
        assert x_hat.shape == file.header.info.shape, f"a hostile file gives {x_hat.shape}"
        return x_hat

    def _refused(self, file: Container, what: str) -> None:
        assert self._decode(file) is None, f"a file with {what} is decoded as if it were whole"

    def _harmless(self, file: Container, whole: Array, what: str) -> None:
        """Refused, or it decodes to what it held before."""
        x_hat = self._decode(file)
        same = x_hat is None or np.array_equal(x_hat, whole, equal_nan=whole.dtype.kind == "f")
        assert same, f"a file with {what} is decoded to another array"

    def test_cut_files_are_refused(self) -> None:
        """Wherever a file ends too early. A segment of a file whose check sums are right may lack what nobody needs."""
        file = self._file()
        whole = self.loaded().decompress(file)
        data = pack(file.header, file.segments)
        for length in sorted({0, 1, len(data) // 2, len(data) - 1}):
            with pytest.raises(CodectkError):
                self.loaded().decompress(unpack(data[:length]))
        for changed, what in _each_segment(file, lambda s: [s[:n] for n in {0, len(s) // 2, len(s) - 1} if n < len(s)]):
            self._harmless(changed, whole, f"{what} cut")

    def test_bytes_after_the_end_are_refused(self) -> None:
        """Of a file; those after the end of a segment whose check sums are right change nothing."""
        file = self._file()
        whole = self.loaded().decompress(file)
        with pytest.raises(CodectkError):
            self.loaded().decompress(unpack(pack(file.header, file.segments) + b"\0"))
        for changed, what in _each_segment(file, lambda s: [s + b"\0", s + s]):
            self._harmless(changed, whole, f"bytes after {what}")

    def test_too_few_or_too_many_segments_are_refused(self) -> None:
        """A progressive file may lack its last ones."""
        file = self._file()
        self._refused(replace(file, segments=(*file.segments, b"")), "one empty segment more")
        self._refused(replace(file, segments=()), "no segment")
        if not self.spec.progressive and len(file.segments) > 1:
            self._refused(replace(file, segments=file.segments[:-1]), "one segment less")

    def test_changed_bits_are_a_plain_error_or_an_array(self) -> None:
        """Never anything that ends the program."""
        rng = np.random.default_rng(0)
        for changed, _ in _each_segment(self._file(), lambda s: list(_flipped(s, rng, self.changed_places))):
            self._decode(changed)

    def test_decoded_symbols_are_compared_with_the_encoded_ones(self) -> None:
        """Where the codec stores a check of its symbols, another one is a `DesyncError`."""
        file = self._file()
        if file.header.symbol_check is None:
            pytest.skip("the codec stores no check of its symbols")
        other = replace(file.header, symbol_check=file.header.symbol_check ^ 1)
        with pytest.raises(DesyncError):
            self.loaded().decompress(replace(file, header=other))

    def test_odd_params_are_a_plain_error_or_an_array(self) -> None:
        """Whatever stands where a number was, in bounded memory."""
        for values in [{}, *self.values_to_try()]:
            file = unpack(self.compress(*samples.array(self.spec.kinds[0]), values))
            for name in file.header.params:
                for value in ODD_VALUES:
                    header = replace(file.header, params={**file.header.params, name: value})
                    self._bounded(replace(file, header=header), f"params {name}={value!r}")

    def test_hostile_segments_take_bounded_memory(self) -> None:
        """Compressed zeros, and lengths at the start of a segment that are far too large."""
        places = self.changed_places // 4
        for changed, what in _each_segment(self._file(), lambda s: [*_bombs(), *_large_lengths(s, places)]):
            self._bounded(changed, what)

    def _bounded(self, file: Container, what: str) -> None:
        bound = self.memory + self.memory_per_byte * file.header.info.nbytes
        tracemalloc.start()
        try:
            self._decode(file)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak <= bound, f"{what}: decoding took {peak} bytes, more than {bound}"

    def test_other_weights_are_refused(self) -> None:
        """A file says which weights it was made with; one that needs none opens with any, to the same values."""
        weights = self._weights()
        file = self._file()
        other = self._first_that_loads(_nudged(weights))
        if file.header.weights_digest is None:
            assert self.spec.takes_weights, "the file does not say which weights it was made with"
            same = self.loaded().decompress(file), other.decompress(file)
            assert np.array_equal(*same, equal_nan=same[0].dtype.kind == "f"), "other weights give other values"
            return
        with pytest.raises(WeightsMismatch):
            other.decompress(file)

    def test_incomplete_weights_are_refused(self) -> None:
        """A missing tensor is a `WeightsError` on loading, before any file is touched.

        Of tensors whose names differ in numbers alone, the first and the last are left out in turn.
        """
        weights = self._weights()
        for name in _ends_of_families(weights.tensors):
            rest = {n: t for n, t in weights.tensors.items() if n != name}
            with pytest.raises(WeightsError):
                load_codec(self.registered().full_name, replace(weights, tensors=rest))

    def _first_that_loads(self, candidates: Iterable[Checkpoint]) -> LoadedCodec:
        for weights in candidates:
            with suppress(WeightsError):
                return load_codec(self.registered().full_name, weights)
        pytest.fail("no single value of the weights can be another one")

    def _weights(self) -> Checkpoint:
        weights = self.checkpoint()
        if weights is None:
            assert not self.spec.needs_weights, "set `weights`: the codec needs some and ships none"
            pytest.skip("the codec has no weights")
        return weights


def _each_segment(file: Container, change: Callable[[bytes], Iterable[bytes]]) -> Iterator[tuple[Container, str]]:
    for number, segment in enumerate(file.segments):
        for changed in change(segment):
            segments = (*file.segments[:number], changed, *file.segments[number + 1 :])
            yield replace(file, segments=segments), f"segment {number + 1}"


def _ends_of_families(names: Iterable[str]) -> list[str]:
    """The first and the last of the names that differ in numbers alone, by these numbers."""
    families: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)]):
        families.setdefault(re.sub(r"\d+", "#", name), []).append(name)
    return [name for family in families.values() for name in dict.fromkeys((family[0], family[-1]))]


def _flipped(segment: bytes, rng: np.random.Generator, count: int) -> Iterator[bytes]:
    """Single bits: all of the first bytes, where headers are, and as many of the rest."""
    bits = 8 * len(segment)
    chosen = {*range(min(bits, count)), *(int(b) for b in rng.integers(0, bits, count))} if bits else set()
    for bit in sorted(chosen):
        changed = bytearray(segment)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def _large_lengths(segment: bytes, places: int) -> Iterator[bytes]:
    """The segment with one of its first numbers of 32 bits, at any place, turned into a large one."""
    for at in range(min(places, max(0, len(segment) - 3))):
        for large in (b"\0\0\0\x20", b"\x20\0\0\0"):
            yield segment[:at] + large + segment[at + 4 :]


def _nudged(weights: Checkpoint) -> Iterator[Checkpoint]:
    """The same weights but for one value, in the largest tensor first: small ones may be tables that are checked."""
    for name in sorted(weights.tensors, key=lambda n: (-weights.tensors[n].size, n)):
        tensor: Any = weights.tensors[name].copy()
        if tensor.size:
            tensor.flat[0] = tensor.flat[0] ^ 1 if tensor.dtype.kind in "biu" else tensor.flat[0] + 1
            yield replace(weights, tensors={**weights.tensors, name: tensor})


@cache
def _bombs() -> tuple[bytes, ...]:
    zeros = bytes(BOMB_BYTES)
    return zlib.compress(zeros, 9), bz2.compress(zeros), lzma.compress(zeros, preset=0)
