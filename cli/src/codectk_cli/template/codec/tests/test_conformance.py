"""What every codec must keep to."""

from pathlib import Path

from codectk.testing import CodecConformance

from codectk_blocky.plugin import CODEC


class TestCodec(CodecConformance):
    """The codec with the weights that ship."""

    spec = CODEC
    golden = Path(__file__).parent / "golden"
    golden_tolerance = 1  # g_s computes with floats
