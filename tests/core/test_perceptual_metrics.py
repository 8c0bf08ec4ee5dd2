"""Metrics of networks keep to the contract of metrics; FID is the closed form over HiFiC's patches, over whole sets."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file
from scipy.linalg import sqrtm

from codectk import ArrayInfo, get_registry
from codectk.corpus import measure_corpora, write_summaries
from codectk.errors import InputError, PluginError, WeightsError
from codectk.evaluate import Candidate, Row, average, evaluate, make_metric, measure
from codectk.perceptual import metrics
from codectk.perceptual.fid import Moments, frechet_distance, patches
from codectk.perceptual.lpips import Lpips
from codectk.perceptual.weights import FOLDER
from codectk.specs import MetricSpec
from codectk.testing import MetricConformance

from . import perceptual

SPECS = {spec.name: spec for spec in (found.spec for found in get_registry().metrics()) if spec.network}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights")
    save_file(perceptual.lpips("alex"), path / "lpips_alex.safetensors")
    return path


@pytest.fixture
def weights(folder, monkeypatch):
    monkeypatch.setenv(FOLDER, str(folder))
    return folder


@pytest.mark.usefixtures("weights")
class TestLPIPS(MetricConformance):
    spec = SPECS["lpips"]
    test_nothing_else_in_the_process_is_changed = None  # starts torch twice; test_perceptual_weights watches the seeds


def picture(height, width, channels=3, seed=0):
    x = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    return x, ArrayInfo("image/rgb8" if channels == 3 else "image/gray8", x.shape)


def test_lpips_of_arrays_is_that_of_the_network_from_minus_1_to_1(weights):
    (x, info), (y, _) = picture(37, 41), picture(37, 41, seed=1)
    a, b = (torch.from_numpy(z).permute(2, 0, 1)[None] / 127.5 - 1 for z in (x, y))
    with torch.no_grad():
        wanted = Lpips(weights / "lpips_alex.safetensors")(a, b).item()
    assert measure(x, y, info, ["lpips"])["lpips"] == pytest.approx(wanted, rel=1e-4)


def test_grey_counts_as_three_equal_channels(weights):
    (x, info), (y, _) = picture(37, 41, 1), picture(37, 41, 1, seed=1)
    colour = [np.repeat(z, 3, axis=2) for z in (x, y)]
    wanted = measure(*colour, ArrayInfo("image/rgb8", (37, 41, 3)), ["lpips"])
    assert measure(x, y, info, ["lpips"])["lpips"] == pytest.approx(wanted["lpips"], rel=1e-6)


def test_a_network_is_loaded_once(weights):
    assert make_metric("lpips").network is make_metric("lpips").network


@pytest.mark.parametrize("name", ["lpips", "dists", "fid"])
def test_without_weights_a_metric_says_what_is_missing(name, monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(WeightsError, match=r"\.safetensors does not exist.*made from"):
        make_metric(name)


@pytest.mark.parametrize("size", [(255, 600), (256, 256), (383, 400), (384, 384), (512, 768), (700, 1025)])
def test_patches_are_whole_and_lie_on_the_two_grids(size):
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    found = [patch[0, 0].tolist() for patch in patches(np.stack([rows, columns], axis=2))]
    count = (height // 256) * (width // 256) + max(0, (height - 128) // 256) * max(0, (width - 128) // 256)
    assert len(found) == count
    assert len({tuple(corner) for corner in found}) == count
    assert all((top % 256, left % 256) in {(0, 0), (128, 128)} for top, left in found)
    assert all(patch.shape == (256, 256, 2) for patch in patches(np.stack([rows, columns], axis=2)))


def gathered(vectors, batch=7):
    moments = Moments(vectors.shape[1])
    for start in range(0, len(vectors), batch):
        moments.update(vectors[start : start + batch])
    return moments


@pytest.mark.parametrize("batch", [1, 7, 500])
def test_moments_do_not_depend_on_batches_or_on_large_means(batch):
    vectors = (np.random.default_rng(0).normal(size=(200, 6)) + 1e4).astype(np.float32)
    moments = gathered(vectors, batch)
    moments.update(vectors[:0])
    assert moments.count == 200
    np.testing.assert_allclose(moments.mean, vectors.mean(0, np.float64), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance(), np.cov(vectors.astype(np.float64), rowvar=False), rtol=1e-9)


def test_memory_of_moments_does_not_grow_with_their_number():
    vectors = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    moments = gathered(vectors)
    tracemalloc.start()
    try:
        for _ in range(200):
            moments.update(vectors)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert moments.count == 50 * 201
    assert kept < 100_000
    assert peak < 500_000, "what a few batches take"


def test_the_distance_is_the_closed_form_of_normal_distributions():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)), rng.normal(size=(200, 5)) * 2 + 0.3
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    apart = a.mean(0) - b.mean(0)
    wanted = apart @ apart + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert frechet_distance(gathered(a), gathered(b)) == pytest.approx(wanted, rel=1e-9)
    assert frechet_distance(gathered(b), gathered(a)) == pytest.approx(wanted, rel=1e-9)


def test_the_distance_of_diagonal_covariances_is_that_of_means_and_deviations():
    base = np.array([[-1.0], [1.0]]) / np.sqrt(2)  # variance 1
    a, b = (Moments(1) for _ in range(2))
    a.update(base * 3)
    b.update(base * 0.5 + 2)
    assert frechet_distance(a, b) == pytest.approx(2**2 + (3 - 0.5) ** 2)


def test_the_distance_of_fewer_vectors_than_dimensions_is_0_to_themselves():
    vectors = np.random.default_rng(2).normal(size=(5, 40))
    assert frechet_distance(gathered(vectors), gathered(vectors)) == pytest.approx(0, abs=1e-9)


class Corners(torch.nn.Module):
    """Stands in for Inception: the colour of a patch's first pixel, and its mean, from 0 to 1."""

    def __init__(self):
        super().__init__()
        self.register_parameter("p", torch.nn.Parameter(torch.zeros(1)))
        self.seen = 0

    def forward(self, x):
        self.seen += len(x)
        return torch.cat([x[:, :, 0, 0], x.mean((1, 2, 3))[:, None]], 1)


@pytest.fixture
def corners(monkeypatch):
    network = Corners()
    monkeypatch.setattr(metrics, "_network", lambda target, device: network)
    monkeypatch.setattr("codectk.perceptual.inception.FEATURES", 4)
    return network


def corner_features(x):
    """Of all patches, by the formula of the grid."""
    return [
        [*x[t, s] / 255, x[t : t + 256, s : s + 256].mean() / 255]
        for o in (0, 128)
        for t in range(o, x.shape[0] - 255, 256)
        for s in range(o, x.shape[1] - 255, 256)
    ]


def test_fid_is_over_all_patches_of_all_pictures(corners):
    fid = metrics.FID()
    pairs = [(picture(256 + k % 3 * 128, 384, seed=k), picture(256 + k % 3 * 128, 384, seed=99 - k)) for k in range(50)]
    for number, ((x, info), (y, _)) in enumerate(pairs):
        if number == 49:
            with pytest.raises(InputError, match="49 pictures"):
                fid.compute()
        fid.update(x, y, info)
    sets = [np.array([f for pair in pairs for f in corner_features(pair[side][0])]) for side in (0, 1)]
    assert corners.seen == 2 * len(sets[0])
    assert fid.compute()["fid"] == pytest.approx(frechet_distance(*map(gathered, sets)), rel=1e-4)


def test_originals_are_not_computed_again_for_the_next_setting(corners):
    x, info = picture(256, 256)
    for seed in (1, 2, 3):
        metrics.FID().update(x, picture(256, 256, seed=seed)[0], info)
    assert corners.seen == 4
    x[0, 0, 0] ^= 1
    metrics.FID().update(x, x, info)
    assert corners.seen == 6, "known by content, not by place in memory"


def test_fid_without_patches_is_told_and_reset_forgets(corners):
    fid = metrics.FID()
    x, info = picture(200, 300)
    for _ in range(50):
        fid.update(x, x, info)
    with pytest.raises(InputError, match="larger pictures"):
        fid.compute()
    fid.reset()
    with pytest.raises(InputError, match="0 pictures"):
        fid.compute()


GATHERING = """
from codectk.errors import InputError
from codectk.hookspecs import hookimpl
from codectk.specs import MetricSpec

CODECTK_API = 1

class Total:
    def __init__(self):
        self.reset()
    def update(self, x, x_hat, info):
        if x[0, 0, 0] == 99:
            raise ValueError("ninety-nine")
        self.total += int(x[0, 0, 0]) * 1000 + int(x_hat[0, 0, 0])
    def compute(self):
        return {"total": float(self.total)}
    def reset(self):
        self.total = 0

def spec(name, **rest):
    return MetricSpec(name=name, summary="s", target=f"{__name__}:Total", direction="lower", **rest)

@hookimpl
def codectk_metrics():
    grey = ("image/gray8",)
    return [spec("total", corpus=True, fewest=2), spec("many", corpus=True, fewest=9), spec("failing"),
            spec("grey", corpus=True, kinds=grey)]
"""


@pytest.fixture
def evaluated(site, tiny, tmp_path):
    """`evaluated(first values)` codes pictures at two settings; returns what `measure_corpora` takes."""
    site.add("codectk-gathering", GATHERING)
    registry = site.registry(strict=True)

    def run(firsts, names=("total", "many", "grey")):
        files = []
        for number, first in enumerate(firsts):
            x, _ = picture(20, 24, seed=number)
            x[0, 0] = first
            files.append(tmp_path / f"{number}.png")
            Image.fromarray(x).save(files[-1])
        candidates = [Candidate("tiny", tiny, ({"bits": 0}, {"bits": 4}))]
        rows = evaluate(candidates, files, tmp_path / "out", names, registry=registry)
        return {"rows": rows, "candidates": candidates, "files": files, "out": tmp_path / "out", "metrics": names} | {
            "registry": registry
        }

    return run


def test_a_metric_of_sets_gets_every_pair_of_a_setting_once_and_none_in_the_first_pass(evaluated):
    given = evaluated((12, 34))
    assert all(row.metrics == {} and not row.error for row in given["rows"])
    steps = []
    points = measure_corpora(**given, on_file=lambda: steps.append(1))
    assert [point.metrics for point in points] == [{"total": 46046.0}, {"total": 46000.0 + (12 & 240) + (34 & 240)}]
    assert len(steps) == 4


def test_what_has_no_value_is_named_with_the_reason(evaluated):
    (point, _) = measure_corpora(**evaluated((12, 34)))
    assert point.unmeasured == {
        "many": "2 files are too few: it takes 9.",
        "grey": "It does not take image/rgb8, the kind of 0.png.",
    }


def test_a_metric_that_fails_on_a_file_has_no_value_and_a_reason(evaluated):
    (point, _) = measure_corpora(**evaluated((12, 99)))
    assert "total" not in point.metrics
    assert point.unmeasured["total"] == "ValueError: ninety-nine"


def test_a_file_that_is_gone_is_a_reason_and_not_the_end(evaluated):
    given = evaluated((12, 34))
    (given["out"] / given["rows"][0].path).unlink()
    first, second = measure_corpora(**given)
    assert "does not exist" in first.unmeasured["total"]
    assert second.metrics["total"] == 46032.0


def test_files_that_failed_at_one_setting_are_left_out_of_all_sets(evaluated):
    given = evaluated((12, 34, 56))
    given["rows"][1] = replace(given["rows"][1], error="no")
    points = measure_corpora(**given)
    assert [point.files for point in points] == [2, 2]
    assert points[0].metrics["total"] == 90 * 1001


def test_a_metric_of_files_that_fails_is_named_in_the_row(evaluated):
    with pytest.raises(PluginError, match="failing cannot be computed: ValueError: ninety-nine"):
        given = evaluated((12,))
        x = np.full((2, 2, 3), 99, np.uint8)
        measure(x, x, ArrayInfo("image/rgb8", x.shape), ["failing"], given["registry"])


def test_a_metric_that_some_files_of_a_point_lack_is_named():
    rows = [
        Row("a", {}, f"{n}.png", n, bpp=1.0, metrics={"psnr": 30.0} | more) for n, more in ((0, {"m": 1.0}), (1, {}))
    ]
    (point,) = average(rows)
    assert point.metrics == {"psnr": 30.0}
    assert point.unmeasured == {"m": "It does not take the kind of 1.png."}


def test_summaries_hold_what_was_measured_beside_the_files(evaluated):
    given = evaluated((12, 34))
    lossless, coarse = measure_corpora(**given)
    lossless = replace(lossless, metrics={"psnr": float("inf"), "ssim": 1.0, "lpips": 0.25, "dists": 0.5, "fid": 3.5})
    coarse = replace(coarse, metrics={"psnr": 30.0}, unmeasured={"fid": "too few"})
    write_summaries([lossless, coarse], given["out"])
    found = [json.loads((given["out"] / row.path).with_name("_metrics.json").read_text()) for row in given["rows"][:2]]
    assert found == [
        {"bpp": lossless.bpp, "PSNR": None, "LPIPS": 0.25, "DISTS": 0.5, "FID": 3.5},
        {"bpp": coarse.bpp, "PSNR": 30.0, "FID": -1.0},
    ]


def test_specs_name_what_the_metrics_do():
    assert set(SPECS) == {"lpips", "dists", "fid"}
    assert [s.name for s in SPECS.values() if s.corpus] == ["fid"]
    assert SPECS["fid"].fewest == metrics.FEWEST_PICTURES
    assert all(isinstance(s, MetricSpec) and s.direction == "lower" for s in SPECS.values())
