"""What the plugin states, its options, and what it costs to look at."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from codectk import ArrayInfo, load_codec
from codectk.errors import OptionsError, PluginError
from codectk.specs import resolve
from codectk_classic.codec import Avif
from codectk_classic.plugin import codectk_codecs

HERE = {"sz3": find_spec("hdf5plugin") is not None}
SPECS = {spec.name: spec for spec in codectk_codecs() if HERE.get(spec.name, True)}


def test_the_plugin_imports_nothing_heavy():
    program = (
        "import sys, codectk_classic.plugin as p; p.codectk_codecs();"
        "print([m for m in ('numpy', 'PIL', 'pydantic', 'imagecodecs', 'torch', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(SPECS))
def test_rate_points_are_settings_of_the_rate_option(name):
    spec, codec = SPECS[name], load_codec(name)
    assert bool(codec.codec.rate_points) == bool(spec.rate_option)
    for point in codec.codec.rate_points:
        assert getattr(codec.encode_options({spec.rate_option: point}), spec.rate_option) == point


@pytest.mark.parametrize("name", sorted(SPECS))
def test_every_option_has_help(name):
    fields = resolve(SPECS[name].encode_options).model_fields
    assert fields and all(field.description for field in fields.values())


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("avif", {"quality": 101}),
        ("avif", {"speed": 11}),
        ("jpeg", {"quality": 0}),
        ("jpeg", {"quality": 101}),
        ("jpeg", {"subsampling": "4:1:0"}),
        ("jpeg2000", {"quality": 0}),
        ("jpeg2000", {"quality": float("nan")}),
        ("jpegls", {"near": -1}),
        ("jpegls", {"near": 256}),
        ("png", {"compress_level": 10}),
        ("sperr", {"abs_error": float("inf")}),
        ("sperr", {"rel_error": 1.0}),
        ("webp", {"quality": -1}),
        ("webp", {"method": 7}),
        ("webp", {"effort": 3}),
        ("zfp", {"abs_error": 0.0}),
        ("zfp", {"rel_error": float("nan")}),
    ],
)
def test_settings_out_of_range_are_refused(name, values):
    with pytest.raises(OptionsError, match=next(iter(values))):
        load_codec(name).encode_options(values)


def test_jpegls_takes_a_wider_bound_for_16_bits_alone():
    codec = load_codec("jpegls")
    options = codec.encode_options({"near": 128})
    with pytest.raises(OptionsError, match="127"):
        codec.compress(np.zeros((4, 4, 1), np.uint8), ArrayInfo("image/gray8", (4, 4, 1)), options)
    codec.compress(np.zeros((4, 4, 1), np.uint16), ArrayInfo("image/gray16", (4, 4, 1)), options)


def test_a_pillow_without_the_format_is_said_so(monkeypatch):
    monkeypatch.setattr(Avif, "feature", "raqm")
    monkeypatch.setattr("PIL.features.check", lambda feature: feature != "raqm")
    with pytest.raises(PluginError, match="built without AVIF"):
        load_codec("avif")


def test_what_sz3_needs_is_said_where_it_is_listed():
    (spec,) = (spec for spec in codectk_codecs() if spec.name == "sz3")
    assert "codectk-classic[fields]" in spec.summary


def test_sz3_without_its_packages_is_said_so(monkeypatch):
    monkeypatch.setattr("codectk_classic.fields.find_spec", lambda name: None)
    with pytest.raises(PluginError, match="needs h5py and hdf5plugin") as caught:
        load_codec("sz3")
    assert "codectk-classic[fields]" in caught.value.next_step


def test_an_imagecodecs_without_the_library_is_said_so(monkeypatch):
    monkeypatch.setattr("imagecodecs.ZFP.available", False)
    with pytest.raises(PluginError, match="built without ZFP"):
        load_codec("zfp")
