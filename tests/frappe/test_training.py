"""Training from start to end: weights that work, and plain words for what cannot be done."""

import math
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codectk import container
from codectk.arrays import ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.compression import load_codec
from codectk.errors import CodectkError, InputError, OptionsError, OutputError, TrainingDiverged, TrainingStopped
from codectk.log import Watcher
from codectk.options import RunOptions
from codectk.registry import get_registry
from codectk.runs import train
from codectk.specs import TrainerSpec
from codectk.state import load_state
from codectk.train import Run
from codectk_frappe.options import TrainOptions
from codectk_frappe.trainer import FrappeTrainer

from .trainings import TINY, Listen, StopAfter, run

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_export_compresses_and_decodes_at_every_point(tmp_path: Path, pictures: Path) -> None:
    run(tmp_path / "run", pictures, save_checkpoint_name=str(tmp_path / "named.pth"))
    assert (tmp_path / "named.pth").read_bytes() == (tmp_path / "run" / "weights.safetensors").read_bytes()
    loaded = load_codec("frappe", tmp_path / "named.pth")
    assert loaded.codec.rate_points == (1, 2)
    x = np.asarray(Image.open(pictures / "0.png"))
    info = ArrayInfo("image/rgb8", x.shape)
    for n in (1, 2):
        data = loaded.compress(x, info, loaded.encode_options({"channels": n})).data
        assert loaded.decompress(container.unpack(data)).shape == x.shape


def test_training_learns(tmp_path: Path, pictures: Path) -> None:
    """After training, files of the training pictures are nearer to them than a flat picture of their mean."""
    starts = {"encoder_init": "klt", "decoder_init": "previous"}
    weights = run(tmp_path / "run", pictures, epochs_single=10, epochs_merged=80, decoder_dim=16, **starts)
    loaded = load_codec("frappe", weights)
    gains = []
    for path in sorted(pictures.iterdir()):
        x = np.asarray(Image.open(path))
        data = loaded.compress(x, ArrayInfo("image/rgb8", x.shape)).data
        error = np.square(loaded.decompress(container.unpack(data)).astype(float) - x).mean()
        gains.append(10 * math.log10(np.square(x - x.mean((0, 1))).mean() / error))
    assert np.mean(gains) > 3.0, gains


def test_filters_are_frozen_once_learned(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(TrainingStopped):
        run(tmp_path / "run", pictures, watcher=StopAfter(9, signal.SIGTERM))
    state = load_state(tmp_path / "run" / "state.safetensors")
    assert state["finished"] == ["0.filter", "0.decoder"]
    final = run(tmp_path / "run", pictures, resume=True)
    for name in ("0.weight", "0.bias", "1.0._σ", "1.2.γ"):
        assert np.array_equal(state["kept"]["encoders"][f"0.{name}"], final.tensors[f"encoders.0.{name}"])


def test_another_seed_gives_other_weights(tmp_path: Path, pictures: Path) -> None:
    options = TrainOptions.parse({**TINY, "data": str(pictures), "epochs_single": 1, "epochs_merged": 1})
    registered = get_registry().find(TrainerSpec, "frappe")
    digests = {
        train(registered, options, tmp_path / str(seed), RunOptions(device="cpu", seed=seed)).digest for seed in (0, 1)
    }
    assert len(digests) == 2


def test_a_broken_picture_is_named_skipped_and_counted(tmp_path: Path, pictures: Path) -> None:
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    listen = Listen()
    run(tmp_path / "run", pictures, watcher=listen)
    assert any("broken.png" in m and "skipped" in m for m in listen.messages)
    assert any(m.startswith("1 of 7 pictures skipped; 5 are left to train on and 1 ") for m in listen.messages)


def test_a_failed_start_leaves_no_folder_behind(tmp_path: Path, pictures: Path) -> None:
    for changes in ({"batch_size": 64}, {"data": str(tmp_path / "typo")}, {"save_checkpoint_name": str(pictures)}):
        with pytest.raises(CodectkError):
            run(tmp_path / "run", pictures, **changes)
        assert not (tmp_path / "run").exists()


def test_an_existing_checkpoint_is_refused_before_training_not_after(tmp_path: Path, pictures: Path) -> None:
    precious = tmp_path / "precious.pth"
    precious.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        run(tmp_path / "run", pictures, save_checkpoint_name=str(precious))
    assert precious.read_bytes() == b"precious"


def test_a_checkpoint_that_cannot_be_written_loses_nothing(tmp_path: Path, pictures: Path) -> None:
    """The folder of the second copy disappears while the training runs."""

    class Spoil(Watcher):
        def step(self, done: int, values: dict[str, float]) -> None:
            (tmp_path / "blocked").write_bytes(b"now a file")

    with pytest.raises(OutputError):
        run(tmp_path / "run", pictures, watcher=Spoil(), save_checkpoint_name=str(tmp_path / "blocked" / "x.pth"))
    assert Checkpoint.open(tmp_path / "run" / "weights.safetensors").codec == "frappe"
    assert (tmp_path / "run" / "state.safetensors").exists()


def test_a_loss_that_is_not_finite_stops_the_run_with_true_advice(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(TrainingDiverged, match="Start a new run") as caught:
        run(tmp_path / "run", pictures, sc_max_lr="1e30", epochs_single=20)
    assert ("holds the last saved state" in str(caught.value)) == (tmp_path / "run" / "state.safetensors").exists()


def test_too_few_pictures_are_refused_before_training(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(InputError, match="batch"):
        run(tmp_path / "run", pictures, batch_size=64)


def test_only_the_first_samples_are_trained_on(tmp_path: Path, pictures: Path) -> None:
    options = TrainOptions.parse({**TINY, "data": str(pictures), "val_data": str(pictures), "dataset_samples": 3})
    with Run(tmp_path / "run", RunOptions(device="cpu")) as made:
        trainer = FrappeTrainer(options, made)
    assert [trainer.train_data[i].id for i in range(len(trainer.train_data))] == ["0.png", "1.png", "2.png"]
    assert len(trainer.val_data) == 6
    assert trainer._steps_per_epoch == 1, "three pictures fill one batch of two"


def test_more_samples_than_there_are_is_refused(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(OptionsError, match="dataset_samples is 6, but there are only 5"):
        run(tmp_path / "run", pictures, dataset_samples=6)
    assert not (tmp_path / "run").exists()


def test_data_of_a_hub_is_refused_in_plain_words(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(InputError, match=r"danjacobellis/LSDIR is not a folder here.*into a folder"):
        run(tmp_path / "run", Path("danjacobellis/LSDIR"))
