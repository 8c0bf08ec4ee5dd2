"""The conformance kit on the codec `dct`."""

from pathlib import Path

from codectk.testing import CodecConformance
from codectk_dct_backbones.plugin import codectk_codecs


class TestDctCodec(CodecConformance):
    (spec,) = codectk_codecs()
    golden = Path(__file__).parent / "golden_codec"
    settings = ({"quality": 5}, {"quality": 100, "subsampling": "4:4:4"}, {"coeff_count": 6})
