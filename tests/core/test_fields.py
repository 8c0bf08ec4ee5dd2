"""Fields in files of all formats: values, metadata, choice of a field, and what is refused."""

import base64
import struct

import h5py
import netCDF4
import numpy as np
import pytest
import zarr

from codectk import ArrayInfo
from codectk.arrays import FIELD_KINDS
from codectk.errors import InputError, OutputError
from codectk.fields import default_suffix
from codectk.fields.metadata import from_json, to_json
from codectk.inputs import find_inputs, plain_path, read_array, write_array

from .field_samples import ENDINGS, WITH_METADATA, field, labels, same


@pytest.mark.parametrize("dtype", FIELD_KINDS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_is_written_and_read_back_bit_for_bit(tmp_path, dtype, ending):
    x = field(dtype)
    write_array(tmp_path / f"x{ending}", x, ArrayInfo(FIELD_KINDS[dtype], x.shape))
    picture = read_array(tmp_path / f"x{ending}")
    assert picture.info.kind == FIELD_KINDS[dtype]
    assert picture.x.tobytes() == x.tobytes()
    assert picture.x.dtype == x.dtype
    finite = x[np.isfinite(x)]
    assert picture.info.value_range == (float(finite.min()), float(finite.max()))


@pytest.mark.parametrize("ending", WITH_METADATA)
@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 1, 2, 3, 4)])
def test_all_ranks_are_written_and_read_back(tmp_path, ending, shape):
    x = field(shape=shape)
    write_array(tmp_path / f"x{ending}", x, ArrayInfo("field/f32", shape))
    assert read_array(tmp_path / f"x{ending}").x.tobytes() == x.tobytes()


@pytest.mark.parametrize("ending", WITH_METADATA)
def test_name_dimensions_attributes_and_coordinates_come_back(tmp_path, ending):
    x, before = field(), labels()
    info = ArrayInfo("field/f32", x.shape)
    write_array(tmp_path / f"x{ending}", x, info, metadata=to_json(before, []))
    picture = read_array(tmp_path / f"x{ending}")
    after = from_json(picture.metadata, info)
    assert picture.notes == ()
    assert (after.name, after.dims, after.source) == ("t2m", ("time", "lat", "lon"), ending)
    assert after.coordinates.keys() == before.coordinates.keys()
    for dim, coordinate in before.coordinates.items():
        assert same(after.coordinates[dim].values, coordinate.values)
    assert after.coordinates["lat"].attributes == {"units": "degrees_north"}
    assert after.attributes.keys() == before.attributes.keys()
    assert after.attributes["units"] == "K"
    for name in ("scale_factor", "valid_range"):
        # Zarr holds attributes as JSON, which has lists and one type of numbers.
        wanted = before.attributes[name]
        found = after.attributes[name]
        assert np.array_equal(found, wanted) if ending == ".zarr" else same(found, wanted)


@pytest.mark.parametrize("ending", WITH_METADATA)
@pytest.mark.parametrize(
    ("dtype", "fill"), [("float32", 1e20), ("float64", -9999.0), ("int16", -32768), ("uint64", 2**64 - 1)]
)
def test_the_fill_value_comes_back_and_is_left_out_of_the_range(tmp_path, ending, dtype, fill):
    x = np.arange(6).reshape(2, 3).astype(dtype)
    x[0, 0] = fill
    info = ArrayInfo(FIELD_KINDS[dtype], x.shape, fill_value=fill)
    write_array(tmp_path / f"x{ending}", x, info)
    picture = read_array(tmp_path / f"x{ending}")
    assert picture.info.fill_value == x[0, 0].item()
    assert type(picture.info.fill_value) is type(x[0, 0].item())
    assert picture.info.value_range == (1.0, 5.0)
    assert same(from_json(picture.metadata, info).attributes["_FillValue"], x[0, 0])


@pytest.mark.parametrize("ending", WITH_METADATA)
def test_a_fill_value_that_is_nan_stays_an_attribute(tmp_path, ending):
    x = field()
    info = ArrayInfo("field/f32", x.shape)
    before = labels(attributes={"_FillValue": np.float32("nan")})
    write_array(tmp_path / f"x{ending}", x, info, metadata=to_json(before, []))
    picture = read_array(tmp_path / f"x{ending}")
    assert picture.info.fill_value is None
    assert same(from_json(picture.metadata, info).attributes["_FillValue"], np.float32("nan"))


def test_npz_and_npy_hold_values_and_npz_the_coordinates(tmp_path):
    x = field()
    info = ArrayInfo("field/f32", x.shape)
    for ending in (".npz", ".npy"):
        write_array(tmp_path / f"x{ending}", x, info, metadata=to_json(labels(), []))
    assert np.load(tmp_path / "x.npy").tobytes() == x.tobytes()
    with np.load(tmp_path / "x.npz") as archive:
        assert sorted(archive) == ["data", "lat", "time"]
        assert same(archive["time"], labels().coordinates["time"].values)
    assert read_array(tmp_path / "x.npz").x.tobytes() == x.tobytes()


@pytest.fixture
def climate(tmp_path):
    """A NetCDF file of two fields, one packed and one in a group, and what describes them."""
    path = tmp_path / "climate.nc"
    with netCDF4.Dataset(path, "w") as dataset:
        dataset.createDimension("time", None)
        dataset.createDimension("lat", 3)
        dataset.createDimension("nv", 2)
        lat = dataset.createVariable("lat", "f8", ("lat",))
        lat[:] = [10, 20, 30]
        lat.bounds = "lat_bnds"
        dataset.createVariable("lat_bnds", "f8", ("lat", "nv"))[:] = 0
        dataset.createVariable("crs", "i4", ())
        packed = dataset.createVariable("t2m", "i2", ("time", "lat"), fill_value=-1)
        packed.set_auto_maskandscale(False)
        packed[:] = [[1, -1, 3], [4, 5, 6]]
        packed.scale_factor, packed.add_offset = 0.5, 273.0
        group = dataset.createGroup("sea")
        salinity = group.createVariable("salinity", "f4", ("time", "lat"))
        salinity[:] = np.arange(6).reshape(2, 3)
        salinity.missing_value = np.float64(5)
    return path


def test_netcdf_values_are_taken_as_stored_and_coordinates_from_outer_groups(climate):
    packed = read_array(climate.with_name("climate.nc:t2m"))
    np.testing.assert_array_equal(packed.x, np.array([[1, -1, 3], [4, 5, 6]], "i2"), strict=True)
    assert (packed.info.fill_value, packed.info.value_range) == (-1, (1.0, 6.0))
    about = from_json(packed.metadata, packed.info)
    assert about.attributes["scale_factor"] == 0.5
    assert about.coordinates["lat"].values.tolist() == [10, 20, 30]
    inner = read_array(climate.parent / "climate.nc:sea/salinity")
    assert (inner.info.fill_value, inner.metadata["name"]) == (5, "salinity")
    assert from_json(inner.metadata, inner.info).coordinates["lat"].attributes == {"bounds": "lat_bnds"}


def test_netcdf_3_is_read_in_native_byte_order(tmp_path):
    with netCDF4.Dataset(tmp_path / "old.nc", "w", format="NETCDF3_CLASSIC") as dataset:
        dataset.createDimension("x", 4)
        dataset.createVariable("v", "i4", ("x",))[:] = [1, 2, 3, 4]
    picture = read_array(tmp_path / "old.nc")
    assert (picture.info.kind, picture.x.dtype.isnative, picture.x.tolist()) == ("field/i32", True, [1, 2, 3, 4])


def test_where_several_fields_could_be_meant_the_error_lists_them(climate):
    with pytest.raises(InputError, match=r"climate\.nc holds several fields.*There are sea/salinity, t2m\."):
        read_array(climate)
    with pytest.raises(InputError, match=r"holds no array 'tp'.*It holds crs, lat, lat_bnds, sea/salinity, t2m"):
        read_array(climate.with_name("climate.nc:tp"))
    with pytest.raises(InputError, match="1 to 5 axes"):
        read_array(climate.with_name("climate.nc:crs"))


def test_hdf5_fields_are_found_by_their_paths(tmp_path):
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file["step/3/density"] = np.arange(6.0).reshape(2, 3)
        file["step/3/density"].attrs["note"] = np.bytes_(b"raw")
        file["step/3/density"].attrs["link"] = file["step/3"].ref
        file["label"] = "text"
        file["nothing"] = h5py.Empty("f4")
    for name in ("run.h5", "run.h5:/step/3/density", "run.h5:step/3/density"):
        picture = read_array(tmp_path / name)
        assert picture.x.tolist() == [[0, 1, 2], [3, 4, 5]]
        assert from_json(picture.metadata, picture.info).attributes == {"note": b"raw"}
        assert picture.notes == ("left out attribute 'link', whose type is not kept",)


def test_hdf5_reads_what_netcdf_wrote_with_its_dimensions(climate):
    picture = read_array(climate.rename(climate.with_name("climate.h5")).with_name("climate.h5:t2m"))
    about = from_json(picture.metadata, picture.info)
    assert (about.name, about.dims, list(about.coordinates)) == ("t2m", ("time", "lat"), ["lat"])
    assert picture.info.fill_value == -1


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_arrays_are_read_from_groups_and_as_whole_stores(tmp_path, zarr_format):
    x = np.arange(6, dtype=">i4").reshape(2, 3)
    group = zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=zarr_format)
    names = {"dimension_names": ("y", "x")} if zarr_format == 3 else {"attributes": {"_ARRAY_DIMENSIONS": ["y", "x"]}}
    group.create_array("sea/level", data=x, fill_value=5, **names)
    whole = read_array(tmp_path / "s.zarr")
    inner = read_array(tmp_path / "s.zarr" / "sea" / "level")
    for picture in (whole, inner, read_array(tmp_path / "s.zarr:sea/level")):
        assert picture.x.tolist() == x.tolist()
        assert picture.x.dtype == np.dtype("i4")
        assert picture.metadata["dims"] == ["y", "x"]
        # Format 3 has a fill value always; that says nothing about missing samples.
        assert picture.info.fill_value == (5 if zarr_format == 2 else None)


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    x = field()
    write_array(tmp_path / "x.nc", x, ArrayInfo("field/f32", x.shape))
    monkeypatch.setattr("codectk.fields.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'x\.nc needs netCDF4.*pip install "codectk-core\[netcdf\]"'):
        read_array(tmp_path / "x.nc")
    with pytest.raises(OutputError, match=r'y\.h5 needs h5py.*pip install "codectk-core\[hdf5\]"'):
        write_array(tmp_path / "y.h5", x, ArrayInfo("field/f32", x.shape))
    assert not (tmp_path / "y.h5").exists()
    assert find_inputs(tmp_path) == [tmp_path / "x.nc"]
    assert default_suffix({"source": ".nc"}) == ".npy"


def test_without_a_name_a_field_goes_back_to_the_format_that_it_came_from():
    assert [default_suffix({"source": ending}) for ending in ENDINGS] == ENDINGS
    for source in (None, ".exe", "../x", ["nc"], 5):
        assert default_suffix({"source": source}) == ".npy"


def test_each_field_of_a_file_in_a_folder_is_an_input(climate, tmp_path):
    np.savez(tmp_path / "both.npz", a=np.zeros(3), b=np.zeros(3))
    np.savez(tmp_path / "data.npz", data=np.zeros(3), lat=np.zeros(3))
    (tmp_path / "broken.h5").write_bytes(b"nothing")
    group = zarr.open_group(tmp_path / "store.zarr", mode="w")
    group.create_array("only", data=np.zeros((2, 2)))
    found = [str(path.relative_to(tmp_path)) for path in find_inputs(tmp_path)]
    assert found == [
        *("both.npz:a", "both.npz:b", "broken.h5", "climate.nc:t2m", "climate.nc:sea/salinity"),
        *("data.npz", "store.zarr"),
    ]
    assert find_inputs(tmp_path / "store.zarr") == [tmp_path / "store.zarr"]
    assert [path.name for path in find_inputs(tmp_path / "both.npz")] == ["both.npz:a", "both.npz:b"]
    assert plain_path(tmp_path / "climate.nc:sea/salinity") == tmp_path / "climate.sea.salinity.nc"


def test_a_file_whose_own_name_has_a_colon_is_that_file(tmp_path):
    np.savez(tmp_path / "odd.npz", a=np.zeros(3))
    (tmp_path / "odd.npz").rename(tmp_path / "odd.npz:b.npz")
    assert read_array(tmp_path / "odd.npz:b.npz").info.shape == (3,)


def test_a_zarr_store_is_replaced_with_force_alone_and_any_other_folder_never(tmp_path):
    x = field()
    info = ArrayInfo("field/f32", x.shape)
    write_array(tmp_path / "s.zarr", np.zeros_like(x), info)
    with pytest.raises(OutputError, match="--force"):
        write_array(tmp_path / "s.zarr", x, info)
    assert not read_array(tmp_path / "s.zarr").x.any()
    write_array(tmp_path / "s.zarr", x, info, force=True)
    assert read_array(tmp_path / "s.zarr").x.tobytes() == x.tobytes()
    (tmp_path / "photos.zarr").mkdir()
    (tmp_path / "photos.zarr" / "precious").touch()
    for force in (False, True):
        with pytest.raises(OutputError, match="is a folder"):
            write_array(tmp_path / "photos.zarr", x, info, force)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos.zarr", "s.zarr"]
    assert (tmp_path / "photos.zarr" / "precious").exists()


@pytest.mark.parametrize("ending", WITH_METADATA)
def test_what_fails_half_way_leaves_nothing(tmp_path, monkeypatch, ending):
    def fail(*_):
        raise RuntimeError("no more")

    monkeypatch.setattr(
        f"codectk.fields.{ {'.nc': 'netcdf', '.h5': 'hdf5', '.zarr': 'stores'}[ending] }.copy_parts", fail
    )
    x = field()
    with pytest.raises(OutputError, match=rf"x\{ending} cannot be written"):
        write_array(tmp_path / f"x{ending}", x, ArrayInfo("field/f32", x.shape))
    assert list(tmp_path.iterdir()) == []


def test_xarray_style_fill_values_of_zarr_are_read(tmp_path):
    text = base64.b64encode(struct.pack("<d", -9999.0)).decode()
    group = zarr.open_group(tmp_path / "s.zarr", mode="w")
    group.create_array("v", data=np.array([1.0, -9999.0], "f4"), attributes={"_FillValue": text})
    assert read_array(tmp_path / "s.zarr").info.fill_value == -9999.0
