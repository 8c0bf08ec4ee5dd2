"""Settings of the classical codecs. Each decodes without any."""

from typing import Literal

from codectk.options import Options, option

Subsampling = Literal["4:2:0", "4:2:2", "4:4:4"]


class JpegOptions(Options):
    """How a JPEG file is written."""

    quality: int = option(75, help="Scale of the quantisation tables: 1 is smallest, 100 is best.", ge=1, le=100)
    subsampling: Subsampling = option("4:2:0", help="Resolution of colour against brightness; grey pictures have none.")
    progressive: bool = option(False, help="Order the coefficients from coarse to fine; usually a little smaller.")


class WebPOptions(Options):
    """How a WebP file is written."""

    quality: int = option(80, help="0 is smallest, 100 is best; with --lossless the effort instead.", ge=0, le=100)
    method: int = option(4, help="Effort: 0 is fastest, 6 gives the smallest files.", ge=0, le=6)
    lossless: bool = option(False, help="Keep every pixel exactly, also the colours of transparent ones.")


class AvifOptions(Options):
    """How an AVIF file is written."""

    quality: int = option(75, help="0 is smallest, 100 is best.", ge=0, le=100)
    speed: int = option(6, help="0 gives the smallest files, 10 is fastest.", ge=0, le=10)
    subsampling: Subsampling = option("4:2:0", help="Resolution of colour against brightness.")


class Jpeg2000Options(Options):
    """How a JPEG 2000 code stream is written."""

    quality: float = option(
        38.0,
        help="PSNR to aim at; very small or flat pictures may miss it.",
        unit="dB",
        ge=10,
        le=100,
    )


class PngOptions(Options):
    """How a PNG file is written."""

    compress_level: int = option(6, help="Effort: 0 stores, 1 is fastest, 9 gives the smallest files.", ge=0, le=9)


class JpegLsOptions(Options):
    """How a JPEG-LS file is written."""

    near: int = option(
        0,
        help="Largest error of any sample; 0 is lossless. Pictures of 8 bits take up to 127.",
        unit="levels",
        ge=0,
        le=255,
    )


class FieldOptions(Options):
    """The bound that a scientific field keeps: one of two, or a thousandth of its value range."""

    rel_error: float | None = option(
        None,
        help="Largest error of any value as a part of the field's value range; 0.001 if no bound is given.",
        gt=0,
        lt=1,
    )
    abs_error: float | None = option(
        None,
        help="Largest error of any value, in the unit of the values; instead of rel_error.",
        gt=0,
        allow_inf_nan=False,
    )
