"""From arrays to the bytes of a file and back, through padding, carriers and weights."""

import hashlib
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codectk import ArrayInfo, Checkpoint
from codectk.compression import LoadedCodec, codec_name, load_codec
from codectk.container import pack, unpack
from codectk.errors import (
    ContainerError,
    DesyncError,
    InputError,
    OptionsError,
    PluginError,
    UnknownName,
    WeightsError,
    WeightsMismatch,
)

PROPERTY = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
kinds = st.sampled_from([("image/gray8", 1), ("image/rgb8", 3), ("image/gray16", 1)])


@PROPERTY
@given(kinds, st.integers(1, 33), st.integers(1, 33))
def test_pictures_of_every_size_survive_a_codec_that_takes_multiples_of_8(tiny, make_array, kind, height, width):
    x, info = make_array(kind[0], (height, width, kind[1]))
    before = x.copy()
    data = tiny.compress(x, info).data
    file = unpack(data)
    assert file.header.info == info
    np.testing.assert_array_equal(tiny.decompress(file), before, strict=True)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("shape", [(1,), (9,), (3, 5), (2, 3, 4, 5, 6)])
def test_fields_of_every_rank_survive(tiny, make_array, shape):
    x, info = make_array("field/f32", shape)
    file = unpack(tiny.compress(x, info).data)
    assert file.header.info == info
    np.testing.assert_array_equal(tiny.decompress(file), x, strict=True)


def test_encode_options_reach_the_codec_and_the_file(tiny, make_array):
    x, info = make_array()
    plain, coarse = (tiny.compress(x, info, tiny.encode_options({"bits": bits})) for bits in (0, 4))
    assert len(coarse.data) < len(plain.data)
    assert unpack(plain.data).header.params == {}
    assert unpack(coarse.data).header.params == {"bits": 4}
    np.testing.assert_array_equal(tiny.decompress(unpack(coarse.data)), x & 0xF0)
    assert coarse.notes["symbols"] == 16 * 24 * 3
    with pytest.raises(OptionsError, match="codec tiny"):
        tiny.encode_options({"bits": 9})


OPEN_ELSEWHERE = """
import hashlib, json, sys
from pathlib import Path
from codectk import decompress
x, info = decompress(Path(sys.argv[1]).read_bytes())
print(json.dumps([hashlib.sha256(x.tobytes()).hexdigest(), info.kind, list(info.shape), "torch" in sys.modules]))
"""


def test_a_file_opens_in_a_fresh_process_that_has_only_the_plugin(site, tiny, make_array, tmp_path):
    x, info = make_array("image/gray16", (13, 5, 1))
    path = tmp_path / "photo.ctk"
    path.write_bytes(tiny.compress(x, info).data)
    result = site.run(OPEN_ELSEWHERE, str(path))
    assert result.returncode == 0, result.stderr
    wanted = hashlib.sha256(x.tobytes()).hexdigest()
    assert json.loads(result.stdout) == [wanted, "image/gray16", [13, 5, 1], False]


def test_an_array_that_does_not_fit_its_info_is_refused(tiny, make_array):
    x, info = make_array()
    for wrong in (x[1:], x.astype(np.uint16)):
        with pytest.raises(InputError, match="its info"):
            tiny.compress(wrong, info)


def test_a_kind_that_the_codec_does_not_take_is_refused(tiny, make_array):
    x, info = make_array("image/rgba8", (4, 5, 4))
    with pytest.raises(InputError, match=r"rgba8.*--background"):
        tiny.compress(x, info)


@pytest.fixture
def file(tiny, make_array):
    return unpack(tiny.compress(*make_array()).data)


HOSTILE_SEGMENTS = {
    "no segment": (),
    "empty": (b"",),
    "not zlib": (b"rubbish",),
    "too short": (zlib.compress(bytes(5)),),
    "cut": (zlib.compress(bytes(range(256)) * 5)[:-9],),
}


@pytest.mark.parametrize("segments", HOSTILE_SEGMENTS.values(), ids=HOSTILE_SEGMENTS.keys())
def test_whatever_a_decoder_trips_over_is_a_container_error(tiny, file, segments):
    hostile = unpack(pack(file.header, segments))
    with pytest.raises(ContainerError, match=r"hostile\.ctk"):
        tiny.decompress(hostile, source="hostile.ctk")


@pytest.mark.parametrize("params", [{"bits": "many"}, {"bits": [1]}, {"bits": None}, {"bits": {}}])
def test_params_that_make_no_sense_are_a_container_error(tiny, file, params):
    with pytest.raises(ContainerError, match=r"hostile\.ctk"):
        tiny.decompress(replace(file, header=replace(file.header, params=params)), source="hostile.ctk")


def test_other_symbols_are_a_desync_and_never_a_picture(tiny, file):
    raw = bytearray(zlib.decompress(file.segments[0]))
    raw[7] ^= 1
    hostile = unpack(pack(file.header, (zlib.compress(bytes(raw)),)))
    with pytest.raises(DesyncError, match=r"photo\.ctk"):
        tiny.decompress(hostile, source="photo.ctk")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codec": "other"}, "made by codec other"),
        ({"bitstream_version": 2}, "bitstream version 2"),
        ({"info": ArrayInfo("image/rgba8", (12, 17, 4))}, "holds image/rgba8"),
    ],
)
def test_a_file_of_another_codec_version_or_kind_is_refused(tiny, file, changes, message):
    with pytest.raises(ContainerError, match=rf"photo\.ctk .*{message}"):
        tiny.decompress(replace(file, header=replace(file.header, **changes)), source="photo.ctk")


def test_a_file_made_with_weights_is_not_decoded_without(tiny, file):
    made = replace(file, header=replace(file.header, weights_digest=b"12345678"))
    with pytest.raises(WeightsMismatch, match="3132333435363738; these are none"):
        tiny.decompress(made)


WITH_WEIGHTS = """
import numpy as np
from codectk.codec import Codec, Encoded
from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec

CODECTK_API = 1

class Masked(Codec):
    def __init__(self, mask):
        self.mask = mask

    @classmethod
    def load(cls, checkpoint, device):
        return cls(int(checkpoint.tensors["mask"][0]))

    def encode(self, x, info, options):
        return Encoded({}, ((x ^ self.mask).tobytes(),))

    def decode(self, encoded, info, options):
        return np.frombuffer(encoded.segments[0], info.dtype).reshape(info.shape) ^ self.mask

class Liar(Masked):
    @classmethod
    def load(cls, checkpoint, device):
        return cls(0)

    def decode(self, encoded, info, options):
        return np.zeros((1, 1, 3), np.float32)

@hookimpl
def codectk_codecs():
    one = lambda name, target, **more: CodecSpec(
        name=name, summary="s", target=f"{__name__}:{target}", kinds=("image/rgb8",), **more)
    return [one("masked", "Masked", needs_weights=True), one("liar", "Liar"),
            CodecSpec(name="lost", summary="s", target="no_such_module:Codec", kinds=("image/rgb8",))]
"""


def weights(mask, codec="masked"):
    return Checkpoint({"mask": np.array([mask], "u1")}, codec, "codectk-masked", "1", 1, {})


@pytest.fixture
def registry(site):
    site.add("codectk-masked", WITH_WEIGHTS)
    return site.registry(strict=True)


def test_a_file_is_decoded_with_its_weights_and_with_no_others(registry, make_array, tmp_path):
    x, info = make_array()
    weights(77).save(tmp_path / "weights.safetensors")
    loaded = load_codec("masked", tmp_path / "weights.safetensors", registry=registry)
    file = unpack(loaded.compress(x, info).data)
    assert file.header.weights_digest == bytes.fromhex(weights(77).digest)[:8]
    same = load_codec("masked", weights(77), registry=registry)
    np.testing.assert_array_equal(same.decompress(file), x)
    with pytest.raises(WeightsMismatch, match="-w WEIGHTS"):
        load_codec("masked", weights(78), registry=registry).decompress(file)


def test_weights_are_asked_for_and_those_of_other_codecs_refused(registry):
    with pytest.raises(WeightsError, match="needs a weights file"):
        load_codec("masked", registry=registry)
    with pytest.raises(WeightsError, match="belong to codec other, not masked"):
        load_codec("masked", weights(1, "other"), registry=registry)
    with pytest.raises(WeightsError, match="has no weights"):
        load_codec("liar", weights(1, "liar"), registry=registry)


def test_a_codec_that_returns_another_array_than_announced_is_named(registry, make_array):
    loaded = load_codec("liar", registry=registry)
    file = unpack(loaded.compress(*make_array()).data)
    with pytest.raises(ContainerError, match=r"codec liar returned float32 \(1, 1, 3\).*codectk-masked"):
        loaded.decompress(file)


def test_a_codec_whose_module_cannot_be_imported_is_a_plugin_error(registry):
    with pytest.raises(PluginError, match="pip install --upgrade codectk-masked"):
        load_codec("lost", registry=registry)


def test_a_file_whose_codec_is_not_installed_names_what_to_install(registry, site, file):
    absent = replace(file.header, codec="absent", distribution="codectk-absent")
    with pytest.raises(UnknownName, match="pip install codectk-absent"):
        codec_name(absent, registry)
    site.add("codectk-absent", "raise ValueError")
    with pytest.raises(UnknownName, match="codectk plugins"):
        codec_name(absent, site.registry())


def test_of_two_codecs_with_one_name_the_file_picks_its_own(site, tiny_source, file):
    site.add("aaa-fork", tiny_source)
    site.add("codectk-zzz", tiny_source)
    registry = site.registry()
    for distribution in ("aaa-fork", "codectk-zzz", "codectk-tiny"):
        assert codec_name(replace(file.header, distribution=distribution), registry) == f"{distribution}/tiny"
    assert isinstance(load_codec("aaa-fork/tiny", registry=registry), LoadedCodec)


def test_the_first_segments_alone_are_for_progressive_codecs(tiny, make_array):
    x, info = make_array()
    file = unpack(tiny.compress(x, info).data)
    assert np.array_equal(tiny.decompress(file, segments=1), x)
    for count in (0, 2):
        with pytest.raises(OptionsError, match="needs all segments"):
            tiny.decompress(file, segments=count)


def test_a_cut_file_is_not_decoded_unless_some_of_its_segments_are_asked_for(tiny, make_array, monkeypatch):
    x, info = make_array()
    whole = tiny.compress(x, info).data
    file = unpack(whole)
    two = pack(file.header, (*file.segments, b"more"))
    cut = unpack(two[:-4], allow_cut=True)
    assert cut.segments == file.segments
    with pytest.raises(ContainerError, match=r"x\.ctk is damaged: 4 bytes are missing; 1 of 2 segments are whole"):
        tiny.decompress(cut, source="x.ctk")
    with pytest.raises(OptionsError, match="needs all segments"):
        tiny.decompress(cut, segments=1)
    progressive = replace(tiny, registered=replace(tiny.registered, spec=replace(tiny.spec, progressive=True)))
    assert np.array_equal(progressive.decompress(cut, segments=1), x)
    with pytest.raises(OptionsError, match="has 1 whole segments, not 2"):
        progressive.decompress(cut, segments=2)


def test_a_segment_that_is_not_bytes_is_the_codec_s_fault(tiny, make_array, monkeypatch):
    x, info = make_array()
    encode = tiny.codec.encode
    # The length of such a view counts numbers of four bytes each.
    segment = memoryview(np.zeros(9, np.int32))
    monkeypatch.setattr(tiny.codec, "encode", lambda *args: replace(encode(*args), segments=(segment,)))
    with pytest.raises(PluginError, match="not bytes"):
        tiny.compress(x, info)
