"""The networks of an architecture.

pixels or coefficients ─ backbone ─ features ─ mean ─ head ─ logits
"""

from collections.abc import Iterable
from typing import cast

from torch import nn

from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.networks import adapters
from codectk_dct_backbones.networks.classifier import Classifier
from codectk_dct_backbones.networks.cspdarknet import CSPDarknet
from codectk_dct_backbones.networks.efficientvit import EfficientViT
from codectk_dct_backbones.networks.full_grid import FullGrid
from codectk_dct_backbones.networks.layers import kaiming
from codectk_dct_backbones.networks.resnet import WIDTHS, ResNet, scaled


def build(architecture: Architecture) -> Classifier:
    """A classifier with fresh parameters, from torch's random numbers.

    It is called with pixels `[B, 3, H, W]`, normalised, or with coefficients in any form that
    `networks.inputs.as_coefficients` takes, and returns logits `[B, classes]`. Coefficients are normalised by
    statistics for all variants but reconstruction.
    """
    classifier = Classifier(_backbone(architecture), architecture.classes)
    if architecture.model == "resnet34":
        kaiming(_drawn(classifier, architecture))
        if architecture.compat == "none":
            _calm(classifier.head)
            if isinstance(classifier.backbone, adapters.Adapter):
                classifier.backbone.favour_low()
    if isinstance(classifier.backbone, adapters.Reconstruction):
        classifier.backbone.start_without()
    return classifier


def _calm(head: nn.Linear) -> None:
    """Draw a head by its inputs if it has less outputs: by these, logits of few classes would begin at tens."""
    if head.out_features < head.in_features:
        nn.init.kaiming_normal_(head.weight, mode="fan_in", nonlinearity="relu")


def _drawn(classifier: Classifier, a: Architecture) -> Iterable[nn.Module]:
    """The modules that Kaiming's rule is for: all, but the public code leaves what it adds to torch's rule."""
    if a.compat == "none" or a.variant == "rgb":
        return classifier.modules()
    if a.variant == "luma-fusion-pruned":
        return ()
    return (*cast(nn.Module, classifier.backbone.backbone).modules(), classifier.head)


def _backbone(a: Architecture) -> nn.Module:
    original = a.compat == "original"
    if a.variant in ("rgb", "reconstruction"):
        network = _rgb(a)
        if a.variant == "rgb":
            return network
        kind = adapters.OriginalReconstruction if original else adapters.Reconstruction
        return kind(network, a.budget, a.range_mode)
    widths = scaled(WIDTHS, a.channel_scale)
    if a.variant == "full-grid":
        return FullGrid(ResNet(widths, stem=False, first=1), a.budget)
    resnet = ResNet(widths, stem=original)
    if a.variant == "block-stem":
        return adapters.BlockStem(resnet, a.budget)
    if a.variant == "luma-fusion":
        return adapters.luma_fusion(resnet, a.budget, not original)
    return adapters.luma_fusion_pruned(widths, a.budget, not original)


def _rgb(a: Architecture) -> nn.Module:
    if a.model == "cspdarknet53":
        return CSPDarknet(a.channel_scale)
    if a.model == "efficientvit_m4":
        return EfficientViT(a.image_size, a.channel_scale)
    return ResNet(scaled(WIDTHS, a.channel_scale))
