# --8<-- [start:codec]
"""What this distribution brings to codectk. Imports nothing heavy: every command loads this module."""

from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec, TrainerSpec

CODECTK_API = 1

CODEC = CodecSpec(
    name="blocky",
    summary="learned transform of blocks, packed by bzip2",
    target="codectk_blocky.codec:BlockyCodec",
    kinds=("image/rgb8",),
    encode_options="codectk_blocky.options:EncodeOptions",
    needs_weights=True,
    default_weights="codectk_blocky:weights/default.safetensors",
    rate_option="quality",
)


@hookimpl
def codectk_codecs() -> list[CodecSpec]:
    """The codec."""
    return [CODEC]


# --8<-- [end:codec]

# --8<-- [start:trainer]
TRAINER = TrainerSpec(
    name="blocky",
    summary="learns the transform by rate and distortion",
    target="codectk_blocky.trainer:BlockyTrainer",
    options="codectk_blocky.options:TrainOptions",
    codec="blocky",
)


@hookimpl
def codectk_trainers() -> list[TrainerSpec]:
    """The trainer."""
    return [TRAINER]


# --8<-- [end:trainer]
