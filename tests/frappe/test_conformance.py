"""The conformance kit on the frappe codec and its trainer."""

from pathlib import Path
from typing import Any

from codectk.testing import CodecConformance, TrainerConformance
from codectk_frappe.plugin import codectk_codecs, codectk_trainers

GOLDEN = Path(__file__).parent / "golden"


class TestFrappeCodec(CodecConformance):
    (spec,) = codectk_codecs()
    golden = GOLDEN
    golden_tolerance = 1
    weights = GOLDEN / "tiny.safetensors"
    untrained = True


class TestJointCodec(CodecConformance):
    (spec,) = codectk_codecs()
    golden = GOLDEN / "joint"
    golden_tolerance = 1
    weights = GOLDEN / "joint" / "acd22cbab32b2add.safetensors"
    untrained = True


class TestDefaultWeights(CodecConformance):
    """The codec as it works right after installation."""

    (spec,) = codectk_codecs()
    golden = GOLDEN / "default"
    golden_tolerance = 1


class TestFrappeTrainer(TrainerConformance):
    (spec,) = codectk_trainers()

    def options(self, data: Path) -> dict[str, Any]:
        return {
            "data": str(data),
            "ps": "8,4",
            "decoder_ps": 4,
            "decoder_dim": 8,
            "decoder_arch": "CC",
            "epochs_single": 1,
            "epochs_merged": 1,
            "batch_size": 2,
            "min_size": 32,
            "max_size": 32,
        }


class TestJointTrainer(TrainerConformance):
    (spec,) = codectk_trainers()

    def options(self, data: Path) -> dict[str, Any]:
        return {
            "data": str(data),
            "mode": "joint",
            "ps": "8,4",
            "decoder_ps": 4,
            "decoder_dim": 8,
            "decoder_arch": "C",
            "joint_steps": 4,
            "decoder_steps": 2,
            "batch_size": 2,
            "min_size": 32,
            "max_size": 32,
        }
