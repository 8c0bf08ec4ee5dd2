"""The conformance kit on every codec to compare with."""

from pathlib import Path
from typing import Any

from codectk.testing import CodecConformance
from codectk_classic.plugin import codectk_codecs

SPECS = {spec.name: spec for spec in codectk_codecs()}


class Classic(CodecConformance):
    """Bits of a decoder may change with the library that holds it, by a level or two where it computes with floats."""

    golden_tolerance = 2

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.golden = Path(__file__).parent / "golden" / cls.spec.name


class TestJpeg(Classic):
    spec = SPECS["jpeg"]


class TestWebP(Classic):
    spec = SPECS["webp"]


class TestAvif(Classic):
    spec = SPECS["avif"]


class TestJpeg2000(Classic):
    spec = SPECS["jpeg2000"]


class TestPng(Classic):
    spec = SPECS["png"]
    golden_tolerance = 0


class TestJpegLs(Classic):
    spec = SPECS["jpegls"]
    golden_tolerance = 0


def test_every_codec_is_tested() -> None:
    assert {test.spec.name for test in Classic.__subclasses__()} == set(SPECS)
