"""What this distribution brings to codectk. Imports nothing heavy."""

from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec, CommandSpec, DatasetSpec, TrainerSpec

CODECTK_API = 1


@hookimpl
def codectk_codecs() -> list[CodecSpec]:
    """The codec of coefficients."""
    return [
        CodecSpec(
            name="dct",
            summary="coefficients of JPEG files without loss and about a fifth smaller, or the first few of each block",
            target="codectk_dct_backbones.codec:DctCodec",
            kinds=("image/rgb8",),
            encode_options="codectk_dct_backbones.options:EncodeOptions",
            bitstream_version=2,
            reads=(1, 2),
            rate_option="coeff_count",
            progressive=True,
            files=(".jpg", ".jpeg", ".jpe", ".jfif"),
            portability="any-machine",
            details="codectk_dct_backbones.details:details",
            paper="ITU-T T.81; entropy coding after Horn et al., NSDI 2017, and Mahoney 2005",
        )
    ]


@hookimpl
def codectk_trainers() -> list[TrainerSpec]:
    """Trainers of classifiers, and of the statistics that they normalise by."""
    return [
        TrainerSpec(
            name="dct_backbones.rgb",
            summary="ResNet-34, CSPDarknet-53 or EfficientViT-M4 by its preset, on pixels or coefficients",
            target="codectk_dct_backbones.rgb_trainer:RgbTrainer",
            options="codectk_dct_backbones.train_options:RgbOptions",
            recipes="codectk_dct_backbones:recipes/rgb",
            importer="codectk_dct_backbones.published:import_weights",
            import_options="codectk_dct_backbones.recognition:ImportOptions",
            bench="codectk_dct_backbones.benchmarking:bench",
            bench_options="codectk_dct_backbones.tool_options:RgbBenchOptions",
        ),
        TrainerSpec(
            name="dct_backbones.compressed",
            summary="ResNet-34 on the coefficients of JPEG files or of pictures, in five variants",
            target="codectk_dct_backbones.compressed_trainer:CompressedTrainer",
            options="codectk_dct_backbones.train_options:CompressedOptions",
            recipes="codectk_dct_backbones:recipes/compressed",
            importer="codectk_dct_backbones.published:import_weights",
            import_options="codectk_dct_backbones.recognition:ImportOptions",
            bench="codectk_dct_backbones.benchmarking:bench",
            bench_options="codectk_dct_backbones.tool_options:CompressedBenchOptions",
        ),
        TrainerSpec(
            name="dct_backbones.stats",
            summary="mean and deviation of every coefficient over folders of pictures",
            target="codectk_dct_backbones.stats_trainer:StatsTrainer",
            options="codectk_dct_backbones.train_options:StatsOptions",
        ),
    ]


@hookimpl
def codectk_datasets() -> list[DatasetSpec]:
    """Pictures with labels that need no download."""
    return [
        DatasetSpec(
            name="patterns",
            summary="generated pictures of eight patterns, the pattern's name as label; small, to try things out",
            target="codectk_dct_backbones.data.generated:Patterns",
            kinds=("image/rgb8",),
            licence="none needed",
        )
    ]


@hookimpl
def codectk_commands() -> list[CommandSpec]:
    """What looks before a long run: at the pipeline, and at the costs."""
    return [
        CommandSpec(
            name="dct_backbones.check",
            summary="a picture through the pipeline of a training and back, compared with what it must give",
            target="codectk_dct_backbones.check:check",
            options="codectk_dct_backbones.tool_options:CheckOptions",
        ),
        CommandSpec(
            name="dct_backbones.summary",
            summary="parameters and multiplications of networks, by variant, coefficients and width",
            target="codectk_dct_backbones.summary:summary",
            options="codectk_dct_backbones.tool_options:SummaryOptions",
        ),
    ]
