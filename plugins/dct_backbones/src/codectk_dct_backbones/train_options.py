"""Options of the three trainers. Names and values are those of the public code where it has them.

What belongs to any run (device, precision, seed, loader threads, run folder, resuming, Weights & Biases) is an option
of `codectk train` itself, and so has its name there. The training guide tells what became of other flags.
"""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, model_validator

from codectk.options import IntList, Options, PathList, option
from codectk_dct_backbones.architecture import STEMS, Architecture, ModelName, Variant
from codectk_dct_backbones.budget import resolve
from codectk_dct_backbones.coefficient_options import CoefficientOptions
from codectk_dct_backbones.plan import SMALL, Augmentation, CropMode, Plan, Schedule, preset
from codectk_dct_backbones.ranges import Compat, RangeMode

Coded = Literal["reconstruction", "block-stem", "luma-fusion", "luma-fusion-pruned", "full-grid"]
Input = Literal["auto", "jpeg", "recomputed"]

MULTIPLE_OF = 16
"""Sides of pictures whose coefficients are read: one block of chroma."""

SMALL_SCALE, SMALL_RATE = 0.25, 0.01
"""Width of networks and learning rate for generated pictures."""


def _rising(values: tuple[int, ...]) -> tuple[int, ...]:
    """Epochs in order.

    Raises:
        ValueError: one is below 1, or not above the one before it.
    """
    if any(later <= earlier for earlier, later in pairwise((0, *values))):
        raise ValueError("epochs must rise and begin above 0")
    return values


Epochs = Annotated[IntList, AfterValidator(_rising)]


class DataOptions(Options):
    """Where pictures and their classes come from."""

    train_dirs: PathList = option(
        (), help="Folders whose folders are classes, merged; small generated pictures if none is named."
    )
    max_train_images: int | None = option(None, ge=1, help="Most pictures to train on, as many of each class.")
    show_progress: bool = option(
        False, cli="--dataset-progress", help="Tell of each folder what it holds as it is read.", anytime=True
    )


class ClassifierOptions(DataOptions):
    """What both trainers of classifiers have."""

    val_dir: Path | None = option(
        None, help="Folder of the same classes to evaluate on; about a tenth of each class is held out if not given."
    )
    max_val_images: int | None = option(None, ge=1, help="Most pictures to evaluate on, as many of each class.")
    input: Input = option(
        "auto",
        help="Where coefficients come from: read out of JPEG files (jpeg), computed of decoded pictures (recomputed), "
        "or the first if all files are named as JPEG and only cropped and flipped.",
    )
    dct_stats: str | None = option(
        None, help="Statistics to normalise coefficients by: a table's path, or none; ImageNet's if not given."
    )
    dct_device: Literal["auto", "cpu"] = option(
        "auto", help="Where coefficients of pictures are computed: where the network is, or in loader threads.",
        anytime=True,
    )  # fmt: skip
    pretrained: Path | None = option(None, help="Weights to start from, of this architecture or of its RGB backbone.")
    eval_only: bool = option(False, help="Evaluate --pretrained and stop.")
    save_every: int = option(
        10, ge=0, unit="epochs", help="Distance of epochs whose weights stay; 0 keeps none.", anytime=True
    )
    save_best: bool = option(False, help="Keep the weights of the best top-1 as model_best.safetensors.", anytime=True)
    save_last: bool = option(True, help="Save state and weights_so_far.safetensors after every epoch.", anytime=True)
    time_limit_hours: float | None = option(
        None, ge=0, unit="h", help="Save and stop after this time; --resume goes on. 0 is no limit.", anytime=True
    )
    compile_model: bool = option(False, help="Compile the network with torch.compile.")
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] = option(
        "reduce-overhead", help="How to compile it."
    )
    matmul_precision: Literal["medium", "high", "highest"] | None = option(
        None, help="Precision of float32 matrix products, as torch names them."
    )
    profile_steps: bool = option(
        False, help="Also log seconds of the parts of a step, for which a GPU has to wait.", anytime=True
    )
    ema: float = option(0.0, ge=0, lt=1, help="Decay of averaged weights, which are evaluated and kept; 0 has none.")
    decay: Literal["all", "weights"] = option(
        "all", help="What weight decay is for: all parameters, or all but biases and batch norms."
    )
    compat: Compat = option(
        "none", help="original has the public code's faults, on which its published figures depend."
    )

    @property
    def demo(self) -> bool:
        """Whether generated pictures are trained on."""
        return not self.train_dirs

    @property
    def original(self) -> bool:
        """Whether the public code's faults are wanted."""
        return self.compat == "original"

    @model_validator(mode="after")
    def _can_be_evaluated(self) -> Self:
        if self.eval_only and self.pretrained is None:
            raise ValueError("eval_only evaluates weights: name them with pretrained")
        if self.demo and self.val_dir is not None:
            raise ValueError("val_dir without train_dirs: generated pictures have classes of their own")
        if self.val_dir in self.train_dirs:
            raise ValueError("val_dir is one of train_dirs: pictures that were learned would be evaluated on")
        if len({*self.train_dirs}) < len(self.train_dirs):
            raise ValueError("one of train_dirs is named twice")
        if not self.compile_model and self.compile_mode != type(self).model_fields["compile_mode"].default:
            raise ValueError("compile_mode has no meaning without compile_model")
        if self.input == "jpeg" and self.dct_device == "cpu":
            raise ValueError("input jpeg computes no coefficients of pictures, which dct_device cpu says where to do")
        return self


class RgbOptions(ClassifierOptions):
    """Training by a model's preset, on pixels or on coefficients."""

    model: ModelName = option("resnet34", help="Backbone, with its preset.")
    epochs: int | None = option(None, ge=1, help="Passes over the data; the preset's if not given.")
    batch_size: int | None = option(
        None, ge=1, cli="-b", help="Pictures in a step, over all processes; the preset's if not given."
    )
    lr: float | None = option(
        None, gt=0, help="Learning rate at a batch of 256; it grows with the batch. The preset's if not given."
    )
    image_size: int | None = option(None, ge=32, le=4096, unit="px", help="Side; the preset's if not given.")
    channel_scale: float | None = option(None, gt=0, le=1, help="Factor of all widths. [1; 0.25 without data]")
    amp: bool | None = option(None, help="Compute in bfloat16 on CUDA; the preset's, which is yes, if not given.")
    schedule: Schedule | None = option(None, help="Shape of the learning rate; the preset's if not given.")
    warmup_epochs: int | None = option(
        None, ge=0, help="Epochs in which the rate rises, epoch by epoch; the preset's if not given."
    )
    nesterov: bool | None = option(None, help="Nesterov's momentum; the preset's, which is no, if not given.")
    label_smoothing: float | None = option(None, ge=0, lt=1, help="Share of even targets; the preset's if not given.")
    mixup: float | None = option(None, ge=0, help="Beta's parameters of mixup; the preset's if not given.")
    multi_scale: bool = option(False, help="cspdarknet53: sides from 320 to 608 px, a new one every 10 steps.")
    input_format: Literal["rgb", "compressed"] = option("rgb", help="What the network takes: pixels or coefficients.")
    compression_range_mode: RangeMode | None = option(None, help="Range of values before the DCT. [studio]")
    compression_coeff_window: int | None = option(None, ge=1, le=8, help="Keep the first window² coefficients. [8]")
    compression_keep_original: bool = option(False, help="Hand the pixels on beside the coefficients.")
    compressed_backbone: Coded | None = option(None, help="How coefficients enter the network. [reconstruction]")

    @property
    def compressed(self) -> bool:
        """Whether the network takes coefficients."""
        return self.input_format == "compressed"

    @property
    def trim(self) -> bool:
        """Zeros in place of channels that are left out, as in the public code's trainer."""
        return False

    @property
    def normalises(self) -> bool:
        """Whether coefficients are normalised; the public code's trainer has none of that."""
        raw = self.architecture(1).variant == "reconstruction" or self.dct_stats == "none"
        return self.compressed and not raw and not (self.original and self.dct_stats is None)

    def plan(self) -> Plan:
        """What is trained how."""
        names = ("epochs", "batch_size", "lr", "image_size", "amp", "schedule", "nesterov", "label_smoothing", "mixup")
        given = {name: getattr(self, name) for name in (*names, "warmup_epochs")}
        sides = tuple(range(320, 609, 32)) if self.multi_scale else None
        others = {"ema": self.ema, "decay": self.decay, "multi_scale": sides}
        return preset(self.model, self.demo, self.original, **given, **others)

    def architecture(self, classes: int) -> Architecture:
        """The network.

        Args:
            classes: outputs.
        """
        window = self.compression_coeff_window or 8
        variant: Variant = (self.compressed_backbone or "reconstruction") if self.compressed else "rgb"
        return Architecture(
            model=self.model,
            variant=variant,
            budget=resolve(coeff_window=window),
            range_mode=self.compression_range_mode or "studio",
            classes=classes,
            channel_scale=self.channel_scale or (SMALL_SCALE if self.demo else 1.0),
            image_size=self.plan().image_size,
            compat=self.compat,
        )

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if not self.compressed:
            given = [name for name in COMPRESSION if getattr(self, name) != type(self).model_fields[name].default]
            if given:
                raise ValueError(f"{given[0]} has no meaning for input_format rgb; choose input_format compressed")
        if self.compressed and self.model != "resnet34":
            raise ValueError(f"input_format compressed is for resnet34; {self.model} takes pixels alone")
        if self.compression_keep_original and self.input == "jpeg":
            raise ValueError("input jpeg reads no pixels, which compression_keep_original hands on")
        if self.nesterov and self.plan().optimizer == "rmsprop":
            raise ValueError(f"{self.model} is trained by RMSprop, which has no Nesterov momentum")
        if self.multi_scale and self.model != "cspdarknet53":
            raise ValueError(f"multi_scale is for cspdarknet53; {self.model} is trained at one size")
        check_data(self, self.plan())
        self.architecture(1)
        return self


COMPRESSION = (
    *("compression_range_mode", "compression_coeff_window", "compression_keep_original", "compressed_backbone"),
    *("input", "dct_stats", "dct_device"),
)
"""Options of `RgbOptions` that pixels have no use for."""


class CompressedOptions(CoefficientOptions, ClassifierOptions):
    """Training of ResNet-34 on coefficients."""

    variant: Coded = option("reconstruction", help="How coefficients enter the network.")
    channel_scale: float | None = option(
        None, gt=0, le=1, help="Factor of all widths; published: 1, .9, .8, .7, .6, .5. [1; 0.25 without data]"
    )
    trim_coefficients: bool = option(True, help="Leave other channels out in place of filling them with zeros.")
    range_mode: RangeMode = option("studio", help="Range of values before the DCT: 16 to 235 and 240, or 0 to 255.")
    image_size: int | None = option(
        None, ge=32, le=4096, multiple_of=MULTIPLE_OF, unit="px", help="Side. [256; 64 without data]"
    )
    epochs: int | None = option(None, ge=1, help="Passes over the data. [90; 5 without data]")
    batch_size: int | None = option(
        None, ge=1, cli="-b", help="Pictures in a step, over all processes. [256; 32 without data]"
    )
    lr: float | None = option(
        None, gt=0, help="Learning rate; it does not change with the batch. [0.1; 0.01 without data]"
    )
    momentum: float = option(0.9, ge=0, lt=1, help="Of SGD.")
    weight_decay: float = option(1e-4, ge=0, help="L2 penalty.")
    warmup_epochs: int = option(0, ge=0, help="Epochs in which the rate rises, epoch by epoch.")
    lr_milestones: Epochs = option((30, 60, 90), help="Epochs, after those of the warm-up, at which the rate falls.")
    lr_gamma: float = option(0.1, gt=0, le=1, help="By which factor.")
    eta_min: float = option(0.0, ge=0, help="Lowest rate of schedule cosine.")
    amp: bool = option(False, help="Compute in bfloat16 on CUDA.")
    schedule: Literal["step", "cosine"] = option("step", help="Shape of the learning rate.")
    nesterov: bool = option(False, help="Nesterov's momentum.")
    label_smoothing: float = option(0.0, ge=0, lt=1, help="Share of even targets.")
    mixup: float = option(0.0, ge=0, help="Beta's parameters of mixup, on coefficients; 0 mixes nothing.")
    crop: CropMode = option(
        "resized",
        help="Training pictures: a part of any size and shape, scaled (resized), or whole blocks of a larger one as "
        "they are (aligned), which loads fastest from JPEG files.",
    )

    @property
    def compressed(self) -> bool:
        """The network takes coefficients."""
        return True

    @property
    def trim(self) -> bool:
        """Whether tensors hold only what is kept; reconstruction needs all places."""
        return self.trim_coefficients and self.variant != "reconstruction"

    @property
    def normalises(self) -> bool:
        """Whether coefficients are normalised; reconstruction needs them as they are."""
        return self.variant != "reconstruction" and self.dct_stats != "none"

    def plan(self) -> Plan:
        """What is trained how."""
        usual = {"epochs": 90, "batch_size": 256, "image_size": 256, "lr": 0.1}
        usual |= {**SMALL, "lr": SMALL_RATE} if self.demo else {}
        given: dict[str, Any] = {name: getattr(self, name) or default for name, default in usual.items()}
        names = ("momentum", "nesterov", "weight_decay", "decay", "schedule", "warmup_epochs", "label_smoothing")
        same: dict[str, Any] = {name: getattr(self, name) for name in (*names, "mixup", "ema", "amp", "original")}
        resize = -(-int(given["image_size"] * 256 / 224) // 8) * 8  # 296 for 256
        return Plan(
            **given,
            **same,
            resize=resize,
            milestones=self.lr_milestones,
            gamma=self.lr_gamma,
            floor=self.eta_min,
            augmentation=Augmentation(crop=self.crop),
        )

    def architecture(self, classes: int) -> Architecture:
        """The network.

        Args:
            classes: outputs.
        """
        return Architecture(
            variant=self.variant,
            budget=self.budget(),
            range_mode=self.range_mode,
            classes=classes,
            channel_scale=self.channel_scale or (SMALL_SCALE if self.demo else 1.0),
            image_size=self.plan().image_size,
            compat=self.compat,
        )

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        budget = self.budget()
        if self.variant in STEMS and not self.trim_coefficients and budget.luma == 0:
            raise ValueError("without luma there are no 64 channels of it; leave no-trim-coefficients out")
        check_data(self, self.plan())
        self.architecture(1)
        return self

    @model_validator(mode="after")
    def _falls_by_one_schedule(self) -> Self:
        fields, cosine = CompressedOptions.model_fields, self.schedule == "cosine"
        for name in ("lr_milestones", "lr_gamma") if cosine else ("eta_min",):
            if getattr(self, name) != fields[name].default:
                raise ValueError(f"{name} has no meaning for schedule {self.schedule}")
        if cosine and self.eta_min > self.plan().lr:
            raise ValueError("eta_min is above lr, so that the rate would rise")
        return self


def check_data(options: RgbOptions | CompressedOptions, plan: Plan) -> None:
    """Whether pictures can be had as they are asked for.

    Raises:
        ValueError: they cannot, with the reason.
    """
    side, most = plan.image_size, options.max_train_images
    if most is not None and most < plan.batch_size:
        raise ValueError(f"max_train_images {most} would not fill a batch, of {plan.batch_size} pictures")
    if options.compressed and side % MULTIPLE_OF:
        raise ValueError(f"image_size must be a multiple of {MULTIPLE_OF} where coefficients are read, not {side}")
    if options.input == "jpeg" and plan.augmentation.needs_pixels:
        raise ValueError("input jpeg reads no pixels, which this model's augmentation changes")
    if options.input == "jpeg" and options.original:
        raise ValueError("compat original decides the range by pixels, which input jpeg does not read")


class StatsOptions(DataOptions):
    """Mean and deviation of every coefficient over folders of pictures."""

    range_mode: RangeMode = option("studio", help="Range of values before the DCT: 16 to 235 and 240, or 0 to 255.")
    image_size: int = option(
        256, ge=MULTIPLE_OF, le=4096, multiple_of=MULTIPLE_OF, unit="px", help="Side of the middle that is measured."
    )
    batch_size: int = option(64, ge=1, cli="-b", help="Pictures in a step, over all processes.")

    @property
    def resize(self) -> int:
        """Short side of pictures before the middle is cut out."""
        return self.image_size + 32
