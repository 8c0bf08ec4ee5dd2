"""What this distribution brings to codectk. Imports nothing heavy."""

from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec, TrainerSpec

CODECTK_API = 1

READS = (1,)
"""Bitstream versions that this release decodes."""

PAPER = "Jacobellis and Yadwadkar, FRAPPE: Full Input, Residual Output Autoencoding, arXiv:2605.28992"


@hookimpl
def codectk_codecs() -> list[CodecSpec]:
    """The frappe codec."""
    return [
        CodecSpec(
            name="frappe",
            summary="one linear filter per channel, neural decoder; progressive",
            target="codectk_frappe.codec:FrappeCodec",
            kinds=("image/rgb8",),
            encode_options="codectk_frappe.options:EncodeOptions",
            needs_weights=True,
            default_weights="codectk_frappe:weights/frappe.safetensors",
            rate_option="channels",
            progressive=True,
            reads=READS,
            portability="any-machine",
            importer="codectk_frappe.published:import_weights",
            import_options="codectk_frappe.published:ImportOptions",
            picture="codectk_frappe.filters:picture",
            paper=PAPER,
        )
    ]


@hookimpl
def codectk_trainers() -> list[TrainerSpec]:
    """The frappe trainer."""
    return [
        TrainerSpec(
            name="frappe",
            summary="filters and decoder: all together, or channel by channel as published",
            target="codectk_frappe.trainer:make_trainer",
            options="codectk_frappe.options:TrainOptions",
            recipes="codectk_frappe:recipes",
            codec="frappe",
        )
    ]
