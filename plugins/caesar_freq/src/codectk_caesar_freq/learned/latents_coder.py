"""Fields by the frequency compressor: bytes of y and z, and the base that they decode to.

    frames ─ - mean, / range ─ planes of low frequencies ─ encoder ─ y ─ hyper-encoder ─ z ─ round, table of its channel
    z_hat ─ means, scales ─ round(y - means), table of the nearest scale
    y_hat ─ decoder ─ planes ─ frames: the base

All of it is in double precision, where networks compute exactly (see `exact`), so that every machine has the same base.
"""

import struct

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codectk.checkpoint import Checkpoint
from codectk.container import Reader
from codectk.entropy import Decoder, Encoder, Tables, scale_levels, scale_thresholds, table_indexes
from codectk.errors import ContainerError, WeightsError
from codectk_caesar_freq.architecture import COMPRESSOR, frequency_of
from codectk_caesar_freq.learned.compressor import Z_CELL, FrequencyCompressor
from codectk_caesar_freq.learned.frequency import FrequencyTransform
from codectk_caesar_freq.learned.layers import fit
from codectk_caesar_freq.learned.parts import TABLES, load_part
from codectk_caesar_freq.learned.predictor import extended
from codectk_caesar_freq.learned.prior import LARGEST_SCALE, SCALE_LEVELS, SMALLEST_SCALE

SCALE_BITS = 16
HEAD = "<dd"
MOST = float(1 << 30)

Doubles = NDArray[np.float64]
Shape = tuple[int, int, int]


class LatentCoder:
    """Codes blocks by a frequency compressor.

    Args:
        model: in double precision.
        transform: to planes.
        tables_y, tables_z: frozen.
    """

    def __init__(
        self, model: FrequencyCompressor, transform: FrequencyTransform, tables_y: Tables, tables_z: Tables
    ) -> None:
        self.model, self.transform, self.tables_y, self.tables_z = model, transform, tables_y, tables_z
        self.thresholds = scale_thresholds(scale_levels(SCALE_LEVELS, SMALLEST_SCALE, LARGEST_SCALE), SCALE_BITS)

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> "LatentCoder":
        """From weights that hold the part.

        Raises:
            WeightsError: they do not, or it is damaged.
        """
        model = load_part(checkpoint, COMPRESSOR)
        if not isinstance(model, FrequencyCompressor):
            raise WeightsError("The weights' frequency compressor is something else.", "Train it again.")
        frequency, place = frequency_of(checkpoint), f"{COMPRESSOR}.{TABLES}"
        named = {k.removeprefix(place): v for k, v in checkpoint.tensors.items() if k.startswith(place)}
        y, z = Tables.from_tensors(named, "y"), Tables.from_tensors(named, "z")
        if len(y) != SCALE_LEVELS or len(z) != model.prior.channels:
            raise WeightsError("The weights' frozen tables do not fit their network.", "Train them again.")
        return cls(model.double(), FrequencyTransform(frequency.wavelet, frequency.dct_block_size), y, z)

    @torch.no_grad()
    def encode(self, x: Doubles) -> tuple[bytes, Doubles]:
        """Bytes of a block (T, H, W) of finite values, and the base that they decode to."""
        mean, span = float(x.mean()), float(x.max() - x.min()) or 1.0
        frames = extended(torch.from_numpy((x - mean) / span), self.transform.cell)
        planes = self.transform.forward(frames)[:, : self.model.low_freq_size].transpose(0, 1)[None]
        y = self.model.encoder(planes)
        z = torch.round(self.model.hyper_encoder(fit(y, Z_CELL)) - self._medians())
        symbols_z = _integers(z)
        means, indexes = self._parameters(symbols_z, planes.shape[-2:])
        symbols_y = _integers(torch.round(y - means))
        encoder = Encoder()
        encoder.encode(symbols_z, self.tables_z, self._channels(symbols_z.shape))
        encoder.encode(symbols_y, self.tables_y, indexes)
        head = struct.pack(HEAD, mean, span)
        shape = (x.shape[0], x.shape[1], x.shape[2])
        return head + encoder.finish(), self._base(symbols_y, means, shape, mean, span)

    @torch.no_grad()
    def decode(self, data: bytes, shape: Shape, source: str) -> Doubles:
        """The base that bytes stand for.

        Raises:
            ContainerError: the bytes do not make sense.
        """
        reader = Reader(data, 0, len(data), source)
        mean, span = struct.unpack(HEAD, reader.bytes(struct.calcsize(HEAD)))
        if not np.isfinite([mean, span]).all():
            raise ContainerError(f"{source} holds latents without a scale.", "Copy or download the file again.")
        h, w = (-(-side // self.transform.cell) for side in shape[1:])
        z_shape = (1, self.model.prior.channels, shape[0], -(-h // Z_CELL), -(-w // Z_CELL))
        decoder = Decoder(reader.bytes(len(data) - reader.at))
        symbols_z = decoder.decode(self.tables_z, self._channels(z_shape))
        means, indexes = self._parameters(symbols_z, torch.Size((h, w)))
        symbols_y = decoder.decode(self.tables_y, indexes)
        decoder.finish()
        return self._base(symbols_y, means, shape, mean, span)

    def _medians(self) -> Tensor:
        return self.model.prior.medians.detach()[None, :, :, :, None]

    def _channels(self, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """The table of each symbol of z: its channel."""
        return np.broadcast_to(np.arange(shape[1])[None, :, None, None, None], shape).copy()

    def _parameters(self, symbols_z: NDArray[np.int32], size: torch.Size) -> tuple[Tensor, NDArray[np.uint16]]:
        z_hat = torch.from_numpy(symbols_z.astype(np.float64)) + self._medians()
        means, scales = self.model.entropy_parameters(z_hat, tuple(size))
        units = torch.clamp(torch.round(scales * (1 << SCALE_BITS)), max=MOST)
        return means, table_indexes(units.numpy().astype(np.int64), self.thresholds)

    def _base(self, symbols_y: NDArray[np.int32], means: Tensor, shape: Shape, mean: float, span: float) -> Doubles:
        y_hat = torch.from_numpy(symbols_y.astype(np.float64)) + means
        low = self.model.decoder(y_hat)[0].transpose(0, 1)
        planes = low.new_zeros((low.shape[0], self.transform.cell**2, *low.shape[2:]))
        planes[:, : low.shape[1]] = low
        frames: Doubles = self.transform.inverse(planes)[:, : shape[1], : shape[2]].numpy() * span + mean
        return frames


def _integers(x: Tensor) -> NDArray[np.int32]:
    return torch.clamp(x, -MOST, MOST).numpy().astype(np.int32)
