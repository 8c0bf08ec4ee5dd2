"""The frappe codec: compiled filters and coders on the way in, torch only on the way out.

encode: picture ─ Analysis ─ int8 latents per scale ─ Payload ─ segments
decode: segments ─ Payload ─ latents ─ decoder, tile by tile ─ picture

Weights of mode progressive have a decoder per number of channels; a segment is by default JPEG-LS of a scale group.
Weights of mode joint have one decoder and tables for an entropy coder; a segment is by default a channel.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from codectk.arrays import Array, ArrayInfo, tiles
from codectk.checkpoint import Checkpoint
from codectk.codec import Codec, Encoded, symbol_check
from codectk.errors import CodectkError, ContainerError, OptionsError, WeightsError
from codectk_frappe.analysis import Analysis, Int8
from codectk_frappe.coder import Coder, cold_tables
from codectk_frappe.options import MAX_STEP, EncodeOptions, ModelOptions
from codectk_frappe.payload import BY_CHANNEL, CODERS, Payload
from codectk_frappe.plugin import READS
from codectk_frappe.strips import strip_count, thread_count

if TYPE_CHECKING:
    from codectk_frappe.model import Decoder


STEPS = (1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.0)
"""Widths of quantiser steps that `evaluate` goes through."""
WIDE = 7.5
"""At wider steps a search leaves the finest scale out: it costs as much as it brings there, and time."""
LADDER = 96
"""Settings that a search by size or quality has between the widest step and 1: each about 3 % of the size apart."""


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
        self.coder = _coder(options, tensors)
        self.decodable = tuple(range(1, len(options.ps) + 1))
        if self.joint:
            self.rate_option, self.rate_points = "step", STEPS
            return
        present = {name.split(".")[1] for name in tensors if name.startswith("merged.")}
        self.decodable = tuple(n for n in self.decodable if str(n) in present)
        self.rate_points = self.decodable

    @property
    def rate_ladder(self) -> tuple[dict[str, Any], ...]:
        """Settings from the smallest to the largest file."""
        if not self.joint:
            return tuple({"channels": n} for n in self.decodable)
        coarse = self.options.groups(len(self.options.ps))[-1].start or len(self.options.ps)
        steps = [round(MAX_STEP ** (1 - i / LADDER), 4) for i in range(LADDER + 1)]
        few = [{"channels": n, "step": MAX_STEP} for n in range(1, coarse)]
        wide = [{"channels": coarse, "step": step} for step in steps if step > WIDE]
        return (*few, *wide, *({"step": step} for step in steps if step <= WIDE))

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
        if not codec.decodable:
            raise _unfit("there is no decoder among them")
        for n in codec.decodable:
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
        if n not in self.decodable:
            points = ", ".join(map(str, self.decodable))
            raise OptionsError(f"These weights do not decode {n} channels.", f"Choose --channels from {points}.")
        if options.step != 1 and not self.joint:
            raise OptionsError("These weights have one width of quantiser steps.", "Leave --step out.")
        params: dict[str, Any] = {} if n == total else {"n": n}
        if options.step != 1:
            params["step"] = options.step
        kind = options.coder or self._usual
        if kind == "own" and options.effort == "fast" and self.coder.mixes:
            kind = "fast"
        if kind != self._usual:
            params["coder"] = kind
        strips = 1
        if kind in BY_CHANNEL:
            strips = strip_count(x.shape[0], x.shape[1], self.options.multiple_of)
        if strips > 1:
            params["strips"] = strips
        payload = Payload(self.options, self.coder, kind, strips, thread_count(options.threads))
        latents, segments, seconds = payload.encode(np.ascontiguousarray(x), n, options.step, self.analysis)
        return Encoded(params, tuple(segments), symbol_check(*latents), seconds)

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any = None) -> Array:
        """The picture (H, W, 3) uint8; see `Codec.decode`.

        Raises:
            ContainerError: the file asks for channels that the weights lack, or its segments are not latents.
            DesyncError: the latents are not those that were encoded.
        """
        height, width, _ = info.shape
        n, step, payload = self._settings(encoded.params, height)
        latents, count = payload.decode(encoded.segments, height, width, n)
        if count not in self.decodable:
            raise ContainerError(
                f"{len(encoded.segments)} segments hold {count} channels, for which these weights have no decoder.",
                "Decode more of its segments.",
            )
        encoded.verify(*latents)
        return self.synthesise(latents, count, step)

    @property
    def _usual(self) -> str:
        """The entropy coder of files that name none."""
        return "own" if self.joint else "jpegls"

    def _settings(self, params: Mapping[str, Any], height: int) -> tuple[int, float, Payload]:
        """Number of channels, step and coder, as a file gives them."""
        n, step = params.get("n", len(self.options.ps)), params.get("step", 1.0)
        kind, strips = params.get("coder", self._usual), params.get("strips", 1)
        known = {"n", "coder", "strips"} | ({"step"} if self.joint else set())
        fits = isinstance(n, int) and n in self.decodable and isinstance(step, int | float) and 1 <= step <= MAX_STEP
        fits = fits and kind in CODERS and isinstance(strips, int) and 1 <= strips <= height // self.options.multiple_of
        if not fits or set(params) - known or (strips > 1 and kind not in BY_CHANNEL):
            raise ContainerError(f"Parameters {dict(params)} do not fit these weights.", "The file is damaged.")
        return n, float(step), Payload(self.options, self.coder, kind, strips, thread_count(0))

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
    prefix = "coder."
    own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    try:
        return Coder(options, own if options.mode == "joint" else cold_tables(options))
    except ValueError as error:
        raise _unfit(str(error)) from None


def _unfit(reason: str) -> WeightsError:
    line = _one_line(reason.rstrip("."))
    return WeightsError(f"The weights do not fit their architecture: {line}.", "Train or download them again.")


def _one_line(text: str) -> str:
    """Readable text, whatever names and values a file brings in."""
    line = "".join(c if c.isprintable() else "?" for c in text)
    return line if len(line) <= 120 else f"{line[:117]}..."
