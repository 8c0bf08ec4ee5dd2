"""Options of the trainers. Names and values follow CAESAR-Freq's scripts where these have them."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, model_validator

from codectk.options import IntList, Options, option
from codectk_caesar_freq.architecture import CompressorConfig, FrequencyConfig, StudentConfig, UNetConfig, WindowConfig


def _range(values: tuple[int, ...]) -> tuple[int, ...]:
    """Nothing, or from where to where.

    Raises:
        ValueError: it is something else.
    """
    if values and not (len(values) == 2 and 0 <= values[0] < values[1]):
        raise ValueError("a range is two rising numbers, the first 0 or more")
    return values


def _mults(values: tuple[int, ...]) -> tuple[int, ...]:
    """Factors of a width.

    Raises:
        ValueError: one is out of bounds.
    """
    if any(not 1 <= value <= 64 for value in values):
        raise ValueError("every factor must be from 1 to 64")
    return values


def _counts(values: tuple[int, ...]) -> tuple[int, ...]:
    """Numbers from 0.

    Raises:
        ValueError: one is below.
    """
    if any(value < 0 for value in values):
        raise ValueError("numbers begin at 0")
    return values


Range = Annotated[IntList, AfterValidator(_range)]
Mults = Annotated[IntList, AfterValidator(_mults)]
Counts = Annotated[IntList, AfterValidator(_counts)]


class DataOptions(Options):
    """Which data."""

    train_data: str = option(cli="--data", help="A field [V, S, T, H, W], such as .npz, or a folder of them.")
    val_data: str | None = option(
        None, help="The same to validate on; of train_data the last 20 % of frames are held out if not given."
    )
    variable_idx: Counts = option((), help="Numbers of the variables that are used; all if not given.")
    section_range: Range = option((), help="First section, and the one after the last; all if not given.")
    frame_range: Range = option((), help="First frame, and the one after the last; all if not given.")


class BackgroundOptions(DataOptions):
    """Backgrounds: what variables usually look like on their grids."""

    modes: int = option(16, ge=0, le=256, help="Principal components of each variable.")
    max_left: float = option(
        0.3, gt=0, help="Keep a variable if its background leaves at most this part of held-out frames' variance."
    )


class ContextsOptions(DataOptions):
    """The context network of the fitted wavelet."""

    steps: int = option(4000, ge=1, help="Steps.")
    batch_size: int = option(16384, ge=1, help="Quantised values in a step.")
    lr: float = option(5e-3, gt=0, help="Learning rate at the start; it falls to a hundredth along a cosine.")
    examples: int = option(
        60_000, ge=100, help="About how many quantised values of each variable at each bound to learn from."
    )


class PhaseOptions(DataOptions):
    """What all phases share: data and plan."""

    n_frame: int = option(16, ge=2, le=256, unit="frames", help="Length of a window.")
    training_size: int = option(256, ge=4, le=4096, unit="px", help="Largest side of training crops.")
    augment: bool = option(True, help="Flip crops in time and space, and exchange height and width.")
    batch_size: int = option(4, ge=1, help="Windows in a step, over all processes.")
    epochs: int = option(100, ge=1, help="Epochs; in one, about every frame and place is seen once.")
    lr: float = option(1e-4, gt=0, help="Learning rate at the start; it falls to a hundredth along a cosine.")
    save_freq: int = option(10, ge=1, unit="epochs", help="Distance of the weights that are kept on the way.")
    val_freq: int = option(1, ge=1, unit="epochs", help="Distance of validations.")
    val_windows: int = option(64, ge=1, help="Most windows in a validation.")


class CompressorOptions(PhaseOptions):
    """Phase 1: the frequency compressor."""

    batch_size: int = option(8, ge=1, help="Windows in a step, over all processes.")
    wavelet: Literal["haar", "cdf97"] = option("haar", help="Wavelet of the one level.")
    use_dwt: bool = option(True, cli="--dwt", help="Whether there is a wavelet level at all.")
    dct_block_size: int = option(8, ge=2, le=32, help="Side of the blocks of the DCT.")
    latent_channels: int = option(
        32, ge=1, le=1024, help="Channels of the latent y; also planes that phases 2 and 3 predict."
    )
    hyper_channels: int = option(32, ge=1, le=4096, help="Channels of the hyper-latent z.")
    low_freq_size: int = option(16, ge=1, le=1024, help="Planes that are coded, from the lowest frequency.")
    lambda_bpp: float = option(0.01, ge=0, help="Weight of the rate.")
    lambda_extra: float = option(0.01, ge=0, help="Weight of the loss that moves the medians of z.")

    def frequency(self) -> FrequencyConfig:
        """The transform."""
        wavelet = self.wavelet if self.use_dwt else "none"
        return FrequencyConfig(
            wavelet=wavelet, dct_block_size=self.dct_block_size, latent_channels=self.latent_channels
        )

    def architecture(self) -> CompressorConfig:
        """The network."""
        return CompressorConfig(
            low_freq_size=self.low_freq_size,
            latent_channels=self.latent_channels,
            hyper_channels=self.hyper_channels,
        )

    @model_validator(mode="after")
    def _planes_are_there(self) -> Self:
        cell = self.dct_block_size * (2 if self.use_dwt else 1)
        if max(self.low_freq_size, self.latent_channels) > cell**2:
            raise ValueError(f"low_freq_size and latent_channels must not exceed the {cell**2} planes")
        if self.training_size % cell:
            raise ValueError(f"training_size must be a multiple of {cell}")
        return self


class LatentOptions(PhaseOptions):
    """What phases 2 and 3 share. What is left out of the transform is taken from the weights of phase 1."""

    freq_compressor_path: str = option(help="Weights of phase 1, whose transform is used.")
    wavelet: Literal["haar", "cdf97"] | None = option(None, help="As in phase 1; checked if given.")
    use_dwt: bool | None = option(None, cli="--dwt", help="As in phase 1; checked if given.")
    dct_block_size: int | None = option(None, ge=2, le=32, help="As in phase 1; checked if given.")
    latent_channels: int | None = option(None, ge=1, le=1024, help="As in phase 1; checked if given.")
    hyper_channels: int | None = option(None, ge=1, le=4096, help="As in phase 1; checked if given.")
    low_freq_size: int | None = option(None, ge=1, le=1024, help="As in phase 1; checked if given.")
    interpo_rate: int = option(3, ge=1, le=255, unit="frames", help="From one keyframe to the next.")
    keyframe_error: float = option(
        0.01, ge=1e-6, le=1, help="Largest error of keyframes in training, of the window's range; drawn up to it."
    )
    ema_decay: float = option(0.995, ge=0, lt=1, help="Decay of the running mean of weights; 0 keeps none.")
    activation: Literal["hard_swish", "silu"] = option("hard_swish", help="Between layers.")

    def window(self) -> WindowConfig:
        """The windows."""
        return WindowConfig(n_frame=self.n_frame, interpo_rate=self.interpo_rate, tile=self.training_size)

    def given(self) -> dict[str, Any]:
        """What the user says of phase 1's architecture, under the names of `CompressorOptions`."""
        names = ("wavelet", "use_dwt", "dct_block_size", "latent_channels", "hyper_channels", "low_freq_size")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @model_validator(mode="after")
    def _ends_on_a_keyframe(self) -> Self:
        if (self.n_frame - 1) % self.interpo_rate:
            raise ValueError(
                f"a window of {self.n_frame} frames does not end on a keyframe with interpo_rate "
                f"{self.interpo_rate}: n_frame must be k·interpo_rate + 1"
            )
        return self


class DiffusionOptions(LatentOptions):
    """Phase 2: the diffusion model."""

    unet_dim: int = option(64, ge=2, le=4096, multiple_of=2, help="Width at full resolution.")
    dim_mults: Mults = option((1, 2, 4, 8), min_length=1, max_length=6, help="Factors of the width.")
    unet_heads: int = option(8, ge=1, le=64, help="Heads of attentions.")
    unet_head_width: int = option(32, ge=1, le=256, help="Width of a head.")
    diffusion_steps: int = option(32, ge=1, le=1000, help="Steps of the diffusion.")
    prediction: Literal["v", "x0", "eps"] = option("v", help="What the network predicts; eps is CAESAR's.")
    val_steps: int = option(4, ge=1, help="Steps of sampling in validations.")

    def architecture(self) -> UNetConfig:
        """The network."""
        return UNetConfig(
            dim=self.unet_dim,
            dim_mults=self.dim_mults,
            steps=self.diffusion_steps,
            heads=self.unet_heads,
            head_width=self.unet_head_width,
            prediction=self.prediction,
            activation=self.activation,
        )

    @model_validator(mode="after")
    def _validation_has_steps(self) -> Self:
        if self.val_steps > self.diffusion_steps:
            raise ValueError("val_steps must not exceed diffusion_steps")
        return self


class DistillationOptions(LatentOptions):
    """Phase 3: the single-step network."""

    target: Literal["truth", "teacher"] = option("truth", help="What it learns: the frames, or the teacher's samples.")
    teacher_path: str | None = option(None, help="Weights of phase 2; target teacher needs them.")
    teacher_steps: int | None = option(
        None, ge=1, help="Steps of the teacher's sampling; all, with noise between them, if not given."
    )
    unet_dim: int | None = option(None, ge=2, le=4096, help="As in phase 2; checked if given.")
    dim_mults: Mults = option((), max_length=6, help="As in phase 2; checked if given.")
    progressive: bool = option(
        False, help="First halve the teacher's steps, again and again down to one, training a copy each time."
    )
    progressive_epochs: int = option(10, ge=1, help="Epochs of each halving.")
    student_base_channels: int = option(64, ge=8, le=4096, multiple_of=8, help="Width at full resolution.")
    student_channel_mults: Mults = option((1, 2, 4), min_length=1, max_length=6, help="Factors of the width.")
    student_num_res_blocks: int = option(2, ge=1, le=16, help="Blocks at each resolution.")
    balance: bool = option(
        True, help="Errors count relative to those of linear interpolation in the same plane of the same window."
    )
    use_perceptual_loss: bool = option(True, help="Add a tenth of the squared error at full, half and quarter size.")
    use_frequency_loss: bool = option(True, help="Add a tenth of the squared error of spectra's magnitudes.")

    def architecture(self) -> StudentConfig:
        """The network."""
        return StudentConfig(
            base_channels=self.student_base_channels,
            channel_mults=self.student_channel_mults,
            num_res_blocks=self.student_num_res_blocks,
            activation=self.activation,
        )

    @model_validator(mode="after")
    def _teacher_is_named(self) -> Self:
        if self.target == "teacher" and self.teacher_path is None:
            raise ValueError("target teacher needs teacher_path")
        if self.target == "truth" and self.progressive:
            raise ValueError("progressive halves the steps of a teacher, so it needs target teacher")
        return self
