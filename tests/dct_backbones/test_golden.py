"""The networks compute what the published ones compute, number by number.

`golden` holds inputs and outputs of the reference's backbones with parameters that follow from their names (see
`fill`), in studio range and without a head, and the names and shapes of their parameters.
"""

import csv
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.budget import Budget
from codectk_dct_backbones.model import build

GOLDEN = Path(__file__).parent / "golden"
VARIANTS = ("block_stem", "luma_fusion", "reconstruction")


def fill(name: str, shape: tuple[int, ...], salt: int) -> NDArray[np.float32]:
    """The value of a parameter: the rule that the golden files were made with."""
    noise = np.random.default_rng([zlib.crc32(name.encode()), salt]).standard_normal(shape).astype(np.float32)
    if len(shape) >= 2:
        return noise / np.float32(math.sqrt(math.prod(shape[1:])))
    return 1 + np.float32(0.05) * noise if name.endswith("weight") else np.float32(0.02) * noise


def backbone(golden: dict[str, Any]) -> nn.Module:
    values = {
        "variant": str(golden["variant"]),
        "budget": Budget(*map(int, golden["counts"])),
        "range_mode": "studio",
        "compat": "original",
    }
    return build(Architecture.parse(values)).backbone.eval().requires_grad_(False)


@pytest.mark.parametrize("variant", VARIANTS)
def test_backbones_give_the_published_features_under_the_published_names(variant: str) -> None:
    golden = dict(np.load(GOLDEN / f"{variant}.npz", allow_pickle=False))
    network = backbone(golden)
    with (GOLDEN / f"{variant}.keys.csv").open() as stream:
        shapes = {row["parameter"]: tuple(map(int, row["shape"].split("x"))) for row in csv.DictReader(stream)}
    assert {name: tuple(value.shape) for name, value in network.named_parameters()} == shapes
    for name, value in network.named_parameters():
        value.copy_(torch.from_numpy(fill(name, tuple(value.shape), int(golden["salt"]))))
    y, cb, cr = (torch.from_numpy(golden[f"{plane}_blocks"]) for plane in ("y", "cb", "cr"))
    features, wanted = network((y, (cb, cr))), torch.from_numpy(golden["features"])
    assert features.shape == wanted.shape
    assert float((features - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())
