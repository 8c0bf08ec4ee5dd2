"""The conformance kit on the codec caesar_freq."""

from pathlib import Path
from typing import Any

from codectk.arrays import Array, ArrayInfo
from codectk.specs import Guarantee
from codectk.testing import CodecConformance
from codectk_caesar_freq.architecture import DIFFUSION, STUDENT
from codectk_caesar_freq.merge import combined
from codectk_caesar_freq.plugin import codectk_codecs

from .small import part

GOLDEN = Path(__file__).parent / "golden"

NETWORKS = combined({DIFFUSION: part(DIFFUSION), STUDENT: part(STUDENT)})


class TestCaesarFreqCodec(CodecConformance):
    (spec,) = codectk_codecs()
    golden = GOLDEN
    settings = (
        {"rel_error": 1e-1},
        {"rel_error": 1e-5},
        {"pointwise_rel": 1e-2},
        {"nrmse": 1e-3},
        {"psnr": 50.0},
        {"eb": 1e-3},
        {"wavelet": "cdf97", "dct_block_size": 8, "rel_error": 1e-3},
        {"wavelet": "haar", "temporal": False, "abs_error": 1e-2},
        {"chunk": (2, 8, 16)},
    )

    def bounds(self, guarantee: Guarantee, x: Array, info: ArrayInfo) -> list[Any]:
        """A bound over the range is a part of it; the kit's own are in the unit of the values."""
        return [1e-1, 1e-3] if guarantee.option == "nrmse" else super().bounds(guarantee, x, info)


class TestWithNetworks(TestCaesarFreqCodec):
    """Frames between keyframes are predicted by untrained networks, whatever that costs."""

    weights = NETWORKS
    untrained = True
    # What the default mode does needs no weights and has been tested above.
    test_guarantees_hold = None
    test_changed_bits_are_a_plain_error_or_an_array = None
    test_hostile_segments_take_bounded_memory = None
    settings = (
        {"mode": "single_step", "predict": "student", "n_frame": 3, "interpo_rate": 2},
        {"mode": "diffusion", "predict": "teacher", "n_frame": 3, "interpo_rate": 2},
    )
