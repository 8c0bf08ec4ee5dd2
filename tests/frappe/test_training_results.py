"""What a training leaves behind: weights after every channel, results, BD-rate."""

import json
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codectk import container
from codectk.arrays import ArrayInfo
from codectk.compression import load_codec
from codectk.dataset import hold_out
from codectk.errors import OutputError, TrainingStopped
from codectk.log import Watcher
from codectk_frappe.results import AVIF, History, bd_avif

from .trainings import StopAfter, run

pytestmark = pytest.mark.usefixtures("one_thread")

KEYS = {"device", "config", "valid_psnr", "valid_cr", "final_psnr", "final_cr", "bd_avif", "total_time_hours"}
PUBLISHED = [
    *((0.00424, 18.5446), (0.00639, 20.3033), (0.008, 21.0798), (0.01337, 21.8958), (0.01716, 22.3769)),
    *((0.0259, 23.1333), (0.03521, 23.7398), (0.04101, 24.0493), (0.04728, 24.3966), (0.05792, 24.8084)),
    *((0.06927, 25.2719), (0.08027, 25.6424), (0.19661, 27.3964), (0.23298, 27.9793), (0.2851, 28.6933)),
    *((0.31429, 29.2227), (0.36634, 29.6899), (0.41224, 29.9754), (0.63229, 30.9383), (0.72202, 31.5735)),
    (0.94176, 32.2817),
]
"""(bpp, PSNR) of the published model on Kodak, with 1 to 21 channels."""


def strict(path: Path) -> dict[str, Any]:
    """JSON without NaN and infinity, which are none."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{path} holds {word}")

    read: dict[str, Any] = json.loads(path.read_text(), parse_constant=refuse)
    return read


def points(curve: list[tuple[float, float]]) -> list[dict[str, Any]]:
    history = History("")
    for n, (bpp, psnr) in enumerate(curve, start=1):
        history.add(n, bpp, psnr)
    return history.points


def test_weights_that_work_are_on_disk_after_every_channel(tmp_path: Path, pictures: Path) -> None:
    found: list[tuple[int, ...]] = []

    class Look(Watcher):
        def phase(self, name: str, done: int, total: int) -> None:
            path = tmp_path / "run" / "weights_so_far.safetensors"
            assert path.exists() == (name not in ("0.filter", "0.decoder"))
            if name.endswith("filter") and path.exists():
                loaded = load_codec("frappe", path)
                x = np.asarray(Image.open(pictures / "0.png"))
                data = loaded.compress(x, ArrayInfo("image/rgb8", x.shape)).data
                assert loaded.decompress(container.unpack(data)).shape == x.shape
                found.append((*loaded.codec.options.ps, *loaded.codec.rate_points))

    run(tmp_path / "run", pictures, watcher=Look(), ps="4,4,8")
    assert found == [(4, 1), (4, 4, 1, 2)], "ps and operating points: only what is trained"
    assert not (tmp_path / "run" / "weights_so_far.safetensors").exists(), "weights.safetensors holds all of it"


def test_weights_of_finished_channels_outlive_a_stop(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(TrainingStopped):
        run(tmp_path / "run", pictures, watcher=StopAfter(9, signal.SIGTERM))
    so_far = load_codec("frappe", tmp_path / "run" / "weights_so_far.safetensors").codec
    final = run(tmp_path / "run", pictures, resume=True)
    for name, tensor in so_far.tensors.items():
        assert np.array_equal(tensor, final.tensors[name]), name


def test_results_are_measured_on_whole_files(tmp_path: Path, pictures: Path) -> None:
    """As `compress` and a comparison of the decoded pictures give them."""
    run(tmp_path / "run", pictures, save_checkpoint_name=str(tmp_path / "named.pth"))
    results = strict(tmp_path / "run" / "results.json")
    assert results == strict(tmp_path / "named_results.json")
    assert set(results) == KEYS
    loaded = load_codec("frappe", tmp_path / "named.pth")
    for n in (1, 2):
        psnr, bpp = [], []
        for path in hold_out(sorted(pictures.iterdir()))[1]:
            x = np.asarray(Image.open(path))
            data = loaded.compress(x, ArrayInfo("image/rgb8", x.shape), loaded.encode_options({"channels": n})).data
            error = np.square(loaded.decompress(container.unpack(data)).astype(float) - x).mean()
            psnr.append(10 * math.log10(255**2 / error))
            bpp.append(8 * len(data) / (x.shape[0] * x.shape[1]))
        # The digest in a file's header has the same length whatever the weights, so the size is the same too.
        assert results["valid_psnr"][n - 1] == pytest.approx(np.mean(psnr))
        assert results["valid_cr"][n - 1] == pytest.approx(24 / np.mean(bpp))
    assert results["final_psnr"] == results["valid_psnr"][-1]
    assert results["final_cr"] == results["valid_cr"][-1]
    assert 0 < results["total_time_hours"] < 1
    assert results["device"] == "cpu"


def test_the_config_in_the_results_has_the_guides_names_and_whole_lists(tmp_path: Path, pictures: Path) -> None:
    run(tmp_path / "run", pictures, lam="0.01", epochs_single="1,0", epochs_merged=0)
    config = strict(tmp_path / "run" / "results.json")["config"]
    assert config["train_ds"] == str(pictures)
    assert config["ps"] == [8, 4]
    assert config["decoder_ps"] == 8
    assert config["lam"] == [0.01, 0.01]
    assert config["epochs_single"] == [1, 0]
    assert {"num_workers", "save_checkpoint_name", "val_ds"} <= set(config)
    assert not {"device", "resume_checkpoint", "resume_channels"} & set(config)


def test_a_checkpoint_without_an_ending_is_not_overwritten(tmp_path: Path, pictures: Path) -> None:
    run(tmp_path / "run", pictures, save_checkpoint_name=str(tmp_path / "model"), epochs_single=0, epochs_merged=0)
    assert load_codec("frappe", tmp_path / "model").codec.rate_points == (1, 2)
    assert set(strict(tmp_path / "model_results.json")) == KEYS


def test_existing_results_are_refused_before_training(tmp_path: Path, pictures: Path) -> None:
    precious = tmp_path / "named_results.json"
    precious.write_text("{}")
    with pytest.raises(OutputError, match=r"named_results\.json exists already"):
        run(tmp_path / "run", pictures, save_checkpoint_name=str(tmp_path / "named.pth"))
    assert not (tmp_path / "run").exists()
    assert precious.read_text() == "{}"


def test_bd_rate_against_avif_is_the_published_one() -> None:
    assert bd_avif(points(PUBLISHED)) == pytest.approx(43.7, abs=0.1)
    assert bd_avif(points(list(AVIF))) == pytest.approx(0, abs=1e-9)


def test_of_identical_points_one_stays_and_beaten_ones_go() -> None:
    twice = [point for point in PUBLISHED for _ in range(2)]
    beaten = [(bpp * 1.5, psnr - 0.01) for bpp, psnr in PUBLISHED]
    assert bd_avif(points(twice)) == bd_avif(points(PUBLISHED)) == bd_avif(points(PUBLISHED + beaten))


@pytest.mark.parametrize(
    "curve",
    [[], [(0.1, 25.0)], [(0.1, 25.0), (0.1, 25.0)], [(0.1, 10.0), (0.2, 11.0)], [(0.1, math.inf), (0.2, math.nan)]],
    ids=["no point", "one", "one twice", "no overlap", "not finite"],
)
def test_what_cannot_be_computed_is_null(curve: list[tuple[float, float]]) -> None:
    assert bd_avif(points(curve)) is None


def test_pictures_that_come_back_exactly_do_not_spoil_the_results(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An infinite PSNR is no number in JSON."""
    monkeypatch.setattr("codectk.metric.PSNR.measure", lambda *_: math.inf)
    run(tmp_path / "run", pictures, epochs_single=0, epochs_merged=0)
    results = strict(tmp_path / "run" / "results.json")
    assert results["valid_psnr"] == [None, None]
    assert (results["final_psnr"], results["bd_avif"]) == (None, None)
