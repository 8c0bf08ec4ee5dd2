"""Options of training: data, plan, knobs, losses, discriminator, optimizers.

Names and values follow the published configurations where these have them. What a run without any option trains: ELIC's
transforms and context, five rates, squared error alone.
"""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, model_validator

from codectk.options import FloatList, IntList, Options, WordList, among, option
from codectk_crdr.options import ModelOptions

PARTS = ("encoder", "decoder", "hyperencoder", "hyperdecoder", "entropy_model_z", "context_model")
"""Parts of the model, by the names that their parameters begin with."""


def _positive(values: tuple[float, ...]) -> tuple[float, ...]:
    """Numbers above 0.

    Raises:
        ValueError: one is not.
    """
    if any(value <= 0 for value in values):
        raise ValueError("every value must be above 0")
    return values


def _rising(values: tuple[int, ...]) -> tuple[int, ...]:
    """Iterations in order.

    Raises:
        ValueError: one is below 1, or not above the one before it.
    """
    if any(later <= earlier for earlier, later in pairwise((0, *values))):
        raise ValueError("iterations must rise and begin above 0")
    return values


def _named(value: Any) -> Any:
    """`none` is nothing."""
    return None if value == "none" else value


Earlier = Annotated[str | None, BeforeValidator(_named)]
Parts = Annotated[WordList, among(PARTS, "part")]
Weights = Annotated[FloatList, AfterValidator(_positive)]
Iterations = Annotated[IntList, AfterValidator(_rising)]


class ParamwiseOptions(Options):
    """Another learning rate for some parameters."""

    keys: WordList = option(min_length=1, help="Parameters whose names hold one of these.")
    lr_mult: float = option(ge=0, help="Factor of their learning rate.")


class OptimizerOptions(Options):
    """One optimizer."""

    type: Literal["Adam", "SGD"] = option("Adam", help="Algorithm.")
    lr: float = option(1e-4, gt=0, help="Learning rate.")
    betas: FloatList = option((0.9, 0.999), min_length=2, max_length=2, help="Of Adam.")
    momentum: float = option(0.0, ge=0, lt=1, help="Of SGD.")
    weight_decay: float = option(0.0, ge=0, help="L2 penalty.")
    paramwise_opt: tuple[ParamwiseOptions, ...] = option(
        (), help="Factors for some parameters: [{keys: [mlp], lr_mult: 0.1}]."
    )


class SchedulerOptions(Options):
    """How a learning rate changes from iteration to iteration."""

    type: Literal["MultiStepLR", "cosine", "constant"] = option("cosine", help="Shape.")
    milestones: Iterations = option((), help="MultiStepLR: iterations after which the rate falls.")
    gamma: float = option(0.1, gt=0, le=1, help="MultiStepLR: by which factor.")
    floor: float = option(0.01, ge=0, le=1, help="Cosine: the rate at the end, over that at the start.")
    warmup: int = option(0, ge=0, help="Iterations until the full rate is reached.")


class OptimOptions(Options):
    """Optimizers of model (g), quantiles (aux) and discriminator (d)."""

    clip_max_norm: float = option(1.0, gt=0, help="Largest L2 norm of the model's gradients together.")
    g_optimizer: OptimizerOptions = option(OptimizerOptions(), help="Of all parameters but the quantiles.")
    aux_optimizer: OptimizerOptions = option(OptimizerOptions(lr=1e-3), help="Of the quantiles.")
    d_optimizer: OptimizerOptions = option(OptimizerOptions(), help="Of the discriminator.")
    g_scheduler: SchedulerOptions = option(SchedulerOptions(), help="Of the model.")
    d_scheduler: SchedulerOptions = option(SchedulerOptions(), help="Of the discriminator.")


class ScheduleOptions(Options):
    """A factor that changes at some iterations."""

    vals: Weights = option(min_length=1, help="Factors, one more than steps.")
    steps: Iterations = option((), help="Iterations at which the next factor begins.")

    @model_validator(mode="after")
    def _one_more(self) -> Self:
        if len(self.vals) != len(self.steps) + 1:
            raise ValueError(f"{len(self.vals)} vals need {len(self.vals) - 1} steps, not {len(self.steps)}")
        return self


class RateOptions(Options):
    """Loss of the rate: λ·bpp, where λ is λ_A above the target and λ_B below it."""

    type: Literal["plain", "hific", "hific_variable"] = option(
        "hific_variable", help="One weight, HiFiC's two weights around a target, or these for each level."
    )
    lambda_a: Weights = option((3.4, 1.3, 0.4, 0.12, 0.05), min_length=1, help="Weight above the target.")
    lambda_b: float = option(0.015625, gt=0, help="Weight below the target.")
    target: FloatList = option((0.0,), min_length=1, unit="bpp", help="Target; at 0 the weight is always λ_A.")
    lambda_schedule: ScheduleOptions | None = option(None, help="Factor of both weights.")
    target_rate_schedule: ScheduleOptions | None = option(None, help="Factor of the target.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        a, targets = self.lambda_a, self.target
        if self.type != "hific_variable" and max(len(a), len(targets)) > 1:
            raise ValueError(f"type {self.type} takes one lambda_a and one target; type hific_variable takes lists")
        if self.type != "plain" and min(a) <= self.lambda_b:
            raise ValueError(f"lambda_a {min(a):g} is not above lambda_b {self.lambda_b:g}, so targets would repel")
        if any(later >= earlier for earlier, later in pairwise(a)):
            raise ValueError("lambda_a must fall with the quality")
        if min(targets) < 0 or any(later < earlier for earlier, later in pairwise(targets)):
            raise ValueError("target must not be negative, nor fall with the quality")
        return self


class GanOptions(Options):
    """Loss of the adversary."""

    type: Literal["none", "gan", "rgan", "ragan", "hrrgan"] = option(
        "none", help="None, plain, relativistic, relativistic average, or relative to the next higher rate."
    )
    weight: float = option(0.000390625, gt=0, help="Weight; times the realism where the model has one.")
    drift: float = option(
        0.0, ge=0, help="Weight of squared logits in the discriminator's loss: relativistic ones rise without bounds."
    )
    relative_score_rate_delta: float = option(1.0, gt=0, unit="levels", help="How much higher hrrgan's reference is.")


class DiscriminatorOptions(Options):
    """The discriminator."""

    type: Literal[
        "module_list", "gvae", "gvae_latent", "gvae_rate", "shared_backbone", "shared_head", "hific", "hific_latent"
    ] = option("module_list", help="Structure: what it sees, and what the levels share.")
    main_ch: IntList = option((64,), min_length=1, max_length=64, help="First width; for module_list also one a level.")
    num_downscale: IntList = option((4,), min_length=1, max_length=64, help="Stages that halve the resolution, too.")
    norm_type: Literal["none", "BN", "IN", "CN"] = option("none", help="Batch, instance or channel norm, or none.")
    one_hot: bool = option(False, help="Show the level to shared_backbone and shared_head as planes.")
    upsample: Literal["bilinear", "bicubic", "nearest"] = option("bilinear", help="How y_hat is enlarged.")

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if not all(1 <= width <= 1024 for width in self.main_ch):
            raise ValueError("every main_ch must be from 1 to 1024")
        if not all(2 <= depth <= 6 for depth in self.num_downscale):
            raise ValueError("every num_downscale must be from 2 to 6")
        return self


class TrainOptions(ModelOptions):
    """Training of any stage."""

    context: Literal["none", "channel", "space_channel"] = option(
        "space_channel", help="What elements of y are predicted from, besides the hyperprior."
    )
    realism: bool = option(False, help="Whether the decoder has a realism knob.")

    data: str = option("photos", help="Folder of pictures, or a dataset's name.")
    layout: Literal["folder", "OpenImages", "Kodak"] = option(
        "folder", help="How --data lies: any folder, train_K/*.jpg and validation/*.jpg, or *.png."
    )
    subset_list: IntList = option((), help="OpenImages: which train_K are used; all that are there if not given.")
    val_data: str | None = option(None, help="Pictures to validate on; part of --data is held out if not given.")
    image_size: int = option(256, ge=64, le=4096, multiple_of=64, unit="px", help="Side of training crops.")
    resize_range: FloatList | None = option(
        None, help="Smallest and largest factor of a random resize before the crop."
    )
    interpolation: Literal["bilinear", "bicubic"] = option("bilinear", help="Of that resize.")
    batch_size: int = option(8, ge=1, cli="-b", help="Crops in a step, over all processes.")

    total_iter: int = option(1_000_000, ge=1, cli="-ti", help="Iterations.")
    keep_step: int | Iterations = option(
        (), help="Iterations whose state and model stay: a list, or one number for all its multiples."
    )
    eval_step: int = option(10_000, ge=1, cli="-e", help="Iterations between validations.")
    eval_pictures: int = option(100, ge=0, help="Most pictures in a validation; 0 leaves validation out.")

    quality: Literal["integer", "real"] = option("real", help="Qualities that are drawn.")
    sampling: Literal["batch", "sample"] = option("sample", help="One quality and realism for a batch, or for a crop.")
    beta_steps: int = option(0, ge=0, help="Realisms are multiples of 5.12 over this; 0 draws any.")
    beta_power: float = option(1.0, gt=0, help="They are drawn as 5.12·u^power, u uniform: above 1, more of the low.")

    mse_weight: float = option(150.0, ge=0, help="Weight of the squared error of values in [0, 1].")
    perceptual: Literal["none", "lpips"] = option("none", help="Perceptual loss.")
    perceptual_weight: float = option(1.0, gt=0, help="Its weight; times the realism where the model has one.")
    perceptual_file: str | None = option(
        None, help="Weights of LPIPS; by default lpips_alex.safetensors in the folder $CODECTK_METRIC_WEIGHTS."
    )
    rate: RateOptions = option(RateOptions(), help="Loss of the rate.")
    gan: GanOptions = option(GanOptions(), help="Loss of the adversary.")
    discriminator: DiscriminatorOptions = option(DiscriminatorOptions(), help="The adversary.")
    beta_weighting: bool = option(True, help="Perceptual and adversarial losses are multiplied by the realism.")
    balance: float = option(0.0, ge=0, le=1, help="Losses are divided by the weight of the rate to this power.")
    optim: OptimOptions = option(OptimOptions(), help="Optimizers.")

    pretrained: Earlier = option(
        None, help="Weights to start from: a file, a run folder, the name of a run or its recipe, or none."
    )
    ckpt_root: str = option("runs", help="Folder in which runs that --pretrained names are looked for.")
    freeze: Parts = option((), help=f"Parts of the model that stay as they are: {', '.join(PARTS)}.")
    start: Literal["random", "linear"] = option("random", help="Transforms at first.")
    condition_start: Literal["normal", "zero"] = option(
        "normal", help="Start of the realism's projections: N(0, 0.02²), or none so that realism changes nothing yet."
    )
    compat: Literal["none", "original"] = option(
        "none", help="Train with those peculiarities of the published code on which its figures depend."
    )

    def architecture(self) -> ModelOptions:
        """The part that belongs to the model."""
        return ModelOptions(**{name: getattr(self, name) for name in ModelOptions.model_fields})

    @model_validator(mode="after")
    def _levels_fit(self) -> Self:
        lists = {"rate.lambda_a": self.rate.lambda_a, "rate.target": self.rate.target}
        if self.rate.type == "hific_variable":
            for name, values in lists.items():
                if len(values) != self.levels and (len(values) > 1 or name == "rate.lambda_a"):
                    raise ValueError(f"{name} has {len(values)} values, but there are {self.levels} levels")
        for name in ("main_ch", "num_downscale"):
            count, several = len(getattr(self.discriminator, name)), self.discriminator.type == "module_list"
            if count > 1 and not (several and count == self.levels):
                raise ValueError(f"discriminator.{name} has {count} values; only module_list takes one for each level")
        if self.gan.type == "hrrgan" and self.levels == 1:
            raise ValueError("gan.type hrrgan needs several levels: its reference is the next higher rate")
        return self

    @model_validator(mode="after")
    def _realism_learns(self) -> Self:
        if not self.realism:
            return self
        if self.perceptual == "none" and self.gan.type == "none":
            raise ValueError("realism needs a perceptual loss or a gan, or its knob learns nothing")
        if not self.beta_weighting and self.compat == "none":
            raise ValueError("realism needs beta_weighting, or its knob learns nothing; compat original allows that")
        return self

    @model_validator(mode="after")
    def _start_fits(self) -> Self:
        if self.start == "linear" and (self.attention or self.pretrained):
            raise ValueError("start linear is for models without attention that do not start from pretrained weights")
        if self.condition_start == "zero" and not self.realism:
            raise ValueError("condition_start zero is for models with realism")
        if set(self.freeze) == set(PARTS):
            raise ValueError("freeze names all parts, so there is nothing to train")
        if self.subset_list and self.layout != "OpenImages":
            raise ValueError("subset_list is for layout OpenImages")
        if isinstance(self.keep_step, int) and self.keep_step < 1:
            raise ValueError("keep_step must be at least 1; leave it out to keep none")
        span = self.resize_range
        if span is not None and (len(span) != 2 or not 0 < span[0] <= span[1] <= 8):
            raise ValueError("resize_range must be two rising factors from above 0 to 8")
        return self
