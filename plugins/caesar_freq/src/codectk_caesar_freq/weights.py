"""What weights bring to the codec; each part is made ready when it is first used."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from codectk.checkpoint import Checkpoint
from codectk.errors import OptionsError, WeightsError
from codectk_caesar_freq.architecture import DIFFUSION, STUDENT, TENSORS, parts_of
from codectk_caesar_freq.background import Backgrounds
from codectk_caesar_freq.contexts import Contexts

if TYPE_CHECKING:
    from codectk_caesar_freq.learned.latents_coder import LatentCoder
    from codectk_caesar_freq.learned.predictor import Predictor


class Learned:
    """The parts of a weights file.

    Args:
        checkpoint: the weights.

    Raises:
        WeightsError: they are of another codec, or damaged.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        if checkpoint.config.get(TENSORS, len(checkpoint.tensors)) != len(checkpoint.tensors):
            raise WeightsError(f"The weights lack tensors: {len(checkpoint.tensors)} are there.", "Copy them again.")
        self._checkpoint = checkpoint
        self.parts: dict[str, Any] = parts_of(checkpoint)

    @cached_property
    def backgrounds(self) -> Backgrounds:
        """Means and components of variables."""
        return Backgrounds.load(self._checkpoint)

    @cached_property
    def contexts(self) -> Contexts | None:
        """The context network of the fitted wavelet."""
        return Contexts.load(self._checkpoint)

    @cached_property
    def latents(self) -> "LatentCoder":
        """The frequency compressor."""
        from codectk_caesar_freq.learned.latents_coder import LatentCoder

        return LatentCoder.load(self._checkpoint)

    @cached_property
    def predictor(self) -> "Predictor":
        """Networks for the frames between keyframes."""
        from codectk_caesar_freq.learned.predictor import Predictor

        return Predictor.load(self._checkpoint)

    def require(self, part: str) -> None:
        """See that a part is there.

        Raises:
            WeightsError: it is not.
        """
        if part not in self.parts:
            there = ", ".join(self.parts) or "none"
            raise WeightsError(
                f"The weights have no part {part} (parts: {there}).", "Train it, or choose another --mode."
            )


NEEDED = {"diffusion": DIFFUSION, "single_step": STUDENT}
"""Mode → the part of the weights that it cannot do without."""


def check_mode(mode: str, learned: Learned | None) -> None:
    """See that a mode has the weights that it needs.

    Raises:
        OptionsError: there are no weights at all.
        WeightsError: a part is missing.
    """
    if mode == "transform":
        return
    if learned is None:
        raise OptionsError(f"Mode {mode} needs weights.", "Give some with -w, or choose --mode transform.")
    if mode in NEEDED:
        learned.require(NEEDED[mode])
