"""A new run from the first channels of weights that were trained before."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codectk.checkpoint import Checkpoint
from codectk.errors import CodectkError, InputError, OptionsError, TrainingStopped, WeightsError

from .conftest import make_checkpoint, make_joint_checkpoint
from .trainings import Listen, StopAfter, run

pytestmark = pytest.mark.usefixtures("one_thread")

NO_SIZE = [{"channels": n, "bpp": 0.0, "psnr": 20.0} for n in (1, 2, 3)]
SCALARS = ("0.weight", "0.bias", "1.0._σ", "1.2.γ")


@pytest.fixture
def trained(tmp_path: Path, pictures: Path) -> Path:
    """Weights of four channels: two of patch size 8 and two of 4."""
    run(tmp_path / "trained", pictures, ps="8,8,4,4", epochs_single=1, epochs_merged=1)
    return tmp_path / "trained" / "weights.safetensors"


def go_on(folder: Path, pictures: Path, weights: Path, k: int, **changes: Any) -> Checkpoint:
    return run(folder, pictures, **{"resume_checkpoint": str(weights), "resume_channels": k, **changes})


def channels(checkpoint: Checkpoint, places: list[tuple[int, int]]) -> list[np.ndarray]:
    """Filters and quantisers of channels, each given by its scale group and its place there."""
    return [checkpoint.tensors[f"encoders.{s}.{name}"][place] for s, place in places for name in SCALARS]


def equal(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_first_channels_stay_bit_for_bit_and_the_rest_is_new(tmp_path: Path, pictures: Path, trained: Path) -> None:
    before = Checkpoint.open(trained)
    after = go_on(tmp_path / "new", pictures, trained, 3, ps="8,8,4,8,4")
    first = [(0, 0), (0, 1), (1, 0)]
    assert equal(channels(before, first), channels(after, first))
    decoders = [name for name in before.tensors if name.startswith(("merged.1.", "merged.2.", "merged.3."))]
    assert decoders
    assert all(np.array_equal(before.tensors[name], after.tensors[name]) for name in decoders)
    assert after.tensors["encoders.2.0.weight"].shape == (1, 3, 8, 8), "ps beyond the kept channels may change"
    assert after.training["validation"][:3] == before.training["validation"][:3]
    assert [point["channels"] for point in after.training["validation"]] == [1, 2, 3, 4, 5]
    state = {name.split(".")[0] for name in (line.split(",")[0] for line in _log(tmp_path / "new"))}
    assert state == {"phase", "3", "4"}, "training goes on with the fourth channel"


def test_all_channels_can_be_kept(tmp_path: Path, pictures: Path, trained: Path) -> None:
    after = go_on(tmp_path / "new", pictures, trained, 4, ps="8,8,4,4")
    assert after.digest == Checkpoint.open(trained).digest


def test_a_shorter_schedule_is_cut_out(tmp_path: Path, pictures: Path, trained: Path) -> None:
    """Also in the middle of a scale group, where the new group is smaller than the old one."""
    before, after = Checkpoint.open(trained), go_on(tmp_path / "new", pictures, trained, 1, ps="8,4")
    assert after.tensors["encoders.0.0.weight"].shape == (1, 3, 8, 8)
    assert equal(channels(before, [(0, 0)]), channels(after, [(0, 0)]))


def test_weights_of_an_unfinished_run_can_be_gone_on_with(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(TrainingStopped):
        run(tmp_path / "stopped", pictures, ps="8,8,4", watcher=StopAfter(9, signal.SIGTERM))
    so_far = tmp_path / "stopped" / "weights_so_far.safetensors"
    after = go_on(tmp_path / "new", pictures, so_far, 1, ps="8,4")
    assert equal(channels(Checkpoint.open(so_far), [(0, 0)]), channels(after, [(0, 0)]))


@pytest.mark.parametrize("steps", [1, 4, 6])
def test_such_a_run_resumes_exactly_too_without_the_old_weights(
    tmp_path: Path, pictures: Path, trained: Path, steps: int
) -> None:
    straight = go_on(tmp_path / "straight", pictures, trained, 3, ps="8,8,4,8")
    with pytest.raises(TrainingStopped):
        go_on(tmp_path / "stopped", pictures, trained, 3, ps="8,8,4,8", watcher=StopAfter(steps, signal.SIGTERM))
    trained.unlink()
    resumed = go_on(tmp_path / "stopped", pictures, trained, 3, ps="8,8,4,8", resume=True)
    assert resumed.digest == straight.digest
    assert resumed.training["validation"] == straight.training["validation"]


@pytest.mark.parametrize(
    ("changes", "flag", "there", "here"),
    [
        ({"decoder_ps": 4}, "decoder_ps", "8", "4"),
        ({"ps": "8,4,4,4"}, "ps", "8 8 4", "8 4 4"),
        ({"encoder_arch": "LF8"}, "encoder_arch", "SC8", "LF8"),
        ({"decoder_dim": 7}, "decoder_dim", "6", "7"),
        ({"decoder_kernel_size": 1}, "decoder_kernel_size", "3", "1"),
        ({"decoder_arch": "CC"}, "decoder_arch", "C", "CC"),
        ({"decoder_mlp_ratio": 3}, "decoder_mlp_ratio", "4.0", "3.0"),
        ({"decoder_layerscale": True}, "decoder_layerscale", "false", "true"),
        ({"linear_input": True}, "linear_input", "false", "true"),
        ({"linear_input": True, "decoder_dim": 9, "decoder_arch": "CC"}, "decoder_dim", "6", "9"),
    ],
)
def test_another_architecture_is_refused_with_the_first_flag_and_both_values(
    tmp_path: Path, pictures: Path, trained: Path, changes: dict[str, Any], flag: str, there: str, here: str
) -> None:
    with pytest.raises(OptionsError) as caught:
        go_on(tmp_path / "new", pictures, trained, 3, **{"ps": "8,8,4,4", **changes})
    assert f"{flag} is {there} there, but {here} here" in str(caught.value)
    assert f"--{flag.replace('_', '-')} {there}" in caught.value.next_step
    assert not (tmp_path / "new").exists()


def test_what_may_differ_may_differ(tmp_path: Path, pictures: Path, trained: Path) -> None:
    changes = {"decoder_arch": "c", "lam": 0.5, "sc_max_lr": 1e-3, "batch_size": 1, "decoder_ps": 8}
    after = go_on(tmp_path / "new", pictures, trained, 2, ps="8,8,2", **changes)
    assert after.training["options"]["lam"] == [0.5]


def test_more_channels_than_are_trained_are_refused(tmp_path: Path, pictures: Path, trained: Path) -> None:
    with pytest.raises(OptionsError, match=r"holds 4 trained channels, so 5 cannot.*from 1 to 4"):
        go_on(tmp_path / "new", pictures, trained, 5, ps="8,8,4,4,4")
    assert not (tmp_path / "new").exists()


def test_weights_that_are_none_are_refused(tmp_path: Path, pictures: Path) -> None:
    whole = make_checkpoint()
    lacking = {name: t for name, t in whole.tensors.items() if not name.startswith("merged.2.")}
    odd = {**whole.tensors, "encoders.0.1.2.γ": np.ones(9, np.float32)}
    made: dict[str, tuple[Checkpoint, type[CodectkError], str]] = {
        "joint": (make_joint_checkpoint(), OptionsError, "mode joint"),
        "other": (replace(whole, codec="crdr"), WeightsError, "weights of crdr"),
        "lacking": (replace(whole, tensors=lacking), OptionsError, "holds 1 trained channels, so 2"),
        "odd": (replace(whole, tensors=odd), WeightsError, "fit"),
    }
    for name, (checkpoint, error, words) in made.items():
        checkpoint.save(tmp_path / name)
        with pytest.raises(error, match=words):
            go_on(tmp_path / "new", pictures, tmp_path / name, 2, ps="8x2,4", decoder_ps=4, decoder_dim=8)
    with pytest.raises(InputError, match="does not exist"):
        go_on(tmp_path / "new", pictures, tmp_path / "nowhere", 2, ps="8x2,4")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("history", [None, [], "x", [{"channels": 1, "bpp": "x", "psnr": 1.0}] * 3, NO_SIZE])
def test_weights_without_usable_results_are_validated_anew(
    tmp_path: Path, pictures: Path, trained: Path, history: Any
) -> None:
    before = Checkpoint.open(trained)
    bare = replace(before, training={} if history is None else {**before.training, "validation": history})
    bare.save(tmp_path / "bare.safetensors")
    after = go_on(tmp_path / "new", pictures, tmp_path / "bare.safetensors", 3, ps="8,8,4", epochs_merged=0)
    wanted = before.training["validation"][:3]
    for point, same in zip(after.training["validation"], wanted, strict=True):
        assert point["bpp"] == pytest.approx(same["bpp"], rel=0.1), "files of other weights may differ by bytes"
        assert point["psnr"] == pytest.approx(same["psnr"])


def test_results_of_other_pictures_are_told(tmp_path: Path, pictures: Path, trained: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.open(pictures / "0.png").resize((40, 40)).save(other / "a.png")
    listen = Listen()
    go_on(tmp_path / "new", pictures, trained, 3, ps="8,8,4", val_data=str(other), watcher=listen)
    assert any("of other validation pictures" in message for message in listen.messages)


def _log(folder: Path) -> list[str]:
    return (folder / "log.csv").read_text().splitlines()
