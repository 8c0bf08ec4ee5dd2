"""Training: the schedule and losses of the method, exact resume, weights that work."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
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
from codectk.state import load_state, save_state
from codectk_frappe.augment import crop_size, draw
from codectk_frappe.model import ScaleEncoder, merged_decoder
from codectk_frappe.optimizer import Adan, learning_rate
from codectk_frappe.options import ModelOptions, TrainOptions, at
from codectk_frappe.start import klt_filter, widen

TINY = {
    "ps": "8,4",
    "decoder_dim": 6,
    "decoder_arch": "C",
    "epochs_single": 2,
    "epochs_merged": 2,
    "batch_size": 2,
    "min_size": 16,
    "max_size": 24,
    "sc_max_lr": "1e-2",
    "md_max_lr": "1e-2",
}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for i in range(6):
        smooth = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(smooth).resize((60, 50), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def run(
    folder: Path, pictures: Path, resume: bool = False, watcher: Watcher | None = None, **changes: Any
) -> Checkpoint:
    named = changes.pop("save_checkpoint_name", None)
    options = TrainOptions.parse({**TINY, "data": str(pictures), **changes})
    registered = get_registry().find(TrainerSpec, "frappe")
    run_options = RunOptions(device="cpu", workers=0, log_every=1, save_every=1e9, save_checkpoint_name=named)
    return train(registered, options, folder, run_options, resume, watcher)


class StopAfter(Watcher):
    """Sends a signal to this process after some steps."""

    def __init__(self, steps: int, number: int) -> None:
        self.left, self.number = steps, number

    def step(self, done: int, values: dict[str, float]) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


class Listen(Watcher):
    """Keeps all messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def log(folder: Path) -> list[list[str]]:
    with (folder / "log.csv").open() as stream:
        return [[row[0], row[1], row[3], row[4]] for row in csv.reader(stream)]


# Two channels of 2 + 2 epochs with 2 steps each are 16 steps: stops within phases, at their ends, and in the last.
@pytest.mark.parametrize("steps", [1, 4, 6, 8, 11, 16])
def test_stopped_and_resumed_equals_never_stopped(tmp_path: Path, pictures: Path, steps: int) -> None:
    straight = run(tmp_path / "straight", pictures)
    with pytest.raises(TrainingStopped, match="--resume"):
        run(tmp_path / "stopped", pictures, watcher=StopAfter(steps, signal.SIGTERM if steps % 2 else signal.SIGINT))
    assert not (tmp_path / "stopped" / "weights.safetensors").exists()
    resumed = run(tmp_path / "stopped", pictures, resume=True)
    assert resumed.digest == straight.digest
    assert resumed.training["validation"] == straight.training["validation"]
    assert log(tmp_path / "stopped") == log(tmp_path / "straight")


def test_twice_stopped_also_equals_never_stopped(tmp_path: Path, pictures: Path) -> None:
    straight = run(tmp_path / "straight", pictures)
    folder = tmp_path / "stopped"
    with pytest.raises(TrainingStopped):
        run(folder, pictures, watcher=StopAfter(3, signal.SIGTERM))
    with pytest.raises(TrainingStopped):
        run(folder, pictures, resume=True, watcher=StopAfter(4, signal.SIGTERM))
    assert run(folder, pictures, resume=True).digest == straight.digest


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


def test_a_filter_that_starts_from_statistics_is_the_first_principal_vector() -> None:
    """For the residual x itself; the latents then have the wanted spread and mean zero."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(48, 48)) * np.linspace(3, 0.01, 48)
    patches = rng.normal(size=(4000, 48)) @ mixing.T + 2
    x = torch.tensor(patches).view(100, 40, 3, 4, 4).permute(0, 2, 3, 1, 4).reshape(100, 3, 4, 160)
    encoder = ScaleEncoder(ModelOptions.parse({"ps": "4", "decoder_dim": 8}), 4, 1)
    klt_filter(encoder, [(x[:50], x[:50]), (x[50:], x[50:])], 8.0)
    principal = np.linalg.eigh(np.cov(patches.T))[1][:, -1]
    vector = encoder[0].weight.detach().flatten().double().numpy()
    assert abs(vector @ principal) / np.linalg.norm(vector) > 0.9999
    latents = encoder[0](x.float()).detach()
    assert float(latents.std()) == pytest.approx(8.0, rel=1e-3)
    assert abs(float(latents.mean())) < 1e-2


def test_a_widened_decoder_begins_as_its_predecessor() -> None:
    options = ModelOptions.parse({"ps": "8,4", "decoder_dim": 8})
    previous, wide = merged_decoder(options, 1), merged_decoder(options, 2)
    widen(wide, previous)
    grid = torch.randn(1, 5, 3, 4)
    assert torch.allclose(wide(grid), previous(grid[:, :1]), atol=1e-6)


@pytest.mark.parametrize("steps", [3, 9])
def test_starts_from_statistics_resume_exactly_too(tmp_path: Path, pictures: Path, steps: int) -> None:
    starts = {"encoder_init": "klt", "decoder_init": "previous"}
    straight = run(tmp_path / "straight", pictures, **starts)
    with pytest.raises(TrainingStopped):
        run(tmp_path / "stopped", pictures, watcher=StopAfter(steps, signal.SIGTERM), **starts)
    assert run(tmp_path / "stopped", pictures, resume=True, **starts).digest == straight.digest


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


def test_other_pictures_are_noticed_on_resume(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(TrainingStopped):
        run(tmp_path / "run", pictures, watcher=StopAfter(3, signal.SIGTERM))
    Image.new("RGB", (60, 50)).save(pictures / "new.png")
    with pytest.raises(InputError, match="not those that the run began with"):
        run(tmp_path / "run", pictures, resume=True)


def test_other_versions_are_told_on_resume(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(TrainingStopped):
        run(tmp_path / "run", pictures, watcher=StopAfter(3, signal.SIGTERM))
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    about["versions"]["torch"] = "1.0"
    (tmp_path / "run" / "run.json").write_text(json.dumps(about))
    listen = Listen()
    run(tmp_path / "run", pictures, resume=True, watcher=listen)
    assert any("torch 1.0 →" in message for message in listen.messages)


@pytest.mark.parametrize("spoil", ["phase", "kept", "parts", "step", "log_bytes"])
def test_a_state_that_does_not_fit_is_refused(tmp_path: Path, pictures: Path, spoil: str) -> None:
    with pytest.raises(TrainingStopped):
        run(tmp_path / "run", pictures, watcher=StopAfter(3, signal.SIGTERM))
    path = tmp_path / "run" / "state.safetensors"
    state = load_state(path)
    if spoil == "phase":
        del state["phase"]
    elif spoil in ("kept", "parts"):
        state[spoil] = {name: {"wrong": 1} for name in state[spoil]}
    else:
        state[spoil] = "many"
    save_state(path, state)
    with pytest.raises(InputError, match="state"):
        run(tmp_path / "run", pictures, resume=True)


def test_validation_points_stay_in_tensorboard_on_resume(tmp_path: Path, pictures: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def points(folder: Path) -> list[tuple[int, float]]:
        events = EventAccumulator(str(folder))
        events.Reload()
        return [(event.step, event.value) for event in events.Scalars("val_psnr")]

    run(tmp_path / "straight", pictures)
    with pytest.raises(TrainingStopped):
        run(tmp_path / "stopped", pictures, watcher=StopAfter(8, signal.SIGTERM))
    run(tmp_path / "stopped", pictures, resume=True)
    assert points(tmp_path / "stopped") == points(tmp_path / "straight")
    assert len(points(tmp_path / "straight")) == 2


def test_a_loss_that_is_not_finite_stops_the_run_with_true_advice(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(TrainingDiverged, match="Start a new run") as caught:
        run(tmp_path / "run", pictures, sc_max_lr="1e30", epochs_single=20)
    assert ("holds the last saved state" in str(caught.value)) == (tmp_path / "run" / "state.safetensors").exists()


def test_two_processes_train_resume_and_write_once(tmp_path: Path, pictures: Path) -> None:
    """Through torchrun on the CPU: the same weights whether stopped or not, and clean exits."""
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import os, signal, sys
from pathlib import Path
import torch
from codectk.errors import TrainingStopped
from codectk.log import Watcher
from codectk.options import RunOptions
from codectk.registry import get_registry
from codectk.runs import train
from codectk.specs import TrainerSpec
from codectk_frappe.options import TrainOptions

torch.set_num_threads(1)
class Stop(Watcher):
    left = int(sys.argv[2])
    def step(self, done, values):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
options = TrainOptions.parse({ {**TINY, "data": str(pictures)}!r})
run_options = RunOptions(device="cpu", workers=0)
folder = Path(sys.argv[1])
try:
    train(get_registry().find(TrainerSpec, "frappe"), options, folder, run_options, folder.exists(), Stop())
except TrainingStopped:
    pass
"""
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]

    def launch(folder: str, stop: int) -> None:
        words = [*torchrun, str(tmp_path / folder), str(stop)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr

    launch("straight", -1)
    launch("stopped", 10)
    assert not (tmp_path / "stopped" / "weights.safetensors").exists()
    launch("stopped", -1)
    digests = {Checkpoint.open(tmp_path / name / "weights.safetensors").digest for name in ("straight", "stopped")}
    assert len(digests) == 1


def test_too_few_pictures_are_refused_before_training(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(InputError, match="batch"):
        run(tmp_path / "run", pictures, batch_size=64)


def test_pictures_smaller_than_the_crop_are_mirrored(pictures: Path) -> None:
    from codectk.dataset import Files

    dataset = Files(sorted(pictures.iterdir()), ("image/rgb8",))
    options = TrainOptions.parse({**TINY, "min_size": 64, "max_size": 64, "max_aspect": 3.0, "max_scale": 1.0})
    rng = np.random.default_rng(0)
    crop = draw(dataset, 0, (64, 192), options, rng)
    assert crop.shape == (3, 64, 192)
    assert -1 <= crop.min() < crop.max() <= 1


def test_crops_are_multiples_within_bounds() -> None:
    options = TrainOptions.parse({**TINY, "min_size": 20, "max_size": 70, "min_aspect": 0.5, "max_aspect": 2.0})
    rng = np.random.default_rng(0)
    sizes = {side for _ in range(300) for side in crop_size(options, rng)}
    assert sizes == {24, 32, 40, 48, 56, 64}


def test_the_learning_rate_is_a_bump() -> None:
    assert learning_rate(0, 100, 1e-8, 5e-4, 2) == 1e-8
    assert learning_rate(50, 100, 1e-8, 5e-4, 2) == pytest.approx(5e-4)
    assert learning_rate(100, 100, 1e-8, 5e-4, 2) == pytest.approx(1e-8)
    mean = np.mean([learning_rate(s, 1000, 0.0, 1.0, 2) for s in range(1000)])
    assert mean == pytest.approx(0.625, abs=1e-3)
    assert min(learning_rate(s, 100, 0.0, 1.0, 3) for s in range(101)) >= 0


def test_adan_follows_its_equations() -> None:
    """Against the published equations, written out in float64 with numpy."""
    rng = np.random.default_rng(5)
    theta, gradients = rng.normal(size=4), rng.normal(size=(6, 4))
    b1, b2, b3, eps, lr, wd = 0.98, 0.92, 0.99, 1e-8, 0.1, 0.02
    parameter = torch.nn.Parameter(torch.tensor(theta, dtype=torch.float64))
    optimizer = Adan([parameter], lr=lr, weight_decay=wd)
    m = v = n = np.zeros(4)
    previous = gradients[0]
    for t, g in enumerate(gradients, start=1):
        d = g - previous
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * d
        n = b3 * n + (1 - b3) * (g + b2 * d) ** 2
        denominator = np.sqrt(n) / math.sqrt(1 - b3**t) + eps
        theta = theta - lr / (1 - b1**t) * m / denominator - lr * b2 / (1 - b2**t) * v / denominator
        theta = theta / (1 + lr * wd)
        previous = g
        parameter.grad = torch.tensor(g)
        optimizer.step()
        assert np.allclose(parameter.detach().numpy(), theta, rtol=1e-10)


def test_short_lists_go_on_with_their_last_value() -> None:
    assert [at((1.0, 2.0), i) for i in range(4)] == [1.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"min_size": 30, "max_size": 31}, "no multiple of 8"),
        ({"min_scale": 2.0, "max_scale": 1.0}, "min_scale"),
        ({"sc_lr_pow": "1.5"}, "sc_lr_pow"),
        ({"lam": ""}, "lam"),
        ({"epochs_single": "two"}, "epochs_single"),
    ],
)
def test_impossible_training_options_are_refused_with_the_reason(changes: dict[str, object], words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        TrainOptions.parse({**TINY, **changes})
