"""What networks and transform are built with: the configuration in weights files, checked. Imports nothing heavy."""

from typing import Any, Literal, TypeVar

from codectk.checkpoint import Checkpoint
from codectk.errors import OptionsError, WeightsError
from codectk.options import IntList, Options, option

CODEC = "caesar_freq"
DISTRIBUTION = "codectk-caesar-freq"
BITSTREAM_VERSION = 1

COMPRESSOR, DIFFUSION, STUDENT = "freq_compressor", "diffusion", "single_step_diffusion"
BACKGROUND, CONTEXTS = "background", "contexts"
NETWORKS = (COMPRESSOR, DIFFUSION, STUDENT)
PARTS = (*NETWORKS, BACKGROUND, CONTEXTS)
"""Parts of a weights file: names of its tensors begin with one of these and a dot."""

TENSORS = "tensors"
"""Where the configuration says how many tensors there are."""

WIDEST = 4096


class FrequencyConfig(Options):
    """The transform, and how many of its planes networks see. All parts of a file share it."""

    wavelet: Literal["haar", "cdf97", "none"] = option("haar", help="Wavelet of the one level.")
    dct_block_size: int = option(8, ge=2, le=32, help="Side of the blocks of the DCT.")
    latent_channels: int = option(32, ge=1, le=1024, help="Planes that diffusion and student predict.")


class WindowConfig(Options):
    """Windows that diffusion or student were trained on; others work, too."""

    n_frame: int = option(16, ge=2, le=256, help="Frames in a window.")
    interpo_rate: int = option(3, ge=1, le=255, help="Frames from one keyframe to the next.")
    tile: int = option(256, ge=2, le=4096, help="Largest side of a tile.")


class CompressorConfig(Options):
    """The frequency compressor."""

    low_freq_size: int = option(16, ge=1, le=1024, help="Planes that it codes, from the lowest frequency.")
    latent_channels: int = option(32, ge=1, le=WIDEST, help="Channels of y.")
    hyper_channels: int = option(32, ge=1, le=WIDEST, help="Channels of z.")


class UNetConfig(Options):
    """The diffusion model."""

    dim: int = option(64, ge=2, le=WIDEST, multiple_of=2, help="Width at full resolution.")
    dim_mults: IntList = option((1, 2, 4, 8), min_length=1, max_length=6, help="Factors of the width.")
    steps: int = option(32, ge=1, le=1000, help="Steps of the diffusion.")
    heads: int = option(8, ge=1, le=64, help="Heads of attentions.")
    head_width: int = option(32, ge=1, le=256, help="Width of a head.")
    prediction: Literal["v", "x0", "eps"] = option("v", help="What the network gives.")
    activation: Literal["hard_swish", "silu"] = option("hard_swish", help="Between layers.")


class StudentConfig(Options):
    """The single-step network."""

    base_channels: int = option(64, ge=8, le=WIDEST, multiple_of=8, help="Width at full resolution.")
    channel_mults: IntList = option((1, 2, 4), min_length=1, max_length=6, help="Factors of the width.")
    num_res_blocks: int = option(2, ge=1, le=16, help="Blocks at each resolution.")
    activation: Literal["hard_swish", "silu"] = option("hard_swish", help="Between layers.")


class BackgroundConfig(Options):
    """Means and principal components of variables on their grids."""

    count: int = option(1, ge=1, le=4096, help="How many variables.")


class ContextsConfig(Options):
    """The context network of the fitted wavelet, whose sizes are part of the format."""

    hidden: Literal[16] = option(16, help="Hidden units.")


Model = TypeVar("Model", bound=Options)

PART_CONFIGS: dict[str, type[Options]] = {
    COMPRESSOR: CompressorConfig,
    DIFFUSION: UNetConfig,
    STUDENT: StudentConfig,
    BACKGROUND: BackgroundConfig,
    CONTEXTS: ContextsConfig,
}


def config_of(frequency: FrequencyConfig | None, window: WindowConfig | None, **parts: Options) -> dict[str, Any]:
    """The configuration as weights hold it; whole, so that later defaults change nothing.

    Args:
        frequency: the transform of networks.
        window: of diffusion and student.
        parts: name → its architecture.
    """
    made: dict[str, Any] = {}
    if frequency is not None:
        made["frequency"] = frequency.model_dump(mode="json")
    if window is not None:
        made["window"] = window.model_dump(mode="json")
    return {**made, "parts": {name: part.model_dump(mode="json") for name, part in parts.items()}}


def frequency_of(checkpoint: Checkpoint) -> FrequencyConfig:
    """The transform of weights.

    Raises:
        WeightsError: they are not of caesar_freq, or their configuration is damaged.
    """
    if checkpoint.codec != CODEC:
        raise WeightsError(
            f"These weights are for {checkpoint.codec[:40]}, not for {CODEC}.", f"Name weights of {CODEC}."
        )
    made = _parsed(FrequencyConfig, checkpoint.config.get("frequency"), "the transform")
    cell = made.dct_block_size * (1 if made.wavelet == "none" else 2)
    if made.latent_channels > cell**2:
        raise _damaged("the transform")
    return made


def window_of(checkpoint: Checkpoint) -> WindowConfig:
    """The windows of weights.

    Raises:
        WeightsError: their configuration is damaged.
    """
    return _parsed(WindowConfig, checkpoint.config.get("window", {}), "the windows")


def parts_of(checkpoint: Checkpoint) -> dict[str, Options]:
    """Name → architecture of the parts that weights hold.

    Raises:
        WeightsError: their configuration is damaged.
    """
    found = checkpoint.config.get("parts")
    if not isinstance(found, dict) or not set(found) <= set(PARTS):
        raise _damaged("the parts")
    return {name: _parsed(PART_CONFIGS[name], found[name], name) for name in PARTS if name in found}


def _parsed(model: type[Model], values: Any, what: str) -> Model:
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise _damaged(what)
    try:
        made = model.parse(values)
    except OptionsError:
        raise _damaged(what) from None
    for name in ("dim_mults", "channel_mults"):
        if not all(1 <= factor <= 64 for factor in getattr(made, name, ())):
            raise _damaged(what)
    return made


def _damaged(what: str) -> WeightsError:
    return WeightsError(
        f"The weights' configuration of {what} is missing or damaged.", "Name weights that `codectk train` wrote."
    )
