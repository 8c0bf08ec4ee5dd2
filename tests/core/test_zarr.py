"""Codecs as chunk codecs of the real Zarr (format 3) and of numcodecs (format 2)."""

import json
import subprocess
import sys

import numcodecs
import numpy as np
import pytest
import zarr

from codectk.errors import CodectkError, ContainerError, OptionsError, UnknownName
from codectk.numcodecs import CtkCodec as NumcodecsCodec
from codectk.zarr import CtkCodec

# Zarr says of every codec that is not in its specification that others may not read it.
pytestmark = pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")


def picture(shape=(40, 50, 3), dtype=np.uint8):
    grids = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return (127 + 100 * np.sin(sum(grids) / 9)).astype(dtype)


def make(path, x, chunks, codec="png", **more):
    return zarr.create_array(
        path, data=x, chunks=chunks, serializer=CtkCodec(codec=codec, **more), compressors=None, zarr_format=3
    )


@pytest.mark.parametrize(
    ("x", "chunks"),
    [(picture(), (16, 16, 3)), (picture((40, 50)), (16, 16)), (picture((40, 50), np.uint16), (40, 50))],
    ids=["colour", "grey", "deep"],
)
def test_an_array_opens_again_with_the_same_values(tmp_path, x, chunks):
    make(tmp_path / "x.zarr", x, chunks)
    again = zarr.open_array(tmp_path / "x.zarr", mode="r")
    assert np.array_equal(again[:], x)
    assert np.array_equal(again[3:20, 5:40], x[3:20, 5:40])


def test_options_reach_the_codec_and_the_metadata(tmp_path):
    x = picture((64, 64, 3))
    sizes = []
    for quality in (20, 90):
        path = tmp_path / f"{quality}.zarr"
        make(path, x, (32, 32, 3), "jpeg", options={"quality": quality})
        sizes.append(sum(f.stat().st_size for f in (path / "c").rglob("*") if f.is_file()))
        (stored,) = json.loads((path / "zarr.json").read_text())["codecs"]
        assert stored == {"name": "codectk", "configuration": {"codec": "jpeg", "options": {"quality": quality}}}
    assert sizes[0] < sizes[1] < x.nbytes


def test_an_array_opens_in_a_fresh_process_that_imports_zarr_alone(tmp_path):
    x = picture()
    make(tmp_path / "x.zarr", x, (20, 25, 3))
    script = "import zarr, numpy\nnumpy.save('x.npy', zarr.open_array('x.zarr', mode='r')[:])"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    assert np.array_equal(np.load(tmp_path / "x.npy"), x)


def test_every_chunk_is_a_whole_file(tmp_path):
    import codectk

    x = picture()
    make(tmp_path / "x.zarr", x, (20, 25, 3))
    assert np.array_equal(codectk.open(tmp_path / "x.zarr" / "c" / "1" / "0" / "0"), x[20:40, :25])


@pytest.mark.parametrize(
    ("x", "chunks", "codec", "error"),
    [
        (picture((8, 8), np.int32), (8, 8), "png", CodectkError),
        (np.zeros((8, 8), np.float32), (8, 8), "png", CodectkError),
        (picture((8, 8, 3)), (8, 8, 2), "png", CodectkError),
        (picture((8, 8, 3)), (8, 8, 3), "pgn", UnknownName),
    ],
    ids=["type", "kind", "channels", "name"],
)
def test_what_the_codec_does_not_take_is_told_when_the_array_is_made(tmp_path, x, chunks, codec, error):
    with pytest.raises(error):
        make(tmp_path / "x.zarr", x, chunks, codec)


def test_a_wrong_option_is_told_when_the_array_is_made():
    with pytest.raises(OptionsError):
        CtkCodec(codec="jpeg", options={"quality": 1000})
    with pytest.raises(OptionsError):
        NumcodecsCodec("jpeg", {"qualty": 50})


def test_a_damaged_chunk_is_an_error_and_no_picture(tmp_path):
    make(tmp_path / "x.zarr", picture(), (40, 50, 3))
    chunk = tmp_path / "x.zarr" / "c" / "0" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    data[-9] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(ContainerError):
        zarr.open_array(tmp_path / "x.zarr", mode="r")[:]


def test_a_chunk_of_another_shape_is_refused(tmp_path):
    make(tmp_path / "x.zarr", picture((40, 50, 3)), (20, 50, 3))
    make(tmp_path / "y.zarr", picture((40, 50, 3)), (10, 50, 3))
    place = ("c", "0", "0", "0")
    (tmp_path / "x.zarr").joinpath(*place).write_bytes((tmp_path / "y.zarr").joinpath(*place).read_bytes())
    with pytest.raises(ContainerError, match="The chunk holds"):
        zarr.open_array(tmp_path / "x.zarr", mode="r")[:]


def test_format_2_takes_it_as_a_filter(tmp_path):
    x = picture((40, 50))
    made = zarr.create_array(
        tmp_path / "x.zarr", data=x, chunks=(16, 16), filters=[NumcodecsCodec("png")], compressors=None, zarr_format=2
    )
    assert np.array_equal(made[:], x)
    assert np.array_equal(zarr.open_array(tmp_path / "x.zarr", mode="r")[:], x)


def test_numcodecs_finds_it_by_name_and_configuration():
    codec = numcodecs.get_codec({"id": "codectk", "codec": "png", "options": {"compress_level": 9}})
    assert isinstance(codec, NumcodecsCodec)
    assert numcodecs.get_codec(json.loads(json.dumps(codec.get_config()))) == codec
    for x in (picture(), picture((9, 11))):
        assert np.array_equal(codec.decode(codec.encode(x)), x)
        out = np.empty_like(x)
        assert codec.decode(codec.encode(x), out) is out
        assert np.array_equal(out, x)
    with pytest.raises(CodectkError):
        codec.encode(b"bytes alone")
    with pytest.raises(ContainerError):
        codec.decode(codec.encode(picture()), np.empty((3, 3), np.uint8))
