"""How fast frappe encodes, beside AVIF and JPEG of Pillow: array in memory to file bytes, one thread."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from codectk.arrays import ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.compression import load_codec
from codectk.dataset import sample_photos
from codectk.images import read_image

RELEASED = {"ps": "32x3,16x6,8x3,4x6,2x3", "decoder_ps": 8, "decoder_dim": 8, "decoder_arch": "C"}


def timed(work: Callable[[], object], runs: int = 5) -> list[float]:
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


@pytest.mark.parametrize("channels", [12, 21])
def test_encode_beside_classic_codecs(ratio: Callable[..., float], channels: int) -> None:
    """The released encoder's shape with random filters; the decoder does not matter here."""
    import torch

    from codectk_frappe.model import Encoders, merged_decoder, state_arrays
    from codectk_frappe.options import ModelOptions

    torch.manual_seed(0)
    options = ModelOptions.parse(RELEASED)
    encoders = Encoders(options)
    with torch.no_grad():
        for group in encoders:
            group[0].weight.mul_(4)
    tensors = state_arrays(encoders, "encoders.")
    for n in (12, 21):
        tensors |= state_arrays(merged_decoder(options, n), f"merged.{n}.decoder.")
    frappe = load_codec("frappe", Checkpoint(tensors, "frappe", "codectk-frappe", "0", 1, options.changed()))
    x = read_image(sample_photos("train")[5]).x
    x = np.ascontiguousarray(x[:1408, :1408])
    info = ArrayInfo("image/rgb8", x.shape)
    mine = timed(lambda: frappe.compress(x, info, frappe.encode_options({"channels": channels})))
    for name, quality in (("avif", 30), ("jpeg", 50)):
        codec = load_codec(name)
        setting = codec.encode_options({"quality": quality})
        peer = timed(lambda codec=codec, setting=setting: codec.compress(x, info, setting), 3)  # type: ignore[misc]
        ratio(f"frappe, {channels} channels, {x.shape[0] * x.shape[1] / 1e6:.1f} megapixels", mine, name, peer)
