"""Options of model, training and encoding. The guide's names are kept; `-` and `_` are the same on the command line."""

from dataclasses import dataclass
from math import lcm
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from codectk.options import FloatList, IntList, Options, option

LIMIT = 127
"""Latents are integers in [-127, 127]."""

MAX_STEP = 64.0
"""Widest quantiser step that files may have."""

MAX_DEADZONE, SPARSE = 0.45, 0.02
"""Bounds of the deadzone: its largest width, and what is added to the mean size of the values around, in steps."""

MAX_MULTIPLE = 4096
"""Largest number of pixels that sides of pictures must be divisible by: more would pad every picture beyond reason."""

HEADS, HEAD_DIM = 8, 32
"""Attention of T blocks."""


class Each:
    """Bounds that every element of a list option keeps; named as pydantic's, so that `--help` shows them."""

    def __init__(self, **bounds: float) -> None:
        self.bounds = bounds
        vars(self).update(bounds)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The list's own checks, then these."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def check(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """The values.

        Raises:
            ValueError: one of them is out of bounds.
        """
        signs = {"ge": "at least", "gt": "above", "le": "at most"}
        for value in values:
            for name, bound in self.bounds.items():
                if not {"ge": value >= bound, "gt": value > bound, "le": value <= bound}[name]:
                    raise ValueError(f"every value must be {signs[name]} {bound:g}, not {value}")
        return values


def _whole_powers(values: tuple[float, ...]) -> tuple[int, ...]:
    """Powers of the learning rate's shape.

    Raises:
        ValueError: the cosine's exponent 2 · power would not be an even number.
    """
    for value in values:
        if value != int(value):
            raise ValueError(
                f"every power must be a whole number, not {value:g}: the cosine's exponent {2 * value:g} would not be "
                "even, and the rate in the second half above its peak or no number"
            )
    return tuple(int(value) for value in values)


NotNegative = Annotated[FloatList, Each(ge=0)]
Positive = Annotated[FloatList, Each(gt=0)]
Epochs = Annotated[IntList, Each(ge=0)]
Power = Annotated[FloatList, Each(ge=1), AfterValidator(_whole_powers)]
PatchSizes = Annotated[IntList, Each(ge=1, le=256)]


@dataclass(frozen=True)
class ScaleGroup:
    """Neighbouring channels of one patch size.

    Attributes:
        ps: patch size in pixels: kernel and stride of the filters.
        start, end: the channels, as a half-open range.
    """

    ps: int
    start: int
    end: int

    @property
    def count(self) -> int:
        """Number of channels."""
        return self.end - self.start


class ModelOptions(Options):
    """Architecture: all that is needed to build encoder and decoder."""

    ps: PatchSizes = option(help="Patch size of each channel, coarse to fine.", unit="px", min_length=1, max_length=256)
    input_channels: int = option(3, ge=3, le=3, help="Colour channels of the pictures.")
    decoder_ps: int | None = option(
        None, ge=1, le=256, unit="px", help="Pitch of the decoder's grid; by default max(ps)."
    )
    decoder_dim: int = option(768, ge=1, le=8192, help="Width of the decoder.")
    decoder_kernel_size: int = option(3, ge=1, le=31, help="Kernel of the first and the depthwise convolutions; odd.")
    decoder_arch: str = option(
        "CCCCCC",
        pattern="^[CTRctr]{1,64}$",
        help="Decoder blocks: C ConvNeXt, T transformer, R two dense convolutions.",
    )
    decoder_mlp_ratio: float = option(4.0, ge=1, le=16, help="Hidden over outer width of a block, cut to an integer.")
    decoder_layerscale: bool = option(False, help="Scale each C block's output by a learned vector.")
    decoder_layerscale_init: float = option(1e-6, gt=0, help="Initial value of that vector.")
    encoder_arch: Literal["SC8", "LF8"] = option("SC8", help="Companding: SC8 softsign, LF8 Laplace.")
    linear_input: bool = option(False, help="Give the encoder linear light in place of sRGB.")
    mode: Literal["progressive", "joint"] = option(
        "progressive", help="A decoder per number of channels, trained one after the other, or one for all."
    )
    deadzone: float = option(
        0.0,
        ge=0,
        lt=0.5,
        unit="steps",
        help="Mode joint: by how much latents round towards zero, where bits are saved.",
    )
    sparse_deadzone: float = option(
        0.0,
        ge=0,
        lt=1,
        unit="steps",
        help="Mode joint: more of it where latents around are small, over their mean size.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for ps in self.ps:
            if self.pitch % ps and ps % self.pitch:
                raise ValueError(f"patch size {ps} neither divides decoder_ps {self.pitch} nor is a multiple of it")
        if self.decoder_kernel_size % 2 == 0:
            raise ValueError(f"decoder_kernel_size must be odd, not {self.decoder_kernel_size}")
        if self.mode == "joint" and self.encoder_arch != "SC8":
            raise ValueError("mode joint undoes the companding of SC8; it has no LF8")
        if self.mode == "progressive" and (self.deadzone or self.sparse_deadzone):
            raise ValueError("only mode joint has a deadzone")
        if self.multiple_of > MAX_MULTIPLE:
            raise ValueError(f"the smallest common multiple of all patch sizes passes {MAX_MULTIPLE} px")
        return self

    @property
    def pitch(self) -> int:
        """`decoder_ps`, or its default: pixels per position of the decoder's grid."""
        return self.decoder_ps or max(self.ps)

    @property
    def multiple_of(self) -> int:
        """What height and width of a picture must be divisible by, in pixels."""
        return lcm(self.pitch, *self.ps)

    @property
    def smallest_side(self) -> int:
        """Smallest height and width in pixels; reflect padding needs more positions than it adds."""
        return self.pitch * (self.decoder_kernel_size // 2 + 1)

    def groups(self, n: int) -> list[ScaleGroup]:
        """Maximal runs of equal patch size among the first `n` channels; a size that comes back opens a new group."""
        groups: list[ScaleGroup] = []
        for channel, ps in enumerate(self.ps[:n]):
            if groups and groups[-1].ps == ps:
                groups[-1] = ScaleGroup(ps, groups[-1].start, channel + 1)
            else:
                groups.append(ScaleGroup(ps, channel, channel + 1))
        return groups

    def grid_channels(self, ps: int) -> int:
        """Decoder input channels that one latent channel of patch size `ps` becomes."""
        return max(1, self.pitch // ps) ** 2

    def decoder_shapes(self, n: int) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter of the decoder of the first `n` channels, without torch."""
        inputs = sum(self.grid_channels(ps) for ps in self.ps[:n])
        pixels = self.input_channels * self.pitch**2
        shapes = _convolution("0", self.decoder_dim, inputs, self.decoder_kernel_size)
        for number, letter in enumerate(self.decoder_arch.upper(), start=1):
            block = self._block(letter)
            shapes |= {f"{number}.{name}": shape for name, shape in block.items()}
        last = len(self.decoder_arch) + 1
        shapes |= _convolution(f"{last}", pixels, self.decoder_dim, 1)
        shapes[f"{last + 1}.weight"] = (pixels, self.input_channels, self.pitch, self.pitch)
        shapes[f"{last + 1}.bias"] = (self.input_channels,)
        return shapes

    def shared_shapes(self) -> dict[str, tuple[int, ...]]:
        """The same of the one decoder of mode joint."""
        dim, pixels = self.decoder_dim, self.input_channels * self.pitch**2
        channels = len(self.ps)
        shapes: dict[str, tuple[int, ...]] = {
            f"linear.{s}.weight": (g.count, self.input_channels, g.ps, g.ps)
            for s, g in enumerate(self.groups(channels))
        }
        for s, g in enumerate(self.groups(channels)):
            shapes |= _convolution(f"probe.{s}", g.count, self.input_channels, g.ps)
        shapes |= {"mean": (self.input_channels,), "prefix_scale": (channels, dim), "prefix_bias": (channels, dim)}
        shapes |= {"step_scale": (dim,), "step_bias": (dim,)}
        inputs = pixels + sum(self.grid_channels(ps) for ps in self.ps)
        shapes |= _convolution("head", dim, inputs, self.decoder_kernel_size)
        for number, letter in enumerate(self.decoder_arch.upper()):
            block = self._block(letter)
            shapes |= {f"blocks.{number}.{name}": shape for name, shape in block.items()}
        return shapes | _convolution("tail", pixels, dim, 1)

    def _block(self, letter: str) -> dict[str, tuple[int, ...]]:
        return {"C": self._conv_block, "T": self._transformer_block, "R": self._residual_block}[letter]()

    def _residual_block(self) -> dict[str, tuple[int, ...]]:
        dim, kernel = self.decoder_dim, self.decoder_kernel_size
        return _convolution("main.0", dim, dim, kernel) | _convolution("main.2", dim, dim, kernel)

    def _conv_block(self) -> dict[str, tuple[int, ...]]:
        dim = self.decoder_dim
        hidden = int(self.decoder_mlp_ratio) * dim
        return (
            _convolution("main.0", dim, 1, self.decoder_kernel_size)
            | _norm("main.1", dim)
            | _convolution("main.2", hidden, dim, 1)
            | _convolution("main.4", dim, hidden, 1)
            | ({"scale.γ": (dim,)} if self.decoder_layerscale else {})
        )

    def _transformer_block(self) -> dict[str, tuple[int, ...]]:
        dim, width = self.decoder_dim + 2, HEADS * HEAD_DIM
        hidden = int(self.decoder_mlp_ratio) * dim
        return (
            _norm("norm1", dim)
            | _norm("norm2", dim)
            | {"attn.qkv.weight": (3 * width, dim, 1, 1)}
            | _convolution("attn.proj", dim, width, 1)
            | _convolution("mlp.0", hidden, dim, 1)
            | _convolution("mlp.1", hidden, 1, 3)
            | _convolution("mlp.3", dim, hidden, 1)
        )


def _convolution(name: str, out: int, inputs: int, kernel: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, inputs, kernel, kernel), f"{name}.bias": (out,)}


def _norm(name: str, dim: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


PER_CHANNEL = (
    *("lam", "rpe", "encoder_lr_scale", "sc_max_lr", "sc_lr_pow", "md_max_lr", "md_lr_pow"),
    *("epochs_single", "epochs_merged", "encoder_std"),
)
"""Options of training that are lists with a value per channel; a short one goes on with its last value."""


class TrainOptions(ModelOptions):
    """Training, channel by channel. List options are extended by their last value to the number of channels."""

    data: str = option("photos", cli="--train-ds", help="Folder of pictures, or a dataset's name.")
    val_data: str | None = option(
        None, cli="--val-ds", help="The same for validation; part of --data is held out if not given."
    )
    dataset_samples: int | None = option(None, ge=1, unit="pictures", help="Train on the first so many only.")
    resume_checkpoint: str | None = option(
        None, help="Weights of mode progressive whose first channels a new run goes on from."
    )
    resume_channels: int | None = option(None, unit="channels", help="How many of them.")
    encoder_init: Literal["random", "klt"] = option(
        "random", help="Start of each filter: random, or what explains most of the residual linearly."
    )
    encoder_std: Positive = option((8.0,), min_length=1, unit="steps", help="Spread of latents that start from klt.")
    decoder_init: Literal["random", "previous"] = option(
        "random", help="Start of each merged decoder: random, or the previous one, widened."
    )
    lam: NotNegative = option((0.008,), min_length=1, help="Rate weight of the filter phase.")
    rpe: NotNegative = option((0.3,), min_length=1, help="Exponent on the power of the residual in the rate term.")
    encoder_lr_scale: NotNegative = option((0.3,), min_length=1, help="Learning-rate factor of the filter.")
    merged_decoder_noise: bool = option(False, help="Noise on the latents in the decoder phase.")
    merged_decoder_round: bool = option(True, help="Round the latents in the decoder phase.")
    epochs_single: Epochs = option((2,), min_length=1, unit="epochs", help="Length of the filter phase.")
    epochs_merged: Epochs = option((4,), min_length=1, unit="epochs", help="Length of the decoder phase.")
    batch_size: int = option(1, ge=1, help="Pictures per step, over all processes.")
    min_aspect: float = option(1.0, gt=0, help="Smallest width over height of crops.")
    max_aspect: float = option(1.0, gt=0, help="Largest width over height of crops.")
    min_size: int = option(480, ge=1, unit="px", help="Smallest crop.")
    max_size: int = option(480, ge=1, unit="px", help="Largest crop.")
    min_scale: float = option(1.0, gt=0, help="Smallest short side before cropping, over the crop.")
    max_scale: float = option(2.0, gt=0, help="Largest short side before cropping, over the crop.")
    sc_max_lr: NotNegative = option((5e-5,), min_length=1, help="Peak learning rate of the filter phase.")
    sc_lr_pow: Power = option((2,), min_length=1, help="Shape of the learning rate of the filter phase.")
    md_max_lr: NotNegative = option((5e-4,), min_length=1, help="Peak learning rate of the decoder phase.")
    md_lr_pow: Power = option((2,), min_length=1, help="Shape of the learning rate of the decoder phase.")
    min_lr: float = option(1e-8, ge=0, help="Learning rate at both ends of a phase.")
    grad_clip: float = option(1.5, gt=0, help="Largest L2 norm of all gradients together.")
    jitter: float = option(0.4, ge=0, lt=1, help="Largest change of brightness and saturation of crops.")
    flips: bool = option(False, help="Mirror crops at random, in both directions, and turn them by 90 degrees.")
    joint_steps: int = option(20000, ge=1, unit="steps", help="Mode joint: filters and decoder together.")
    decoder_steps: int = option(10000, ge=0, unit="steps", help="Mode joint: then the decoder alone, on integers.")
    joint_lr: float = option(1e-3, ge=0, help="Mode joint: peak learning rate.")
    joint_filter_lr_scale: float = option(0.03, ge=0, help="Mode joint: learning-rate factor of the filters.")
    target_bpp: float = option(1.0, gt=0, unit="bpp", help="Mode joint: rate of all channels at step 1.")
    max_step: float = option(10.0, ge=1, help="Mode joint: largest quantiser step that the decoder learns.")
    prefix_share: float = option(0.3, ge=0, le=1, help="Mode joint: part of the crops with some channels only.")

    @model_validator(mode="after")
    def _lists_fit(self) -> Self:
        channels = len(self.ps)
        for name in PER_CHANNEL:
            values = getattr(self, name)
            if len(values) > channels:
                raise ValueError(
                    f"{name} has {len(values)} values, but ps has {channels} channels; leave out what is too much"
                )
        return self

    @model_validator(mode="after")
    def _resume_fits(self) -> Self:
        k = self.resume_channels
        if k is None and self.resume_checkpoint is None:
            return self
        if self.resume_checkpoint is None:
            raise ValueError("resume_channels needs resume_checkpoint: the weights whose channels are kept")
        if k is None:
            raise ValueError("resume_checkpoint needs resume_channels: how many of its channels are kept")
        if k < 1:
            raise ValueError(
                f"resume_channels must be at least 1, not {k}, because there is no decoder of 0 channels; "
                "leave resume_checkpoint and resume_channels out to start from nothing"
            )
        if k > len(self.ps):
            raise ValueError(f"resume_channels {k} is above the {len(self.ps)} channels of ps")
        if self.mode == "joint":
            raise ValueError("only mode progressive goes on channel by channel, so resume_checkpoint is not for joint")
        return self

    @model_validator(mode="after")
    def _crops_exist(self) -> Self:
        for low, high, what in (
            (self.min_aspect, self.max_aspect, "aspect"),
            (self.min_size, self.max_size, "size"),
            (self.min_scale, self.max_scale, "scale"),
        ):
            if low > high:
                raise ValueError(f"min_{what} {low} is above max_{what} {high}")
        if self.largest_crop < self.smallest_crop:
            raise ValueError(
                f"no multiple of {self.multiple_of} that is at least {self.smallest_side} lies between "
                f"min_size {self.min_size} and max_size {self.max_size}"
            )
        side = self.smallest_crop // max(self.ps)
        if self.batch_size * side**2 < 2:
            raise ValueError(
                f"one crop of {self.smallest_crop} px has a single latent of patch size {max(self.ps)}, which has no "
                f"spread; raise min_size to {self.smallest_crop + self.multiple_of} or batch_size to 2"
            )
        return self

    @property
    def smallest_crop(self) -> int:
        """`min_size` rounded up to what the model divides."""
        return -(-max(self.min_size, self.smallest_side) // self.multiple_of) * self.multiple_of

    @property
    def largest_crop(self) -> int:
        """`max_size` rounded down to what the model divides."""
        return self.max_size // self.multiple_of * self.multiple_of

    def architecture(self) -> ModelOptions:
        """The part that belongs to the model."""
        return ModelOptions.parse({name: getattr(self, name) for name in ModelOptions.model_fields})


class EncodeOptions(Options):
    """Quality is the number of channels and the width of the quantiser's steps."""

    channels: int | None = option(None, ge=1, cli="-n", help="Leading channels to keep; all if not given.")
    step: float = option(1.0, ge=1, le=MAX_STEP, help="Width of the quantiser's steps, for weights of mode joint.")
    effort: Literal["default", "fast"] = option("default", help="Of the own coder: fast files are 1 to 2 % larger.")
    coder: Literal["own", "jpegls", "hybrid"] | None = option(
        None, help="Entropy coder: own, JPEG-LS, or JPEG-LS and zstandard. By default own for weights of mode joint."
    )
    threads: int = option(0, ge=0, le=256, help="Threads that encode; 0 is one for each core. The file is the same.")


def at(values: tuple[float, ...], channel: int) -> float:
    """Element of a list option for a channel: a short list goes on with its last value."""
    return values[min(channel, len(values) - 1)]
