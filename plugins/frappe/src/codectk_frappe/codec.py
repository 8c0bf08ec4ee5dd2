"""The frappe codec: compiled filters and coders on the way in, torch only on the way out.

encode: picture ─ Analysis ─ int8 latents per scale ─ coder ─ segments
decode: segments ─ coder ─ latents ─ decoder, tile by tile ─ picture

Weights of mode progressive have a decoder per number of channels; a segment is JPEG-LS of a scale group (bitstream.py).
Weights of mode joint have one decoder and tables for an entropy coder; a segment is a channel (coder.py).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from codectk.arrays import Array, ArrayInfo, tiles
from codectk.checkpoint import Checkpoint
from codectk.codec import Codec, Encoded, symbol_check
from codectk.errors import CodectkError, ContainerError, OptionsError, WeightsError
from codectk_frappe import bitstream
from codectk_frappe.analysis import Analysis, Int8
from codectk_frappe.coder import Coder, planes_of
from codectk_frappe.options import EncodeOptions, ModelOptions
from codectk_frappe.plugin import READS

if TYPE_CHECKING:
    from codectk_frappe.model import Decoder


class FrappeCodec(Codec):
    """Image codec with one linear filter per channel; the number of channels sets size and quality.

    Args:
        options: the architecture.
        tensors: `encoders.{s}.…`; of mode progressive also, for each number n of channels that can be decoded,
            `merged.{n}.decoder.…`; of mode joint `decoder.…` and `coder.…`.
        device: where the decoder runs.

    Raises:
        WeightsError: filters are missing or do not fit the architecture.
    """

    def __init__(self, options: ModelOptions, tensors: Mapping[str, Array], device: str = "cpu") -> None:
        self.options = options
        self.tensors = tensors
        self.device = device
        self.multiple_of = options.multiple_of
        self.min_size = options.smallest_side
        try:
            self.analysis = Analysis(tensors, options)
        except ValueError as error:
            raise _unfit(str(error)) from None
        self.joint = options.mode == "joint"
        if self.joint:
            self.rate_points: tuple[int, ...] = tuple(range(1, len(options.ps) + 1))
            self.coder = _coder(options, tensors)
            return
        present = {name.split(".")[1] for name in tensors if name.startswith("merged.")}
        self.rate_points = tuple(n for n in range(1, len(options.ps) + 1) if str(n) in present)

    @classmethod
    def load(cls, checkpoint: Checkpoint | None, device: str) -> Self:
        """Make the codec from weights, all of which are checked, without torch; see `Codec.load`.

        Raises:
            WeightsError: the weights do not fit their own description, or are of another bitstream version.
        """
        if checkpoint is None:
            raise WeightsError("frappe needs weights.", "Give them with -w.")
        if checkpoint.bitstream_version not in READS:
            known = ", ".join(map(str, READS))
            raise WeightsError(
                _one_line(f"This codectk-frappe reads bitstream version {known}, not {checkpoint.bitstream_version}."),
                "Update codectk-frappe.",
            )
        try:
            options = ModelOptions.parse(checkpoint.config, "the weights")
        except CodectkError as error:
            raise _unfit(error.problem) from None
        codec = cls(options, checkpoint.tensors, device)
        if codec.joint:
            codec._checked("decoder.", options.shared_shapes())
            return codec
        if not codec.rate_points:
            raise _unfit("there is no decoder among them")
        for n in codec.rate_points:
            codec._decoder_tensors(n)
        return codec

    def encode(self, x: Array, info: ArrayInfo, options: EncodeOptions) -> Encoded:
        """Code a picture (H, W, 3) uint8; see `Codec.encode`.

        Raises:
            OptionsError: there are no such channels in these weights.
            InputError: the picture is too large.
        """
        total = len(self.options.ps)
        n = options.channels or total
        if n not in self.rate_points:
            points = ", ".join(map(str, self.rate_points))
            raise OptionsError(f"These weights do not decode {n} channels.", f"Choose --channels from {points}.")
        if options.step != 1 and not self.joint:
            raise OptionsError("These weights have one width of quantiser steps.", "Leave --step out.")
        latents = self.analysis.latents(x, n, options.step)
        params: dict[str, Any] = {} if n == total else {"n": n}
        if options.step != 1:
            params["step"] = options.step
        if self.joint:
            segments = tuple(self.coder.encode(planes_of(latents)))
        else:
            segments = tuple(bitstream.pack(latent) for latent in latents)
        return Encoded(params, segments, symbol_check(*latents))

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any = None) -> Array:
        """The picture (H, W, 3) uint8; see `Codec.decode`.

        Raises:
            ContainerError: the file asks for channels that the weights lack, or its segments are not latents.
            DesyncError: the latents are not those that were encoded.
        """
        n, step = self._settings(encoded.params)
        height, width, _ = info.shape
        count = len(encoded.segments)
        if self.joint:
            if not 1 <= count <= n:
                raise _wrong_count(count, n, n)
            planes = self.coder.decode(encoded.segments, height, width)
            latents = [np.stack(planes[g.start : g.end]) for g in self.options.groups(count)]
            encoded.verify(*latents)
            return self.synthesise(latents, count, step)
        groups = self.options.groups(n)
        if not 1 <= count <= len(groups) or groups[count - 1].end not in self.rate_points:
            raise _wrong_count(count, n, len(groups))
        latents = [
            bitstream.unpack(segment, g.count, height // g.ps, width // g.ps)
            for segment, g in zip(encoded.segments, groups, strict=False)
        ]
        encoded.verify(*latents)
        return self.synthesise(latents, groups[count - 1].end)

    def _settings(self, params: Mapping[str, Any]) -> tuple[int, float]:
        """Number of channels and step, as a file gives them."""
        n, step = params.get("n", len(self.options.ps)), params.get("step", 1.0)
        known = {"n", "step"} if self.joint else {"n"}
        fits = isinstance(n, int) and n in self.rate_points and isinstance(step, int | float) and 1 <= step <= 64
        if not fits or set(params) - known:
            raise ContainerError(f"Parameters {dict(params)} do not fit these weights.", "The file is damaged.")
        return n, float(step)

    def synthesise(self, latents: list[Int8], n: int, step: float = 1.0) -> Array:
        """Run the decoder of `n` channels.

        Args:
            latents: int8 (n_s, H/p, W/p) per scale group of the first `n` channels.
            step: width of the quantiser's steps, for weights of mode joint.

        Returns:
            Picture (H, W, 3) uint8.
        """
        import torch

        from codectk.device import pick_device
        from codectk_frappe.model import to_grid, to_pixels
        from codectk_frappe.tiling import tiling

        device = pick_device(self.device)
        if self.joint:
            from codectk_frappe.shared import synthesise

            return synthesise(self.options, self.tensors, latents, n, step, device)
        decoder = self._decoder(n).to(device)
        pitch = self.options.pitch
        tensors = [torch.from_numpy(latent).unsqueeze(0).float() for latent in latents]
        grid = to_grid(tensors, self.options.groups(n), pitch)
        out = np.empty((grid.shape[2] * pitch, grid.shape[3] * pitch, self.options.input_channels), np.uint8)
        size, margin = tiling(self.options, max(grid.shape[2:]))
        with torch.inference_mode():
            for tile in tiles(grid.shape[2], grid.shape[3], size, margin):
                part = decoder(grid[:, :, slice(*tile.read_rows), slice(*tile.read_columns)].to(device))
                pixels = to_pixels(part)
                rows, columns = (slice(pitch * a, pitch * b) for a, b in (tile.rows, tile.columns))
                top = pitch * (tile.rows[0] - tile.read_rows[0])
                left = pitch * (tile.columns[0] - tile.read_columns[0])
                target = out[rows, columns]
                target[...] = pixels[top : top + target.shape[0], left : left + target.shape[1]]
        return out

    def _decoder(self, n: int) -> "Decoder":
        import torch

        from codectk_frappe.model import merged_decoder

        state = {name: torch.from_numpy(tensor).float() for name, tensor in self._decoder_tensors(n).items()}
        with torch.device("meta"):  # allocates nothing and draws no random numbers
            decoder = merged_decoder(self.options, n)
        decoder.load_state_dict(state, assign=True)
        return decoder.eval()

    def _decoder_tensors(self, n: int) -> dict[str, Array]:
        """The parameters of the decoder of `n` channels.

        Raises:
            WeightsError: one is missing, too many, of another shape, or not of floats.
        """
        return self._checked(f"merged.{n}.decoder.", self.options.decoder_shapes(n))

    def _checked(self, prefix: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        found = {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}
        for name, shape in shapes.items():
            if name not in found:
                raise _unfit(f"{prefix}{name} is missing")
            tensor = found[name]
            if tensor.shape != shape or tensor.dtype.kind != "f":
                raise _unfit(f"{prefix}{name} is {tensor.dtype} {tensor.shape}, not float {shape}")
        for name in found:
            if name not in shapes:
                raise _unfit(f"{prefix}{name} has no place in it")
        return found


def _coder(options: ModelOptions, tensors: Mapping[str, Array]) -> Coder:
    names = ("coder.models", "coder.sources", "coder.tables")
    missing = [name for name in names if name not in tensors]
    if missing:
        raise _unfit(f"{missing[0]} is missing")
    try:
        return Coder(options, *(tensors[name] for name in names))
    except ValueError as error:
        raise _unfit(str(error)) from None


def _wrong_count(count: int, n: int, expected: int) -> ContainerError:
    return ContainerError(f"There are {count} segments where {n} channels have {expected}.", "The file is damaged.")


def _unfit(reason: str) -> WeightsError:
    line = _one_line(reason.rstrip("."))
    return WeightsError(f"The weights do not fit their architecture: {line}.", "Train or download them again.")


def _one_line(text: str) -> str:
    """Readable text, whatever names and values a file brings in."""
    line = "".join(c if c.isprintable() else "?" for c in text)
    return line if len(line) <= 120 else f"{line[:117]}..."
