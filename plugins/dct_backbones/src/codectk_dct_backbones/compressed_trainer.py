"""The trainer of ResNet-34 on coefficients, in all variants."""

from codectk.train import Run
from codectk_dct_backbones.train_options import CompressedOptions
from codectk_dct_backbones.training import ClassifierTrainer


class CompressedTrainer(ClassifierTrainer):
    """Trains one variant with one budget; see `ClassifierTrainer`."""

    def __init__(self, options: CompressedOptions, run: Run) -> None:
        if options.variant == "reconstruction" and options.trim_coefficients and not options.budget().whole:
            run.message("reconstruction needs all 64 places: coefficients that are left out are zeros")
        super().__init__(options, run)
