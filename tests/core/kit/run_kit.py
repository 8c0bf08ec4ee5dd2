"""The kit on every class of `kit_faults`; run by a pytest of its own, in which that distribution is installed."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from kit_faults import plugin

from codectk.checkpoint import Checkpoint
from codectk.testing import (
    CodecConformance,
    CommandConformance,
    DatasetConformance,
    MetricConformance,
    TrainerConformance,
)

GOLDEN = Path(os.environ["KIT_FOLDER"])


def weights(codec: str) -> Checkpoint:
    """Of a codec with weights."""
    tensors = {"offset": np.full(1, 3, np.float32)}
    return Checkpoint(tensors, codec, "kit-faults", "1.0", 1, {})


class Trainer(TrainerConformance):
    """Options that suit all trainers."""

    def options(self, data: Path) -> dict[str, Any]:
        return {"data": str(data), "steps": 6}


SLOW = {
    CodecConformance: ("test_nothing_else_in_the_process_is_changed", "test_a_file_decodes_in_a_fresh_process"),
    DatasetConformance: ("test_nothing_else_in_the_process_is_changed",),
    MetricConformance: ("test_nothing_else_in_the_process_is_changed",),
    TrainerConformance: ("test_it_leaves_the_process_as_it_was",),
}
"""Checks that start a process: they run on what is good and on the faults that they are to find."""


def classes(base: type, specs: list[Any], table: dict[str, plugin.Faulty]) -> dict[str, type]:
    """One class of tests for each spec."""
    made = {}
    for spec in specs:
        name = spec.name.rpartition(".")[2]
        check = table[name].check
        more: dict[str, Any] = {"spec": spec, **table[name].kit}
        for kit, slow in SLOW.items():
            more |= {test: None for test in slow if check not in (None, test) and issubclass(base, kit)}
        if base is CodecConformance:
            more["golden"] = GOLDEN / spec.name
            if spec.needs_weights:
                more["weights"] = weights(spec.name)
        made[f"Test{name}"] = type(f"Test{name}", (base,), more)
    return made


globals().update(classes(CodecConformance, plugin.codec_specs(), plugin.CODECS))
globals().update(classes(Trainer, plugin.codectk_trainers(), plugin.TRAINERS))
globals().update(classes(DatasetConformance, plugin.codectk_datasets(), plugin.DATASETS))
globals().update(classes(MetricConformance, plugin.codectk_metrics(), plugin.METRICS))
globals().update(classes(CommandConformance, plugin.codectk_commands(), plugin.COMMANDS))
