"""The conformance kit on the crdr codec, with small random weights."""

from pathlib import Path

from codectk.testing import CodecConformance
from codectk_crdr.plugin import codectk_codecs

GOLDEN = Path(__file__).parent / "golden"


class TestSpaceChannel(CodecConformance):
    (spec,) = codectk_codecs()
    golden = GOLDEN / "space_channel"
    golden_tolerance = 1
    weights = GOLDEN / "space_channel" / "ef8e503c44a7ea16.safetensors"
    untrained = True


class TestDefaultWeights(CodecConformance):
    """The codec as it works right after installation."""

    (spec,) = codectk_codecs()
    golden = GOLDEN / "default"
    golden_tolerance = 1
