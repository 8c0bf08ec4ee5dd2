"""`codectk caesar-freq extract`: a part of a file as a file of its own."""

from pathlib import Path

import numpy as np
import pytest
import xarray
from click.testing import CliRunner

import codectk
from codectk.errors import OptionsError, OutputError
from codectk_caesar_freq.extract import ExtractOptions, extract, parse_region
from codectk_cli.main import cli


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A compressed field with names and coordinates."""
    x = np.cumsum(np.random.default_rng(0).normal(size=(6, 9, 10)), axis=0).astype(np.float32)
    coordinates = {"time": np.arange(6) * 0.5, "lon": np.linspace(-10, 8, 10)}
    field = xarray.DataArray(x, dims=("time", "lat", "lon"), name="t2m", attrs={"units": "K"}, coords=coordinates)
    codectk.compress(field, "caesar_freq", chunk="4,9,4", wavelet="fitted").save(tmp_path / "x.ctk")
    return tmp_path / "x.ctk"


def extracted(packed: Path, name: str, **options: object) -> Path:
    output = packed.parent / name
    extract(ExtractOptions.parse({"file": str(packed), "output": str(output), **options}))
    return output


def test_the_command_writes_the_region_of_the_whole_field(packed: Path) -> None:
    output = packed.parent / "part.npy"
    words = ["caesar-freq", "extract", str(packed), "--region", "-2:, ::4, 3", "-o", str(output)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0 and "array: field/f32 2 x 3" in done.output
    assert np.array_equal(np.load(output), codectk.open(packed)[-2:, ::4, 3])


def test_names_unit_and_coordinates_are_those_of_the_region(packed: Path) -> None:
    with xarray.open_dataset(extracted(packed, "part.nc", region="1,...,::-3")) as found:
        part = found["t2m"]
        assert part.dims == ("lat", "lon") and part.attrs["units"] == "K"
        assert np.array_equal(part, codectk.open(packed)[1, :, ::-3])
        assert np.array_equal(part["lon"], np.linspace(-10, 8, 10)[::-3])


def test_a_single_value_is_an_array_of_one(packed: Path) -> None:
    for name in ("one.npy", "one.nc"):
        assert np.array_equal(codectk.open(extracted(packed, name, region="5,8,9")), codectk.open(packed)[5, 8, 9:])


def test_fewer_levels_make_a_coarser_region(packed: Path) -> None:
    coarse = np.load(extracted(packed, "coarse.npy", region=":4,:,:4", levels=1))
    whole = codectk.open(packed)[:4, :, :4]
    assert coarse.shape == whole.shape
    assert 0.01 < np.abs(coarse - whole).max() < np.ptp(whole)


def test_an_output_that_exists_is_kept_unless_forced(packed: Path) -> None:
    output = extracted(packed, "part.npy", region="0")
    before = output.read_bytes()
    with pytest.raises(OutputError, match="--force"):
        extracted(packed, "part.npy", region="1")
    assert output.read_bytes() == before
    extracted(packed, "part.npy", region="1", force=True)
    assert output.read_bytes() != before


@pytest.mark.parametrize("region", ["", "1,x", "1;2", "6", "0:0", "1,2,3,4", "::0", "1:2:3:4", "9" * 5000])
def test_what_is_no_region_is_an_error_and_nothing_is_written(packed: Path, region: str) -> None:
    with pytest.raises(OptionsError):
        extracted(packed, "part.npy", region=region)
    assert [path.name for path in packed.parent.iterdir()] == ["x.ctk"]


def test_regions_are_read_as_numpy_writes_them() -> None:
    assert parse_region("0, -3:,..., ::2,:+5") == (0, slice(-3, None), ..., slice(None, None, 2), slice(None, 5))
