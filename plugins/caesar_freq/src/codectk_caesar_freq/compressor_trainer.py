"""Phase 1: the frequency compressor.

    window ─ planes ─┬─ the first, through the network ─┬─ frames ─ squared error
                     └─ the others, as they are ────────┘           + λ·bpp + λ·extra

The planes that the network does not code are the codec's business: they pass unchanged, and bear no noise.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codectk.checkpoint import Checkpoint
from codectk.train import Run
from codectk_caesar_freq.architecture import COMPRESSOR
from codectk_caesar_freq.learned.compressor import FrequencyCompressor
from codectk_caesar_freq.learned.frequency import FrequencyTransform
from codectk_caesar_freq.learned.parts import build, export_part
from codectk_caesar_freq.train_options import CompressorOptions
from codectk_caesar_freq.training import Objective, Phase


class CompressorTrainer(Phase):
    """Trainer of the frequency compressor.

    Args:
        options: what is trained, on what, how.
        run: device, log and saved states.

    Raises:
        InputError: data are missing or damaged.
        OptionsError: the batch cannot be divided among the processes.
    """

    options: CompressorOptions

    def __init__(self, options: CompressorOptions, run: Run) -> None:
        self.frequency = options.frequency()
        self.transform = FrequencyTransform(self.frequency.wavelet, self.frequency.dct_block_size)
        network = build(options.architecture(), self.frequency.latent_channels)
        super().__init__(options, run, network, self.transform.cell, decay=0.0)

    def objective(self, network: nn.Module) -> Objective:
        """See `Phase`."""
        if not isinstance(network, FrequencyCompressor):
            raise TypeError(f"{type(network).__name__} is no frequency compressor")
        return RateDistortion(self.run, network, self.transform, self.options)

    def weights(self, network: nn.Module, epoch: int) -> Checkpoint:
        """See `Phase`."""
        return export_part(COMPRESSOR, network, self.options.architecture(), self.frequency, None, self.record(epoch))


class RateDistortion(Objective):
    """The loss of phase 1. All of it is in single precision: probabilities need it, and the network is small.

    Args:
        run: precision.
        network: the compressor.
        transform: to planes.
        options: weights of the terms.
    """

    def __init__(
        self, run: Run, network: FrequencyCompressor, transform: FrequencyTransform, options: CompressorOptions
    ) -> None:
        super().__init__(run.autocast)
        self.network, self.transform, self.options = network, transform, options

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Losses of windows (B, T, H, W)."""
        planes = self.transform.forward(x)
        low = planes[:, :, : self.network.low_freq_size]
        output = self.network(low.transpose(1, 2))
        rest = planes[:, :, self.network.low_freq_size :]
        x_hat = self.transform.inverse(torch.cat([output.planes_hat.transpose(1, 2), rest], 2))
        mse = F.mse_loss(x_hat, x)
        bpp = (output.y_bits + output.z_bits).mean() / x[0].numel()
        extra = self.network.extra_loss()
        loss = mse + self.options.lambda_bpp * bpp
        return {"loss": loss + self.options.lambda_extra * extra, "mse": mse, "bpp": bpp, "extra": extra}

    def measure(self, x: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Figures of one window with rounded latents; the loss counts the rate, too."""
        figures = self(x)
        loss = figures["mse"] + self.options.lambda_bpp * figures["bpp"]
        return {"loss": loss, "mse": figures["mse"], "bpp": figures["bpp"]}
