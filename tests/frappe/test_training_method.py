"""What the published method prescribes: losses, schedule, optimizer, clipping, crops."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from codectk.dataset import Files
from codectk.options import RunOptions
from codectk.train import Run
from codectk_frappe.augment import crop_size, draw
from codectk_frappe.model import ScaleEncoder, merged_decoder, to_grid
from codectk_frappe.optimizer import Adan, learning_rate
from codectk_frappe.options import ModelOptions, TrainOptions
from codectk_frappe.start import klt_filter, widen
from codectk_frappe.trainer import FrappeTrainer

from .trainings import TINY

pytestmark = pytest.mark.usefixtures("one_thread")


class Recorder(nn.Module):
    """Keeps what goes into a module and what comes out."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.calls: list[tuple[Tensor, Any]] = []

    def forward(self, x: Tensor) -> Any:
        self.calls.append((x.detach().clone(), self.module(x)))
        return self.calls[-1][1]


class Spy(FrappeTrainer):
    """Compares every loss with what the method prescribes, computed from the modules' outputs alone."""

    seen: list[tuple[str, float, float]]

    def __init__(self, options: TrainOptions, run: Run) -> None:
        super().__init__(options, run)
        self.seen, self.modules, self.clean = [], [], []
        run.setup = self._setup  # type: ignore[method-assign]

    def _setup(self, module: nn.Module) -> nn.Module:
        self.modules.append(Recorder(module))
        return self.modules[-1]

    def _update(self, optimizer: Adan, loss: Tensor, rate: float) -> None:
        channel, phase = self.run.phase.split(".")
        given, returned = self.modules[-1].calls[-1]
        check = self._check_filter if phase == "filter" else self._check_decoder
        check(int(channel), given, returned, float(loss.detach()))
        super()._update(optimizer, loss, rate)
        gradients = [p.grad.flatten() for g in optimizer.param_groups for p in g["params"]]
        assert float(torch.cat(gradients).norm()) <= self.options.grad_clip * 1.001
        factors = [group["lr"] / rate for group in optimizer.param_groups]
        assert factors == pytest.approx([0.25, 1.0] if phase == "filter" else [1.0])
        self.seen.append((self.run.phase, rate, float(loss.detach())))

    def _check_filter(self, channel: int, x: Tensor, returned: tuple[Tensor, Tensor], loss: float) -> None:
        prediction, z = (part.detach().double() for part in returned)
        target = x.double()
        if channel:
            latents = self.encoders.latents(x, channel)  # neither rounded nor noisy
            grid = to_grid(latents, self.model_options.groups(channel), self.model_options.pitch)
            target = target - self._snapshot(channel).eval()(grid).double().detach()
        power, spread = (target**2).mean(), z.std(unbiased=True)
        wanted = ((prediction - target) ** 2).mean().log10() + 0.05 * power**0.4 * spread.log2()
        assert loss == pytest.approx(float(wanted), rel=1e-4)
        again = self.modules[-1].module(x)[1]
        assert not torch.equal(again, returned[1]), "the latents of the filter phase are noisy"

    def _check_decoder(self, channel: int, grid: Tensor, x_hat: Tensor, loss: float) -> None:
        x = self._batches(channel, "decoder")(self.run.step)
        was_noisy = self.encoders.training
        self.encoders.eval()
        latents = self.encoders.latents(x, channel + 1)
        self.encoders.train(was_noisy)
        if self.options.merged_decoder_round:
            latents = [latent.round() for latent in latents]
        wanted_grid = to_grid(latents, self.model_options.groups(channel + 1), self.model_options.pitch)
        # Noise on latents near zero is rounded away, so some steps may show none.
        self.clean.append(torch.equal(grid, wanted_grid))
        whole = torch.equal(grid, grid.round())
        assert whole == self.options.merged_decoder_round
        wanted = ((x_hat.detach().double() - x.double()) ** 2).mean().log10()
        assert loss == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.parametrize(("noise", "rounds"), [(False, True), (True, True), (False, False)])
def test_losses_rates_and_clipping_are_those_of_the_method(
    tmp_path: Path, pictures: Path, noise: bool, rounds: bool
) -> None:
    changes = {"lam": 0.05, "rpe": 0.4, "encoder_lr_scale": 0.25, "sc_lr_pow": "2,3", "md_lr_pow": 1, "grad_clip": 0.01}
    changes |= {"merged_decoder_noise": noise, "merged_decoder_round": rounds}
    options = TrainOptions.parse({**TINY, "data": str(pictures), **changes})
    with Run(tmp_path / "run", RunOptions(device="cpu", workers=0)) as made:
        trainer = Spy(options, made)
        trainer.train()
    # Five pictures are two batches of two: the last, partial one is dropped; two epochs are four steps.
    for phase, power in (("0.filter", 2), ("1.filter", 3), ("0.decoder", 1), ("1.decoder", 1)):
        rates = [rate for name, rate, _ in trainer.seen if name == phase]
        bump = [1e-8 + (1e-2 - 1e-8) * (1 - math.cos(math.pi * s / 4) ** (2 * power)) for s in range(4)]
        assert rates == pytest.approx(bump), phase
    assert all(trainer.clean) != noise
    assert len(trainer.modules) == 4, "every phase begins with networks of its own"


def test_a_filter_without_weight_on_the_rate_has_no_rate_term(tmp_path: Path, pictures: Path) -> None:
    """A crop of one colour has latents without spread: log2 of it would stop the run."""
    for path in pictures.iterdir():
        Image.new("RGB", (60, 50), (90, 90, 90)).save(path)
    options = TrainOptions.parse({**TINY, "data": str(pictures), "lam": 0, "jitter": 0, "encoder_arch": "SC8"})
    with Run(tmp_path / "run", RunOptions(device="cpu", workers=0)) as made:
        trainer = FrappeTrainer(options, made)
        trainer._log2_std = lambda z: pytest.fail("not asked for")  # type: ignore[method-assign]
        trainer.train()


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


def test_pictures_smaller_than_the_crop_are_mirrored(tmp_path: Path) -> None:
    """Symmetric: the last row and column are repeated first."""
    x = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(x).save(tmp_path / "small.png")
    dataset = Files([tmp_path / "small.png"], ("image/rgb8",))
    # The short side is a quarter of the crop's longer side: 48 pixels, so nothing is resized.
    changes = {"min_size": 64, "max_size": 192, "max_aspect": 3.0, "min_scale": 0.25, "max_scale": 0.25, "jitter": 0}
    crop = draw(dataset, 0, (64, 192), TrainOptions.parse({**TINY, **changes}), np.random.default_rng(0))
    pixels = ((crop.transpose(1, 2, 0) + 1) * 127.5).round().astype(np.uint8)
    assert np.array_equal(pixels, np.pad(x, [(0, 16), (0, 144), (0, 0)], mode="symmetric"))
    assert np.array_equal(pixels[48], pixels[47])


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
