"""Windows as phases 2 and 3 see them: what is known from decoded keyframes, and the residual that is to be predicted.

window (B, T, H, W) ─┬─ keyframes + error ─ first planes ─ condition
                     └─ first planes of all frames ─ residual
"""

from pathlib import Path

import torch
from torch import Tensor

from codectk.checkpoint import Checkpoint
from codectk.errors import OptionsError
from codectk_caesar_freq.architecture import COMPRESSOR, FrequencyConfig, frequency_of, parts_of
from codectk_caesar_freq.learned.data import LEAST_ERROR, VALIDATION_ERROR, decoded
from codectk_caesar_freq.learned.frequency import FrequencyTransform
from codectk_caesar_freq.learned.parts import load_part
from codectk_caesar_freq.learned.windows import Condition, condition
from codectk_caesar_freq.train_options import LatentOptions


class Latents:
    """Makes conditions and residuals of windows.

    Args:
        frequency: transform, and number of planes.
        interpo_rate: frames from one keyframe to the next.
        keyframe_error: largest error of keyframes in training.
    """

    def __init__(self, frequency: FrequencyConfig, interpo_rate: int, keyframe_error: float) -> None:
        self.transform = FrequencyTransform(frequency.wavelet, frequency.dct_block_size)
        self.channels, self.interpo_rate = frequency.latent_channels, interpo_rate
        self.keyframe_error = keyframe_error

    def planes(self, frames: Tensor) -> Tensor:
        """(B, T, H, W) → (B, C, T, h, w)."""
        return self.transform.forward(frames)[:, :, : self.channels].transpose(1, 2)

    def training(self, x: Tensor) -> tuple[Condition, Tensor]:
        """Condition and residual of windows (B, T, H, W), for errors of keyframes of any size up to the largest."""
        spread = torch.rand(len(x), device=x.device)
        errors = LEAST_ERROR * (self.keyframe_error / LEAST_ERROR) ** spread
        noise = 2 * torch.rand_like(x[:, :: self.interpo_rate]) - 1
        return self._of(x, errors, noise)

    def validation(self, x: Tensor, noise: Tensor) -> tuple[Condition, Tensor]:
        """The same for an error of a thousandth of the range and given noise (B, T, H, W) in [-1, 1]."""
        errors = x.new_full((len(x),), VALIDATION_ERROR)
        return self._of(x, errors, noise[:, :: self.interpo_rate])

    def _of(self, x: Tensor, errors: Tensor, noise: Tensor) -> tuple[Condition, Tensor]:
        keys = decoded(x, self.interpo_rate, errors, noise)
        known = condition(self.planes(keys), self.interpo_rate)
        return known, known.residual(self.planes(x))


def frequency_from(options: LatentOptions) -> FrequencyConfig:
    """The transform of phase 1's weights, which the options must agree with where they say anything.

    Raises:
        InputError: there is no such file.
        WeightsError: it is something else, or damaged.
        OptionsError: the options say something else.
    """
    path = Path(options.freq_compressor_path)
    checkpoint = Checkpoint.open(path)
    frequency = frequency_of(checkpoint)
    load_part(checkpoint, COMPRESSOR)
    network = parts_of(checkpoint)[COMPRESSOR]
    there = {**network.model_dump(), **frequency.model_dump(), "use_dwt": frequency.wavelet != "none"}
    for name, value in options.given().items():
        if there[name] != value and not (name == "wavelet" and frequency.wavelet == "none"):
            raise OptionsError(
                f"{path} was trained with {name} {there[name]}, not {value}.",
                f"Leave --{name.replace('_', '-')} out, or name other weights.",
            )
    return frequency
