# --8<-- [start:codec]
"""What every codec and every trainer must keep to."""

from pathlib import Path
from typing import Any

from codectk.testing import CodecConformance, TrainerConformance

from codectk_blocky.plugin import CODEC, TRAINER


class TestCodec(CodecConformance):
    """The codec with the weights that ship."""

    spec = CODEC
    golden = Path(__file__).parent / "golden"
    golden_tolerance = 1  # g_s computes with floats


# --8<-- [end:codec]


# --8<-- [start:trainer]
class TestTrainer(TrainerConformance):
    """The trainer, on a few small pictures."""

    spec = TRAINER

    def options(self, data: Path) -> dict[str, Any]:
        """A training of a few steps."""
        return {"data": str(data), "steps": 4, "batch_size": 2, "crop": 16}


# --8<-- [end:trainer]
