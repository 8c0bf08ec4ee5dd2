"""Adapters take coefficients in all forms in which loaders hand them over, and refuse everything else."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from codectk.errors import InputError
from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.budget import ZIGZAG, Budget
from codectk_dct_backbones.model import build
from codectk_dct_backbones.networks.classifier import Classifier
from codectk_dct_backbones.networks.inputs import as_coefficients, select
from codectk_dct_backbones.pipeline import Coefficients, trimmed, untrimmed

from .blocks import random_blocks

FORMS: dict[str, Callable[[Tensor, Tensor, Tensor], Any]] = {
    "coefficients": Coefficients,
    "three": lambda y, cb, cr: (y, cb, cr),
    "nested tuples": lambda y, cb, cr: (y, (cb, cr)),
    "nested lists": lambda y, cb, cr: [y, [cb, cr]],
    "stacked second": lambda y, cb, cr: (y, torch.stack((cb, cr), 1)),
    "stacked first": lambda y, cb, cr: [y, torch.stack((cb, cr))],
    "with pictures": lambda y, cb, cr: ((y, (cb, cr)), torch.zeros(3, 3, 64, 64)),
    "stacked with pictures": lambda y, cb, cr: ((y, torch.stack((cb, cr), 1)), torch.zeros(3, 3, 64, 64)),
    "three with pictures": lambda y, cb, cr: (Coefficients(y, cb, cr), torch.zeros(3, 3, 64, 64)),
    "doubles": lambda y, cb, cr: (y.double(), (cb, cr)),
}


def same(a: Coefficients, b: Coefficients) -> bool:
    return all(torch.equal(x, z) and x.dtype == z.dtype for x, z in zip(a, b, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_coefficients(form: str) -> None:
    blocks = random_blocks(3, 64, Budget(5, 4, 4))
    assert same(as_coefficients(FORMS[form](*blocks)), blocks)


@pytest.mark.parametrize("form", ["coefficients", "nested tuples", "stacked first"])
def test_one_picture_without_a_batch_is_a_batch_of_one(form: str) -> None:
    blocks = random_blocks(1, 64, Budget(5, 4, 4))
    assert same(as_coefficients(FORMS[form](*(x[0] for x in blocks))), blocks)


def test_two_pictures_with_stacked_chroma_are_two_pictures() -> None:
    blocks = random_blocks(2, 64, Budget(5, 4, 4))
    assert same(as_coefficients((blocks.y, torch.stack(blocks[1:], 1))), blocks)


Y, C = torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 4, 4)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (torch.zeros(2, 3, 64, 64), r"got one tensor \[2, 3, 64, 64\], as of pixels"),
        (None, "got another NoneType"),
        ("pixels", "got another str"),
        ((), "got another tuple"),
        ((Y,), "got another tuple"),
        ((Y, (C,)), "got another tuple"),
        ((Y, C), "got another tuple"),
        ((Y, (C, None)), "got another tuple"),
        ((Y, torch.zeros(2, 3, 4, 4, 4)), "do not fit together"),
        ((Y, torch.zeros(3, 2, 4, 4, 4)), "got another tuple"),
        ((Y, (Y, Y)), "do not fit together"),
        ((Y, (C, C[:1])), "do not fit together"),
        ((Y[0, 0], C[0, 0], C[0, 0]), "have shapes"),
    ],
)
def test_other_things_are_refused(payload: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        as_coefficients(payload)
    assert "(y, (cb, cr))" in caught.value.next_step


def small(**values: Any) -> Classifier:
    torch.manual_seed(1)
    return build(Architecture.parse({"classes": 3, "channel_scale": 0.125, "image_size": 64, **values})).eval()


VARIANTS = ("reconstruction", "block-stem", "luma-fusion", "luma-fusion-pruned", "full-grid")


@pytest.mark.parametrize("variant", VARIANTS)
def test_pixels_are_refused_by_networks_for_coefficients(variant: str) -> None:
    with pytest.raises(InputError, match="reads coefficients, but got one tensor"):
        small(variant=variant)(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("model", ["resnet34", "cspdarknet53", "efficientvit_m4"])
def test_coefficients_are_refused_by_networks_for_pixels(model: str) -> None:
    network = small(model=model)
    with pytest.raises(InputError, match="takes pixels, not coefficients"):
        network(random_blocks(1, 64, Budget()))
    with pytest.raises(InputError, match=r"got a tensor \[1, 64, 8, 8\]"):
        network(torch.zeros(1, 64, 8, 8))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("budget", [Budget(16, 9, 4), Budget(0, 3, 3), Budget(7, 0, 0), Budget(64, 2, 64)], ids=str)
def test_trimmed_and_untrimmed_coefficients_give_the_same(variant: str, budget: Budget) -> None:
    network, blocks = small(variant=variant, budget=budget), random_blocks(2, 64, budget)
    assert torch.allclose(network(blocks), network(untrimmed(blocks, budget)), atol=1e-6)


def test_channels_are_selected_in_the_order_of_the_zigzag() -> None:
    blocks = random_blocks(1, 64, Budget())
    assert same(select(blocks, Budget(16, 64, 0)), trimmed(blocks, Budget(16, 64, 0)))
    assert torch.equal(select(blocks, Budget(2, 1, 1)).y[:, 1], blocks.y[:, ZIGZAG[1]])


def test_another_number_of_channels_is_refused() -> None:
    network = small(variant="block-stem", budget=Budget(16, 4, 4))
    for budget, plane in ((Budget(15, 4, 4), "luma"), (Budget(16, 3, 4), "Cb"), (Budget(16, 4, 32), "Cr")):
        with pytest.raises(InputError, match=f"coefficients of {plane}, but blocks hold"):
            network(random_blocks(1, 64, budget))


@pytest.mark.parametrize("variant", VARIANTS)
def test_grids_with_odd_numbers_of_blocks_are_taken(variant: str) -> None:
    assert small(variant=variant)(random_blocks(1, 80, Budget())).shape == (1, 3)
