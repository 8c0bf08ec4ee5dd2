"""The ten options that say which coefficients are kept: of trainers, of the codec, and of the tools."""

from codectk.options import Options, option
from codectk_dct_backbones.budget import Budget, resolve


class CoefficientOptions(Options):
    """Windows and counts; see `budget.resolve` for which of them wins."""

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

    def budget(self) -> Budget:
        """Which coefficients are kept.

        Raises:
            OptionsError: none is.
        """
        return resolve(**{name: getattr(self, name) for name in CoefficientOptions.model_fields})
