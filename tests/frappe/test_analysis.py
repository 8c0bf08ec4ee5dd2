"""The compiled filters agree with those of torch, also where latents are rounded with a deadzone."""

import numpy as np
import pytest
import torch

from codectk_frappe.analysis import Analysis
from codectk_frappe.joint import rounded
from codectk_frappe.model import Encoders, state_arrays
from codectk_frappe.options import ModelOptions

ZONES = [(0.0, 0.0), (0.15, 0.0), (0.1, 0.06), (0.0, 0.3)]


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Smooth parts and noisy ones, (96, 160, 3) uint8."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[0:96, 0:160]
    noise = rng.normal(0, 1, (96, 160, 3)) * (2 + 30 * (columns > 80))[..., None]
    return np.clip(127 + 60 * np.sin(rows / 11)[..., None] + noise, 0, 255).astype(np.uint8)


def made(**changes: object) -> tuple[ModelOptions, Encoders, Analysis]:
    options = ModelOptions.parse({"mode": "joint", "ps": "16x3,8x12,4x3,2x3", "decoder_ps": 4, **changes})
    torch.manual_seed(1)
    encoders = Encoders(options).eval()
    with torch.no_grad():
        for name, parameter in encoders.named_parameters():
            parameter.mul_(20 if name.endswith("0.weight") else 1)
    return options, encoders, Analysis(state_arrays(encoders, "encoders."), options)


@pytest.mark.parametrize(("flat", "sparse"), ZONES)
@pytest.mark.parametrize("step", [1.0, 3.7])
def test_rounding_is_that_of_training(picture: np.ndarray, flat: float, sparse: float, step: float) -> None:
    options, encoders, analysis = made(deadzone=flat, sparse_deadzone=sparse)
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        wanted = [rounded(v / step, options)[0].clamp(-127, 127).numpy() for v in encoders.latents(x, 21)]
    found = analysis.latents(picture, 21, step)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape and np.abs(a - b).max() <= 1
        assert (a != b).mean() < 0.01, "values within 1/256 of a step of the edge may go either way, no others"
    assert sum(np.count_nonzero(a) for a in found) > 1000


def test_a_deadzone_leaves_fewer_values(picture: np.ndarray) -> None:
    counts = []
    for flat, sparse in ZONES[:3]:
        _, _, analysis = made(deadzone=flat, sparse_deadzone=sparse)
        counts.append(sum(np.count_nonzero(v) for v in analysis.latents(picture, 21, 2.0)))
    assert counts[0] > counts[1] and counts[0] > counts[2]


@pytest.mark.parametrize("n", [1, 3, 4, 11, 15, 20])
def test_a_prefix_has_the_latents_of_the_whole(picture: np.ndarray, n: int) -> None:
    _, _, analysis = made(deadzone=0.1, sparse_deadzone=0.06)
    whole = [plane for group in analysis.latents(picture, 21) for plane in group]
    part = [plane for group in analysis.latents(picture, n) for plane in group]
    assert len(part) == n
    assert all(np.array_equal(a, b) for a, b in zip(part, whole, strict=False))


@pytest.mark.parametrize("ps", ["1x2", "1,256", "3x9,6x2", "32x17", "96,48,16,3"])
def test_unusual_patch_sizes(ps: str) -> None:
    sizes = sorted({int(part.split("x")[0]) for part in ps.split(",")})
    options, encoders, analysis = made(ps=ps, decoder_ps=max(sizes))
    side = options.multiple_of
    x = np.random.default_rng(0).integers(0, 256, (2 * side, 3 * side, 3), dtype=np.uint8)
    with torch.no_grad():
        tensor = torch.from_numpy(x).permute(2, 0, 1)[None].float() / 127.5 - 1
        wanted = [v[0].round().clamp(-127, 127).numpy() for v in encoders.latents(tensor, len(options.ps))]
    for a, b in zip(analysis.latents(x, len(options.ps)), wanted, strict=True):
        assert np.abs(a - b).max() <= 1 and (a != b).mean() < 1e-3


def test_filters_that_overflow_give_the_same_latents_on_every_machine(picture: np.ndarray) -> None:
    """The difference of two infinities is no number, and no processor has to agree on its integer."""
    for zone in ZONES[:2]:
        options, encoders, _ = made(deadzone=zone[0])
        tensors = state_arrays(encoders, "encoders.")
        for s in range(4):
            tensors[f"encoders.{s}.0.weight"] = np.where(tensors[f"encoders.{s}.0.weight"] < 0, -3e38, 3e38)
        for group in Analysis(tensors, options).latents(picture, 21):
            assert set(np.unique(group)) <= {-127, 127}


def test_pictures_that_the_filters_do_not_fit_are_refused(picture: np.ndarray) -> None:
    _, _, analysis = made()
    for x in (picture[:90], picture[:, :90], picture[:, :, :2], picture[..., 0], picture.astype(np.int16)):
        with pytest.raises(ValueError, match="picture"):
            analysis.latents(x, 21)
    out = analysis.room(96, 160, 21)
    for top, bottom in ((-16, 32), (8, 32), (32, 32), (80, 112)):
        with pytest.raises(ValueError, match="rows"):
            analysis.fill(out, picture, top, bottom, 1.0)
