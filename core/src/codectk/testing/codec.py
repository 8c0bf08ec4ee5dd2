"""What every codec must keep to."""

from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from codectk.arrays import Array, ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.compression import LoadedCodec, load_codec
from codectk.container import unpack
from codectk.errors import InputError
from codectk.evaluate import Candidate, evaluate
from codectk.images import Picture
from codectk.registry import get_registry
from codectk.specs import CodecSpec, Guarantee, MetricSpec
from codectk.testing import samples
from codectk.testing.files import FileCoding
from codectk.testing.golden import default_weights, expected, golden_files, golden_weights
from codectk.testing.hostile import HostileFiles
from codectk.testing.processes import changed_by, run_fresh
from codectk.testing.specs import SpecConformance

DECODE = """
import sys
from pathlib import Path
import numpy as np
from codectk.compression import decompress
x_hat, _ = decompress(Path(sys.argv[1]).read_bytes(), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
np.save(sys.argv[2], x_hat, allow_pickle=False)
"""

ROUND_TRIP = """
from pathlib import Path
from codectk.compression import load_codec
from codectk.container import unpack
from codectk.testing import samples
codec = load_codec(sys.argv[1], Path(sys.argv[3]) if len(sys.argv) > 3 else None)
codec.decompress(unpack(codec.compress(*samples.array(sys.argv[2])).data))
"""


class CodecConformance(HostileFiles, FileCoding, SpecConformance):
    """Tests of one codec.

    Attributes:
        spec: its `CodecSpec`.
        golden: folder of golden files, written once for each bitstream version (see `codectk.testing.golden`).
        golden_tolerance: largest difference allowed when they are decoded, for decoders that compute with floats.
        settings: encode options to try besides the defaults; with None the ends of the codec's `rate_points`.
        weights: a file or weights in memory, for a codec that needs some and ships none.
        untrained: the weights are random, so that nothing is asked of the quality.
        memory: bytes that decoding a hostile file may take besides `memory_per_byte` for each byte of the array.
        memory_per_byte: see there.
        changed_places: how many of a segment's first bits are changed, one at a time, and of the others; fewer for a
            codec that starts a process anew after damage. Numbers of 32 bits are changed at a quarter as many places.
    """

    spec: ClassVar[CodecSpec]
    golden: ClassVar[Path | None] = None
    golden_tolerance: ClassVar[float] = 0
    settings: ClassVar[tuple[Mapping[str, Any], ...] | None] = None
    weights: ClassVar[Path | Checkpoint | None] = None
    untrained: ClassVar[bool] = False

    def loaded(self) -> LoadedCodec:
        """The codec, loaded once for all tests of a class."""
        cls = type(self)
        if "_loaded" not in vars(cls):
            cls._loaded = load_codec(self.registered().full_name, self.checkpoint())  # type: ignore[attr-defined]
        loaded: LoadedCodec = vars(cls)["_loaded"]
        return loaded

    def checkpoint(self) -> Checkpoint | None:
        """The weights in use."""
        cls = type(self)
        if "_checkpoint" not in vars(cls):
            named = Checkpoint.open(cls.weights) if isinstance(cls.weights, Path) else cls.weights
            cls._checkpoint = named or default_weights(self.spec)  # type: ignore[attr-defined]
        weights: Checkpoint | None = vars(cls)["_checkpoint"]
        return weights

    def values_to_try(self) -> list[dict[str, Any]]:
        """Encode options besides the defaults."""
        if self.settings is not None:
            return [dict(values) for values in self.settings]
        points, name = self.loaded().codec.rate_points, self.loaded().rate_option
        return [{name: point} for point in dict.fromkeys((points[0], points[-1]))] if name and points else []

    def compress(self, x: Array, info: ArrayInfo, values: Mapping[str, Any] | None = None) -> bytes:
        """The bytes of a file."""
        loaded = self.loaded()
        return loaded.compress(x, info, loaded.encode_options(values or {})).data

    def decompress(self, data: bytes, segments: int | None = None) -> Array:
        """The array of a file."""
        return self.loaded().decompress(unpack(data), segments=segments)

    def round_trip(self, x: Array, info: ArrayInfo, values: Mapping[str, Any] | None = None) -> Array:
        """Through a file and back, after a check of shape and type."""
        x_hat = self.decompress(self.compress(x.copy(), info, values))
        assert (x_hat.shape, x_hat.dtype) == (x.shape, x.dtype), (
            f"{x.dtype} {x.shape} became {x_hat.dtype} {x_hat.shape}"
        )
        return x_hat

    def cases(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Every kind at every setting to try."""
        for kind in self.spec.kinds:
            for values in [{}, *self.values_to_try()]:
                yield kind, values

    @property
    def family(self) -> str:
        """`"image"` or `"field"`, of the first kind."""
        return samples.family(self.spec.kinds[0])

    def test_the_codec_is_described_truly(self) -> None:
        """Versions, rate option, guarantees and weights in the spec agree with each other and with the code."""
        spec, registered = self.spec, self.registered()
        fields = registered.load(spec.encode_options).model_fields
        for method in ("load", "encode", "decode"):
            assert callable(getattr(registered.load(spec.target), method, None)), f"{spec.target} has no {method}"
        assert spec.bitstream_version in spec.reads, "it does not read the version that it writes"
        assert spec.rate_option is None or spec.rate_option in fields, f"there is no option {spec.rate_option}"
        option = self.loaded().rate_option
        assert option is None or option in fields, f"there is no option {option}"
        assert not self.loaded().codec.rate_points or option, "rate points need a rate option"
        for values in self.loaded().rate_ladder:
            self.loaded().encode_options(values)
        for guarantee in spec.guarantees:
            assert guarantee.option in fields, f"guarantee: there is no option {guarantee.option}"
            metric = get_registry().find(MetricSpec, guarantee.metric).spec
            assert metric.direction == "lower", f"guarantee: {guarantee.metric} is no error"
        with_weights = spec.needs_weights or spec.takes_weights
        assert spec.default_weights is None or with_weights, "default weights, but it neither needs nor takes any"
        assert spec.licence, "no licence"

    def test_every_kind_is_coded_at_every_setting(self) -> None:
        """Shape and type come back."""
        for kind, values in self.cases():
            self.round_trip(*samples.array(kind), values)

    def test_odd_sizes_are_coded(self) -> None:
        """Whatever a network wants its input to be divisible by, users do not."""
        for shape in samples.ODD[self.family]:
            self.round_trip(*samples.array(self.spec.kinds[0], shape))

    def test_one_value_alone_is_coded(self) -> None:
        """A picture of 1×1, a field of one value."""
        self.round_trip(*samples.array(self.spec.kinds[0], (1, 1) if self.family == "image" else (1,)))

    def test_flat_and_noisy_arrays_are_coded(self) -> None:
        """Nothing divides by a spread of zero or runs out of symbols."""
        for name in ("constant", "tiny", "huge", "spiky", *(["NaN-holding"] if self.family == "image" else [])):
            self.round_trip(*samples.nasty(name, self.spec.kinds[0]))

    def test_what_comes_back_resembles_what_went_in(self) -> None:
        """The result is nearer to the input than a plain array of its mean is."""
        if self.untrained:
            pytest.skip("the weights are random")
        for kind, values in self.cases():
            x, info = samples.array(kind)
            error = _mean_square(x, self.round_trip(x, info, values))
            plain = _mean_square(x, np.full(x.shape, x.mean()))
            assert error < plain, f"{kind} at {dict(values)}: mean square error {error:g}, of a plain array {plain:g}"

    def test_lossless_means_every_value(self) -> None:
        """A lossless codec returns the very values, at every setting."""
        if not self.spec.lossless:
            pytest.skip("the codec is not lossless")
        for kind, values in self.cases():
            for name in (None, *samples.NASTY):
                x, info = samples.nasty(name, kind) if name else samples.array(kind)
                assert self.round_trip(x, info, values).tobytes() == x.tobytes(), f"{kind}, {name or 'plain'}: changed"

    def test_the_same_input_gives_the_same_bytes(self) -> None:
        """Also after other work, and with the codec loaded again."""
        x, info = samples.array(self.spec.kinds[0])
        first = self.compress(x.copy(), info)
        self.compress(*samples.array(self.spec.kinds[0], seed=1))
        assert self.compress(x.copy(), info) == first, "encoding again gives other bytes"
        again = load_codec(self.registered().full_name, self.checkpoint())
        assert again.compress(x.copy(), info).data == first, "the codec loaded again gives other bytes"

    def test_where_values_lie_in_memory_does_not_matter(self) -> None:
        """Views, other orders and read-only arrays give the same bytes."""
        x, info = samples.array(self.spec.kinds[0])
        first = self.compress(x.copy(), info)
        for layout, same in samples.all_layouts(x):
            assert self.compress(same, info) == first, f"an array {layout} gives other bytes"

    def test_the_input_is_left_as_it_was(self) -> None:
        """The caller's array is not written to."""
        x, info = samples.array(self.spec.kinds[0])
        before = x.copy()
        self.compress(x, info)
        assert np.array_equal(x, before), "encode changes its input"

    def test_the_result_belongs_to_the_caller(self) -> None:
        """It can be written to, and that does not change what is decoded next."""
        x, info = samples.array(self.spec.kinds[0], seed=2)
        data = self.compress(x, info)
        first = self.decompress(data)
        before = first.copy()
        assert first.flags.writeable, "the result is read-only"
        first[...] = 0
        assert np.array_equal(self.decompress(data), before), "results share memory"

    def test_nothing_else_in_the_process_is_changed(self, tmp_path: Path) -> None:
        """Seeds, threads, flags, environment: all are as before loading, encoding and decoding."""
        changed = changed_by(
            ROUND_TRIP, self.registered().full_name, self.spec.kinds[0], *self._stored_weights(tmp_path)
        )
        assert not changed, f"the codec changes {', '.join(changed)}"

    def test_a_file_decodes_in_a_fresh_process(self, tmp_path: Path) -> None:
        """From the file and the weights alone, to the same values."""
        x, info = samples.array(self.spec.kinds[0])
        data = self.compress(x, info)
        (tmp_path / "x.ctk").write_bytes(data)
        run_fresh(DECODE, str(tmp_path / "x.ctk"), str(tmp_path / "x.npy"), *self._stored_weights(tmp_path))
        here, there = self.decompress(data), np.load(tmp_path / "x.npy", allow_pickle=False)
        assert np.array_equal(here, there, equal_nan=here.dtype.kind == "f"), "a fresh process decodes other values"

    def test_a_file_decodes_whatever_was_encoded_since(self) -> None:
        """Nothing is kept on the object between `encode` and `decode`."""
        kind = self.spec.kinds[0]
        data = self.compress(*samples.array(kind))
        first = self.decompress(data)
        self.compress(*samples.array(kind, seed=1))
        again = self.decompress(data)
        assert np.array_equal(first, again, equal_nan=first.dtype.kind == "f"), "the codec decodes from its memory"

    def test_the_size_that_is_reported_is_that_of_the_file(self, tmp_path: Path) -> None:
        """In `evaluate`, and in the note `bytes` if the codec gives one; all notes are finite numbers."""
        x, info = samples.array(self.spec.kinds[0])
        loaded = self.loaded()
        candidate = Candidate(self.spec.name, loaded, ({},))
        (row,) = evaluate([candidate], [Path("x")], tmp_path, (), read=lambda _: Picture(x.copy(), info))
        assert not row.error, row.error
        size = (tmp_path / row.path).stat().st_size
        assert row.bytes == size == len(loaded.compress(x.copy(), info).data), f"reported {row.bytes}, stored {size}"
        odd = [name for name, value in row.notes.items() if not isinstance(value, int | float) or not isfinite(value)]
        assert not odd, f"notes that are no finite numbers: {', '.join(odd)}"
        said = row.notes.get("bytes", size)
        assert said == size, f"the note says {said} bytes, the file has {size}"

    def test_golden_files_decode_as_ever(self) -> None:
        """What earlier releases wrote decodes to what they decoded."""
        for path, file in golden_files(self._golden()):
            weights = golden_weights(self._golden(), file.header.weights_digest) or self.checkpoint()
            loaded = load_codec(self.registered().full_name, weights)
            now, then = loaded.decompress(file, source=path.name).astype(np.float64), expected(path).astype(np.float64)
            assert now.shape == then.shape, f"{path.name} has shape {now.shape}, had {then.shape}"
            gaps = np.where((now == then) | (np.isnan(now) & np.isnan(then)), 0.0, np.abs(now - then))
            assert gaps.max() <= self.golden_tolerance, f"{path.name} decodes differently, by up to {gaps.max():g}"

    def test_every_version_that_is_read_has_a_golden_file(self) -> None:
        """A version is read as long as a stored file shows it."""
        there = {file.header.bitstream_version for _, file in golden_files(self._golden())}
        missing = set(self.spec.reads) - there
        assert not missing, f"no golden file of version {missing}: python -m codectk.testing {self.spec.name} …"

    @pytest.mark.parametrize("name", samples.NASTY)
    def test_guarantees_hold(self, name: str) -> None:
        """On arrays that are constant, tiny, huge, spiky or hold NaN; of the last, `encode` may say that it refuses."""
        if not self.spec.guarantees:
            pytest.skip("the codec guarantees nothing")
        for guarantee in self.spec.guarantees:
            for kind in self.spec.kinds:
                x, info = samples.nasty(name, kind)
                for bound in self.bounds(guarantee, x, info):
                    self._check_bound(guarantee, bound, x, info)

    def bounds(self, guarantee: Guarantee, x: Array, info: ArrayInfo) -> list[Any]:
        """Values to try for a guarantee's option: whole numbers for pictures, parts of the spread for fields."""
        if info.is_image:
            return [1, 5]
        low, high = info.value_range or (0.0, 0.0)
        spread = (high - low) or max(abs(high), 1.0)
        return [spread * part for part in (1e-1, 1e-3)]

    def _check_bound(self, guarantee: Guarantee, bound: Any, x: Array, info: ArrayInfo) -> None:
        whole = np.isfinite(x) if x.dtype.kind == "f" else np.ones(x.shape, bool)
        try:
            x_hat = self.round_trip(x, info, {guarantee.option: bound})
        except InputError:
            assert not whole.all(), "an array of finite values was refused"
            return
        assert x[~whole].tobytes() == x_hat[~whole].tobytes(), "NaN and infinities did not come back as they were"
        registered = get_registry().find(MetricSpec, guarantee.metric)
        metric = registered.load(registered.spec.target)()
        metric.update(np.where(whole, x, 0), np.where(whole, x_hat, 0), info)
        (value,) = metric.compute().values()
        assert value <= bound, f"{guarantee.metric} is {value:g} with {guarantee.option} {bound:g}"

    def test_the_first_segments_decode(self) -> None:
        """Every prefix of a progressive file gives a whole array."""
        for data, x in self._progressive():
            for count in range(1, len(unpack(data).segments) + 1):
                assert self.decompress(data, count).shape == x.shape, f"{count} segments give another shape"

    def test_more_segments_come_nearer(self) -> None:
        """The whole file is nearer to the input than its first segment."""
        if self.untrained:
            pytest.skip("the weights are random")
        for data, x in self._progressive():
            first, whole = (_mean_square(x, self.decompress(data, count)) for count in (1, None))
            assert whole < first, f"mean square error {first:g} from one segment, {whole:g} from all"

    def _progressive(self) -> Iterator[tuple[bytes, Array]]:
        if not self.spec.progressive:
            pytest.skip("the codec is not progressive")
        for kind in self.spec.kinds:
            x, info = samples.array(kind)
            data = self.compress(x, info)
            assert len(unpack(data).segments) > 1, "a progressive file has several segments"
            yield data, x

    def _stored_weights(self, folder: Path) -> list[str]:
        """Path of a file with the weights, for another process that would not find them by itself."""
        checkpoint = self.checkpoint()
        if checkpoint is None or (self.spec.default_weights is not None and self.weights is None):
            return []
        checkpoint.save(folder / "weights.safetensors")
        return [str(folder / "weights.safetensors")]

    def _golden(self) -> Path:
        folder = self.golden
        assert folder is not None and any(folder.glob("*.ctk")), (
            f"no golden files: set `golden`; write them with python -m codectk.testing {self.spec.name} FOLDER"
        )
        return folder


def _mean_square(x: Array, x_hat: Array) -> float:
    return float(np.mean(np.square(x.astype(np.float64) - x_hat.astype(np.float64))))
