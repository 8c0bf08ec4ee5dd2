"""Weights files: the same content is the same file, and nothing damaged, foreign or executable is read."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from codectk.checkpoint import Checkpoint, read_about
from codectk.container import canonical_json
from codectk.errors import CodectkError, InputError, OutputError, WeightsError


@pytest.fixture
def checkpoint():
    random = np.random.default_rng(0)
    return Checkpoint(
        tensors={"g_a.weight": random.normal(size=(2, 3)).astype("f4"), "table": np.arange(5, dtype="i4")},
        codec="tiny",
        distribution="codectk-tiny",
        version="1.5",
        bitstream_version=2,
        config={"channels": [2, 3], "name": "é"},
        training={"steps": 7},
        licence="CC0-1.0",
    )


def write_with_metadata(path, metadata):
    save_file({"a": np.zeros(2, "f4")}, path, metadata=metadata)


def description(checkpoint, **changes):
    return {**checkpoint.about(), "digest": checkpoint.digest, **changes}


def test_what_is_saved_is_opened(checkpoint, tmp_path):
    path = tmp_path / "weights.safetensors"
    checkpoint.save(path)
    opened = Checkpoint.open(path)
    assert opened.about() == checkpoint.about()
    assert sorted(opened.tensors) == ["g_a.weight", "table"]
    for name, tensor in checkpoint.tensors.items():
        np.testing.assert_array_equal(opened.tensors[name], tensor, strict=True)
    assert read_about(path) == description(checkpoint)


@pytest.mark.parametrize(
    "tensor",
    [
        np.array(7, "i8"),
        np.zeros((0, 3), "f4"),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12, dtype="u1").reshape(3, 4)[:, ::2],
        np.arange(3, dtype=">f4"),
        np.array([True, False]),
        np.arange(3, dtype="f2"),
    ],
    ids=["rank 0", "empty", "Fortran order", "not contiguous", "big endian", "bool", "half"],
)
def test_a_tensor_keeps_shape_and_values_whatever_its_layout(checkpoint, tmp_path, tensor):
    path = tmp_path / "weights.safetensors"
    replace(checkpoint, tensors={"a": tensor}).save(path)
    back = Checkpoint.open(path).tensors["a"]
    assert back.shape == tensor.shape
    assert back.dtype == tensor.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, tensor)


def test_the_same_content_gives_the_same_file(checkpoint, tmp_path):
    checkpoint.save(tmp_path / "one.safetensors")
    backwards = dict(reversed(checkpoint.tensors.items()))
    same = replace(checkpoint, tensors=backwards, config={"name": "é", "channels": [2, 3]})
    same.save(tmp_path / "two.safetensors")
    Checkpoint.open(tmp_path / "one.safetensors").save(tmp_path / "three.safetensors")
    assert same.digest == checkpoint.digest
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"tensors": {"b": np.array([[1, 2]], "i4")}},
        {"tensors": {"a": np.array([[1, 2]], "f4")}},
        {"tensors": {"a": np.array([[1], [2]], "i4")}},
        {"tensors": {"a": np.array([[1, 3]], "i4")}},
        {"tensors": {"a": np.array([[1, 2]], "i4"), "b": np.zeros(0, "i4")}},
        {"tensors": {}},
        {"config": {"channels": 3}},
        {"codec": "other"},
    ],
    ids=["name", "type", "shape", "values", "one tensor more", "one tensor less", "config", "codec"],
)
def test_the_digest_depends_on(checkpoint, changes):
    base = replace(checkpoint, tensors={"a": np.array([[1, 2]], "i4")}, config={"channels": 2})
    assert replace(base, **changes).digest != base.digest


def test_a_tensor_of_rank_0_and_one_of_length_1_have_different_digests(checkpoint):
    scalar, vector = (replace(checkpoint, tensors={"a": np.ones(shape, "f4")}) for shape in ((), (1,)))
    assert scalar.digest != vector.digest


def test_the_digest_does_not_depend_on_the_record_of_training(checkpoint):
    assert replace(checkpoint, training={"steps": 8}, licence="MIT", version="2").digest == checkpoint.digest


def test_the_digest_of_known_content_never_changes():
    known = Checkpoint({"a": np.arange(3, dtype="<f4")}, "tiny", "codectk-tiny", "1", 1, {"n": 1})
    assert known.digest == "1c807d81343d654f169de7ffcebb4f443d50827ed4ced53ee73f296019a0a127"


def test_no_flipped_bit_changes_what_is_decoded(checkpoint, tmp_path):
    path = tmp_path / "weights.safetensors"
    checkpoint.save(path)
    data = path.read_bytes()
    unnoticed = []
    for position in range(len(data)):
        for bit in range(8):
            path.write_bytes(data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :])
            try:
                opened = Checkpoint.open(path)
            except CodectkError:
                continue
            assert opened.digest == checkpoint.digest
            unnoticed.append(position)
    # The tensors lie at the end of the file; what may pass is the record of training, which decides nothing.
    tensor_bytes = sum(tensor.nbytes for tensor in checkpoint.tensors.values())
    assert all(position < len(data) - tensor_bytes for position in unnoticed)


def test_a_cut_file_is_refused_at_every_length(checkpoint, tmp_path):
    path = tmp_path / "weights.safetensors"
    checkpoint.save(path)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(CodectkError, match=r"weights\.safetensors"):
            Checkpoint.open(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_weights_that_are_not_finite_are_not_saved(checkpoint, tmp_path, value, dtype):
    path = tmp_path / "weights.safetensors"
    broken = replace(checkpoint, tensors={"fine": np.zeros(2), "g_s.bias": np.array([0, value], dtype)})
    with pytest.raises(WeightsError, match=r"g_s\.bias"):
        broken.save(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8"])
def test_weights_that_are_not_finite_are_not_opened_though_their_digest_fits(checkpoint, tmp_path, value, dtype):
    path = tmp_path / "weights.safetensors"
    tensors = {"fine": np.zeros(2, "f4"), "g_s.bias": np.array([0, value], dtype)}
    save_file(tensors, path, metadata={"codectk": canonical_json(description(replace(checkpoint, tensors=tensors)))})
    with pytest.raises(
        WeightsError, match=r"weights\.safetensors is damaged: tensor 'g_s\.bias' holds NaN or infinity"
    ):
        Checkpoint.open(path)


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"other": "{}"}, {"codectk": ""}, {"codectk": "{"}, {"codectk": "[" * 50_000}, {"codectk": "[1]"}],
    ids=["none", "empty", "another key", "empty text", "cut JSON", "deep JSON", "a list"],
)
def test_a_safetensors_file_without_a_description_is_refused(tmp_path, metadata):
    path = tmp_path / "weights.safetensors"
    write_with_metadata(path, metadata)
    with pytest.raises(WeightsError, match=r"weights\.safetensors"):
        Checkpoint.open(path)


HOSTILE = {
    "another format": {"format": 2},
    "codec is a number": {"codec": 5},
    "codec is half a character": {"codec": "\ud800"},
    "config is a list": {"config": [1]},
    "config holds NaN": {"config": {"q": float("nan")}},
    "training is a list": {"training": [1]},
    "version is null": {"version": None},
    "bitstream version is text": {"bitstream_version": "1"},
    "digest is a number": {"digest": 5},
    "digest of other tensors": {"digest": "0" * 64},
    "a field too much": {"more": 1},
}


@pytest.mark.parametrize("changes", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_description_that_makes_no_sense_is_refused(checkpoint, tmp_path, changes):
    path = tmp_path / "weights.safetensors"
    about = description(replace(checkpoint, tensors={"a": np.zeros(2, "f4")}), **changes)
    write_with_metadata(path, {"codectk": json.dumps(about)})
    with pytest.raises(WeightsError, match=r"weights\.safetensors"):
        Checkpoint.open(path)


@pytest.mark.parametrize("missing", sorted(["codec", "distribution", "version", "config", "training", "digest"]))
def test_a_description_that_lacks_a_field_is_refused(checkpoint, tmp_path, missing):
    path = tmp_path / "weights.safetensors"
    about = description(replace(checkpoint, tensors={"a": np.zeros(2, "f4")}))
    write_with_metadata(path, {"codectk": canonical_json(about)})
    assert Checkpoint.open(path).codec == "tiny"
    del about[missing]
    write_with_metadata(path, {"codectk": canonical_json(about)})
    with pytest.raises(WeightsError):
        Checkpoint.open(path)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_is_refused_and_not_executed(tmp_path, protocol):
    mark, path = tmp_path / "executed", tmp_path / "weights.safetensors"
    path.write_bytes(pickle.dumps(Trap(mark), protocol))
    with pytest.raises(WeightsError, match="not a weights file"):
        Checkpoint.open(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists(), "the trap itself does not work"


def test_missing_weights_and_folders_are_input_errors(tmp_path):
    for path in (tmp_path, tmp_path / "nothing.safetensors"):
        with pytest.raises(InputError, match=str(path)):
            Checkpoint.open(path)


def test_existing_weights_are_kept_without_force(checkpoint, tmp_path):
    path = tmp_path / "weights.safetensors"
    checkpoint.save(path)
    other = replace(checkpoint, config={})
    with pytest.raises(OutputError, match="--force"):
        other.save(path)
    assert Checkpoint.open(path).digest == checkpoint.digest
    other.save(path, force=True)
    assert Checkpoint.open(path).digest == other.digest
