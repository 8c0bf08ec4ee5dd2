"""The integer path: near to the float path, the same on every machine, and refused where arrays do not fit."""

import json
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from codectk.compression import load_codec
from codectk.entropy import Tables, scale_levels
from codectk.errors import DesyncError, WeightsError
from codectk.testing.processes import run_fresh
from codectk_crdr import codec as codec_module
from codectk_crdr import integer
from codectk_crdr.codec import CrdrCodec
from codectk_crdr.context import Part
from codectk_crdr.exact import MAX_SYMBOL, UNIT, ExactPath, positions, rows
from codectk_crdr.export import as_tensor, checkpoint
from codectk_crdr.floating import FloatPath
from codectk_crdr.model import CompressionModel
from codectk_crdr.options import DecodeOptions, EncodeOptions

from .tiny import CONTEXTS, exact_arrays, exact_weights, info_of, knob, photo, tiny_model

CPU = torch.device("cpu")
SIDE = 8


@dataclass
class Pair:
    """One model, with its arrays and both paths, and latents of a picture."""

    model: CompressionModel
    arrays: dict[str, NDArray[Any]]
    exact: ExactPath
    floats: FloatPath
    y: Tensor
    z: Tensor


@pytest.fixture(scope="module", params=CONTEXTS)
def pair(request: pytest.FixtureRequest) -> Pair:
    model = tiny_model(context=request.param)
    arrays = exact_arrays(model)
    y = model.encoder(as_tensor(photo(128, 128)), knob(model))
    z = (model.hyperencoder(y) - model.entropy_model_z.medians).round()[0].permute(1, 2, 0).int()
    exact = ExactPath(arrays, model.options, CPU)
    return Pair(model, arrays, exact, FloatPath(model), y[0].permute(1, 2, 0), z)


def coded(
    pair: Pair, path: ExactPath | FloatPath, given: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Symbols, means, scales (h, w, M) and y_hat of the picture, or of symbols that are given."""
    kept = [torch.zeros_like(pair.y) for _ in range(3)]
    numbers = torch.arange(SIDE * SIDE).view(SIDE, SIDE, 1)

    def code(part: Part, means: Tensor, scales: Tensor) -> Tensor:
        wanted = (rows(part, pair.y) - means * path.unit).round().int() if given is None else rows(part, given).int()
        where = positions(part, numbers)[:, 0]
        for target, value in zip(kept, (wanted, means * path.unit, scales * path.unit), strict=True):
            target.view(SIDE * SIDE, -1)[where, part.start : part.stop] = value.float()
        return wanted

    y_hat = path.run(pair.z, code)
    return kept[0], kept[1], kept[2], y_hat


@torch.no_grad()
def test_integers_follow_the_floats(pair: Pair) -> None:
    """Within what 8 bits allow: a few per cent of the spread of means and scales."""
    symbols, means, scales, y_hat = coded(pair, pair.floats)
    _, near_means, near_scales, near_y_hat = coded(pair, pair.exact, symbols)
    for one, other in ((means, near_means), (scales, near_scales)):
        assert float((one - other).abs().mean()) < 0.05 * float(one.std())
    residual, near_residual = (v[0].permute(1, 2, 0) - m for v, m in ((y_hat, means), (near_y_hat, near_means)))
    assert float((residual - near_residual).abs().mean()) < 0.03


@torch.no_grad()
def test_symbols_of_integers_and_floats_rarely_differ(pair: Pair) -> None:
    one, other = coded(pair, pair.floats), coded(pair, pair.exact)
    assert float((one[0] != other[0]).float().mean()) < 0.15
    assert float((other[3] - pair.y.permute(2, 0, 1)).abs().max()) < 1.1, "rounding, and half of the residual's bound"


def test_files_of_integers_are_as_large_as_those_of_floats(pair: Pair) -> None:
    x = photo(128, 128)
    exact = CrdrCodec.load(checkpoint(pair.model, {}, pair.arrays), "cpu")
    floats = CrdrCodec.load(checkpoint(pair.model, {}), "cpu")
    one, other = (codec.encode(x, info_of(x), EncodeOptions(quality=1.0)) for codec in (exact, floats))
    assert abs(len(one.segments[0]) / len(other.segments[0]) - 1) < 0.02
    assert abs(one.notes["predicted_bits"] / (8 * len(one.segments[0])) - 1) < 0.05


def test_y_hat_is_the_same_with_int8_and_with_float32_products(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integer, "_int8_is_exact", lambda: True)
    one = coded(pair, pair.exact)
    monkeypatch.setattr(integer, "_int8_is_exact", lambda: False)
    other = coded(pair, pair.exact)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_symbols_of_a_file_that_are_too_large_are_bounded(pair: Pair) -> None:
    extreme = torch.tensor([-(2**31), 2**31 - 1], dtype=torch.int32)
    symbols = extreme[torch.arange(pair.y.numel()).view_as(pair.y) % 2]
    z = extreme[torch.arange(pair.z.numel()).view_as(pair.z) % 2]
    _, means, _, y_hat = coded(replace(pair, z=z), pair.exact, symbols)
    distance = (y_hat[0].permute(1, 2, 0) - means).abs()
    assert float((distance - MAX_SYMBOL).abs().max()) <= 0.5, "0.5 is the bound of the residual"


def test_arrays_that_are_missing_or_of_another_shape_are_refused(pair: Pair) -> None:
    """Every layer, and everything that is none; what a layer consists of is tested with the layers."""
    for name, array in pair.arrays.items():
        layer = f"{name.rpartition('.')[0]}.weight" in pair.arrays
        if layer and not name.endswith(".weight"):
            continue
        without = {other: value for other, value in pair.arrays.items() if other != name}
        for arrays in (without, *([] if layer else [{**without, name: array[None]}])):
            with pytest.raises(WeightsError, match=r"[Tt]he weights"):
                ExactPath(arrays, pair.model.options, CPU)


def test_a_table_of_residuals_beyond_its_bound_is_refused() -> None:
    model = tiny_model(context="channel", slices=2)
    arrays = exact_arrays(model)
    table = arrays["y.tanh"]
    assert np.array_equal(table, -table[::-1])
    assert np.allclose(table / UNIT, 0.5 * np.tanh(np.linspace(-4, 4, len(table))), atol=1 / UNIT)
    with pytest.raises(WeightsError, match="table of residuals"):
        ExactPath({**arrays, "y.tanh": table * 3}, model.options, CPU)


class LastSymbolOff(codec_module.Decoder):
    """A decoder that gets the last symbol of y wrong."""

    def decode(self, tables: Tables, indexes: NDArray[np.uint16]) -> NDArray[np.int32]:
        symbols = super().decode(tables, indexes).copy()
        if len(tables) == len(scale_levels()):
            symbols[-1, -1] += 1
        return symbols


@pytest.mark.parametrize("integers", [True, False])
def test_a_symbol_that_differs_is_noticed(integers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = tiny_model(context="none"), photo(64, 64)
    loaded = CrdrCodec.load(exact_weights(model) if integers else checkpoint(model, {}), "cpu")
    encoded = loaded.encode(x, info_of(x), EncodeOptions())
    loaded.decode(encoded, info_of(x), DecodeOptions())
    monkeypatch.setattr(codec_module, "Decoder", LastSymbolOff)
    with pytest.raises(DesyncError, match="not those that were encoded"):
        loaded.decode(encoded, info_of(x), DecodeOptions())


@pytest.mark.parametrize("context", CONTEXTS)
def test_float_networks_that_compute_a_little_else_are_told_as_a_desync(context: str) -> None:
    """As on a machine with other arithmetic, but by more, so that it happens in a small picture."""
    model, x = tiny_model(context=context), photo(128, 128)
    encoded = CrdrCodec.load(checkpoint(model, {}), "cpu").encode(x, info_of(x), EncodeOptions())
    for parameter in model.hyperdecoder.parameters():
        parameter.mul_(1.002)
    with pytest.raises(DesyncError, match="a machine whose arithmetic differs"):
        CrdrCodec.load(checkpoint(model, {}), "cpu").decode(encoded, info_of(x), DecodeOptions())


DECODE = """
import hashlib, json, sys
from pathlib import Path
import torch
from codectk.compression import load_codec
from codectk.container import unpack

found = {"capability": torch.backends.cpu.get_cpu_capability()}
for threads in json.loads(sys.argv[2]):
    torch.set_num_threads(threads)
    for file in sorted(Path(sys.argv[1]).glob("*.ctk")):
        loaded = load_codec("crdr", file.with_suffix(".safetensors"))
        seen, run = hashlib.sha256(), loaded.codec.path.run
        def watched(z, code):
            y_hat = run(z, code)
            seen.update(y_hat.contiguous().numpy().tobytes())
            return y_hat
        loaded.codec.path.run = watched
        loaded.decompress(unpack(file.read_bytes()))
        found[f"{file.stem} {threads}"] = seen.hexdigest()
assert "torch._dynamo" not in sys.modules, "torch's compiler was imported, which takes a second"
print(json.dumps(found))
"""

SETTINGS = {
    "DEFAULT": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}
"""Of processors that lack what this one has."""

VARIANTS: dict[str, dict[str, Any]] = {
    **{context: {"context": context} for context in CONTEXTS},
    "wide": {
        "context": "space_channel",
        "latent_channels": 48,
        "groups": "16,32",
        "hyper_channels": 24,
        "hyper_width": 64,
    },
    "single": {"context": "none", "levels": 1, "realism": False, "latent_channels": 12},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Files that were made here, and the digests of the y_hat that they decode to here."""
    folder, x = tmp_path_factory.mktemp("files"), photo(100, 140)
    for name, changes in VARIANTS.items():
        weights = exact_weights(tiny_model(**changes))
        weights.save(folder / f"{name}.safetensors")
        (folder / f"{name}.ctk").write_bytes(load_codec("crdr", weights).compress(x, info_of(x)).data)
    return folder, json.loads(run_fresh(DECODE, str(folder), "[1]"))


@pytest.mark.parametrize("setting", SETTINGS)
def test_files_decode_to_the_same_latents_on_other_processors_and_numbers_of_threads(
    files: tuple[Path, dict[str, str]], setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of the symbols is part of decoding."""
    folder, here = files
    for name, value in SETTINGS[setting].items():
        monkeypatch.setenv(name, value)
    there = json.loads(run_fresh(DECODE, str(folder), "[1, 2]"))
    capability = there.pop("capability")
    if platform.machine() == "x86_64":
        assert capability in {setting, "DEFAULT"}, "the setting has no effect"
    assert len(there) == 2 * len(VARIANTS)
    assert there == {f"{name} {threads}": here[f"{name} 1"] for name in VARIANTS for threads in (1, 2)}
