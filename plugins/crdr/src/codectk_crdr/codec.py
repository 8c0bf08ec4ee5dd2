"""The crdr codec.

encode: picture ─ g_a(q) ─ y ─ per tile: h_a ─ z ─ symbols ─┬─ integer networks ─ means, scales ─ symbols of y ─ segment
decode: segment ─ symbols of z ─ the same networks ─ symbols of y ─ y_hat ─ g_s(q, β) ─ picture

A segment is the entropy-coded stream of one tile: z, then y part by part. q is in the file, β is chosen when decoding.
"""

import time
from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codectk.arrays import Array, ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.codec import Codec, Encoded, symbol_check
from codectk.device import pick_device
from codectk.entropy import Decoder, Encoder
from codectk.errors import CodectkError, ContainerError, DesyncError, OptionsError, WeightsError
from codectk_crdr.context import Part
from codectk_crdr.entropy import gaussian_bits
from codectk_crdr.exact import UNIT, Code, ExactPath, rows
from codectk_crdr.floating import FloatPath
from codectk_crdr.integer import MAX_FIXED
from codectk_crdr.model import CompressionModel
from codectk_crdr.options import MAX_BETA, MULTIPLE, DecodeOptions, EncodeOptions, ModelOptions
from codectk_crdr.plugin import READS
from codectk_crdr.tables import CodingTables
from codectk_crdr.windows import Area, analyse, coded_tiles, synthesise

USUAL_SHARE = 0.5
"""Where in the range of qualities a file is made if none is asked for."""
LADDER = 32
"""Qualities per level that a search by size or quality tries."""
INTEGER, TABLES, MODEL = "integer.", "tables.", "model."
"""Prefixes of the tensors of a checkpoint."""

Symbols = list[NDArray[np.int32]]


class Path(Protocol):
    """From z to y_hat, in integers or in floating point."""

    unit: float

    def run(self, z: Tensor, code: Code) -> Tensor:
        """See `exact.ExactPath.run`."""
        ...


class CrdrCodec(Codec):
    """Image codec with a rate knob and a realism knob.

    Args:
        options: the architecture.
        tensors: `model.…` float networks; `tables.…`; and `integer.…`, without which the networks that select
            probabilities are floats as well.
        device: where to compute.

    Raises:
        WeightsError: tensors are missing, too many, or do not fit the architecture.
    """

    multiple_of = MULTIPLE

    def __init__(self, options: ModelOptions, tensors: Mapping[str, Array], device: str = "cpu") -> None:
        self.options, self.device = options, pick_device(device)
        self.tables = CodingTables(_under(tensors, TABLES), options.hyper_channels)
        self.thresholds = torch.from_numpy(self.tables.thresholds).to(self.device)
        integers = _under(tensors, INTEGER)
        self.model = _load_model(options, _under(tensors, MODEL), bool(integers)).to(self.device)
        self.path: Path = ExactPath(integers, options, self.device) if integers else FloatPath(self.model)
        self.exact = bool(integers)
        if options.levels > 1:
            self.rate_option, self.rate_points = "quality", tuple(float(level) for level in range(options.levels))

    @property
    def rate_ladder(self) -> tuple[dict[str, Any], ...]:
        """Qualities from the smallest to the largest file."""
        steps = range((self.options.levels - 1) * LADDER + 1)
        return tuple({"quality": step / LADDER} for step in steps) if self.options.levels > 1 else ()

    @classmethod
    def load(cls, checkpoint: Checkpoint | None, device: str) -> Self:
        """Make the codec from weights, all of which are checked; see `Codec.load`.

        Raises:
            WeightsError: the weights do not fit their own description, or are of another bitstream version.
        """
        if checkpoint is None:
            raise WeightsError("crdr needs weights.", "Give them with -w.")
        if checkpoint.bitstream_version not in READS:
            known = ", ".join(map(str, READS))
            raise WeightsError(
                f"This codectk-crdr reads bitstream version {known}, not {checkpoint.bitstream_version}.",
                "Update codectk-crdr.",
            )
        try:
            options = ModelOptions.parse(checkpoint.config, "the weights")
        except CodectkError as error:
            raise _unfit(error.problem) from None
        return cls(options, checkpoint.tensors, device)

    @torch.inference_mode()
    def encode(self, x: Array, info: ArrayInfo, options: EncodeOptions) -> Encoded:
        """Code a picture (H, W, 3) uint8; see `Codec.encode`.

        Raises:
            OptionsError: these weights have no such quality or realism.
        """
        started = time.perf_counter()
        q = self._quality(options)
        params: dict[str, Any] = {} if q is None else {"q": q}
        if options.realism is not None and options.realism >= 0:
            self._realism(options.realism)
            params["b"] = options.realism
        if not self.exact:
            params["same_machine"] = True
        picture = torch.from_numpy(np.array(x)).permute(2, 0, 1)[None]
        y = analyse(picture, self.options, lambda part: self.model.encoder(part, self._knob(q)), self.device)
        analysed = time.perf_counter()
        segments, symbols, bits = [], Symbols(), 0.0
        for area in coded_tiles(*info.shape[:2]):
            segment, coded, information = self._encode_tile(area.of(y).to(self.device))
            segments.append(segment)
            symbols += coded
            bits += information
        notes = {
            "predicted_bits": bits,
            "analysis_seconds": analysed - started,
            "entropy_seconds": time.perf_counter() - analysed,
        }
        return Encoded(params, tuple(segments), symbol_check(*symbols), notes)

    def _encode_tile(self, y: Tensor) -> tuple[bytes, Symbols, float]:
        """Stream, symbols, and predicted bits of (1, M, h, w)."""
        prior = self.model.entropy_model_z
        z = (self.model.hyperencoder(y) - prior.medians).round()
        bits = [float(prior.bits(z + prior.medians).double().sum())]
        z_symbols = z[0].permute(1, 2, 0).to(torch.int32).contiguous()
        symbols: Symbols = [z_symbols.cpu().numpy()]
        encoder = Encoder()
        encoder.encode(symbols[0], self.tables.z, self._channels())
        latent, unit = y[0].permute(1, 2, 0), self.path.unit

        def code(part: Part, means: Tensor, scales: Tensor) -> Tensor:
            wanted = (rows(part, latent) - means * unit).round()
            bits.append(float(gaussian_bits(wanted, torch.zeros_like(wanted), scales * unit).sum()))
            coded = wanted.to(torch.int32)
            symbols.append(coded.cpu().numpy())
            encoder.encode(symbols[-1], self.tables.y, self._indexes(scales))
            return coded

        self.path.run(z_symbols, code)
        return encoder.finish(), symbols, sum(bits)

    @torch.inference_mode()
    def decode(self, encoded: Encoded, info: ArrayInfo, options: DecodeOptions) -> Array:
        """The picture (H, W, 3) uint8; see `Codec.decode`.

        Raises:
            ContainerError: the parameters or segments are not such a file's.
            DesyncError: the symbols are not those that were encoded.
            OptionsError: these weights have no such realism.
        """
        height, width, _ = info.shape
        q, stored = self._settings(encoded.params)
        asked = options.realism if options.realism is not None else stored
        beta = self._realism(asked) if asked is not None and asked >= 0 else None
        areas = coded_tiles(height, width)
        if len(areas) != len(encoded.segments):
            raise ContainerError(
                f"The file has {len(encoded.segments)} segments for {len(areas)} tiles.", "Compress the original again."
            )
        symbols = Symbols()
        y_hat = torch.empty(1, self.options.latent_channels, height // 16, width // 16)
        for area, segment in zip(areas, encoded.segments, strict=True):
            area.of(y_hat).copy_(self._decode_tile(segment, area, symbols))
        encoded.verify(*symbols)
        knobs = self._knob(q), self._knob(beta)
        x_hat = synthesise(y_hat, self.options, lambda part: self.model.decoder(part, *knobs), self.device)
        return x_hat.permute(1, 2, 0).numpy()

    def _decode_tile(self, segment: bytes, area: Area, symbols: Symbols) -> Tensor:
        """y_hat (1, M, h, w) of a tile; appends its symbols."""
        height, width = (stop - start for start, stop in (area.rows, area.columns))
        decoder = Decoder(segment)
        shape = (height // 4, width // 4, self.options.hyper_channels)
        symbols.append(decoder.decode(self.tables.z, np.broadcast_to(self._channels(), shape)))

        def code(part: Part, means: Tensor, scales: Tensor) -> Tensor:
            symbols.append(decoder.decode(self.tables.y, self._indexes(scales)))
            return torch.from_numpy(symbols[-1]).to(means.device)

        try:
            y_hat = self.path.run(torch.from_numpy(symbols[-1]).to(self.device), code)
            decoder.finish()
        except ContainerError as error:  # bytes of a file are checked before, so the tables were others
            raise DesyncError(
                "The symbols of the file do not fit the tables that are chosen here.",
                "It was probably made on a machine whose arithmetic differs; decode it there, or encode it again with "
                "weights that `codectk export` made.",
            ) from error
        return y_hat

    def _indexes(self, scales: Tensor) -> NDArray[np.uint16]:
        """Table of each element."""
        if not self.exact:
            scales = (scales * UNIT).clamp(0, MAX_FIXED).to(torch.int32)
        indexes: NDArray[np.uint16] = torch.bucketize(scales, self.thresholds, right=True).cpu().numpy()
        return indexes.astype(np.uint16)

    def _channels(self) -> NDArray[np.uint16]:
        return np.arange(self.options.hyper_channels, dtype=np.uint16)

    def _quality(self, options: EncodeOptions) -> float | None:
        """q as the file stores it, which is what g_a gets."""
        asked, top = options.quality, self.options.levels - 1
        if top == 0:
            if asked is not None and asked >= 0:
                raise OptionsError("These weights have a single rate.", "Leave --quality out, or give a negative one.")
            return None
        if asked is None:
            return top * USUAL_SHARE
        if not 0 <= asked <= top:
            raise OptionsError(f"Quality {asked:g} is not one of these weights.", f"Choose --quality from 0 to {top}.")
        return round(asked, 3)

    def _realism(self, beta: float) -> float:
        if not self.options.realism:
            raise OptionsError(
                "These weights have no realism to choose.", "Leave --realism out, or give a negative one."
            )
        return beta

    def _settings(self, params: Mapping[str, Any]) -> tuple[float | None, float | None]:
        """q and the stored realism, as a file gives them."""
        q, beta, top = params.get("q"), params.get("b"), self.options.levels - 1
        fits = (q is None) if top == 0 else isinstance(q, int | float) and 0 <= q <= top
        fits = fits and (beta is None or (isinstance(beta, int | float) and 0 <= beta <= MAX_BETA))
        if not fits or set(params) - {"q", "b", "same_machine"} or (beta is not None and not self.options.realism):
            raise ContainerError(
                f"Parameters {str(dict(params))[:100]!r} do not fit these weights.", "The file is damaged."
            )
        return q, beta

    def _knob(self, value: float | None) -> Tensor | None:
        return None if value is None else torch.tensor([float(value)], device=self.device)


def _load_model(options: ModelOptions, tensors: Mapping[str, Array], exact: bool) -> CompressionModel:
    """The float networks: with an integer path only those that do not select probabilities."""
    with torch.device("meta"):  # allocates nothing and draws no random numbers
        model = CompressionModel(options)
        if exact:
            model.hyperdecoder, model.context_model = nn.Identity(), nn.Identity()  # type: ignore[assignment]
    places = model.state_dict()
    for name, wanted in places.items():
        found = tensors.get(name)
        if found is None:
            raise _unfit(f"{MODEL}{name} is missing")
        if found.shape != tuple(wanted.shape) or found.dtype.kind != "f":
            raise _unfit(f"{MODEL}{name} is {found.dtype} {found.shape}, not float {tuple(wanted.shape)}")
    for name in tensors:
        if name not in places:
            raise _unfit(f"{MODEL}{name} has no place in it")
    state = {name: torch.from_numpy(np.array(tensor)).float() for name, tensor in tensors.items()}
    model.load_state_dict(state, assign=True)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval().requires_grad_(False)


def _under(tensors: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _unfit(reason: str) -> WeightsError:
    return WeightsError(
        f"The weights do not fit their architecture: {reason.rstrip('.')[:200]!r}.", "Train or download them again."
    )
