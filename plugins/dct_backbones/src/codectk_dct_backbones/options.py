"""Options of the codec `dct`."""

from typing import Literal, Self

from pydantic import model_validator

from codectk.errors import OptionsError
from codectk.options import option
from codectk_dct_backbones.coefficient_options import CoefficientOptions

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]


class EncodeOptions(CoefficientOptions):
    """How many coefficients are kept, and how pictures become coefficients that are not yet some."""

    quality: int | None = option(
        None,
        ge=1,
        le=100,
        help="Steps of the quantiser, as in other JPEG encoders. JPEG files keep theirs if not given; others have 90.",
    )
    subsampling: Subsampling = option("4:2:0", help="Size of Cb and Cr, of pictures that are not JPEG files.")
    metadata: bool = option(
        True, help="Keep what JPEG files hold besides the picture: EXIF, XMP, colour profile, density, comments."
    )

    @model_validator(mode="after")
    def _something_is_kept(self) -> Self:
        try:
            self.budget()
        except OptionsError as error:
            raise ValueError(error.problem.rstrip(".")) from None
        return self
