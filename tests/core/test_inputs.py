"""Arrays in `.npy` files, and folders of inputs."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy

from codectk import ArrayInfo
from codectk.errors import InputError, OutputError
from codectk.inputs import default_suffix, find_inputs, read_array, write_array


@pytest.fixture
def path(tmp_path):
    return tmp_path / "field.npy"


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("<f4", "field/f32"), (">f4", "field/f32"), ("<f8", "field/f64"), (">f8", "field/f64")],
)
@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 1, 2, 3, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_field_is_read_whole_in_native_order(path, dtype, kind, shape, order):
    x = np.random.default_rng(0).normal(size=shape).astype(dtype, order=order)
    np.save(path, x)
    picture = read_array(path)
    assert picture.info == ArrayInfo(kind, shape, (float(x.min()), float(x.max())))
    assert picture.x.dtype == np.dtype(dtype).newbyteorder("=")
    assert picture.x.flags.c_contiguous
    assert picture.x.flags.writeable
    np.testing.assert_array_equal(picture.x, x)


def test_the_value_range_leaves_out_what_is_not_finite(path):
    np.save(path, np.array([np.nan, -2, np.inf, 5, -np.inf], "f4"))
    assert read_array(path).info.value_range == (-2.0, 5.0)
    np.save(path, np.array([np.nan], "f4"))
    assert read_array(path).info.value_range == (0.0, 0.0)


def test_a_field_is_written_and_read_back(path, make_array):
    x, info = make_array("field/f64", (3, 4, 5))
    write_array(path, x, info)
    picture = read_array(path)
    assert picture.info == info
    np.testing.assert_array_equal(picture.x, x, strict=True)


def test_an_existing_field_is_kept_without_force(path, make_array):
    x, info = make_array("field/f32", (3, 4))
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="--force"):
        write_array(path, x, info)
    assert path.read_bytes() == b"precious"


def test_a_field_cannot_be_written_as_a_picture(tmp_path, make_array):
    x, info = make_array("field/f32", (3, 4))
    with pytest.raises(OutputError, match="field/f32"):
        write_array(tmp_path / "field.png", x, info)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros(3, "f2"),
        np.zeros(3, "c8"),
        np.array(["text"]),
        np.zeros(3, [("a", "f4")]),
        np.float32(3),
        np.zeros((1,) * 6, "f4"),
        np.zeros((0,), "f4"),
        np.zeros((3, 0), "f8"),
    ],
    ids=["half", "complex", "text", "records", "rank 0", "rank 6", "empty", "empty side"],
)
def test_an_array_that_is_no_field_is_refused_by_name(path, x):
    np.save(path, x)
    with pytest.raises(InputError, match=r"field\.npy"):
        read_array(path)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickled_array_is_refused_and_not_executed(path, tmp_path):
    mark = tmp_path / "executed"
    np.save(path, np.array([Trap(mark)], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"field\.npy"):
        read_array(path)
    assert not mark.exists()
    np.load(path, allow_pickle=True)
    assert mark.exists(), "the trap itself does not work"


@pytest.mark.parametrize("shape", [(1 << 33,), (1 << 20, 1 << 20), (5,), (1 << 62, 4)])
def test_a_header_that_announces_more_than_the_file_holds_is_refused_in_little_memory(path, shape):
    with path.open("wb") as stream:
        npy.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
        stream.write(bytes(32))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"field\.npy"):
            read_array(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_cut_field_is_refused_at_every_length(path):
    np.save(path, np.arange(10.0))
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"field\.npy"):
            read_array(path)


def test_a_missing_field_a_folder_and_text_are_refused_by_name(path, tmp_path):
    with pytest.raises(InputError, match=r"field\.npy does not exist"):
        read_array(path)
    path.write_text("a letter", encoding="utf-8")
    with pytest.raises(InputError, match=r"field\.npy is not a numpy array file"):
        read_array(path)
    folder = tmp_path / "folder.npy"
    folder.mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_array(folder)


def test_pictures_go_through_the_same_two_functions(tmp_path, make_array):
    x, info = make_array()
    write_array(tmp_path / "photo.png", x, info)
    np.testing.assert_array_equal(read_array(tmp_path / "photo.png").x, x, strict=True)
    assert default_suffix(info) == ".png"
    assert default_suffix(ArrayInfo("field/f32", (3,))) == ".npy"


def test_inputs_of_a_folder_are_found_in_order_and_in_subfolders(tmp_path):
    for name in ("b.PNG", "a/z.jpeg", "a/c.npy", "notes.txt", ".hidden.png", "c.ctk"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in find_inputs(tmp_path)]
    assert found == ["a/c.npy", "a/z.jpeg", "b.PNG"]


def test_folders_and_broken_links_are_not_inputs_whatever_their_names(tmp_path):
    (tmp_path / "x.png").mkdir()
    (tmp_path / "x.png" / "inside.png").touch()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing.png")
    assert find_inputs(tmp_path) == [tmp_path / "x.png" / "inside.png"]


def test_a_folder_without_inputs_and_a_missing_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no pictures"):
        find_inputs(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        find_inputs(tmp_path / "nothing")
