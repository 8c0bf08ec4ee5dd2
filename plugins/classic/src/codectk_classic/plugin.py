"""What this plugin tells codectk: six picture formats and three libraries for fields, to compare learned codecs with.

`portability` is `"any-machine"` for all picture formats because the bytes are files in a standard format: every
conforming decoder reads the same symbols out of them. The last rounding of a lossy picture's samples may still differ
by a level between libraries. tests/classic decodes stored files of every format. The libraries for fields compute with
floating point numbers when they decode, so the last bits of what they return may depend on the machine.
"""

from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec, Guarantee

CODECTK_API = 1


@hookimpl
def codectk_codecs() -> list[CodecSpec]:
    """The lossy picture formats, the lossless ones, and what codes fields."""
    return [_jpeg(), _webp(), _avif(), _jpeg2000(), _png(), _jpegls(), _sz3(), _zfp(), _sperr()]


def _jpeg() -> CodecSpec:
    return CodecSpec(
        name="jpeg",
        summary="JPEG with optimised Huffman tables (libjpeg-turbo)",
        target="codectk_classic.codec:Jpeg",
        kinds=("image/rgb8", "image/gray8"),
        encode_options="codectk_classic.options:JpegOptions",
        rate_option="quality",
        portability="any-machine",
        paper="ITU-T T.81 | ISO/IEC 10918-1 (1992)",
    )


def _webp() -> CodecSpec:
    return CodecSpec(
        name="webp",
        summary="WebP, lossy or lossless (libwebp)",
        target="codectk_classic.codec:WebP",
        kinds=("image/rgb8", "image/rgba8"),
        encode_options="codectk_classic.options:WebPOptions",
        rate_option="quality",
        portability="any-machine",
        paper="RFC 9649 (2024)",
    )


def _avif() -> CodecSpec:
    return CodecSpec(
        name="avif",
        summary="AVIF, an AV1 key frame (libaom)",
        target="codectk_classic.codec:Avif",
        kinds=("image/rgb8", "image/rgba8"),
        encode_options="codectk_classic.options:AvifOptions",
        rate_option="quality",
        portability="any-machine",
        paper="AV1 Image File Format, Alliance for Open Media (2019)",
    )


def _jpeg2000() -> CodecSpec:
    return CodecSpec(
        name="jpeg2000",
        summary="JPEG 2000 with the 9/7 wavelet (OpenJPEG)",
        target="codectk_classic.codec:Jpeg2000",
        kinds=("image/rgb8", "image/gray8", "image/rgba8", "image/gray16"),
        encode_options="codectk_classic.options:Jpeg2000Options",
        rate_option="quality",
        portability="any-machine",
        paper="ITU-T T.800 | ISO/IEC 15444-1 (2000)",
    )


def _png() -> CodecSpec:
    return CodecSpec(
        name="png",
        summary="PNG, lossless",
        target="codectk_classic.codec:Png",
        kinds=("image/rgb8", "image/gray8", "image/rgba8", "image/gray16"),
        encode_options="codectk_classic.options:PngOptions",
        lossless=True,
        portability="any-machine",
        paper="ISO/IEC 15948 (2003)",
    )


def _jpegls() -> CodecSpec:
    return CodecSpec(
        name="jpegls",
        summary="JPEG-LS, lossless or with a bound on the error of every sample (CharLS)",
        target="codectk_classic.jpegls:JpegLs",
        kinds=("image/rgb8", "image/gray8", "image/rgba8", "image/gray16"),
        encode_options="codectk_classic.options:JpegLsOptions",
        rate_option="near",
        portability="any-machine",
        guarantees=(Guarantee(option="near", metric="max_error"),),
        paper="Weinberger, Seroussi, Sapiro, 'The LOCO-I lossless image compression algorithm', IEEE TIP 9(8), 2000",
    )


def _sz3() -> CodecSpec:
    return _field_codec(
        "sz3",
        "SZ3, prediction by interpolation or Lorenzo; needs codectk-classic[fields]",
        "Liang et al., 'SZ3: A modular framework for composing prediction-based error-bounded lossy compressors', "
        "IEEE Transactions on Big Data 9(2), 2023",
    )


def _zfp() -> CodecSpec:
    return _field_codec(
        "zfp",
        "ZFP with fixed accuracy, a transform of small blocks",
        "Lindstrom, 'Fixed-rate compressed floating-point arrays', IEEE TVCG 20(12), 2014",
    )


def _sperr() -> CodecSpec:
    return _field_codec(
        "sperr",
        "SPERR with a point-wise error, wavelets and SPECK",
        "Li, Lindstrom, Clyne, 'Lossy scientific data compression with SPERR', IPDPS 2023",
    )


def _field_codec(name: str, summary: str, paper: str) -> CodecSpec:
    return CodecSpec(
        name=name,
        summary=summary,
        target=f"codectk_classic.fields:{name.title()}",
        kinds=("field/f32", "field/f64"),
        encode_options="codectk_classic.options:FieldOptions",
        rate_option="rel_error",
        guarantees=(Guarantee(option="abs_error", metric="max_error"),),
        paper=paper,
    )
