"""What belongs to a field, as JSON in `.ctk` files, which may be hostile."""

import json

import numpy as np
import pytest

from codectk import ArrayInfo
from codectk.errors import ContainerError
from codectk.fields.metadata import Coordinate, Metadata, from_json, to_json
from codectk.inputs import write_array

from .field_samples import field, labels, same

HOSTILE = {
    "dims of another number": {"dims": ["a"]},
    "dims that are a number": {"dims": 3},
    "dims of two lengths": {"dims": ["a", "a", "b"]},
    "name that is a path": {"name": "../../x"},
    "name that is a list": {"name": ["x"]},
    "name with an escape sequence": {"name": "\x1b[2J"},
    "attributes that are a list": {"attributes": [1]},
    "attribute of no known form": {"attributes": {"a": 1}},
    "attribute of objects": {"attributes": {"a": {"dtype": "|O", "shape": [1], "data": "AAAAAAAAAAA="}}},
    "attribute of a shape above any memory": {"attributes": {"a": {"dtype": "<f8", "shape": [1 << 50, 0], "data": ""}}},
    "attribute of negative length": {"attributes": {"a": {"dtype": "<f8", "shape": [-1], "data": "AAAAAAAAAAA="}}},
    "attribute that is cut": {"attributes": {"a": {"dtype": "<f8", "shape": [1], "data": "AAAA"}}},
    "attribute that is not Base64": {"attributes": {"a": {"dtype": "<f8", "shape": [], "data": "?"}}},
    "strings that are none": {"attributes": {"a": {"strings": [1]}}},
    "coordinates that are a list": {"coordinates": [1]},
    "coordinate of another length": {
        "coordinates": {"dim_0": {"values": {"dtype": "<f8", "shape": [1], "data": "AAAAAAAAAAA="}}}
    },
    "coordinate of no dimension": {
        "coordinates": {"x": {"values": {"dtype": "<f8", "shape": [1], "data": "AAAAAAAAAAA="}}}
    },
    "coordinate that is text": {"coordinates": {"dim_0": {"values": "abc"}}},
}


@pytest.mark.parametrize("found", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_metadata_write_nothing_but_bare_values(tmp_path, found):
    x = field()
    info = ArrayInfo("field/f32", x.shape)
    with pytest.raises(ContainerError, match="metadata make no sense"):
        write_array(tmp_path / "x.nc", x, info, metadata=found)
    assert list(tmp_path.iterdir()) == []
    write_array(tmp_path / "x.npy", x, info, metadata=found)


def test_values_of_every_type_come_through_json_bit_for_bit():
    values = [
        "K",
        np.float32(0.1),
        np.array([np.nan, np.inf, -0.0]),
        np.int64(2**63 - 1),
        np.arange(6, dtype="u2").reshape(2, 3),
        np.bytes_(b"ab"),
        np.complex64(1 + 2j),
        np.bool_(True),
    ]
    before = labels(attributes={str(i): value for i, value in enumerate(values)})
    text = json.dumps(to_json(before, []), allow_nan=False)
    after = from_json(json.loads(text), ArrayInfo("field/f32", (3, 4, 5)))
    assert all(same(after.attributes[str(i)], value) for i, value in enumerate(values))
    for plain in (["a", "b"], 5, [1, None, {"a": 2.5}], True, None):
        found = from_json(to_json(labels(attributes={"a": plain}), []), ArrayInfo("field/f32", (3, 4, 5)))
        assert found.attributes == {"a": plain}


def test_what_is_too_long_for_a_file_is_left_out_and_told():
    notes = []
    length = 60_000
    coordinates = {"a": Coordinate(np.random.default_rng(0).random(length)), "b": Coordinate(np.arange(length * 10))}
    metadata = Metadata("v", ("a", "b"), {"units": "K", "history": "x" * 600_000}, coordinates)
    found = to_json(metadata, notes)
    assert sorted(notes) == [
        "left out coordinate a, which is too long",
        "left out coordinate b, which is too long",
    ]
    assert len(json.dumps(found)) < 1 << 20
    assert list(found["attributes"]) == ["units", "history"]
