"""Frozen tables: as probable as the trained prior says, and refused where they are damaged."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from codectk.entropy import Decoder, Encoder, scale_levels
from codectk.errors import WeightsError
from codectk_crdr.entropy import FactorizedPrior, gaussian_bits
from codectk_crdr.integer import FRACTION
from codectk_crdr.tables import CodingTables, freeze


def trained(channels: int = 6) -> FactorizedPrior:
    """A prior of distributions of several widths and medians."""
    torch.manual_seed(0)
    prior = FactorizedPrior(channels).requires_grad_(False)
    for factor in prior.factors:
        factor.uniform_(-0.5, 0.5)
    prior.matrices[0].add_(torch.linspace(-1, 4, channels)[:, None, None])
    prior.quantiles.add_(torch.linspace(-3.3, 3.3, channels)[:, None, None])
    return prior


@pytest.fixture(scope="module")
def prior() -> FactorizedPrior:
    return trained()


@pytest.fixture(scope="module")
def tables(prior: FactorizedPrior) -> CodingTables:
    return CodingTables(freeze(prior), prior.channels)


def test_tables_of_z_have_the_priors_probabilities(prior: FactorizedPrior, tables: CodingTables) -> None:
    found = tables.z
    start = 0
    for channel, (length, offset) in enumerate(zip(found.lengths, found.offsets, strict=True)):
        symbols = torch.arange(int(offset), int(offset) + int(length) - 1)
        v = torch.zeros(1, prior.channels, len(symbols), 1) + symbols[None, None, :, None] + prior.medians
        wanted = torch.exp2(-prior.bits(v))[0, channel, :, 0].numpy()
        frequencies = found.frequencies[start : start + int(length)] / 65536
        assert np.abs(frequencies[:-1] - wanted).max() < 1e-3
        assert frequencies[-1] < 0.01, "escapes are rare"
        start += int(length)


def test_streams_of_z_are_as_long_as_the_prior_says(prior: FactorizedPrior, tables: CodingTables) -> None:
    """Symbols as the prior draws them, found by its inverse."""
    rng, grid = np.random.default_rng(1), torch.arange(-600.0, 601)
    edges = (grid - 0.5)[None, None, :] + prior.medians.view(-1, 1, 1)
    cdf = torch.sigmoid(prior.logits(edges.double().float()))[:, 0].numpy()
    drawn = np.stack([np.searchsorted(row, rng.random(4000)) - 601 for row in cdf], axis=1).astype(np.int32)
    bits = float(prior.bits(torch.from_numpy(drawn).float().T[None, :, :, None] + prior.medians).sum())
    encoder, channels = Encoder(), np.arange(prior.channels, dtype=np.uint16)
    encoder.encode(drawn, tables.z, channels)
    stream = encoder.finish()
    assert abs(8 * len(stream) / bits - 1) < 0.01
    decoder = Decoder(stream)
    assert np.array_equal(decoder.decode(tables.z, np.broadcast_to(channels, drawn.shape)), drawn)
    decoder.finish()


def test_wide_distributions_get_wide_tables() -> None:
    prior = trained(3)
    prior.matrices[0].fill_(-5.0)  # softplus of it is a thirtieth of that of the start value
    made = freeze(prior)
    tables = CodingTables(made, 3).z
    assert int(tables.lengths.min()) > 500
    escapes = tables.frequencies[np.cumsum(tables.lengths) - 1]
    assert int(escapes.max()) < 65536 / 20


def test_distributions_without_end_go_to_the_escapes() -> None:
    prior = trained(3)
    prior.matrices[0].fill_(-20.0)
    tables = CodingTables(freeze(prior), 3)
    encoder, symbols = Encoder(), np.array([[-5, 70_000, 2**31 - 1]], np.int32)
    encoder.encode(symbols, tables.z, np.arange(3, dtype=np.uint16))
    decoder = Decoder(encoder.finish())
    assert np.array_equal(decoder.decode(tables.z, np.arange(3, dtype=np.uint16)[None]), symbols)


def test_making_tables_again_gives_the_same_and_leaves_the_prior_as_it_is(prior: FactorizedPrior) -> None:
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    one, other = freeze(prior), freeze(prior)
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert all(
        value.dtype == torch.float32 and torch.equal(value, before[name]) for name, value in prior.state_dict().items()
    )


def test_thresholds_take_the_nearest_scale_in_the_log(tables: CodingTables) -> None:
    levels = scale_levels()
    scales = np.array([0.0, 0.05, 0.11, 0.5, 3.3, 100.0, 256.0, 4000.0])
    index = np.searchsorted(tables.thresholds, (scales * 2**FRACTION).astype(np.int64), side="right")
    nearest = [int(np.abs(np.log(levels) - np.log(max(s, 1e-3))).argmin()) for s in scales]
    assert index.tolist() == nearest


def test_symbols_of_y_cost_what_a_gaussian_says(tables: CodingTables) -> None:
    rng = np.random.default_rng(2)
    scales = np.exp(rng.uniform(np.log(0.2), np.log(60), 20_000))
    symbols = np.rint(rng.normal(0, scales)).astype(np.int32)
    bits = float(gaussian_bits(torch.from_numpy(symbols).double(), torch.zeros(()), torch.from_numpy(scales)).sum())
    encoder = Encoder()
    index = np.searchsorted(tables.thresholds, (scales * 2**FRACTION).astype(np.int64), side="right").astype(np.uint16)
    encoder.encode(symbols, tables.y, index)
    assert abs(8 * len(encoder.finish()) / bits - 1) < 0.01


HOSTILE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no thresholds": lambda t: t.pop("thresholds"),
    "falling": lambda t: t.update(thresholds=t["thresholds"][::-1].copy()),
    "too few": lambda t: t.update(thresholds=t["thresholds"][1:]),
    "other type": lambda t: t.update(thresholds=t["thresholds"].astype(np.int64)),
    "no z": lambda t: t.pop("z.lengths"),
    "sums": lambda t: t.update({"y.frequencies": t["y.frequencies"] + np.uint16(1)}),
}


@pytest.mark.parametrize("edit", HOSTILE.values(), ids=HOSTILE)
def test_damaged_tables_are_refused(prior: FactorizedPrior, edit: Callable[[dict[str, Any]], Any]) -> None:
    made = freeze(prior)
    edit(made)
    with pytest.raises(WeightsError, match="tables"):
        CodingTables(made, prior.channels)


def test_tables_of_another_number_of_channels_are_refused(prior: FactorizedPrior) -> None:
    with pytest.raises(WeightsError, match="do not fit the networks"):
        CodingTables(freeze(prior), prior.channels + 1)
