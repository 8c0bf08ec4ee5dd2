"""Fields of all formats on the command line, with a codec made for the test."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pytest
import zarr

from .conftest import Run, mistakes

SQUEEZE = '''
"""A codec of fields that leaves everything to zlib."""

import zlib
import numpy as np
from codectk.codec import Codec, Encoded
from codectk.hookspecs import hookimpl
from codectk.options import Options
from codectk.specs import CodecSpec

CODECTK_API = 1


class SqueezeCodec(Codec):
    @classmethod
    def load(cls, checkpoint, device):
        return cls()

    def encode(self, x, info, options):
        return Encoded({}, (zlib.compress(np.ascontiguousarray(x).data),))

    def decode(self, encoded, info, options):
        raw = zlib.decompressobj().decompress(encoded.segments[0], info.nbytes)
        return np.frombuffer(raw, info.dtype).reshape(info.shape)


@hookimpl
def codectk_codecs():
    kinds = ("field/f32", "field/f64", "field/i16", "field/u8")
    return [CodecSpec(name="squeeze", summary="zlib", target=f"{__name__}:SqueezeCodec", kinds=kinds)]
'''


@pytest.fixture
def squeeze(codectk: Run, plugin: object) -> Run:
    """Run `codectk` where the codec of fields is installed."""
    environment = plugin("codectk-squeeze", SQUEEZE)  # type: ignore[operator]
    return lambda *words: codectk(*words, env=environment)


@pytest.fixture
def climate(tmp_path: Path) -> Path:
    """A NetCDF file of two fields on one grid."""
    path = tmp_path / "data" / "climate.nc"
    path.parent.mkdir()
    with netCDF4.Dataset(path, "w") as dataset:
        dataset.createDimension("time", 2)
        dataset.createDimension("lat", 30)
        dataset.createVariable("lat", "f8", ("lat",))[:] = np.linspace(-80, 80, 30)
        for name in ("t2m", "msl"):
            values = dataset.createVariable(name, "f4", ("time", "lat"), fill_value=1e20)
            values[:] = np.random.default_rng(0).normal(size=(2, 30))
            values[0, 3] = np.ma.masked
            values.units, values.long_name = "K", f"long {name}"
    return path


@pytest.mark.parametrize("ending", [".nc", ".h5", ".zarr", ".npz", ".npy"])
def test_a_field_goes_through_a_ctk_file_into_any_format(
    squeeze: Run, climate: Path, tmp_path: Path, ending: str
) -> None:
    done = squeeze("compress", f"{climate}:t2m", "-c", "squeeze", "-o", "t2m.ctk")
    assert done.returncode == 0, done.stderr
    assert "bits per value" in done.stdout
    done = squeeze("decompress", "t2m.ctk", "-o", f"back{ending}")
    assert done.returncode == 0, done.stderr
    with netCDF4.Dataset(climate) as dataset:
        dataset.set_auto_mask(False)
        x = dataset["t2m"][:]
        lat = dataset["lat"][:]
    back = tmp_path / f"back{ending}"
    if ending == ".nc":
        with netCDF4.Dataset(back) as dataset:
            assert np.ma.is_masked(dataset["t2m"][0, 3])
            assert (dataset["t2m"].units, dataset["t2m"].dimensions) == ("K", ("time", "lat"))
            assert dataset["lat"][:].tobytes() == lat.tobytes()
            dataset.set_auto_mask(False)
            assert dataset["t2m"][:].tobytes() == x.tobytes()
    if ending == ".h5":
        with h5py.File(back) as file:
            assert file["t2m"][:].tobytes() == x.tobytes()
            assert (file["t2m"].attrs["units"], file["t2m"].dims[1].label) == ("K", "lat")
            assert file["t2m"].dims[1][0][:].tobytes() == lat.tobytes()
    if ending == ".zarr":
        group = zarr.open_group(back, mode="r")
        assert group["t2m"][:].tobytes() == x.tobytes()
        assert group["t2m"].attrs["units"] == "K"
    if ending == ".npz":
        assert np.load(back)["data"].tobytes() == x.tobytes()
    if ending == ".npy":
        assert np.load(back).tobytes() == x.tobytes()


def test_without_a_name_a_field_goes_back_to_where_it_came_from(squeeze: Run, climate: Path, tmp_path: Path) -> None:
    assert squeeze("compress", f"{climate}:msl", "-c", "squeeze").returncode == 0
    packed = climate.with_name("climate.msl.ctk")
    done = squeeze("decompress", packed)
    assert done.returncode == 0, done.stderr
    assert climate.with_name("climate.msl.nc").is_file()
    np.save(tmp_path / "plain.npy", np.zeros(4, "f4"))
    assert squeeze("compress", "plain.npy", "-c", "squeeze").returncode == 0
    assert squeeze("decompress", "plain.ctk", "-o", "out/").returncode == 0
    assert (tmp_path / "out" / "plain.npy").is_file()


def test_info_shows_what_a_file_keeps_of_a_field(squeeze: Run, codectk: Run, climate: Path) -> None:
    assert squeeze("compress", f"{climate}:t2m", "-c", "squeeze", "-o", "t2m.ctk").returncode == 0
    about = json.loads(codectk("info", "t2m.ctk", "--json").stdout)
    assert about["name"] == "t2m"
    assert about["dims"] == "time, lat"
    assert about["units"] == "K"
    assert about["long name"] == "long t2m"
    assert about["fill value"] == float(np.float32(1e20))


def test_where_a_file_holds_several_fields_the_error_lists_them(squeeze: Run, climate: Path, tmp_path: Path) -> None:
    message = mistakes(squeeze("compress", climate, "-c", "squeeze"))
    assert "climate.nc holds several fields" in message
    assert "msl, t2m" in message
    assert not list(tmp_path.rglob("*.ctk"))


def test_a_folder_stands_for_every_field_in_it(squeeze: Run, climate: Path, tmp_path: Path) -> None:
    zarr.open_group(climate.with_name("s.zarr"), mode="w").create_array("v", data=np.zeros((4, 4), "i2"))
    done = squeeze("compress", "data", "-c", "squeeze", "-o", "out")
    assert done.returncode == 0, done.stderr
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert found == ["climate.msl.ctk", "climate.t2m.ctk", "s.ctk"]
    done = squeeze("decompress", "out", "-o", "back")
    assert done.returncode == 0, done.stderr
    found = sorted(path.name for path in (tmp_path / "back").iterdir())
    assert found == ["climate.msl.nc", "climate.t2m.nc", "s.zarr"]


def test_a_zarr_store_is_one_input_and_is_replaced_with_force_alone(
    squeeze: Run, climate: Path, tmp_path: Path
) -> None:
    zarr.open_group(tmp_path / "s.zarr", mode="w").create_array("v", data=np.ones((4, 4), "i2"))
    assert squeeze("compress", "s.zarr", "-c", "squeeze").returncode == 0
    assert "--force" in mistakes(squeeze("decompress", "s.ctk", "-o", "s.zarr"))
    assert squeeze("decompress", "s.ctk", "-o", "s.zarr", "--force").returncode == 0
    assert zarr.open_group(tmp_path / "s.zarr", mode="r")["v"][:].all()


@pytest.mark.parametrize("size", ["1K", "1024", "1 KiB", "1kb"])
def test_sizes_are_limits_of_reading_and_of_decoding(squeeze: Run, tmp_path: Path, size: str) -> None:
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        file.create_dataset("x", (300,), "f4", chunks=(10,))
    for limit, code in ((size, 1), ("1M", 0)):
        assert squeeze("compress", "x.h5", "-c", "squeeze", "--max-bytes", limit).returncode == code
    message = mistakes(squeeze("decompress", "x.ctk", "--max-bytes", size, "-o", "y.npy"))
    assert "announces an array of 1200 bytes; the limit is 1024" in message
    assert squeeze("decompress", "x.ctk", "--max-bytes", "2K", "-o", "y.npy").returncode == 0


def test_a_size_that_is_none_is_a_mistake_in_usage(squeeze: Run) -> None:
    done = squeeze("compress", "x.h5", "-c", "squeeze", "--max-bytes", "much")
    assert done.returncode == 2
    assert "512M" in done.stderr


def test_evaluate_and_bench_take_all_fields_of_a_file(squeeze: Run, climate: Path, tmp_path: Path) -> None:
    words = ("-c", "squeeze", "--metric", "max_error", "--metric", "psnr")
    done = squeeze("evaluate", *words, "--data", climate, "--out", "results")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "results" / "rows.jsonl").read_text().splitlines()]
    assert [(row["file"], row["max_error"]) for row in rows] == [("climate.nc:t2m", 0.0), ("climate.nc:msl", 0.0)]
    done = squeeze("bench", "-c", "squeeze", "--data", "data", "--repeats", "1", "--warmup", "0")
    assert done.returncode == 0, done.stderr
    assert squeeze("evaluate", *words, "--data", f"{climate}:msl", "--out", "one").returncode == 0
    assert len((tmp_path / "one" / "rows.jsonl").read_text().splitlines()) == 1


def test_a_file_with_hostile_metadata_still_opens_as_bare_values(squeeze: Run, tmp_path: Path) -> None:
    from codectk import ArrayInfo
    from codectk.container import Header, pack

    x = np.arange(4, dtype="f4")
    hostile = {"name": "\x1b[2J", "dims": ["x", "y"], "attributes": 5}
    header = Header("squeeze", "codectk-squeeze", 1, ArrayInfo("field/f32", (4,), (0.0, 3.0)), metadata=hostile)
    (tmp_path / "x.ctk").write_bytes(pack(header, (zlib.compress(x.tobytes()),)))
    assert "metadata make no sense" in mistakes(squeeze("decompress", "x.ctk", "-o", "x.nc"))
    assert not (tmp_path / "x.nc").exists()
    done = squeeze("info", "x.ctk")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert squeeze("decompress", "x.ctk", "-o", "x.npy").returncode == 0
    assert np.load(tmp_path / "x.npy").tobytes() == x.tobytes()


AIMED = """
from codectk.codec import Codec, Encoded
from codectk.hookspecs import hookimpl
from codectk.options import Options, option
from codectk.specs import CodecSpec

CODECTK_API = 1


class Aimed(Options):
    psnr: float = option(50.0, help="Its own.")


class AimedCodec(Codec):
    @classmethod
    def load(cls, checkpoint, device):
        return cls()

    def encode(self, x, info, options):
        return Encoded({"psnr": options.psnr}, (b"0",))


@hookimpl
def codectk_codecs():
    places = {"target": f"{__name__}:AimedCodec", "encode_options": f"{__name__}:Aimed"}
    return [CodecSpec(name="aimed", summary="nothing", kinds=("field/f32",), **places)]
"""


def test_a_codec_that_takes_a_target_itself_gets_it_without_a_search(
    tmp_path: Path, codectk: Run, plugin: Callable[..., dict[str, str]]
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 5), np.float32))
    environment = plugin("codectk-aimed", AIMED)
    done = codectk("compress", "x.npy", "-c", "aimed", "--psnr", "60", env=environment)
    assert done.returncode == 0, done.stderr
    about = json.loads(codectk("info", "x.ctk", "--json", env=environment).stdout)
    assert about["params"] == {"psnr": 60.0}
    shown = codectk("compress", "-c", "aimed", "--help", env=environment).stdout
    assert shown.count("--psnr") == 1
    assert "Its own." in shown
    assert "has no settings to search" in mistakes(
        codectk("compress", "x.npy", "-c", "aimed", "--bpp", "1", "-o", "y.ctk", env=environment)
    )
