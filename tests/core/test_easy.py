"""Arrays to files and back in one call each, as a notebook has it."""

import numpy as np
import pytest
from PIL import Image

import codectk
from codectk.container import unpack
from codectk.easy import described
from codectk.errors import InputError, OptionsError, OutputError, UnknownName, WeightsError
from codectk.fields.metadata import from_json
from codectk.registry import get_registry


@pytest.fixture
def installed(site, tiny_source, monkeypatch):
    """The tiny codec, as if it were installed."""
    site.add("codectk-tiny", tiny_source, "tiny_plugin")
    registry = site.registry(strict=True)
    for module in ("easy", "compression", "chunks"):
        monkeypatch.setattr(f"codectk.{module}.get_registry", lambda: registry)
    get_registry.cache_clear()
    yield registry
    get_registry.cache_clear()


ARRAYS = {
    "grey": (np.arange(35, dtype=np.uint8).reshape(5, 7), "image/gray8"),
    "colour": (np.arange(105, dtype=np.uint8).reshape(5, 7, 3), "image/rgb8"),
    "deep": (np.arange(35, dtype=np.uint16).reshape(5, 7) * 900, "image/gray16"),
    "field": (np.linspace(-3, 9, 60, dtype=np.float32).reshape(3, 4, 5), "field/f32"),
    "line": (np.linspace(0, 1, 9), "field/f64"),
    "big-endian": (np.linspace(0, 1, 9).astype(">f8"), "field/f64"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_as_it_was(installed, tmp_path, name):
    x, kind = ARRAYS[name]
    packed = codectk.compress(x, "tiny")
    packed.save(tmp_path / "x.ctk")
    x_hat = codectk.open(str(tmp_path / "x.ctk"))
    assert x_hat.shape == x.shape
    assert x_hat.dtype == x.dtype.newbyteorder("=")
    assert np.array_equal(x_hat, x)
    assert len(packed) == len(packed.data) == (tmp_path / "x.ctk").stat().st_size
    assert kind in repr(packed)
    assert f"{len(packed)} bytes" in repr(packed)


def test_options_are_keyword_arguments(installed):
    x, _ = ARRAYS["colour"]
    exact, coarse = codectk.compress(x, "tiny"), codectk.compress(x, "tiny", bits=5)
    assert len(coarse) < len(exact)
    with pytest.raises(OptionsError, match="'bit'"):
        codectk.compress(x, "tiny", bit=5)


def test_a_pillow_picture_and_a_list_are_arrays_too(installed, tmp_path):
    picture = Image.fromarray(ARRAYS["colour"][0])
    assert codectk.compress(picture, "tiny").data == codectk.compress(ARRAYS["colour"][0], "tiny").data
    assert "field/f64 by tiny" in repr(codectk.compress([1.0, 2.0], "tiny"))


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((0, 4), np.uint8),
        np.zeros((4, 4), bool),
        np.zeros((1,) * 6),
        "text",
        None,
    ],
    ids=lambda x: f"{getattr(x, 'dtype', x)}-{getattr(x, 'shape', '')}",
)
def test_other_arrays_are_refused_with_what_is_taken(x):
    with pytest.raises(InputError, match="Pictures are uint8"):
        codectk.compress(x, "png")


@pytest.mark.parametrize(
    "x", [np.zeros((4, 4), np.int64), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)], ids=repr
)
def test_integers_that_are_no_picture_are_a_field_which_a_codec_of_pictures_refuses(x):
    with pytest.raises(InputError, match=r"does not take field/\w+; it takes image/rgb8"):
        codectk.compress(x, "jpeg")


def test_open_reads_pictures_and_fields_too(tmp_path):
    Image.fromarray(ARRAYS["grey"][0]).save(tmp_path / "grey.png")
    np.save(tmp_path / "field.npy", ARRAYS["field"][0])
    assert np.array_equal(codectk.open(tmp_path / "grey.png"), ARRAYS["grey"][0])
    assert np.array_equal(codectk.open(tmp_path / "field.npy"), ARRAYS["field"][0])


def test_mistakes_are_plain_errors(tmp_path):
    x = ARRAYS["colour"][0]
    with pytest.raises(UnknownName):
        codectk.compress(x, "no-such-codec")
    with pytest.raises(WeightsError):
        codectk.compress(x, "png", weights=tmp_path / "nothing.safetensors")
    with pytest.raises(InputError, match="nothing"):
        codectk.open(tmp_path / "nothing.ctk")
    codectk.compress(x, "png").save(tmp_path / "x.ctk")
    with pytest.raises(OutputError):
        codectk.compress(x, "png").save(tmp_path / "x.ctk")


@pytest.mark.parametrize("dtype", ["int16", "uint64"])
def test_a_field_of_integers_comes_back_as_it_was(installed, tmp_path, dtype):
    x = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    codectk.compress(x, "tiny").save(tmp_path / "x.ctk")
    np.testing.assert_array_equal(codectk.open(tmp_path / "x.ctk"), x, strict=True)


def test_integers_are_a_picture_for_codecs_of_pictures_and_a_field_for_codecs_of_fields():
    x = np.zeros((4, 5), np.uint8)
    assert described(x)[1].kind == "image/gray8"
    assert described(x, ("image/rgb8", "field/u8"))[1].kind == "image/gray8"
    field, info = described(x, ("field/u8",))
    assert (info.kind, field.shape) == ("field/u8", (4, 5))


def test_a_labelled_array_brings_its_metadata(installed):
    class Labelled:
        """As much of an `xarray.DataArray` as matters here."""

        def __init__(self, values, dims=(), coords=None, attrs=None, name=None):
            self.values, self.dims, self.name = np.asarray(values), dims, name
            self.coords, self.attrs = coords or {}, attrs or {}

        def __array__(self, dtype=None, copy=None):
            return self.values

    days = Labelled(np.array(["2020-01-01", "2020-01-02"], "M8[ns]"), ("time",))
    x = Labelled([[1, -9, 3], [4, 5, 6]], ("time", "x"), {"time": days}, {"units": "m", "_FillValue": -9.0}, "tide")
    x.values = x.values.astype("f4")
    header = unpack(codectk.compress(x, "tiny").data).header
    about = from_json(header.metadata, header.info)
    assert (about.name, about.dims, about.attributes["units"]) == ("tide", ("time", "x"), "m")
    assert (header.info.fill_value, header.info.value_range) == (-9.0, (1.0, 6.0))
    assert about.coordinates["time"].values.tolist() == days.values.astype("i8").tolist()
    assert about.coordinates["time"].attributes["units"] == "nanoseconds since 1970-01-01"
