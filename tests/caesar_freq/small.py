"""Small fields, networks and trainings of the learned parts."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from codectk.checkpoint import Checkpoint
from codectk.log import Watcher
from codectk.options import RunOptions
from codectk.registry import get_registry
from codectk.runs import train
from codectk.specs import TrainerSpec
from codectk_caesar_freq.architecture import (
    COMPRESSOR,
    DIFFUSION,
    STUDENT,
    CompressorConfig,
    FrequencyConfig,
    StudentConfig,
    UNetConfig,
    WindowConfig,
)
from codectk_caesar_freq.learned.parts import build, export_part

FREQUENCY = FrequencyConfig(dct_block_size=2, latent_channels=4)
WINDOW = WindowConfig(n_frame=7, interpo_rate=3, tile=32)
CONFIGS = {
    COMPRESSOR: CompressorConfig(low_freq_size=3, latent_channels=4, hyper_channels=4),
    DIFFUSION: UNetConfig(dim=8, dim_mults=(1, 2), steps=4, heads=2, head_width=4),
    STUDENT: StudentConfig(base_channels=8, channel_mults=(1, 2), num_res_blocks=1),
}

PLAN: dict[str, Any] = {"n_frame": 7, "training_size": 16, "batch_size": 2, "epochs": 2, "lr": 1e-3, "val_windows": 3}
PHASE_1: dict[str, Any] = {
    **PLAN,
    "dct_block_size": 2,
    "latent_channels": 4,
    "hyper_channels": 4,
    "low_freq_size": 3,
}
PHASE_2: dict[str, Any] = {
    **PLAN,
    "unet_dim": 8,
    "dim_mults": "1,2",
    "unet_heads": 2,
    "unet_head_width": 4,
    "diffusion_steps": 4,
    "val_steps": 2,
}
PHASE_3: dict[str, Any] = {
    **PLAN,
    "student_base_channels": 8,
    "student_channel_mults": "1,2",
    "student_num_res_blocks": 1,
}


def part(name: str, seed: int = 0, **changes: Any) -> Checkpoint:
    """Weights of one part with random values, none of them zero."""
    torch.manual_seed(seed)
    network = build(CONFIGS[name], FREQUENCY.latent_channels)
    for parameter in network.parameters():
        if parameter.requires_grad and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    frequency = changes.get("frequency", FREQUENCY)
    window = None if name == COMPRESSOR else changes.get("window", WINDOW)
    return export_part(name, network, CONFIGS[name], frequency, window, {"seed": seed})


def moving_waves(frames: int = 20, height: int = 20, width: int = 28, variables: int = 1) -> NDArray[np.float32]:
    """[V, 1, T, H, W]: waves that move to the right, each variable in another unit."""
    t, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    waves = np.sin(0.4 * x - 0.5 * t) + np.cos(0.3 * y + 0.2 * t)
    return np.stack([(10.0**v * waves + 280)[None] for v in range(variables)]).astype(np.float32)


def write_fields(folder: Path, **arrays: NDArray[Any]) -> Path:
    """A folder with one .npz for each array."""
    folder.mkdir(parents=True)
    for name, data in (arrays or {"waves": moving_waves()}).items():
        np.savez(folder / f"{name}.npz", data=data)
    return folder


def run(phase: str, folder: Path, values: dict[str, Any], **run_changes: Any) -> Checkpoint:
    """Train a phase into a folder."""
    registered = get_registry().find(TrainerSpec, f"caesar_freq.{phase}")
    options = registered.load(registered.spec.options).parse(values)
    resume, watcher = run_changes.pop("resume", False), run_changes.pop("watcher", None)
    settings = {"device": "cpu", "workers": 0, "log_every": 1, "save_every": 1e9, **run_changes}
    made = train(registered, options, folder, RunOptions(**settings), resume, watcher)
    assert made is not None
    return made


class Listen(Watcher):
    """Keeps all messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)
