"""The networks of an architecture.

pixels or coefficients ─ backbone ─ features ─ mean ─ head ─ logits
"""

from codectk.errors import OptionsError
from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.networks.classifier import Classifier
from codectk_dct_backbones.networks.layers import kaiming
from codectk_dct_backbones.networks.resnet import WIDTHS, ResNet, scaled


def build(architecture: Architecture) -> Classifier:
    """A classifier with fresh parameters, from torch's random numbers.

    It is called with pixels `[B, 3, H, W]`, normalised, or with coefficients in any form that
    `networks.adapters.as_coefficients` takes, and returns logits `[B, classes]`.
    """
    if architecture.model != "resnet34" or architecture.variant != "rgb":
        raise OptionsError("There is resnet34 for pixels only.", "Choose it.")
    made = Classifier(ResNet(scaled(WIDTHS, architecture.channel_scale)), architecture.classes)
    kaiming(made.modules())
    return made
