"""Integer layers: exact at every size of their numbers, and refused where they would not be."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from codectk.errors import WeightsError
from codectk_crdr import integer
from codectk_crdr.integer import (
    FIXED,
    FLOAT32_BITS,
    LEAKY,
    LIMIT,
    MAX_FIXED,
    RELU,
    SIGNED,
    Layer,
    load_scale,
    product,
    product_in_floats,
    requantise,
    shuffle,
)
from codectk_crdr.quantise import _doubled, dyadic, step

Arrays = dict[str, NDArray[Any]]
CPU = torch.device("cpu")


def arrays(weight: NDArray[Any], kind: int = FIXED, bias: Any = 0, multiplier: Any = 1 << 8, shift: Any = 8) -> Arrays:
    """A layer named "n" that gives its sums as they are."""
    rows = np.zeros(len(weight), np.int64)
    return {
        "n.weight": weight.astype(np.int8),
        "n.bias": (rows + bias).astype(np.int32),
        "n.multiplier": (rows + multiplier).astype(np.int32),
        "n.low_multiplier": (rows + multiplier).astype(np.int32),
        "n.shift": (rows + shift).astype(np.uint8),
        "n.kind": np.array(kind, np.uint8),
    }


def load(made: Arrays, kernel: int = 1) -> Layer:
    outputs, count = made["n.weight"].shape
    return Layer.load(made, "n", kernel, count // kernel**2, outputs, CPU)


def random(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-LIMIT, LIMIT + 1, shape, np.int8)


def extreme(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.int8]:
    """-127 or 127; the first row all 127, so that sums are as large as they get."""
    values = np.random.default_rng(seed).choice(np.array([-LIMIT, LIMIT], np.int8), shape)
    values[0] = LIMIT
    return values


@pytest.mark.parametrize("multiply", [product, product_in_floats])
@pytest.mark.parametrize("values", [random, extreme])
@pytest.mark.parametrize(("n", "k", "o"), [(1, 1, 1), (3, 7, 5), (65, 100, 33), (17, 3201, 12), (4, 12800, 3)])
def test_products_are_those_of_64_bit_integers(
    multiply: Callable[[Tensor, Layer], Tensor], values: Callable[..., NDArray[np.int8]], n: int, k: int, o: int
) -> None:
    x, weight = values((n, k), 1), values((o, k), 2)
    found = multiply(torch.from_numpy(x), load(arrays(weight)))
    assert found.dtype == torch.int32
    assert np.array_equal(found.numpy(), x.astype(np.int64) @ weight.astype(np.int64).T)


@pytest.mark.parametrize("values", [random, extreme])
def test_within_a_piece_no_sum_can_reach_what_float32_holds(values: Callable[..., NDArray[np.int8]]) -> None:
    weight = values((6, 9000), 3)
    weight[3] = 0
    layer = load(arrays(weight))
    cuts = layer.cuts
    assert cuts[0] == 0
    assert cuts[-1] == 9000
    assert len(cuts) > 3
    largest = [LIMIT * int(np.abs(weight[:, a:b].astype(np.int64)).sum(1).max()) for a, b in pairwise(cuts)]
    assert max(largest) < 1 << FLOAT32_BITS
    assert min(largest[:-1]) > (1 << FLOAT32_BITS) - 2 * LIMIT * LIMIT, "pieces are no shorter than they must be"


def test_processors_that_saturate_take_the_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two products of 127·255, as some processors add them in 16 bits, do not fit there."""

    def saturating(a: Tensor, b: Tensor) -> Tensor:
        pairs = (a[:, :, None].int() * b[None].int()).split(2, dim=1)
        return sum(pair.sum(1).clamp(-(2**14), 2**14 - 1) for pair in pairs)  # type: ignore[return-value]

    integer._int8_is_exact.cache_clear()
    monkeypatch.setattr(torch, "_int_mm", saturating)
    try:
        assert not integer._int8_is_exact()
        x, weight = extreme((4, 200)), extreme((3, 200), 1)
        found = product(torch.from_numpy(x), load(arrays(weight)))
        assert np.array_equal(found.numpy(), x.astype(np.int64) @ weight.astype(np.int64).T)
    finally:
        integer._int8_is_exact.cache_clear()


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_layer_is_a_convolution(kernel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integer, "PIECE_BYTES", 1)  # row by row
    x, weight = random((6, 7, 4)), random((5, kernel, kernel, 4), 1)
    bias = np.arange(-2, 3) * 1000
    layer = load(arrays(weight.reshape(5, -1), bias=bias), kernel)
    wanted = F.conv2d(
        torch.from_numpy(x).double().permute(2, 0, 1)[None],
        torch.from_numpy(weight).double().permute(0, 3, 1, 2),
        torch.from_numpy(bias).double(),
        padding=kernel // 2,
    )[0].permute(1, 2, 0)
    found = layer(torch.from_numpy(x))
    assert torch.equal(found.double(), wanted)
    if kernel > 1:
        where = torch.tensor([0, 11, 41, 20])
        assert torch.equal(layer(torch.from_numpy(x), where), found.flatten(0, 1)[where])


@pytest.mark.parametrize(
    ("kind", "low", "high"), [(RELU, 0, LIMIT), (SIGNED, -LIMIT, LIMIT), (FIXED, -MAX_FIXED, MAX_FIXED)]
)
def test_sums_are_scaled_rounded_and_bounded(kind: int, low: int, high: int) -> None:
    multiplier, shift, bias = 40503, 21, -77
    layer = load(arrays(np.ones((1, 1)), kind, bias, multiplier, shift))
    acc = torch.tensor([-(2**31) + 200, -100_000, -129, -50, 0, 77, 103, 129, 5000, 2**31 - 200])[:, None].int()
    wanted = [min(max(((int(a) + bias) * multiplier + (1 << (shift - 1))) >> shift, low), high) for a in acc]
    found = layer.finish(acc)
    assert found.dtype == (torch.int32 if kind == FIXED else torch.int8)
    assert found.flatten().tolist() == wanted


def test_a_leaky_layer_has_another_scale_below_zero() -> None:
    made = arrays(np.ones((1, 1)), LEAKY, bias=10, multiplier=1 << 15, shift=16)
    made["n.low_multiplier"] = np.array([13107], np.int32)
    acc = torch.arange(-200, 200)[:, None].int()
    v = [int(a) + 10 for a in acc]
    wanted = [(a * (13107 if a < 0 else 1 << 15) + (1 << 15)) >> 16 for a in v]
    assert load(made).finish(acc).flatten().tolist() == wanted


def test_fixed_point_becomes_int8_by_rounding() -> None:
    fixed = torch.tensor([-(1 << 23), -1537, -1536, -513, 0, 511, 512, 1535, 1 << 23])[:, None].int()
    scale = load_scale(
        {"s.multiplier": np.array([1 << 14], np.int32), "s.shift": np.array([24], np.uint8)}, "s", 1, CPU
    )
    wanted = [min(max((int(v) + 512) >> 10, -LIMIT), LIMIT) for v in fixed]
    assert requantise(fixed, scale).flatten().tolist() == wanted


def spoilt(**changes: Any) -> Arrays:
    made = arrays(random((3, 18)))
    made |= {f"n.{name}": value for name, value in changes.items()}
    return {name: value for name, value in made.items() if value is not None}


HOSTILE = [
    ({"weight": None}, r"n\.weight is not int8 \(3, 18\)"),
    ({"weight": random((3, 19))}, r"n\.weight is not int8"),
    ({"weight": random((3, 18)).astype(np.float32)}, r"n\.weight is not int8"),
    ({"weight": np.full((3, 18), -128, np.int8)}, "sums"),
    ({"bias": np.full(3, (1 << 31) - 1, np.int32)}, r"sums of 2\^31 or more"),
    ({"bias": np.full(3, -(1 << 31), np.int32)}, r"sums of 2\^31 or more"),
    ({"kind": np.array(4, np.uint8)}, "of no known kind"),
    ({"multiplier": np.full(3, 1 << 16, np.int32)}, r"n\.multiplier has a scale out of bounds"),
    ({"low_multiplier": np.full(3, -1, np.int32)}, r"n\.low_multiplier has a scale out of bounds"),
    ({"shift": np.full(3, 61, np.uint8)}, "scale out of bounds"),
    ({"shift": np.full(3, 0, np.uint8)}, "scale out of bounds"),
]


@pytest.mark.parametrize(("changes", "words"), HOSTILE)
def test_layers_that_are_not_exact_are_refused(changes: dict[str, Any], words: str) -> None:
    load(spoilt(), 3)
    with pytest.raises(WeightsError, match=words):
        Layer.load(spoilt(**changes), "n", 3, 2, 3, CPU)


def test_the_largest_sums_that_fit_are_taken_and_right() -> None:
    count = (2**31 - 1) // LIMIT**2  # 133,144 inputs
    weight = np.full((1, count), LIMIT, np.int8)
    room = 2**31 - 1 - count * LIMIT**2
    layer = load(arrays(weight, bias=room))
    found = product_in_floats(torch.full((1, count), LIMIT, dtype=torch.int8), layer)
    assert int(found) + room == 2**31 - 1
    with pytest.raises(WeightsError, match="sums"):
        load(arrays(weight, bias=room + 1))


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(5, 2, 2), (4, 2, 1), (3, 1, 1)])
def test_transposed_convolutions_are_products_of_windows(kernel: int, stride: int, padding: int) -> None:
    module = nn.ConvTranspose2d(4, 3, kernel, stride, padding, output_padding=1 if kernel == 5 else 0)
    weight = torch.from_numpy(random((4, 3, kernel, kernel), 1))
    module.weight.data, module.bias.data = weight.double(), torch.tensor([5.0, -900, 0]).double()  # type: ignore[union-attr]
    rows = _doubled(module)
    times = len(rows) // 3
    layer = load(arrays(rows.reshape(len(rows), -1), bias=np.tile([5, -900, 0], times)), 3)
    x = torch.from_numpy(random((5, 6, 4)))
    found = layer(x)
    if stride == 2:
        found = shuffle(found)
    with torch.no_grad():
        wanted = module(x.double().permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    assert torch.equal(found.double(), wanted)


def test_factors_become_multipliers_of_16_bits() -> None:
    factors = np.concatenate([np.geomspace(1e-9, 1e3, 200), [1.0, 0.5, 2.0**-15]])
    multiplier, shift = dyadic(factors)
    assert multiplier.min() >= 0
    assert multiplier.max() < 1 << 16
    assert shift.min() >= 1
    assert np.allclose(np.ldexp(multiplier.astype(float), -shift.astype(int)), factors, rtol=2.0**-15)


def test_what_hardly_happened_is_not_blown_up() -> None:
    assert step(np.array([0.0, 1.27])).tolist() == [1e-4 / LIMIT, 0.01]
