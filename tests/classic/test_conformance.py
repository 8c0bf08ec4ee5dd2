"""The conformance kit on every codec to compare with."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from codectk.testing import CodecConformance
from codectk_classic.plugin import codectk_codecs

SPECS = {spec.name: spec for spec in codectk_codecs()}


class Classic(CodecConformance):
    """Bits of a decoder may change with the library that holds it, by a level or two where it computes with floats."""

    golden_tolerance = 2

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "spec"):
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


class Fields(Classic):
    golden_tolerance = 1e-4  # of values around 20, in the bounds of 0.1 % of their range


@pytest.mark.skipif(find_spec("hdf5plugin") is None, reason="codectk-classic[fields] is not installed")
class TestSz3(Fields):
    spec = SPECS["sz3"]
    changed_places = 12  # damage ends the process of the library, and the next call waits for another one


class TestZfp(Fields):
    spec = SPECS["zfp"]


class TestSperr(Fields):
    spec = SPECS["sperr"]


def test_every_codec_is_tested() -> None:
    tests = [*Classic.__subclasses__(), *Fields.__subclasses__()]
    assert {test.spec.name for test in tests if hasattr(test, "spec")} == set(SPECS)
