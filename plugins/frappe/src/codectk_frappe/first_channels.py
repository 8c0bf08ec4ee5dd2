"""Going on from the first channels of weights that were trained before."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codectk.checkpoint import Checkpoint
from codectk.errors import OptionsError, WeightsError
from codectk_frappe.codec import FrappeCodec
from codectk_frappe.model import Encoders
from codectk_frappe.options import ModelOptions, TrainOptions

MUST_AGREE = (
    *("decoder_ps", "ps", "encoder_arch", "input_channels", "decoder_dim", "decoder_kernel_size", "decoder_arch"),
    *("decoder_mlp_ratio", "decoder_layerscale", "linear_input"),
)
"""Options that a new run has in common with the weights it goes on from; of `ps` the channels that are kept."""


class FirstChannels:
    """Filters, decoders and validation results of the first channels of a weights file.

    Args:
        options: of the new run, with `resume_checkpoint` and `resume_channels`.

    Raises:
        InputError, WeightsError: the file cannot be used.
        OptionsError: it has too few channels, or another architecture than the new run.
    """

    def __init__(self, options: TrainOptions) -> None:
        self.path, self.count = str(options.resume_checkpoint), options.resume_channels or 0
        self.checkpoint = Checkpoint.open(Path(self.path))
        if self.checkpoint.codec != "frappe":
            raise WeightsError(f"{self.path} holds weights of {self.checkpoint.codec}.", "Name weights of frappe.")
        codec = FrappeCodec.load(self.checkpoint, "cpu")
        self.options = codec.options
        if codec.joint:
            raise OptionsError(
                f"{self.path} has one decoder for all channels (mode joint).",
                "Only weights of mode progressive can be gone on with channel by channel.",
            )
        trained = next(n for n in range(len(self.options.ps) + 1) if n + 1 not in codec.rate_points)
        if self.count > trained:
            raise OptionsError(
                f"{self.path} holds {trained} trained channels, so {self.count} cannot be kept of it.",
                f"Choose --resume-channels from 1 to {trained}." if trained else "Name other weights.",
            )
        self._compare(options)
        self.encoders = Encoders(self.options)
        try:
            self.encoders.load_state_dict(self._tensors("encoders."))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(f"The filters in {self.path} do not fit: {reason}.", "Name other weights.") from None

    def fill(self, encoders: Encoders) -> None:
        """Copy the filters, bit for bit."""
        for channel in range(self.count):
            (mine, place), (theirs, there) = encoders.locate(channel), self.encoders.locate(channel)
            with torch.no_grad():
                for to, value in zip(mine.parameters(), theirs.parameters(), strict=True):
                    to[place].copy_(value[there])

    def decoder(self, n: int) -> dict[str, Tensor]:
        """The parameters of the decoder of `n` channels."""
        return self._tensors(f"merged.{n}.decoder.")

    def history(self) -> list[dict[str, Any]] | None:
        """Validation results of the first channels, as `History.points`; None if the weights lack some."""
        points = self.checkpoint.training.get("validation")
        if not isinstance(points, list) or len(points) < self.count:
            return None
        kept = points[: self.count]
        fit = all(isinstance(p, dict) and _is_point(p, n) for n, p in enumerate(kept, start=1))
        return [{name: p[name] for name in ("channels", "bpp", "psnr")} for p in kept] if fit else None

    def validated_on(self) -> str:
        """Fingerprint of the pictures that the results rest on; empty if it is not known."""
        return str(self.checkpoint.training.get("data", "")).rpartition(" ")[2]

    def _tensors(self, prefix: str) -> dict[str, Tensor]:
        found = {k.removeprefix(prefix): v for k, v in self.checkpoint.tensors.items() if k.startswith(prefix)}
        return {name: torch.from_numpy(tensor.copy()) for name, tensor in found.items()}

    def _compare(self, new: ModelOptions) -> None:
        for name in MUST_AGREE:
            mine, theirs = self._value(new, name), self._value(self.options, name)
            if mine != theirs:
                which = f"the first {self.count} of ps" if name == "ps" else name
                raise OptionsError(
                    f"{self.path} goes with another architecture: {which} is {_shown(theirs)} there, but "
                    f"{_shown(mine)} here.",
                    f"Give --{name.replace('_', '-')} {_shown(theirs)}{' …' if name == 'ps' else ''}, or start anew.",
                )

    def _value(self, options: ModelOptions, name: str) -> Any:
        special = {"decoder_ps": options.pitch, "ps": options.ps[: self.count]}
        special["decoder_arch"] = options.decoder_arch.upper()
        return special.get(name, getattr(options, name))


def ending_with(options: ModelOptions, n: int) -> ModelOptions:
    """The architecture of the first `n` channels alone, on the same grid."""
    if n == len(options.ps):
        return options
    return ModelOptions.parse({**options.model_dump(), "ps": options.ps[:n], "decoder_ps": options.pitch})


def _is_point(point: Mapping[str, Any], n: int) -> bool:
    """Whether this is the validation result of `n` channels."""
    bpp, psnr = point.get("bpp"), point.get("psnr", "")
    size = isinstance(bpp, float) and 0 < bpp < math.inf
    quality = psnr is None or (isinstance(psnr, float) and math.isfinite(psnr))
    return size and quality and point.get("channels") == n


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
