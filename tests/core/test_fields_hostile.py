"""Fields that are larger than memory, larger than they say, damaged, or none."""

import json
import tracemalloc
import zipfile

import h5py
import netCDF4
import numcodecs
import numpy as np
import pytest
import zarr
from numpy.lib import format as npy

from codectk import ArrayInfo
from codectk.arrays import parts
from codectk.errors import InputError
from codectk.fields import variable
from codectk.inputs import read_array, write_array

from .field_samples import field


def test_a_zarr_store_of_pickled_objects_is_refused_and_not_executed(tmp_path):
    mark = tmp_path / "executed"

    class Trap:
        def __reduce__(self):
            return type(mark).touch, (mark,)

    store = tmp_path / "s.zarr"
    store.mkdir()
    about = {"zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "<i4", "compressor": None, "fill_value": 0}
    about |= {"order": "C", "filters": [{"id": "pickle", "protocol": 5}]}
    (store / ".zarray").write_text(json.dumps(about))
    trap = np.array([Trap()] * 4, object)
    (store / "0").write_bytes(numcodecs.Pickle().encode(trap))
    with pytest.raises(InputError, match="pickle"):
        read_array(store)
    assert not mark.exists()


@pytest.mark.parametrize("ending", [".nc", ".h5", ".npz", ".zarr"])
def test_an_array_above_the_limit_is_refused_before_it_is_read(tmp_path, ending):
    shape = (1 << 20, 1 << 10)
    path = tmp_path / f"bomb{ending}"
    if ending == ".nc":
        with netCDF4.Dataset(path, "w") as dataset:
            for name, length in zip("yx", shape, strict=True):
                dataset.createDimension(name, length)
            dataset.createVariable("v", "f4", ("y", "x"), chunksizes=(64, 64))
    if ending == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("v", shape, "f4", chunks=(64, 64))
    if ending == ".npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("v.npy", "w") as stream:
            npy.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
            stream.write(bytes(1 << 20))
    if ending == ".zarr":
        zarr.open_group(path, mode="w").create_array("v", shape=shape, dtype="f4", chunks=(64, 64))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"announces an array of 4294967296 bytes.*--max-bytes"):
            read_array(path, max_bytes=1 << 30)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_a_npz_file_that_holds_less_than_it_announces_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "cut.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("v.npy", "w") as stream:
        npy.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (100,)})
        stream.write(bytes(96))
    for kept in (1 << 20, 8):
        monkeypatch.setattr("codectk.fields.npy.KEPT_BYTES", kept)
        with pytest.raises(InputError, match=r"cut\.npz holds an array that is cut"):
            read_array(path)


@pytest.mark.parametrize("ending", [".nc", ".h5", ".npz"])
def test_damaged_files_are_refused_by_name(tmp_path, ending):
    path = tmp_path / f"field{ending}"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))
    with pytest.raises(InputError, match=rf"field\{ending} is not"):
        read_array(path)
    x = field()
    write_array(path, x, ArrayInfo("field/f32", x.shape), force=True)
    data = path.read_bytes()
    for length in range(8, len(data) - 1, max(1, len(data) // 23)):
        path.write_bytes(data[:length])
        try:
            assert read_array(path).x.shape == x.shape
        except InputError as error:
            assert f"field{ending}" in str(error)


@pytest.mark.parametrize(
    ("x", "advice"),
    [
        (np.zeros(3, "f2"), "float32"),
        (np.zeros(3, bool), "uint8"),
        (np.zeros(3, "c8"), "real and imaginary"),
        (np.zeros(3, np.longdouble), "float64"),
        (np.zeros(3, "M8[s]"), "int64"),
        (np.array(["text"]), "numbers"),
        (np.zeros((0, 3), "f4"), "empty"),
        (np.zeros((1,) * 6, "f4"), "1 to 5"),
        (np.float32(1), "1 to 5"),
    ],
    ids=["half", "bool", "complex", "long double", "times", "text", "empty", "rank 6", "rank 0"],
)
@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_what_is_no_field_is_refused_with_advice(tmp_path, x, advice, ending):
    path = tmp_path / f"field{ending}"
    np.save(path, x) if ending == ".npy" else np.savez(path, x=x)
    with pytest.raises(InputError, match=rf"field\{ending}.*{advice}"):
        read_array(path)


@pytest.mark.parametrize("ending", [".nc", ".h5", ".zarr", ".npz", ".npy"])
@pytest.mark.parametrize("layout", ["C", "F", "big endian"])
def test_large_fields_stay_on_disk_and_are_the_same(tmp_path, monkeypatch, ending, layout):
    monkeypatch.setattr(variable, "KEPT_BYTES", 1000)
    monkeypatch.setattr(variable, "PART_VALUES", 70)
    monkeypatch.setattr("codectk.fields.npy.KEPT_BYTES", 1000)
    x = field(shape=(5, 40, 50))
    if ending in (".npy", ".npz"):
        stored = np.asarray(x, dtype=">f4" if layout == "big endian" else "<f4", order="F" if layout == "F" else "C")
        np.save(tmp_path / "x.npy", stored) if ending == ".npy" else np.savez(tmp_path / "x.npz", x=stored)
    else:
        write_array(tmp_path / f"x{ending}", x, ArrayInfo("field/f32", x.shape))
    picture = read_array(tmp_path / f"x{ending}")
    base = picture.x
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    assert type(base).__name__ == "mmap"
    assert picture.x.flags.c_contiguous
    assert picture.x.tobytes() == x.tobytes()


def test_hdf5_values_in_other_files_are_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(40))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("v", (10,), "f4", external=[(str(tmp_path / "secret"), 0, 40)])
    with pytest.raises(InputError, match=r"x\.h5 keeps the values of /v in other files"):
        read_array(tmp_path / "x.h5")


@pytest.mark.parametrize("ending", [".nc", ".h5", ".zarr"])
def test_chunks_of_large_fields_are_read_whole(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(variable, "KEPT_BYTES", 100)
    monkeypatch.setattr(variable, "PART_VALUES", 90)
    path, x = tmp_path / f"x{ending}", np.arange(400, dtype="i2").reshape(40, 10)
    if ending == ".nc":
        with netCDF4.Dataset(path, "w") as dataset:
            dataset.createDimension("y", 40)
            dataset.createDimension("x", 10)
            dataset.createVariable("v", "i2", ("y", "x"), chunksizes=(4, 10))[:] = x
    if ending == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("v", data=x, chunks=(4, 10))
    if ending == ".zarr":
        zarr.open_group(path, mode="w").create_array("v", data=x, chunks=(4, 10))
    asked = []
    monkeypatch.setattr(variable, "parts", lambda *words: asked.append(words) or parts(*words))
    assert read_array(path).x.tolist() == x.tolist()
    assert asked == [((40, 10), 90, 4)]


def test_no_temporary_file_is_left_while_or_after_a_large_field_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(variable, "KEPT_BYTES", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    x = field(shape=(5, 40, 50))
    write_array(tmp_path / "x.nc", x, ArrayInfo("field/f32", x.shape))
    picture = read_array(tmp_path / "x.nc")
    assert not any((tmp_path / "temporary").iterdir())
    assert picture.x.tobytes() == x.tobytes()
