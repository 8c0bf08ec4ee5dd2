"""The entropy coder beside JPEG-LS on the same latents: bytes and time, one thread.

The latents stand in for those of the published model: its 21 channels, filters from the statistics of training
pictures, and quantiser steps so wide that JPEG-LS needs the published bits per pixel for each scale group.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from codectk.dataset import sample_photos
from codectk.images import read_image
from codectk.inputs import find_inputs
from codectk_frappe import bitstream
from codectk_frappe.analysis import Int8
from codectk_frappe.coder import Coder, planes_of
from codectk_frappe.options import ModelOptions

PUBLISHED = {3: 0.0080, 9: 0.0473, 12: 0.0803, 18: 0.4122, 21: 0.9418}
"""Bits per pixel of the first channels on Kodak, by JPEG-LS with its headers."""
HEADERS = 75
"""Bytes that the published format spends on each scale group besides what `bitstream.pack` keeps."""
OPTIONS = ModelOptions.parse({"ps": "32x3,16x6,8x3,4x6,2x3", "decoder_ps": 8, "decoder_dim": 8, "mode": "joint"})


def pictures(variable: str, split: str) -> list[np.ndarray]:
    """Those in the folder that an environment variable names, or bundled photos, cut to what 32 divides."""
    folder = os.environ.get(variable)
    paths = find_inputs(Path(folder)) if folder else sample_photos(split)
    found = [read_image(path).x for path in paths]
    return [x[: x.shape[0] // 32 * 32, : x.shape[1] // 32 * 32, :3] for x in found if x.ndim == 3]


def jpegls(groups: Sequence[Int8]) -> int:
    return sum(len(bitstream.pack(group)) + HEADERS for group in groups)


@pytest.fixture(scope="module")
def latents() -> tuple[list[list[Int8]], list[list[Int8]], int]:
    """Of training pictures, of test pictures, and the test pictures' pixels."""
    import torch

    from codectk_frappe.model import Encoders
    from codectk_frappe.shared import SharedDecoder
    from codectk_frappe.start import haar_klt

    def tensor(x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(x.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1

    train, test = pictures("CODECTK_TRAINING", "train"), pictures("CODECTK_PICTURES", "val")
    encoders = Encoders(OPTIONS).eval()
    haar_klt(encoders, SharedDecoder(OPTIONS), [tensor(x[:256, :256]) for x in train], 0.05)
    with torch.no_grad():
        outputs = [[[v[0].numpy() for v in encoders.latents(tensor(x), 21)] for x in part] for part in (train, test)]
    pixels = sum(x.shape[0] * x.shape[1] for x in test)

    def rounded(part: int, s: int, gain: float) -> list[Int8]:
        return [np.clip(np.rint(picture[s] * gain), -127, 127).astype(np.int8) for picture in outputs[part]]

    rates = [0.0, *PUBLISHED.values()]
    made: list[list[list[Int8]]] = [[[] for _ in part] for part in outputs]
    for s in range(len(PUBLISHED)):
        low, high = 1e-4, 100.0
        for _ in range(24):
            gain = (low * high) ** 0.5
            bpp = 8 * sum(jpegls([group]) for group in rounded(1, s, gain)) / pixels
            low, high = (low, gain) if bpp > rates[s + 1] - rates[s] else (gain, high)
        for part in range(2):
            for groups, group in zip(made[part], rounded(part, s, low), strict=True):
                groups.append(group)
    return made[0], made[1], pixels


def cpu_time(work: Callable[[], object], runs: int = 4) -> list[float]:
    work()
    times = []
    for _ in range(runs):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return times


@pytest.mark.parametrize("effort", ["default", "fast"])
def test_coder_beside_jpegls(
    latents: tuple[list[list[Int8]], list[list[Int8]], int], ratio: Callable[..., float], effort: str
) -> None:
    from codectk_frappe.fitting import fit

    train, test, pixels = latents
    coder, fast = Coder(OPTIONS, fit(OPTIONS, train)), effort == "fast"
    for n in (3, 12, 21):
        groups = [picture[: len(OPTIONS.groups(n))] for picture in test]
        planes = [planes_of(picture) for picture in groups]
        own = sum(sum(map(len, coder.encode(p, fast))) + 2 * n for p in planes)  # and two bytes for each length
        peer = sum(map(jpegls, groups))
        mine = cpu_time(lambda planes=planes: [coder.encode(p, fast) for p in planes])  # type: ignore[misc]
        theirs = cpu_time(lambda groups=groups: [bitstream.pack(g) for p in groups for g in p])  # type: ignore[misc]
        label = f"{effort}, {n} channels: {8 * own / pixels:.4f} bpp, {100 * (own / peer - 1):+.1f} % of bytes"
        ratio(label, mine, f"JPEG-LS at {8 * peer / pixels:.4f} bpp", theirs)
        decoded = coder.decode(coder.encode(planes[0], fast), *(32 * side for side in planes[0][0].shape), fast)
        assert all(np.array_equal(a, b) for a, b in zip(planes[0], decoded, strict=True))
