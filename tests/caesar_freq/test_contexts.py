"""The context network of the fitted wavelet: arithmetic, weights, training, and what it saves."""

import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from codectk.arrays import ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.compression import load_codec
from codectk.container import Reader, unpack
from codectk.errors import ContainerError, WeightsError, WeightsMismatch
from codectk.testing import TrainerConformance
from codectk_caesar_freq import fitted, native
from codectk_caesar_freq.architecture import CONTEXTS, STUDENT, ContextsConfig, config_of
from codectk_caesar_freq.contexts import (
    HIDDEN,
    KINDS,
    LEVELS,
    LOG_ONE,
    MODELS,
    PER_LEVEL,
    SIGN_CONTEXTS,
    Contexts,
    Network,
    as_integers,
    reach,
    starts_of,
)
from codectk_caesar_freq.lattice import Lattice
from codectk_caesar_freq.learned.context_network import Batch, ContextNetwork
from codectk_caesar_freq.merge import combined
from codectk_caesar_freq.native import FEATURES
from codectk_caesar_freq.plugin import codectk_trainers

from .small import part, run, write_fields

(SPEC,) = (spec for spec in codectk_trainers() if spec.name == "caesar_freq.contexts")
SHAPES = [(12, 20, 28), (1, 33, 47), (1, 1, 300), (40, 3, 2), (5, 1, 9), (2, 2, 2), (9, 17, 1)]


def contexts(seed: int = 0) -> Contexts:
    """Weights of no sense, within their ranges."""
    rng = np.random.default_rng(seed)
    inner = rng.integers(-2500, 3500, (KINDS, FEATURES + 1, HIDDEN), np.int16)
    outer = rng.integers(-1000, 1500, (KINDS, HIDDEN), np.int16)
    starts = rng.integers(0, 65536, (MODELS, LEVELS, PER_LEVEL), np.uint16)
    signs = rng.integers(0, 65536, (MODELS, SIGN_CONTEXTS), np.uint16)
    offset = rng.integers(0, 250, KINDS, np.int16)
    return Contexts(inner, outer, offset, starts, signs, np.array([30], np.int32))


def weights(found: Contexts) -> Checkpoint:
    config = config_of(None, None, **{CONTEXTS: ContextsConfig()})
    return replace(part(STUDENT), tensors=found.tensors(), config=config)


def gusts(shape: tuple[int, ...] = (12, 24, 40), seed: int = 0) -> NDArray[np.float32]:
    """Waves with noise, whose strength changes from place to place and is the same for some frames."""
    rng = np.random.default_rng(seed)
    strength = np.exp(1.5 * np.cumsum(rng.normal(size=shape[1:]), axis=-1) / np.sqrt(np.arange(1, shape[2] + 1)))
    waves = np.sin(np.arange(shape[2]) / 5) + np.cos(np.arange(shape[1])[:, None] / 7)
    return (10 * waves + strength * rng.normal(size=shape)).astype(np.float32)


def planned(
    x: NDArray[Any], half: float, special: NDArray[np.bool_] | None = None
) -> tuple[fitted.Fitted, NDArray[Any]]:
    quantiser = fitted.Quantiser.within(float(x.min()), float(x.max()), half)
    z = quantiser.scaled(x, special)
    return fitted.fit(quantiser, z, special), z


def there_and_back(
    plan: fitted.Fitted, z: NDArray[Any], found: Contexts | None, special: Any = None, threads: int = 1, groups: int = 3
) -> NDArray[Any]:
    body, streams = fitted.encode(plan, z, special, threads, found)
    kept: list[bytes | None] = [stream if i < groups else None for i, stream in enumerate(streams)]
    shape = (z.shape[0], z.shape[1], z.shape[2])
    reader = Reader(body, 0, len(body), "the test")
    return fitted.decode(reader, kept, shape, special, threads, "the test", contexts=found)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("half", [3.0, 1e-2, 1e-6])
def test_values_come_back_as_they_do_without_the_network(shape: tuple[int, ...], half: float) -> None:
    plan, z = planned(gusts(shape), half)
    np.testing.assert_array_equal(there_and_back(plan, z, contexts()), there_and_back(plan, z, None))


def test_masks_lattices_threads_and_missing_groups_change_nothing_either() -> None:
    x = gusts((20, 40, 60))
    special = np.random.default_rng(3).random(x.shape) < 0.3
    plan, z = planned(x, 1e-2, special)
    np.testing.assert_array_equal(
        there_and_back(plan, z, contexts(), special, 2)[~special], there_and_back(plan, z, None, special)[~special]
    )
    for groups in (1, 2):
        coarse = there_and_back(plan, z, contexts(), special, 2, groups)
        np.testing.assert_array_equal(coarse, there_and_back(plan, z, None, special, 1, groups))
    whole = np.rint(x)
    quantiser = fitted.Quantiser.of(Lattice(float(whole.min()), 1.0), 1)
    z = quantiser.scaled(whole, None)
    plan = fitted.fit(quantiser, z, None)
    np.testing.assert_array_equal(there_and_back(plan, z, contexts()), there_and_back(plan, z, None))


def test_large_blocks_that_two_threads_code_come_back_as_well() -> None:
    plan, z = planned(gusts((12, 150, 160)), 1e-1)
    assert native.in_halves(native.Grid.of((12, 150, 160), plan.order))
    expected = there_and_back(plan, z, None)
    assert fitted.encode(plan, z, None, 1, contexts()) == fitted.encode(plan, z, None, 2, contexts())
    for threads in (1, 2):
        np.testing.assert_array_equal(there_and_back(plan, z, contexts(), threads=threads), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_compiled_network_is_that_of_its_description(shape: tuple[int, ...]) -> None:
    found, x = contexts(), gusts(shape)
    for half in (1.0, 1e-3):
        plan, z = planned(x, half)
        grid = native.Grid.of((shape[0], shape[1], shape[2]), plan.order)
        q = native.lift_symbols(grid, z, None, plan.weights, 1.0)
        features, _, kinds, levels = native.context_examples(grid, None, q, 1, found.native)
        network = Network(found.inner, found.outer, found.offset)
        np.testing.assert_array_equal(levels, network.levels(features, kinds))


def test_features_are_logarithms_of_magnitudes_around() -> None:
    """A row [1, 1, W] has one axis, so that the known values beside and the two before can be listed."""
    q = np.zeros(17, np.int32)
    grid = native.Grid.of((1, 1, 17), (0, 1, 2))
    anchors = 1
    q[anchors:] = [7, 3, 1, 0, -5000, *range(11)]
    features, magnitudes, kinds, _ = native.context_examples(grid, None, q, 1)
    logs = np.rint(LOG_ONE * np.log2(1.0 + np.minimum(np.abs(q[anchors:]), 4095)))
    np.testing.assert_array_equal(magnitudes, np.abs(q[anchors:]))
    assert list(kinds) == [8] * 4 + [17] * 4 + [26] * 8
    # The passes visit value 16; 8; 4, 12; 2, 6, 10, 14; then the odd ones.
    at = dict(zip([16, 8, 4, 12, 2, 6, 10, 14, *range(1, 16, 2)], logs, strict=True))
    low, high, last, last_but_one = features[-4:, 0], features[-4:, 1], features[-4:, -2], features[-4:, -1]
    np.testing.assert_array_equal(low, [at[8], at[10], at[12], at[14]])
    np.testing.assert_array_equal(high, [at[10], at[12], at[14], at[16]])
    np.testing.assert_array_equal(last, [at[7], at[9], at[11], at[13]])
    np.testing.assert_array_equal(last_but_one, [at[5], at[7], at[9], at[11]])


def test_the_largest_weights_and_magnitudes_keep_within_16_bits() -> None:
    """At the limit of `reach` the compiled part, in 16 bits, agrees with sums in 32 bits."""
    rng = np.random.default_rng(0)
    made = as_integers(
        rng.normal(size=(KINDS, HIDDEN, FEATURES)) * 50,
        rng.normal(size=(KINDS, HIDDEN)),
        rng.normal(size=(KINDS, HIDDEN)) * 0.002,
        np.full(KINDS, 20.0),
    )
    assert 32_000 < reach(made.inner, made.outer, made.offset)[0] <= 32767
    found = replace(contexts(), inner=made.inner, outer=made.outer, offset=made.offset)
    plan, z = planned(gusts() * 1e6, 1e-1)
    grid = native.Grid.of((12, 24, 40), plan.order)
    q = native.lift_symbols(grid, z, None, plan.weights, 1.0)
    features, _, kinds, levels = native.context_examples(grid, None, q, 1, found.native)
    assert features.max() == 12 * LOG_ONE and len(set(levels)) > 2
    np.testing.assert_array_equal(levels, made.levels(features, kinds))


def test_streams_have_the_same_bytes_on_every_machine() -> None:
    rng = np.random.default_rng(7)
    z = np.cumsum(rng.integers(-3, 4, (8, 16, 16)), axis=1).astype(np.float32)
    plan = fitted.fit(fitted.Quantiser.of(Lattice(0.0, 1.0), 0), z, None)
    plan = replace(plan, order=(0, 1, 2), weights=np.zeros_like(plan.weights))
    _, streams = fitted.encode(plan, z, None, 1, contexts())
    assert zlib.crc32(b"".join(streams)) == STREAMS


STREAMS = 0x37423401
"""CRC-32 of streams that were once written; never to be changed."""


def test_integers_give_the_levels_of_the_trained_network() -> None:
    torch.manual_seed(1)
    network = ContextNetwork()
    for parameter in (network.of_inner, network.of_bias, network.of_outer, network.of_offset):
        torch.nn.init.normal_(parameter, std=0.02)
    rng = np.random.default_rng(0)
    features = rng.integers(0, 8 * LOG_ONE, (4000, FEATURES), np.int16)
    kinds = np.sort(rng.integers(0, KINDS, 4000)).astype(np.uint8)
    batch = Batch(torch.from_numpy(features / LOG_ONE).float(), torch.zeros(1), torch.from_numpy(kinds).long())
    exact = network.levels(batch).detach().numpy() + 0.5
    made = network.integers().levels(features, kinds)
    inside = (exact > 0) & (exact < LEVELS)
    assert inside.mean() > 0.5
    assert np.abs(exact - 0.5 - made)[inside].max() < 0.7  # half a level of rounding, and a little of the weights


def test_chances_begin_as_decisions_came_out() -> None:
    """Kind 26 is of model 2. At level 0 there are no low bits, at level 15 there is one."""
    levels, kinds = np.array([0, 0, 0, 0, 15, 15]), np.full(6, 26, np.uint8)
    starts = starts_of(levels, kinds, np.array([0, 0, 0, 2, 5, 4], np.int32))[2] / 65536
    assert starts[0, 0] == pytest.approx(1.4 / 4.8, abs=1e-4)
    assert starts[0, 1] == pytest.approx(1.4 / 1.8, abs=1e-4)
    assert starts[0, 2] == pytest.approx(0.4 / 1.8, abs=1e-4)
    assert starts[15, 14 + 2] == pytest.approx(1.4 / 2.8, abs=1e-4)
    assert starts[1, 0] == 0.5


def broken(**changes: Any) -> Iterator[Checkpoint]:
    good = weights(contexts())
    for name, tensor in changes.items():
        yield replace(good, tensors={**good.tensors, f"{CONTEXTS}.{name}": tensor})


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("inner", np.zeros((KINDS, FEATURES, HIDDEN), np.int16)),
        ("inner", np.zeros((KINDS, FEATURES + 1, HIDDEN), np.int32)),
        ("inner", np.full((KINDS, FEATURES + 1, HIDDEN), -32768, np.int16)),
        ("outer", np.full((KINDS, HIDDEN), 32767, np.int16)),
        ("offset", np.zeros((KINDS, 1), np.int16)),
        ("starts", np.zeros((MODELS, LEVELS), np.uint16)),
        ("signs", np.zeros(0, np.uint16)),
        ("seen", np.array([127], np.int32)),
        ("seen", np.array([-1], np.int32)),
    ],
)
def test_weights_that_make_no_sense_are_an_error(name: str, tensor: NDArray[Any]) -> None:
    (checkpoint,) = broken(**{name: tensor})
    with pytest.raises(WeightsError, match="contexts is damaged"):
        Contexts.load(checkpoint)


def test_a_missing_tensor_is_an_error_and_a_missing_part_is_none() -> None:
    good = weights(contexts())
    assert Contexts.load(good) is not None and Contexts.load(part(STUDENT)) is None
    for name in good.tensors:
        with pytest.raises(WeightsError, match="there is no"):
            Contexts.load(replace(good, tensors={key: t for key, t in good.tensors.items() if key != name}))


def test_merged_weights_hold_the_network_as_it_was() -> None:
    good = weights(contexts())
    merged = combined({STUDENT: part(STUDENT), CONTEXTS: good}, half=True)
    for name, tensor in good.tensors.items():
        np.testing.assert_array_equal(merged.tensors[name], tensor)
    with pytest.raises(WeightsError):
        combined({CONTEXTS: part(STUDENT)})


def test_files_of_the_network_need_its_weights() -> None:
    x = gusts()
    info = ArrayInfo("field/f32", x.shape, (float(x.min()), float(x.max())))
    learned, plain = load_codec("caesar_freq", weights(contexts())), load_codec("caesar_freq")
    options = learned.encode_options({"mode": "learned", "abs_error": 1e-2})
    data = learned.compress(x, info, options).data
    assert np.abs(learned.decompress(unpack(data)).astype(np.float64) - x).max() <= 1e-2
    for other in (plain, load_codec("caesar_freq", weights(contexts(1)))):
        with pytest.raises(WeightsMismatch):
            other.decompress(unpack(data))
    transform = learned.encode_options({"mode": "transform", "abs_error": 1e-2})
    without = learned.compress(x, info, transform).data
    np.testing.assert_array_equal(plain.decompress(unpack(without)), learned.decompress(unpack(without)))


def test_a_block_of_the_network_is_refused_without_it() -> None:
    plan, z = planned(gusts(), 1e-2)
    body, streams = fitted.encode(plan, z, None, 1, contexts())
    assert fitted.has_contexts(body)
    with pytest.raises(ContainerError, match="context network"):
        fitted.decode(Reader(body, 0, len(body), "the test"), list(streams), (12, 24, 40), None, 1, "the test")


def test_damaged_streams_end() -> None:
    plan, z = planned(gusts(), 1e-4)
    body, streams = fitted.encode(plan, z, None, 1, contexts())
    rng = np.random.default_rng(0)
    for _ in range(20):
        damaged: list[bytes | None] = [rng.bytes(len(stream)) for stream in streams]
        reader = Reader(body, 0, len(body), "the test")
        fitted.decode(reader, damaged, (12, 24, 40), None, 1, "the test", contexts=contexts())


class TestTraining(TrainerConformance):
    """The kit, on few steps."""

    spec = SPEC

    def data(self, folder: Path) -> Path:
        return write_fields(folder, gusts=gusts()[None, None])

    def options(self, data: Path) -> dict[str, Any]:
        return {"train_data": str(data), "steps": 3, "batch_size": 256, "examples": 3000}


def test_training_saves_bytes_of_frames_that_were_held_out(tmp_path: Path) -> None:
    folder = write_fields(tmp_path / "fields", gusts=gusts((40, 24, 40))[None, None])
    values = {"train_data": str(folder), "steps": 150, "batch_size": 2048, "examples": 5000}
    checkpoint = run("contexts", tmp_path / "run", values)
    rows = checkpoint.training["results"]["validation"]["gusts.npz"]
    assert list(rows) == ["0.01", "0.001", "0.0001"]
    assert all(row["bytes"] < 0.99 * row["without"] for row in rows.values())
    found = Contexts.load(checkpoint)
    plan, z = planned(gusts((8, 24, 40), seed=5), 1e-1)
    with_network, without = (sum(map(len, fitted.encode(plan, z, None, 1, c)[1])) for c in (found, None))
    assert with_network < without


def test_constant_fields_are_an_error(tmp_path: Path) -> None:
    folder = write_fields(tmp_path / "fields", flat=np.ones((1, 1, 10, 8, 8), np.float32))
    with pytest.raises(Exception, match="constant"):
        run("contexts", tmp_path / "run", {"train_data": str(folder), "steps": 2})
