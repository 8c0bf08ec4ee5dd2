"""What this distribution brings to codectk. Imports nothing heavy: every command loads this module."""

from codectk.hookspecs import hookimpl
from codectk.specs import TrainerSpec

CODECTK_API = 1

TRAINER = TrainerSpec(
    name="blocky",
    summary="linear prediction of a pixel from its neighbours",
    target="codectk_blocky.trainer:BlockyTrainer",
    options="codectk_blocky.options:TrainOptions",
)


@hookimpl
def codectk_trainers() -> list[TrainerSpec]:
    """The trainer."""
    return [TRAINER]
