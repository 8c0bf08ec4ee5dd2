"""Options of the codec `dct`."""

from typing import Literal, Self

from pydantic import model_validator

from codectk.errors import OptionsError
from codectk.options import Options, option
from codectk_dct_backbones.budget import Budget, resolve

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]


class EncodeOptions(Options):
    """How many coefficients are kept, and how pictures become coefficients that are not yet some."""

    quality: int | None = option(
        None,
        ge=1,
        le=100,
        help="Steps of the quantiser, as in other JPEG encoders. JPEG files keep theirs if not given; others have 90.",
    )
    subsampling: Subsampling = option("4:2:0", help="Size of Cb and Cr, of pictures that are not JPEG files.")
    coeff_window: int | None = option(None, ge=1, le=8, help="Keep the first window² coefficients of every block.")
    coeff_window_luma: int | None = option(None, ge=1, le=8, help="The same for Y.")
    coeff_window_chroma: int | None = option(None, ge=1, le=8, help="The same for Cb and Cr.")
    coeff_window_cb: int | None = option(None, ge=1, le=8, help="The same for Cb.")
    coeff_window_cr: int | None = option(None, ge=1, le=8, help="The same for Cr.")
    coeff_count: int | None = option(None, ge=0, le=64, help="Keep the first coefficients, so many; all if not given.")
    coeff_count_luma: int | None = option(None, ge=0, le=64, help="The same for Y.")
    coeff_count_chroma: int | None = option(None, ge=0, le=64, help="The same for Cb and Cr; those of Y if not given.")
    coeff_count_cb: int | None = option(None, ge=0, le=64, help="The same for Cb.")
    coeff_count_cr: int | None = option(None, ge=0, le=64, help="The same for Cr.")

    @property
    def budget(self) -> Budget:
        """How many coefficients of each plane are kept.

        Raises:
            OptionsError: see `codectk_dct_backbones.budget.resolve`.
        """
        return resolve(**{name: getattr(self, name) for name in type(self).model_fields if name.startswith("coeff_")})

    @model_validator(mode="after")
    def _something_is_kept(self) -> Self:
        try:
            _ = self.budget
        except OptionsError as error:
            raise ValueError(error.problem.rstrip(".")) from None
        return self
