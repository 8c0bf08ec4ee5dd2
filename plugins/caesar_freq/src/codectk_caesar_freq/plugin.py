"""What this distribution brings to codectk. Imports nothing heavy."""

from codectk.hookspecs import hookimpl
from codectk.specs import CommandSpec, TrainerSpec

CODECTK_API = 1


@hookimpl
def codectk_commands() -> list[CommandSpec]:
    """What joins the phases' weights."""
    return [
        CommandSpec(
            name="caesar_freq.merge",
            summary="the weights of the three phases in one file",
            target="codectk_caesar_freq.merge:merge",
            options="codectk_caesar_freq.merge:MergeOptions",
        )
    ]


@hookimpl
def codectk_trainers() -> list[TrainerSpec]:
    """The three phases."""
    return [
        TrainerSpec(
            name="caesar_freq.compressor",
            summary="phase 1: hyperprior network for the lowest frequencies of each frame",
            target="codectk_caesar_freq.compressor_trainer:CompressorTrainer",
            options="codectk_caesar_freq.train_options:CompressorOptions",
            recipes="codectk_caesar_freq:recipes/compressor",
        ),
        TrainerSpec(
            name="caesar_freq.diffusion",
            summary="phase 2: diffusion model of the frames between keyframes",
            target="codectk_caesar_freq.diffusion_trainer:DiffusionTrainer",
            options="codectk_caesar_freq.train_options:DiffusionOptions",
            recipes="codectk_caesar_freq:recipes/diffusion",
        ),
        TrainerSpec(
            name="caesar_freq.distillation",
            summary="phase 3: single-step network of the frames between keyframes",
            target="codectk_caesar_freq.distillation_trainer:DistillationTrainer",
            options="codectk_caesar_freq.train_options:DistillationOptions",
            recipes="codectk_caesar_freq:recipes/distillation",
        ),
    ]
