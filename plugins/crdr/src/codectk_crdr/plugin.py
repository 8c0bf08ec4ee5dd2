"""What this distribution brings to codectk. Imports nothing heavy."""

from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec, TrainerSpec

CODECTK_API = 1

READS = (1,)
"""Bitstream versions that this release decodes."""

PAPER = "Iwai et al., Controlling Rate, Distortion, and Realism, WACV 2024, arXiv:2405.16817"


@hookimpl
def codectk_codecs() -> list[CodecSpec]:
    """The crdr codec."""
    return [
        CodecSpec(
            name="crdr",
            summary="quality chosen when encoding, realism when decoding; hyperprior and context in integers",
            target="codectk_crdr.codec:CrdrCodec",
            kinds=("image/rgb8",),
            encode_options="codectk_crdr.options:EncodeOptions",
            decode_options="codectk_crdr.options:DecodeOptions",
            needs_weights=True,
            default_weights="codectk_crdr:weights/crdr.safetensors",
            reads=READS,
            portability="any-machine",
            importer="codectk_crdr.published:import_weights",
            exporter="codectk_crdr.export:export",
            export_options="codectk_crdr.export:ExportOptions",
            paper=PAPER,
        )
    ]


@hookimpl
def codectk_trainers() -> list[TrainerSpec]:
    """The crdr trainer."""
    return [
        TrainerSpec(
            name="crdr",
            summary="all stages: one rate, many rates, many rates and realisms",
            target="codectk_crdr.trainer:CrdrTrainer",
            options="codectk_crdr.train_options:TrainOptions",
            recipes="codectk_crdr:recipes",
            codec="crdr",
        )
    ]
