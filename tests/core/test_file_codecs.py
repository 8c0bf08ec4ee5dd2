"""Codecs that code files themselves: what they get, and what becomes of it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from codectk.bench import measure
from codectk.compression import LoadedCodec, load_codec
from codectk.container import unpack
from codectk.errors import ContainerError, OptionsError
from codectk.evaluate import Candidate, evaluate
from codectk.images import read_image
from codectk.target import compress_to

KEEPER = """
import io
import numpy as np
from PIL import Image
from codectk.codec import Encoded, FileCodec
from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec

CODECTK_API = 1

class Keeper(FileCodec):
    rate_points = (1, 2)

    @classmethod
    def load(cls, checkpoint, device):
        return cls()

    def encode(self, x, info, options):
        return Encoded({}, (x.tobytes(),))

    def encode_file(self, data, info, options):
        return Encoded({"file": list(info.shape)}, (data,), notes={"kept": float(len(data))})

    def decode(self, encoded, info, options):
        if "file" in encoded.params:
            return np.array(Image.open(io.BytesIO(encoded.segments[0])))
        return np.frombuffer(encoded.segments[0], info.dtype).reshape(info.shape)

    def decode_file(self, encoded, info, options):
        if "file" not in encoded.params:
            raise ValueError("made of an array")
        return encoded.segments[0]

@hookimpl
def codectk_codecs():
    common = {"summary": "s", "target": f"{__name__}:Keeper", "kinds": ("image/rgb8",)}
    return [CodecSpec(name="keeper", files=(".jpg", ".jpeg"), **common), CodecSpec(name="plain", **common)]
"""


@pytest.fixture
def keeper(site) -> LoadedCodec:
    site.add("codectk-keeper", KEEPER)
    return load_codec("keeper", registry=site.registry(strict=True))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    x = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
    Image.fromarray(x).save(tmp_path / "photo.JPG")
    return tmp_path / "photo.JPG"


def test_a_file_of_a_named_ending_is_handed_to_the_codec_as_it_is(keeper, photo):
    picture = read_image(photo)
    file = unpack(keeper.compress(picture.x, picture.info, file=picture.file_for(keeper.spec.files)).data)
    assert file.segments == (photo.read_bytes(),)
    assert file.header.params == {"file": [9, 14, 3]}
    assert keeper.decompress_file(file) == photo.read_bytes()
    np.testing.assert_array_equal(keeper.decompress(file), picture.x)


def test_other_files_and_changed_pictures_are_arrays(keeper, photo, tmp_path, monkeypatch):
    with Image.open(photo) as image:
        image.save(tmp_path / "photo.png")
    assert read_image(tmp_path / "photo.png").file_for(keeper.spec.files) is None
    assert read_image(photo).file_for(()) is None
    monkeypatch.setattr("codectk.images._deep_avif", lambda data, name: True)
    reduced = read_image(photo, depth=8)
    assert reduced.notes and reduced.file_for(keeper.spec.files) is None


def test_a_file_with_colours_of_its_own_is_handed_over(keeper, photo, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ"))
    with Image.open(photo) as image:
        image.save(tmp_path / "odd.jpg", icc_profile=profile.tobytes())
    told = read_image(tmp_path / "odd.jpg")
    assert "colour profile" in told.notes[0]
    assert told.file_for(keeper.spec.files) == (tmp_path / "odd.jpg").read_bytes()


def test_evaluation_search_and_bench_code_the_file(keeper, photo, tmp_path):
    candidate = Candidate("keeper", keeper, ({},))
    (row,) = evaluate([candidate], [photo], tmp_path / "out")
    assert row.error == "" and row.notes == {"kept": float(photo.stat().st_size)}
    assert row.metrics["psnr"] == float("inf")
    (sample,) = measure([candidate], [photo], repeats=1)
    assert sample.bytes == row.bytes


def test_a_search_codes_the_file(keeper, photo, monkeypatch):
    monkeypatch.setattr(type(keeper.codec), "rate_ladder", ({}, {"a": 1}))
    monkeypatch.setattr(LoadedCodec, "encode_options", lambda self, values=None: None)
    picture = read_image(photo)
    found = compress_to(keeper, picture.x, picture.info, bpp=1000, file=picture.data)
    assert unpack(found.data).segments == (photo.read_bytes(),)


def test_a_codec_without_files_makes_none(site, keeper, photo):
    plain = load_codec("plain", registry=site.registry(strict=True))
    picture = read_image(photo)
    with pytest.raises(OptionsError, match="plain makes arrays, no files"):
        plain.decompress_file(unpack(plain.compress(picture.x, picture.info).data))


def test_what_goes_wrong_in_making_a_file_names_the_source(keeper, photo):
    picture = read_image(photo)
    file = unpack(keeper.compress(picture.x, picture.info).data)
    with pytest.raises(ContainerError, match=r"photo\.ctk cannot be decoded .*made of an array"):
        keeper.decompress_file(file, source="photo.ctk")
    other = unpack(keeper.compress(picture.x, picture.info, file=picture.data).data[:-1], allow_cut=True)
    with pytest.raises(ContainerError, match=r"photo\.ctk is damaged"):
        keeper.decompress_file(other, source="photo.ctk")
