"""Options of model, training, encoding and decoding."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from codectk.options import IntList, Options, option

MAX_BETA = 5.12
"""Largest realism."""

MULTIPLE = 64
"""Height and width in pixels that the networks take are multiples of this."""


def _widths(values: tuple[int, ...]) -> tuple[int, ...]:
    """Channel counts.

    Raises:
        ValueError: one of them is out of bounds.
    """
    for value in values:
        if not 1 <= value <= 2048:
            raise ValueError(f"every width must be from 1 to 2048, not {value}")
    return values


Widths = Annotated[IntList, AfterValidator(_widths)]


class ModelOptions(Options):
    """Architecture: all that is needed to build the networks. Defaults are those of the published models."""

    context: Literal["none", "channel", "space_channel"] = option(
        "channel", help="What elements of y are predicted from, besides the hyperprior."
    )
    levels: int = option(5, ge=1, le=64, cli="--rate-level", help="Quality levels; 1 is a single rate.")
    realism: bool = option(True, help="Whether the decoder has a realism knob.")
    latent_channels: int = option(320, ge=1, le=2048, help="Channels of y.")
    hyper_channels: int = option(192, ge=1, le=2048, help="Channels of z.")
    hyper_width: int = option(256, ge=1, le=2048, help="Inner width of h_a and h_s, with a context.")
    hyper_first: int | None = option(None, ge=1, le=2048, help="Width after h_a's first step; by default that of y.")
    encoder_width: Widths = option(
        (192,), min_length=1, max_length=3, help="Width of g_a at 1/2, 1/4 and 1/8 of the resolution."
    )
    encoder_middle: Widths = option((96,), min_length=1, max_length=3, help="Inner widths of its bottlenecks.")
    decoder_width: Widths = option(
        (256,), min_length=1, max_length=3, help="Width of g_s at 1/2, 1/4 and 1/8 of the resolution."
    )
    decoder_middle: Widths = option((128,), min_length=1, max_length=3, help="Inner widths of its bottlenecks.")
    blocks: Widths = option((3,), min_length=1, max_length=3, help="Bottlenecks at each of these resolutions.")
    attention: bool = option(True, help="Attention in g_a and g_s.")
    condition_channels: int = option(512, ge=1, le=2048, help="Width of the realism's condition.")
    slices: int = option(10, ge=1, le=64, help="Slices of y, with channel context.")
    support_slices: int = option(5, ge=1, le=64, help="How many of the first slices the others see.")
    groups: Widths = option(
        (16, 16, 32, 64, 192),
        min_length=1,
        max_length=16,
        help="Channels of the groups of y, with space-channel context.",
    )
    context_width: Widths = option(
        (224, 128), min_length=2, max_length=2, help="Inner widths of its networks over channels."
    )
    aggregation_width: Widths = option(
        (640, 512), min_length=2, max_length=2, help="Inner widths of the networks that make means and scales."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.context == "channel" and self.latent_channels % self.slices:
            raise ValueError(f"latent_channels {self.latent_channels} is not a multiple of slices {self.slices}")
        if self.context == "space_channel" and sum(self.groups) != self.latent_channels:
            raise ValueError(f"groups add up to {sum(self.groups)}, latent_channels is {self.latent_channels}")
        return self

    @property
    def hyper_first_width(self) -> int:
        """Channels after the first step of h_a."""
        return self.hyper_first or self.latent_channels

    @property
    def encoder_widths(self) -> tuple[int, int, int]:
        """Channels of g_a at 1/2, 1/4 and 1/8 of the resolution."""
        return _three(self.encoder_width)

    @property
    def encoder_middles(self) -> tuple[int, int, int]:
        """Inner channels of its bottlenecks."""
        return _three(self.encoder_middle)

    @property
    def decoder_widths(self) -> tuple[int, int, int]:
        """Channels of g_s at 1/2, 1/4 and 1/8 of the resolution."""
        return _three(self.decoder_width)

    @property
    def decoder_middles(self) -> tuple[int, int, int]:
        """Inner channels of its bottlenecks."""
        return _three(self.decoder_middle)

    @property
    def block_counts(self) -> tuple[int, int, int]:
        """Bottlenecks at 1/2, 1/4 and 1/8 of the resolution."""
        return _three(self.blocks)

    @property
    def context_widths(self) -> tuple[int, int]:
        """Inner widths of the networks over channels."""
        return self.context_width[0], self.context_width[1]

    @property
    def aggregation_widths(self) -> tuple[int, int]:
        """Inner widths of the networks that make means and scales."""
        return self.aggregation_width[0], self.aggregation_width[1]


def _three(values: tuple[int, ...]) -> tuple[int, int, int]:
    """A list that is too short goes on with its last value."""
    first, second, third = (*values, values[-1], values[-1])[:3]
    return first, second, third


class EncodeOptions(Options):
    """The rate knob. What has no such knob takes none, or a negative value."""

    quality: float | None = option(
        None,
        le=63,
        cli="-q",
        help="0 for the smallest file, up to one less than the weights have levels; any real number.",
    )
    realism: float | None = option(
        None, le=MAX_BETA, cli="--beta", help="Realism that the file is decoded with where none is asked for."
    )


class DecodeOptions(Options):
    """The realism knob."""

    realism: float | None = option(
        None,
        le=MAX_BETA,
        cli="-b --beta",
        help="0 for the least error, larger for a more natural look; by default as the file says, else 0.",
    )
