"""Options of the tools: the check of a picture, the summary of costs, the measurement of speed. No torch here."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from codectk.options import FloatList, IntList, Options, PathList, option
from codectk_dct_backbones.architecture import Architecture, ModelName, Variant
from codectk_dct_backbones.coefficient_options import CoefficientOptions
from codectk_dct_backbones.plan import PRESETS
from codectk_dct_backbones.ranges import Compat, RangeMode
from codectk_dct_backbones.train_options import MULTIPLE_OF, Coded, Input


def _shares(values: tuple[float, ...]) -> tuple[float, ...]:
    """Smallest and largest share.

    Raises:
        ValueError: these are not two shares in order.
    """
    if len(values) != 2 or not 0 < values[0] <= values[1] <= 1:
        raise ValueError("two shares of the area are needed, the smaller first, such as 0.08 1")
    return values


def _some(values: tuple[int, ...]) -> tuple[int, ...]:
    """At least one number, all from 0.

    Raises:
        ValueError: there is none, or one is below 0.
    """
    if not values or min(values) < 0:
        raise ValueError("name at least one, from 0")
    return values


def _counts(values: tuple[int, ...]) -> tuple[int, ...]:
    """Counts of coefficients.

    Raises:
        ValueError: one is not in 0 to 64.
    """
    if any(not 0 <= value <= 64 for value in values):
        raise ValueError("a block has 0 to 64 coefficients to keep")
    return values


def _scales(values: tuple[float, ...]) -> tuple[float, ...]:
    """Factors of widths.

    Raises:
        ValueError: one is not above 0 and up to 1.
    """
    if not values or any(not 0 < value <= 1 for value in values):
        raise ValueError("scales are above 0 and up to 1")
    return values


def _rising(values: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes in order.

    Raises:
        ValueError: there is none, one is below 1, or not above the one before it.
    """
    if not values or any(later <= earlier for earlier, later in pairwise((0, *values))):
        raise ValueError("sizes must rise and begin above 0")
    return values


Counts = Annotated[IntList, AfterValidator(_counts)]
Scales = Annotated[FloatList, AfterValidator(_scales)]
Sizes = Annotated[IntList, AfterValidator(_rising)]


class CheckOptions(CoefficientOptions):
    """Which picture is taken through which pipeline, and where the result goes."""

    file: str | None = option(
        None, cli="FILE", help="A picture; without one, --train-dirs or --val-dir; without these, generated ones."
    )
    model: ModelName = option("resnet34", help="Whose preset says how large pictures are.")
    train_dirs: PathList = option((), help="Folders whose folders are classes, merged.")
    val_dir: Path | None = option(None, help="The same to evaluate on.")
    split: Literal["train", "val"] = option("train", help="Pictures to learn from, cut at random, or to evaluate on.")
    indices: Annotated[IntList, AfterValidator(_some)] = option((0,), help="Which pictures, counted from 0.")
    output_dir: Path = option(Path("dct_backbones_check"), cli="-o", help="Folder for the pictures.")
    input: Input = option("auto", help="Read out of the file (jpeg), computed of pixels (recomputed), or by its kind.")
    range_mode: RangeMode = option("studio", help="Range of values before the DCT: 16 to 235 and 240, or 0 to 255.")
    dct_stats: str = option("imagenet", help="Statistics to go through: a table's path, imagenet, or none.")
    image_size: int | None = option(
        None, ge=MULTIPLE_OF, le=4096, multiple_of=MULTIPLE_OF, unit="px", help="Side; the preset's if not given."
    )
    flip_prob: float = option(0.5, ge=0, le=1, help="Probability of a flip, in split train.")
    crop_scale: Annotated[FloatList, AfterValidator(_shares)] = option(
        (0.08, 1.0), help="Smallest and largest share of the area that is cut out, in split train."
    )
    seed: int = option(1234, ge=0, lt=1 << 32, help="Of what is random.")
    show_progress: bool = option(False, help="Also say what the folders hold.")
    compat: Compat = option("none", help="original has the range depend on the picture.")
    force: bool = option(False, help="Replace pictures in --output-dir.")

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.file is not None and (self.train_dirs or self.val_dir):
            raise ValueError("name a file or folders, not both")
        if self.input == "jpeg" and self.compat == "original":
            raise ValueError("compat original decides the range by pixels, which input jpeg does not read")
        self.budget()
        return self


class SummaryOptions(Options):
    """Which networks are counted: all combinations that make sense."""

    model: ModelName = option("resnet34", help="Backbone; another than resnet34 has variants rgb and reconstruction.")
    variant: Literal["all"] | Variant = option("all", help="One variant, or all.")
    coeff_count: Counts = option((64, 16), help="Coefficients of Y.")
    coeff_count_chroma: Counts = option((), help="Coefficients of Cb and of Cr; those of Y if not given.")
    channel_scale: Scales = option((1.0,), help="Factors of all widths.")
    image_size: int = option(
        256, ge=32, le=4096, multiple_of=MULTIPLE_OF, unit="px", help="Side of the picture that is multiplied for."
    )
    classes: int = option(1000, ge=1, le=1 << 20, help="Outputs of the head.")
    compat: Compat = option("none", help="original has the public code's layers.")
    output: Path | None = option(None, cli="-o", help="JSON file for the table.")
    force: bool = option(False, help="Replace it if it exists.")


class BenchOptions(Options):
    """What is measured, whatever the network reads. Weights say what the network is, else options do."""

    channel_scale: float = option(1.0, gt=0, le=1, help="Factor of all widths.")
    image_size: int | None = option(
        None, ge=32, le=4096, multiple_of=MULTIPLE_OF, unit="px", help="Side of pictures; the trainer's if not given."
    )
    classes: int = option(1000, ge=1, le=1 << 20, help="Outputs of the head.")
    batch_sizes: Sizes = option((1, 8, 32, 64, 128, 256), help="Pictures in a forward pass.")
    seconds: float = option(1.0, ge=0, unit="s", help="Time that is measured at least, for each line.")
    pictures: int = option(32, ge=1, help="Pictures that loading is measured on, taken from all of the data.")
    most_pictures: int | None = option(None, ge=1, help="Most pictures for the accuracy, as many of each class.")
    amp: bool = option(False, help="Compute in bfloat16.")
    channels_last: bool = option(False, help="Keep pictures and weights with the channels last in memory.")

    def architecture(self) -> Architecture:
        """The network where no weights are given."""
        raise NotImplementedError

    def of_the_network(self) -> list[str]:
        """Options given that weights answer."""
        return sorted(name for name in self.changed() if name in NETWORK or name not in BenchOptions.model_fields)


NETWORK = {"channel_scale", "image_size", "classes"}
"""Options of `BenchOptions` that weights answer."""


class RgbBenchOptions(BenchOptions):
    """The networks of `dct_backbones.rgb`, on pixels."""

    model: ModelName = option("resnet34", help="Backbone.")

    def architecture(self) -> Architecture:
        """See `BenchOptions`."""
        return Architecture(
            model=self.model,
            classes=self.classes,
            channel_scale=self.channel_scale,
            image_size=self.image_size or PRESETS[self.model].image_size,
        )


class CompressedBenchOptions(CoefficientOptions, BenchOptions):
    """The networks of `dct_backbones.compressed`, beside that for pixels."""

    variant: Coded = option("full-grid", help="How coefficients enter the network.")
    range_mode: RangeMode = option("studio", help="Range of values before the DCT.")
    compat: Compat = option("none", help="original has the public code's layers.")

    def architecture(self) -> Architecture:
        """See `BenchOptions`."""
        return Architecture(
            variant=self.variant,
            budget=self.budget(),
            range_mode=self.range_mode,
            classes=self.classes,
            channel_scale=self.channel_scale,
            image_size=self.image_size or 256,
            compat=self.compat,
        )

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        self.architecture()
        return self
