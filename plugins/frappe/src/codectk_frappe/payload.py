"""Latents as segments and back, by one of several coders.

own, fast        a segment per channel, coded in strips (coder.py, strips.py); `fast` mixes nothing
jpegls, hybrid   a segment per scale group, as the published method has it (bitstream.py)
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codectk.arrays import Array
from codectk.errors import ContainerError
from codectk_frappe import bitstream
from codectk_frappe.analysis import Analysis, Int8
from codectk_frappe.coder import Coder
from codectk_frappe.options import ModelOptions
from codectk_frappe.strips import join, on_threads, split, strip_rows

BY_CHANNEL = ("own", "fast")
CODERS = (*BY_CHANNEL, "jpegls", "hybrid")


@dataclass(frozen=True)
class Payload:
    """How the latents of a picture become segments.

    Attributes:
        options: the architecture.
        coder: with the weights' tables.
        kind: one of CODERS.
        strips: number of strips; 1 for the coders of scale groups.
        threads: how many work at once.
    """

    options: ModelOptions
    coder: Coder
    kind: str
    strips: int
    threads: int

    def encode(
        self, x: Array, n: int, step: float, analysis: Analysis
    ) -> tuple[list[Int8], list[bytes], dict[str, float]]:
        """Latents of a picture, their segments, and the seconds of the two stages.

        Args:
            x: picture (H, W, 3) uint8, contiguous.
            n: number of channels.
            step: width of the quantiser's steps.
            analysis: the filters.
        """
        height, width, _ = x.shape
        latents = analysis.room(height, width, n)
        rows = strip_rows(height, self.options.multiple_of, self.strips)

        def work(top: int, bottom: int) -> tuple[list[bytes], float, float]:
            start = time.perf_counter()
            analysis.fill(latents, x, top, bottom, step)
            middle = time.perf_counter()
            parts = self.coder.encode(self._planes(latents, top, bottom), self.kind == "fast") if self._own else []
            return parts, middle - start, time.perf_counter() - middle

        by_strip, filtering, coding = zip(*on_threads(work, rows, self.threads), strict=True)
        workers = max(1, min(self.threads, len(rows)))
        seconds = {"analysis_seconds": sum(filtering) / workers, "entropy_coding_seconds": sum(coding) / workers}
        if self._own:
            return latents, [join(parts) for parts in zip(*by_strip, strict=True)], seconds
        start = time.perf_counter()
        segments = [bitstream.pack(latent, self.kind == "hybrid") for latent in latents]
        seconds["entropy_coding_seconds"] += time.perf_counter() - start
        return latents, segments, seconds

    def decode(self, segments: Sequence[bytes], height: int, width: int, n: int) -> tuple[list[Int8], int]:
        """Latents of the channels that the segments hold, and how many these are.

        Args:
            segments: those of a file of `n` channels, or the first of them.
            height, width: of the picture in pixels, multiples of what the model divides.
            n: number of channels of the whole file.

        Raises:
            ContainerError: the segments are not such latents.
        """
        groups, count = self.options.groups(n), len(segments)
        most = n if self._own else len(groups)
        if not 1 <= count <= most:
            raise ContainerError(f"There are {count} segments where {n} channels have {most}.", "The file is damaged.")
        if not self._own:
            latents = [
                bitstream.unpack(segment, g.count, height // g.ps, width // g.ps, self.kind == "hybrid")
                for segment, g in zip(segments, groups, strict=False)
            ]
            return latents, groups[count - 1].end
        # First, because it refuses a number of strips for which there are no bytes: what follows takes memory for them.
        by_strip = list(zip(*(split(segment, self.strips) for segment in segments), strict=True))
        latents = [np.empty((g.count, height // g.ps, width // g.ps), np.int8) for g in self.options.groups(count)]
        rows = strip_rows(height, self.options.multiple_of, self.strips)
        parts = dict(zip(rows, by_strip, strict=True))

        def work(top: int, bottom: int) -> None:
            planes = self.coder.decode(parts[top, bottom], bottom - top, width, self.kind == "fast")
            for target, plane in zip(self._planes(latents, top, bottom), planes, strict=True):
                target[...] = plane

        on_threads(work, rows, self.threads)
        return latents, count

    @property
    def _own(self) -> bool:
        return self.kind in BY_CHANNEL

    def _planes(self, latents: Sequence[Int8], top: int, bottom: int) -> list[Int8]:
        """One view per channel of what belongs to some pixel rows."""
        sizes = self.options.ps
        planes = [plane for latent in latents for plane in latent]
        return [plane[top // ps : bottom // ps] for plane, ps in zip(planes, sizes, strict=False)]
