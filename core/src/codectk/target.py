"""The setting of a codec that reaches a wanted size or quality: bisection over its rate ladder, with real files."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from codectk import container
from codectk.arrays import Array, ArrayInfo
from codectk.compression import Compressed, LoadedCodec
from codectk.errors import OptionsError
from codectk.metric import PSNR


def compress_to(
    loaded: LoadedCodec,
    x: Array,
    info: ArrayInfo,
    values: Mapping[str, Any] | None = None,
    *,
    bpp: float | None = None,
    psnr: float | None = None,
    metadata: Mapping[str, Any] = MappingProxyType({}),
    file: bytes | None = None,
) -> Compressed:
    """The best file of at most a size, or the smallest of at least a quality.

    Size rises along a codec's rate ladder, or nearly so. About seven files are made, and decoded if quality is asked.

    Args:
        loaded: a codec with a rate ladder.
        x, info: see `LoadedCodec.compress`.
        values: encode options besides those of the ladder; they win over it.
        bpp: most bits per pixel (per value for fields), of the whole file.
        psnr: least peak signal-to-noise ratio in dB, of what the file decodes to.
        metadata, file: see `LoadedCodec.compress`.

    Raises:
        OptionsError: not exactly one of the two is asked, the codec has no ladder, or no rung of it gets there.
    """
    if (bpp is None) == (psnr is None):
        raise OptionsError("A file has a wanted size or a wanted quality.", "Give one of --bpp and --psnr.")
    given = dict(values or {})
    ladder = [{**rung, **given} for rung in loaded.rate_ladder]
    ladder = [rung for i, rung in enumerate(ladder) if i == 0 or rung != ladder[i - 1]]
    if len(ladder) < 2:
        raise OptionsError(
            f"Codec {loaded.spec.name} has no settings to search with these options.", "Leave --bpp and --psnr out."
        )

    def make(rung: int) -> Compressed:
        return loaded.compress(x, info, loaded.encode_options(ladder[rung]), metadata, file)

    if bpp is not None:
        return _largest(make, len(ladder), int(bpp * info.pixels / 8), bpp)
    return _good_enough(loaded, make, len(ladder), x, info, psnr or 0.0)


def _largest(make: Any, rungs: int, budget: int, bpp: float) -> Compressed:
    best: Compressed | None = None
    low, high, smallest = 0, rungs - 1, 0
    while low <= high:
        middle = (low + high) // 2
        made = make(middle)
        if len(made) <= budget:
            best, low = made, middle + 1
        else:
            smallest, high = len(made), middle - 1
    if best is None:
        raise OptionsError(f"No setting gets to {bpp:g} bpp: the smallest file has {smallest} bytes.", "Raise --bpp.")
    return best


def _good_enough(loaded: LoadedCodec, make: Any, rungs: int, x: Array, info: ArrayInfo, psnr: float) -> Compressed:
    best: Compressed | None = None
    low, high, reached = 0, rungs - 1, 0.0
    while low <= high:
        middle = (low + high) // 2
        made = make(middle)
        metric = PSNR()
        metric.update(x, loaded.decompress(container.unpack(made.data, max_array_bytes=info.nbytes)), info)
        reached = metric.compute()["psnr"]
        if reached >= psnr:
            best, high = made, middle - 1
        else:
            low = middle + 1
    if best is None:
        raise OptionsError(f"No setting gets to {psnr:g} dB: the best file reaches {reached:.2f}.", "Lower --psnr.")
    return best
