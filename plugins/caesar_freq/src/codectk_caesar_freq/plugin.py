"""What this distribution brings to codectk. Imports nothing heavy."""

from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec, CommandSpec, Guarantee, TrainerSpec

CODECTK_API = 1

READS = (1,)
"""Bitstream versions that this release decodes."""

PAPER = "CAESAR-Freq, after CAESAR, Appl. Sci. 2025, 15(16), 8977, and arXiv:2507.02129"


@hookimpl
def codectk_codecs() -> list[CodecSpec]:
    """The codec of scientific fields."""
    return [
        CodecSpec(
            name="caesar_freq",
            summary="scientific fields within an error bound: fitted wavelet, DCT, learned priors",
            target="codectk_caesar_freq.codec:CaesarFreqCodec",
            kinds=tuple(
                f"field/{kind}" for kind in ("f32", "f64", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64")
            ),
            encode_options="codectk_caesar_freq.options:EncodeOptions",
            decode_options="codectk_caesar_freq.options:DecodeOptions",
            takes_weights=True,
            default_weights="codectk_caesar_freq:weights/caesar_freq.safetensors",
            rate_option="rel_error",
            progressive=True,
            reads=READS,
            portability="any-machine",
            details="codectk_caesar_freq.details:details",
            guarantees=(Guarantee(option="abs_error", metric="max_error"), Guarantee(option="nrmse", metric="nrmse")),
            paper=PAPER,
        )
    ]


@hookimpl
def codectk_commands() -> list[CommandSpec]:
    """What opens a part of a file, and what joins the phases' weights."""
    return [
        CommandSpec(
            name="caesar_freq.extract",
            summary="a part of a field, without decoding the rest",
            target="codectk_caesar_freq.extract:extract",
            options="codectk_caesar_freq.extract:ExtractOptions",
        ),
        CommandSpec(
            name="caesar_freq.merge",
            summary="the weights of the three phases in one file",
            target="codectk_caesar_freq.merge:merge",
            options="codectk_caesar_freq.merge:MergeOptions",
        ),
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
            codec="caesar_freq",
        ),
        TrainerSpec(
            name="caesar_freq.diffusion",
            summary="phase 2: diffusion model of the frames between keyframes",
            target="codectk_caesar_freq.diffusion_trainer:DiffusionTrainer",
            options="codectk_caesar_freq.train_options:DiffusionOptions",
            recipes="codectk_caesar_freq:recipes/diffusion",
            codec="caesar_freq",
        ),
        TrainerSpec(
            name="caesar_freq.distillation",
            summary="phase 3: single-step network of the frames between keyframes",
            target="codectk_caesar_freq.distillation_trainer:DistillationTrainer",
            options="codectk_caesar_freq.train_options:DistillationOptions",
            recipes="codectk_caesar_freq:recipes/distillation",
            codec="caesar_freq",
        ),
        TrainerSpec(
            name="caesar_freq.contexts",
            summary="context network of the fitted wavelet: the chances of quantised values",
            target="codectk_caesar_freq.context_trainer:ContextsTrainer",
            options="codectk_caesar_freq.train_options:ContextsOptions",
            recipes="codectk_caesar_freq:recipes/contexts",
            codec="caesar_freq",
        ),
        TrainerSpec(
            name="caesar_freq.background",
            summary="what variables usually look like on their grids: mean and principal components",
            target="codectk_caesar_freq.background_trainer:BackgroundTrainer",
            options="codectk_caesar_freq.train_options:BackgroundOptions",
            codec="caesar_freq",
        ),
    ]
