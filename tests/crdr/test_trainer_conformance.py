"""The conformance kit on the crdr trainer, with tiny networks."""

from pathlib import Path
from typing import Any

from codectk.testing import TrainerConformance
from codectk_crdr.plugin import codectk_trainers


class TestCrdrTrainer(TrainerConformance):
    (spec,) = codectk_trainers()

    def options(self, data: Path) -> dict[str, Any]:
        return {
            "data": str(data),
            "context": "none",
            "attention": False,
            "levels": 2,
            "latent_channels": 8,
            "hyper_channels": 4,
            "encoder_width": 4,
            "encoder_middle": 4,
            "decoder_width": 4,
            "decoder_middle": 4,
            "blocks": 1,
            "image_size": 64,
            "batch_size": 2,
            "total_iter": 4,
            "eval_pictures": 1,
            "rate.lambda_a": [0.4, 0.1],
        }
