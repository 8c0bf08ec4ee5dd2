"""Settings of encoding and decoding."""

import re
from typing import Literal, Self

from pydantic import field_validator, model_validator

from codectk.options import IntList, Options, option
from codectk_caesar_freq.bounds import OPTIONS as BOUNDS

DEFAULT_BOUND = ("rel_error", 1e-3)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class _Resources(Options):
    """What encoding and decoding may use; results do not depend on it but for the sides of chunks."""

    threads: int = option(2, ge=1, le=64, help="Threads to work with.")
    memory: str = option("2GB", help="Memory to keep to, such as 500MB; larger arrays are held in a temporary file.")

    @field_validator("memory")
    @classmethod
    def _is_a_size(cls, text: str) -> str:
        if not _SIZE.fullmatch(text.strip()):
            raise ValueError("give a size such as 500MB or 2GB")
        return text

    @property
    def memory_bytes(self) -> int:
        """The memory in bytes."""
        number, unit = _SIZE.fullmatch(self.memory.strip()).groups()  # type: ignore[union-attr]
        return int(float(number) * _UNITS[unit.upper()])


class EncodeOptions(_Resources):
    """How a field is encoded. At most one bound; without any, --rel-error 1e-3."""

    abs_error: float | None = option(None, gt=0, help="Every value within this of the original, in its unit.")
    rel_error: float | None = option(None, gt=0, le=1, help="Every value within this part of its variable's range.")
    pointwise_rel: float | None = option(None, gt=0, lt=1, help="Every value within this part of itself.")
    nrmse: float | None = option(None, gt=0, le=1, help="Root mean square error of each variable over its range.")
    psnr: float | None = option(None, gt=0, le=400, unit="dB", help="PSNR of each variable, against its range.")
    eb: float | None = option(
        None,
        gt=0,
        le=1,
        help="CAESAR's bound: root mean square error of every 8×8 patch over the range of all variables.",
    )
    mode: Literal["transform", "learned", "diffusion", "single_step"] = option(
        "transform",
        help="Transform needs no weights. Learned: over what the variable usually looks like. Diffusion, single-step: "
        "frames between keyframes are predicted by networks where that takes fewer bytes.",
    )
    n_frame: int = option(16, ge=2, le=255, unit="frames", help="Length of a window between keyframes.")
    interpo_rate: int = option(3, ge=1, le=254, unit="frames", help="From one keyframe to the next.")
    predict: Literal["auto", "skip", "linear", "student", "teacher", "latents"] = option(
        "auto",
        help="How frames between keyframes are predicted: auto takes the cheapest for each window, or none. Latents: "
        "in mode learned, over what the frequency compressor gives, whatever it costs.",
    )
    wavelet: Literal["auto", "fitted", "haar", "cdf97", "none"] = option(
        "auto", help="Fitted: filters fitted to each chunk. Auto: what gives the smallest file for the bound."
    )
    wavelet_levels: int = option(3, ge=1, le=8, help="Levels of --wavelet haar and cdf97.")
    dct_block_size: int = option(
        0, ge=0, le=64, unit="values", help="Cosine blocks, of the low band if there is a wavelet; 0: none."
    )
    temporal: bool = option(True, help="Transform along time too.")
    chunk: IntList = option(
        (),
        help="Longest time, height and width of a chunk; chunks are coded and opened one by one. Chosen if not given.",
    )
    mask: str | None = option(
        None,
        help="File of an array that is 0 where values are missing and must come back exactly: FILE.npy, FILE.npz:KEY.",
    )

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        given = [name for name in BOUNDS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one bound, not {' and '.join(given)}")
        if self.chunk and (len(self.chunk) != 3 or min(self.chunk) < 1):
            raise ValueError("a chunk has three sides of 1 or more")
        if (self.n_frame - 1) % self.interpo_rate:
            raise ValueError(
                f"n_frame must be k · interpo_rate + 1, so that windows end on a keyframe: {self.n_frame} is not"
            )
        return self

    @property
    def bound(self) -> tuple[str, float]:
        """The option that bounds the error, and its value."""
        given = [(name, getattr(self, name)) for name in BOUNDS if getattr(self, name) is not None]
        return given[0] if given else DEFAULT_BOUND


class DecodeOptions(_Resources):
    """How a file is opened."""
