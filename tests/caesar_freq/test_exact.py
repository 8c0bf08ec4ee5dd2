"""The networks in double precision give the same bits whatever the batch, threads, layout and order of sums."""

import copy
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codectk_caesar_freq.architecture import COMPRESSOR, DIFFUSION, STUDENT, StudentConfig, UNetConfig
from codectk_caesar_freq.learned import exact
from codectk_caesar_freq.learned.compressor import FrequencyCompressor
from codectk_caesar_freq.learned.diffusion import Diffusion
from codectk_caesar_freq.learned.frequency import BASIS_BITS, FrequencyTransform
from codectk_caesar_freq.learned.layers import (
    ChannelNorm,
    Convolution,
    GroupNorm,
    TransposedConvolution,
    attend,
    attend_linearly,
)
from codectk_caesar_freq.learned.parts import build, load_part
from codectk_caesar_freq.learned.windows import condition

from .small import part

GOLDEN = Path(__file__).parent / "golden_predictor" / "predictor.safetensors"
"""Small networks with random weights."""

PREDICT = """
import hashlib, sys
from pathlib import Path
import numpy as np
from codectk.checkpoint import Checkpoint
from codectk_caesar_freq.learned.predictor import Predictor
t, y, x = np.meshgrid(np.arange(3), np.arange(21), np.arange(37), indexing="ij")
keys = (x * x + 3 * x * y + 7 * t * (y + 2 * x)) % 61 / 64.0
predictor = Predictor.load(Checkpoint.open(Path(sys.argv[1])))
for method in ("student", "teacher"):
    print(hashlib.sha256(predictor.predict(keys, method, 7, 3, seed=5).astype("<f8").tobytes()).hexdigest()[:16])
"""
PREDICTED = ["8e380792afc13972", "41505bfa94e9e20d"]
"""What it prints on every machine; files already written depend on it, so it must never change."""

SILU = {
    DIFFUSION: UNetConfig(dim=8, dim_mults=(1, 2), steps=4, heads=2, head_width=4, activation="silu"),
    STUDENT: StudentConfig(base_channels=8, channel_mults=(1, 2), num_res_blocks=1, activation="silu"),
}


@pytest.fixture(params=[STUDENT, DIFFUSION, COMPRESSOR, f"{STUDENT} silu", f"{DIFFUSION} silu"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    """Each network in single precision, with random weights."""
    name, _, activation = request.param.partition(" ")
    if not activation:
        return load_part(part(name), name)
    torch.manual_seed(1)
    made = build(SILU[name], 4)
    for parameter in made.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return made.requires_grad_(False).eval()


@pytest.fixture
def threads() -> Iterator[None]:
    """Gives back the number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def keys(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Latents of keyframes (count, 4, 3, 5, 6), each sample of another size."""
    torch.manual_seed(2)
    return torch.randn(count, 4, 3, 5, 6, dtype=dtype) * torch.logspace(-2, 3, count, dtype=dtype).view(-1, 1, 1, 1, 1)


def through(network: nn.Module, x: Tensor) -> Tensor:
    """What each network makes of latents of keyframes."""
    if isinstance(network, FrequencyCompressor):
        return torch.cat(network.entropy_parameters(x.round(), (18, 21)), 1)
    known = condition(x, 3)
    if isinstance(network, Diffusion):
        return network.clean(known.condition * (1 - known.mask), known, 2)
    made: Tensor = network(known.condition, known.mask)
    return made


def test_a_sample_has_the_same_bits_alone_and_in_a_batch(network: nn.Module) -> None:
    double, x = network.double(), keys(4)
    together = through(double, x)
    for i in range(len(x)):
        assert torch.equal(through(double, x[i : i + 1])[0], together[i])


def test_the_number_of_threads_changes_no_bit(network: nn.Module, threads: None) -> None:
    double, x = network.double(), keys(2)
    torch.set_num_threads(1)
    one = through(double, x)
    torch.set_num_threads(2)
    assert torch.equal(through(double, x), one)


def test_the_layout_in_memory_changes_no_bit(network: nn.Module) -> None:
    double, x = network.double(), keys(2)
    plain = through(double, x)
    last = copy.deepcopy(double)
    for parameter in last.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(through(last, x.contiguous(memory_format=torch.channels_last_3d)), plain)


def test_exact_and_single_precision_agree_closely(network: nn.Module) -> None:
    single = through(network, keys(2, torch.float32))
    double = through(copy.deepcopy(network).double(), keys(2, torch.float32).double())
    assert (single - double).abs().max() < 2e-4 * (1 + double.abs().max())


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2)])
def test_the_order_of_channels_changes_no_bit_of_a_convolution(stride: tuple[int, int, int]) -> None:
    torch.manual_seed(3)
    layer = Convolution(40, 7, 3, stride, 1).double().requires_grad_(False)
    x, order = torch.randn(2, 40, 3, 6, 6, dtype=torch.float64), torch.randperm(40)
    shuffled = copy.deepcopy(layer)
    shuffled.weight.data = layer.weight[:, order]
    assert torch.equal(shuffled(x[:, order]), layer(x))
    native, other = (nn.Conv3d.forward(v, w) for v, w in ((layer, x), (shuffled, x[:, order])))
    assert not torch.equal(native, other), "the usual convolution is as exact, so this test shows nothing"


def test_the_order_of_terms_changes_no_bit_of_sums_norms_and_attention() -> None:
    torch.manual_seed(4)
    x, order = torch.randn(2, 8, 1, 50, 9, dtype=torch.float64).exp(), torch.randperm(50)
    for layer in (GroupNorm(2, 8).double(), ChannelNorm(8).double()):
        assert torch.equal(layer(x[..., order, :]), layer(x)[..., order, :])
    channels = torch.randperm(8)
    assert torch.equal(exact.mean_square(x[:, channels], (1,)), exact.mean_square(x, (1,)))
    q = x[0, :, 0]
    for function in (attend, attend_linearly):
        k = q.flip(0) / 7
        assert torch.equal(function(q, k[:, order], q[:, order]), function(q, k, q))


def test_a_convolution_is_what_rational_numbers_give() -> None:
    """Rounded factors, then every product and sum without rounding."""
    torch.manual_seed(5)
    x = torch.randn(1, 2, 2, 4, 3, dtype=torch.float64)
    weight, bias = torch.randn(3, 2, 1, 3, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    made = exact.convolution(x, weight, bias, (1, 1, 1), (0, 1, 1))
    bits = exact.bits_for(18)
    x, weight = exact.rounded(x, bits, (1, 2, 3, 4)), exact.rounded(weight.flatten(1), bits, 1).view_as(weight)
    for o, t, i, j in product(range(3), range(2), range(4), range(3)):
        places = [
            (c, u, v) for c, u, v in product(range(2), range(3), range(3)) if 0 <= i + u - 1 < 4 and 0 <= j + v - 1 < 3
        ]
        whole = sum(
            (
                Fraction(x[0, c, t, i + u - 1, j + v - 1].item()) * Fraction(weight[o, c, 0, u, v].item())
                for c, u, v in places
            ),
            Fraction(),
        )
        assert Fraction(float(whole)) == whole, "the sum itself needed rounding"
        assert made[0, o, t, i, j].item() == float(whole) + bias[o].item()


def test_sums_of_the_largest_values_stay_exact() -> None:
    """As many terms as there are, all at the largest magnitude that rounding leaves."""
    for terms in (1, 7, 1 << 12, 1 << 17):
        top = torch.full((1, 1, terms), 2.0 ** exact.bits_for(terms) - 1, dtype=torch.float64)
        value = exact.product(top, top.mT).item()
        assert value == terms * int(top[0, 0, 0].item()) ** 2


@pytest.mark.parametrize("values", [[0.0, -0.0], [5e-324, 1e-310], [1e300, -3.0], [1.0, 2.0**-60]])
def test_rounding_bears_zeros_and_extreme_values(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    made = exact.rounded(x, 20, 0)
    assert made.isfinite().all()
    assert ((made - x).abs() <= x.abs().max() * 2.0**-20).all() or x.abs().max() < exact.TINY


def test_transposed_convolutions_are_those_of_torch() -> None:
    torch.manual_seed(6)
    x = torch.randn(2, 3, 2, 5, 4, dtype=torch.float64)
    for size, extra in ((3, 1), (4, 0)):
        layer = TransposedConvolution(3, 2, (1, size, size), (1, 2, 2), (0, 1, 1), (0, extra, extra)).double()
        assert torch.allclose(layer(x), nn.ConvTranspose3d.forward(layer, x), atol=1e-6)
        assert layer(x).shape[-2:] == (10, 8)


@pytest.mark.parametrize("layer", [GroupNorm(2, 6), Convolution(6, 4, 3, (1, 2, 2), 1)])
def test_exact_layers_are_those_of_torch(layer: Any) -> None:
    torch.manual_seed(7)
    x = torch.randn(2, 6, 3, 4, 5) * 30 + 2
    assert torch.allclose(copy.deepcopy(layer).double()(x.double()).float(), layer(x), atol=1e-4)


def test_exponentials_and_softmax_are_accurate() -> None:
    x = torch.linspace(-40, 0, 4001, dtype=torch.float64)
    assert ((exact.exponential(x) / x.exp() - 1).abs() < 1e-13).all()
    assert exact.exponential(torch.tensor([-1e4], dtype=torch.float64)).item() == 2.0**-64
    y = torch.randn(3, 40, dtype=torch.float64) * 5
    assert torch.allclose(exact.softmax(y, 1), y.softmax(1), atol=1e-12)
    assert torch.allclose(exact.sigmoid(y), y.sigmoid(), atol=1e-12)


@pytest.mark.parametrize("block", range(2, 33))
def test_cosines_of_any_library_round_to_the_same_dct(block: int) -> None:
    """No entry lies so near to the middle between two steps of the grid that an error of a cosine could move it."""
    rows = [
        [
            math.sqrt((1 if k == 0 else 2) / block) * math.cos(math.pi * k * (2 * i + 1) / (2 * block))
            for i in range(block)
        ]
        for k in range(block)
    ]
    dct = torch.tensor(rows, dtype=torch.float64)
    entries = torch.einsum("ui,vj->uvij", dct, dct) * 2.0**BASIS_BITS
    from_middle = ((entries - entries.floor()) - 0.5).abs()
    assert from_middle.min() > 2.0 ** (BASIS_BITS - 49)


@pytest.mark.parametrize("wavelet", ["haar", "cdf97", "none"])
def test_the_transform_has_the_same_bits_alone_and_among_others(wavelet: Any, threads: None) -> None:
    torch.manual_seed(8)
    transform, x = FrequencyTransform(wavelet, 4), torch.randn(3, 5, 16, 24, dtype=torch.float64)
    planes = transform.forward(x)
    torch.set_num_threads(1)
    for i in range(3):
        assert torch.equal(transform.forward(x[i : i + 1].clone())[0], planes[i])
        assert torch.equal(transform.inverse(planes[i].clone()), transform.inverse(planes)[i])


def test_predictions_have_the_same_bits_on_every_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["-c", str(GOLDEN)])
    exec(PREDICT, {})
    assert capsys.readouterr().out.split() == PREDICTED


def test_predictions_have_the_same_bits_on_every_processor() -> None:
    """With the kernels that torch and its matrix library keep for others, which sum in another order."""
    environment = {"OMP_NUM_THREADS": "3", "ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
    words = [sys.executable, "-c", PREDICT, str(GOLDEN)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    assert done.stdout.split() == PREDICTED
