"""The state of a run: nested values come back as they were, and nothing in the file can be executed."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from codectk.errors import InputError
from codectk.state import load_state, save_state

PROPERTY = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

tensors = st.builds(
    lambda shape, dtype: torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]),
)
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
keys = st.text(max_size=5) | st.integers() | st.tuples(st.integers(), st.text(max_size=3))
states = st.recursive(
    plain | tensors,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)


def same(a, b):
    """Whether two states are equal, types and all."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.safetensors"


@PROPERTY
@given(states)
def test_nested_states_come_back_as_they_were(path, state):
    save_state(path, state)
    assert same(load_state(path), state)


def test_tensors_that_share_memory_and_views_are_saved_whole(path):
    whole = torch.arange(12.0).reshape(3, 4)
    state = {"whole": whole, "again": whole, "turned": whole.T, "part": whole[1:, ::2], "grad": whole.requires_grad_()}
    save_state(path, state)
    loaded = load_state(path)
    for name, tensor in state.items():
        assert torch.equal(loaded[name], tensor)


def test_the_state_of_an_optimizer_survives(path):
    module = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(module.parameters(), 0.1, betas=(0.5, 0.9))
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    save_state(path, optimizer.state_dict())
    assert same(load_state(path), optimizer.state_dict())


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes", 1j, torch.float32])
def test_what_neither_tensors_nor_json_hold_is_refused_and_nothing_written(path, value):
    with pytest.raises(TypeError, match=type(value).__name__):
        save_state(path, {"a": [value]})
    assert not path.exists()


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [lambda trap, path: path.write_bytes(pickle.dumps(trap)), torch.save])
def test_a_pickle_is_refused_and_not_executed(path, tmp_path, write):
    mark = tmp_path / "executed"
    write(Trap(mark), path)
    with pytest.raises(InputError, match=r"state\.safetensors"):
        load_state(path)
    assert not mark.exists()


def test_a_state_holds_no_pickle(path):
    save_state(path, {"a": torch.zeros(3), "b": [1, "two"]})
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    tree = json.loads(header["__metadata__"]["codectk_state"])
    assert tree == {"dict": [["a", {"tensor": "0"}], ["b", {"list": [1, "two"]}]]}
    assert data[8 + int.from_bytes(data[:8], "little") :] == bytes(12)


@pytest.mark.parametrize(
    "tree",
    [
        "{",
        '{"tensor":"7"}',
        '{"tensor":[1]}',
        '{"dict":5}',
        '{"dict":[[1]]}',
        '{"dict":[[{"dict":[]},1]]}',
        '{"list":null}',
        "{}",
        '{"list":[],"tuple":[]}',
        "[" * 50_000,
    ],
    ids=lambda tree: tree[:20],
)
def test_a_description_that_makes_no_sense_is_refused(path, tree):
    save_file({"0": torch.zeros(1)}, path, metadata={"codectk_state": tree})
    with pytest.raises(InputError, match=r"state\.safetensors"):
        load_state(path)


def test_a_cut_state_is_refused_at_every_length(path):
    save_state(path, {"a": torch.zeros(3)})
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"state\.safetensors"):
            load_state(path)


def test_a_file_without_metadata_is_refused(path):
    save_file({"0": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"state\.safetensors"):
        load_state(path)


def test_a_failure_while_saving_keeps_the_state_before(path, monkeypatch):
    save_state(path, {"step": 1})

    def fail(tensors, temporary, metadata):
        Path(temporary).write_bytes(b"half a state")
        raise KeyboardInterrupt

    monkeypatch.setattr("codectk.state.save_file", fail)
    with pytest.raises(KeyboardInterrupt):
        save_state(path, {"step": 2})
    assert load_state(path) == {"step": 1}
    assert list(path.parent.iterdir()) == [path]
