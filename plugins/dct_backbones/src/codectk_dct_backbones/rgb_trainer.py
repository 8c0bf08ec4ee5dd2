"""The trainer of RGB backbones by the presets of their models, which also trains them on coefficients."""

from codectk.train import Run
from codectk_dct_backbones.train_options import RgbOptions
from codectk_dct_backbones.training import ClassifierTrainer


class RgbTrainer(ClassifierTrainer):
    """Trains ResNet-34-d, CSPDarknet-53 or EfficientViT-M4; see `ClassifierTrainer`."""

    def __init__(self, options: RgbOptions, run: Run) -> None:
        super().__init__(options, run)
