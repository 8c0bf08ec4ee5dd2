"""What this plugin tells codectk: six standard picture formats as codecs to compare learned ones with.

`portability` is `"any-machine"` for all of them because the bytes are files in a standard format: every conforming
decoder reads the same symbols out of them. The last rounding of a lossy picture's samples may still differ by a level
between libraries. tests/classic decodes stored files of every format.
"""

from codectk.hookspecs import hookimpl
from codectk.specs import CodecSpec, Guarantee

CODECTK_API = 1


@hookimpl
def codectk_codecs() -> list[CodecSpec]:
    """The lossy formats first, then the lossless ones."""
    return [_jpeg(), _webp(), _avif(), _jpeg2000(), _png(), _jpegls()]


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
