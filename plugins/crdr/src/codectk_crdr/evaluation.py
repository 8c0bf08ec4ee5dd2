"""Validation during training: rate from likelihoods of rounded latents, and the quality of 8-bit pictures.

    picture ─ pad to 64 ─ model ─ crop ─ clamp ─ round to 8 bits ─ PSNR, MS-SSIM

Source: Wang, Simoncelli and Bovik, "Multi-scale structural similarity", Asilomar 2003 (MS-SSIM).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from codectk.arrays import ArrayInfo, pad
from codectk.dataset import Dataset
from codectk.train import Run
from codectk_crdr.data import to_tensor
from codectk_crdr.model import CompressionModel
from codectk_crdr.options import MULTIPLE

BETA = 2.56
"""Realism at which models are validated."""

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of MS-SSIM's scales, finest first."""

WINDOW, SPREAD = 11, 1.5
"""Size and standard deviation of its Gaussian window."""

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True)
class Result:
    """Means over the pictures at one quality.

    Attributes:
        bpp: bits per pixel of the original picture, from likelihoods.
        psnr: in dB.
        ms_ssim: 0 to 1; a picture that is too small for five scales counts as -1.
    """

    bpp: float
    psnr: float
    ms_ssim: float


@torch.no_grad()
def validate(model: CompressionModel, pictures: Dataset, run: Run, count: int, truncate: bool) -> list[Result]:
    """Results at each level, over all processes.

    Args:
        model: in either mode; it is left in training mode.
        pictures: RGB, 8 bits.
        run: device and processes, among which the pictures are divided.
        count: how many of the pictures are used.
        truncate: cut values to 8 bits in place of rounding them, in the originals too, as the published code does.
    """
    options, total = model.options, min(count, len(pictures))
    sums = torch.zeros(options.levels, 3, dtype=torch.float64)
    model.eval()
    for i in range(run.rank, total, run.world_size):
        sample = pictures[i]
        padded, _ = pad(sample.x, ArrayInfo(sample.info.kind, sample.info.shape), MULTIPLE)
        x = to_tensor(padded)[None].to(run.device)
        height, width = sample.x.shape[:2]
        original = to_tensor(sample.x)[None].to(run.device)
        for level in range(options.levels):
            q = torch.tensor([float(level)], device=run.device) if options.levels > 1 else None
            beta = torch.tensor([BETA], device=run.device) if options.realism else None
            with run.autocast():
                out = model(x, q, beta)
            bpp = float(out.rounded_bits) / (height * width)
            pair = [eight_bits(v, truncate) for v in (original, out.x_hat[:, :, :height, :width])]
            sums[level] += torch.tensor([bpp, psnr(*pair), ms_ssim(*pair)], dtype=torch.float64)
    model.train()
    means = run.all_reduce(sums.to(run.device)).cpu() * run.world_size / max(1, total)
    return [Result(*(float(value) for value in row)) for row in means]


def eight_bits(x: Tensor, truncate: bool) -> Tensor:
    """[-1, 1] → whole numbers from 0 to 255, as floats."""
    scaled = (x.float().clamp(-1, 1) + 1) / 2 * 255
    return scaled.floor() if truncate else scaled.round()


def psnr(x: Tensor, x_hat: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of values from 0 to 255; infinite for equal pictures."""
    mse = float((x - x_hat).double().square().mean())
    return 10 * math.log10(255**2 / mse) if mse else math.inf


def ms_ssim(x: Tensor, x_hat: Tensor) -> float:
    """Multi-scale structural similarity, mean over channels; -1 if a side has at most 160 pixels.

    Args:
        x, x_hat: (1, C, H, W), values from 0 to 255.
    """
    if min(x.shape[2:]) <= (WINDOW - 1) * 2 ** (len(SCALES) - 1):
        return -1.0
    product = torch.ones(x.shape[1], dtype=torch.float64, device=x.device)
    x, x_hat = x.double(), x_hat.double()
    for i, weight in enumerate(SCALES):
        structure, whole = (value.clamp(min=0) for value in _similarity(x, x_hat))
        product *= (whole if i == len(SCALES) - 1 else structure) ** weight
        odd = [side % 2 for side in x.shape[2:]]
        x, x_hat = (F.avg_pool2d(v, 2, padding=odd) for v in (x, x_hat))
    return float(product.mean())


def _similarity(x: Tensor, x_hat: Tensor) -> tuple[Tensor, Tensor]:
    """Contrast and structure (C,), and these times luminance (C,), means over all windows inside the picture."""
    offsets = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    window = torch.exp(-((offsets / SPREAD) ** 2) / 2)
    window /= window.sum()

    def blur(v: Tensor) -> Tensor:
        v = F.conv2d(v[0][:, None], window.view(1, 1, -1, 1))
        return F.conv2d(v, window.view(1, 1, 1, -1))[:, 0]

    mean, mean_hat = blur(x), blur(x_hat)
    variance, variance_hat = blur(x * x) - mean**2, blur(x_hat * x_hat) - mean_hat**2
    covariance = blur(x * x_hat) - mean * mean_hat
    structure = (2 * covariance + C2) / (variance + variance_hat + C2)
    luminance = (2 * mean * mean_hat + C1) / (mean**2 + mean_hat**2 + C1)
    return structure.mean((1, 2)), (luminance * structure).mean((1, 2))
