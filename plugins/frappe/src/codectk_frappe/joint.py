"""Training of all prefixes together, with one decoder and a rate that is counted.

phase "joint":    filters and decoder: log10 MSE(x_hat) + μ · slope · ln(bits per pixel)
phase "decoder":  the decoder alone

The decoder gets integers, the rate is estimated with uniform noise.
Each crop has a quantiser step of its own and, some of them, only its first n channels. μ holds the rate at step 1 to
the target: it follows the bits that the entropy coder needs for the crops.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from codectk.checkpoint import Checkpoint
from codectk.errors import InputError
from codectk.train import Run
from codectk_frappe.analysis import Int8
from codectk_frappe.coder import Coder, cold_tables
from codectk_frappe.fitting import fit
from codectk_frappe.model import Encoders, state_arrays
from codectk_frappe.optimizer import Adan, warm_then_cool
from codectk_frappe.options import LIMIT, MAX_DEADZONE, SPARSE, ModelOptions, TrainOptions
from codectk_frappe.rate import SLOPE, estimated_bits, mean_around
from codectk_frappe.shared import SharedDecoder, expand, quantiser_scalars
from codectk_frappe.start import MAX_GAMMA, haar_klt
from codectk_frappe.training import PictureTrainer

START_BATCHES = 16
START_STEP = 0.15
"""Quantiser step from which the search for the one of the wanted rate begins, for filters of norm 1."""
FIT_CROPS, FIT_STEPS = 192, (1.0, 2.0, 4.0, 8.0)
"""Crops from which the entropy coder's tables are counted, and the steps at which they are."""
MEASURE_EVERY = 25
"""Steps between two measurements of the rate."""


class JointTrainer(PictureTrainer):
    """Trainer of one decoder for all prefixes; see `PictureTrainer`."""

    def __init__(self, options: TrainOptions, run: Run) -> None:
        super().__init__(options, run)
        self.encoders.eval()  # noise is added here, after the factor
        self.decoder = SharedDecoder(self.model_options)
        self.record = Record(self.fingerprint)
        run.keep(encoders=self.encoders, decoder=self.decoder, record=self.record)

    def train(self) -> None:
        """Both phases."""
        run, options = self.run, self.options
        if not run.finished("start"):
            load = self._batches("start")
            crops = [self.encoders.encoder_input(load(step)) for step in range(START_BATCHES)]
            haar_klt(self.encoders, self.decoder, crops, START_STEP)
            self._reach_target(load(0).to(run.device))
            run.finish("start")
        self.decoder.to(run.device)
        if not run.finished("joint"):
            self._phase("joint", options.joint_steps, frozen=False)
            run.finish("joint")
        if not run.finished("decoder"):
            self._phase("decoder", options.decoder_steps, frozen=True)
            run.finish("decoder")

    def _phase(self, name: str, total: int, frozen: bool) -> None:
        run, options = self.run, self.options
        self.encoders.requires_grad_(not frozen)
        module = run.setup(_Model(self.encoders, self.decoder, frozen))
        synthesis = [*self.decoder.linear.parameters(), *self.decoder.probe.parameters()]
        rest = [p for name, p in self.decoder.named_parameters() if not name.startswith(("linear.", "probe."))]
        groups: list[dict[str, Any]] = [
            {"params": rest, "factor": 1.0},
            {"params": synthesis, "factor": options.joint_filter_lr_scale},
        ]
        if not frozen:
            # The factors γ set the rate; they move on the scale of 1, the entries of filters on that of 1/p.
            slow = [p for name, p in self.encoders.named_parameters() if not name.endswith("γ")]
            groups.append({"params": slow, "factor": options.joint_filter_lr_scale})
            gammas = [p for name, p in self.encoders.named_parameters() if name.endswith("γ")]
            groups.append({"params": gammas, "factor": 1.0})
        optimizer = Adan(groups)
        for step, batch in run.steps(name, total, self._batches(name), optimizer=optimizer):
            x = batch.to(run.device)
            n, steps = self._settings(name, step)
            with run.autocast():
                x_hat, bits = module(x, n, steps)
            error = (x_hat.float() - x).square().mean((1, 2, 3))
            bpp = bits / x[0, 0].numel()
            loss = error.log10().mean()
            if not frozen:
                loss = loss + self.record.multiplier * SLOPE * bpp.log().mean()
            self._update(optimizer, loss, warm_then_cool(step, total, options.joint_lr))
            if not frozen and step % MEASURE_EVERY == 0:
                self._steer(x)
            if run.wants_log:
                psnr = float(10 * (np.log10(4) - error.detach().log10().mean()))
                run.log(loss=float(loss.detach()), psnr=psnr)
                if not frozen:
                    run.log(estimated_bpp=float(bpp.detach().mean()))

    def _settings(self, phase: str, step: int) -> tuple[Tensor, Tensor]:
        """Number of channels and quantiser step of each crop of this process."""
        rng, total = self.run.rng(phase, "settings", step), len(self.options.ps)
        size = self.options.batch_size
        some = rng.random(size) < self.options.prefix_share
        n = np.where(some, rng.integers(1, total + 1, size), total)
        steps = np.exp(rng.uniform(0, np.log(self.options.max_step), size))
        mine = slice(self.shares.start, self.shares.stop)
        device = self.run.device
        return torch.from_numpy(n[mine]).to(device), torch.from_numpy(steps[mine]).float().to(device)

    @torch.no_grad()
    def _reach_target(self, x: Tensor) -> None:
        """Find the quantiser step at which these crops need the wanted rate, by bisection."""
        gammas = [group[1][2].γ for group in self.encoders]  # type: ignore[index]
        start = [gamma.clone() for gamma in gammas]
        low, high = 1 / 64, 64.0
        for _ in range(12):
            factor = (low * high) ** 0.5
            for gamma, first in zip(gammas, start, strict=True):
                gamma.copy_((first / factor).clamp(max=MAX_GAMMA))
            low, high = (factor, high) if self._measure(x) > self.options.target_bpp else (low, factor)

    def _steer(self, x: Tensor) -> None:
        """Raise or lower the weight of the rate, after what the entropy coder needs at step 1."""
        self.record.steer(self._measure(x), self.options.target_bpp)
        self.run.log(measured_bpp=self.record.bpp, multiplier=self.record.multiplier)

    @torch.no_grad()
    def _measure(self, x: Tensor) -> float:
        """Bits per pixel that the entropy coder, with tables that know nothing, needs for crops at step 1."""
        coder = Coder(self.model_options, cold_tables(self.model_options))
        latents = [_integers(self._rounded(v)) for v in self.encoders.latents(x, len(self.options.ps))]
        bits = sum(8 * coder.size([group[i] for group in latents]) for i in range(len(x)))
        return float(self.run.all_reduce(torch.tensor(bits / x[:, 0].numel(), device=x.device)))

    def _rounded(self, v: Tensor) -> Tensor:
        return rounded(v, self.model_options)

    @torch.no_grad()
    def export(self) -> Checkpoint:
        """Filters, decoder and the entropy coder's tables, counted on training crops at several steps."""
        load = self._batches("tables")
        pictures: list[list[Int8]] = []
        while len(pictures) < FIT_CROPS:
            x = load(len(pictures) // len(self.shares)).to(self.run.device)
            latents = self.encoders.latents(x, len(self.options.ps))
            for i in range(len(x)):
                step = FIT_STEPS[len(pictures) % len(FIT_STEPS)]
                pictures.append([_integers(self._rounded(v[i] / step)) for v in latents])
        tensors = state_arrays(self.encoders, "encoders.") | state_arrays(self.decoder, "decoder.")
        tables = {f"coder.{name}": table for name, table in fit(self.model_options, pictures).items()}
        return self._checkpoint(tensors | tables, self.record.state_dict())


class Record:
    """Weight of the rate, and the data that a run rests on."""

    def __init__(self, data: str) -> None:
        self.data, self.multiplier, self.bpp = data, 1.0, 0.0

    def steer(self, measured: float, target: float) -> None:
        """Follow the measured rate, smoothed; more slowly than the filters follow the weight, or both would swing."""
        self.bpp = measured if self.bpp == 0 else 0.8 * self.bpp + 0.2 * measured
        self.multiplier *= float(np.exp(np.clip(0.1 * (self.bpp / target - 1), -0.05, 0.05)))
        self.multiplier = min(max(self.multiplier, 0.5), 2.0)

    def state_dict(self) -> dict[str, Any]:
        """For the saved state and the checkpoint."""
        return {"data": self.data, "multiplier": self.multiplier, "bpp": self.bpp}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take on a saved state.

        Raises:
            InputError: it was reached on other data.
        """
        if state["data"] != self.data:
            raise InputError("The pictures are not those that the run began with.", "Put them back, or start anew.")
        self.multiplier, self.bpp = float(state["multiplier"]), float(state["bpp"])


class _Model(torch.nn.Module):
    """Filters, quantiser and decoder in one module, so that several processes share all gradients."""

    def __init__(self, encoders: Encoders, decoder: SharedDecoder, frozen: bool) -> None:
        super().__init__()
        self.encoders, self.decoder, self.frozen = encoders, decoder, frozen

    def forward(self, x: Tensor, n: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """(x_hat, bits of each picture)."""
        width = steps.view(-1, 1, 1, 1)
        with torch.autocast(x.device.type, enabled=False), torch.set_grad_enabled(not self.frozen):
            clean = [v / width for v in self.encoders.latents(x, len(self.encoders.options.ps))]
            bits = steps.new_ones(len(x))
            if not self.frozen:
                bits = estimated_bits(clean, [v + torch.rand_like(v) - 0.5 for v in clean])
            # Rounded as in a file, with the gradient of a straight line: noise would fill the many values that are zero
            # in a file, and with wide steps drown the picture.
            latents = [(v + (rounded(v, self.encoders.options) - v).detach()) * width for v in clean]
            filters = expand(latents, quantiser_scalars(self.encoders))
        return self.decoder(latents, filters, n, steps), bits


def rounded(v: Tensor, options: ModelOptions) -> Tensor:
    """To integers, as `native/analysis.c` does.

    A magnitude goes up to the next from a half and the deadzone of a step. The deadzone is wider where the values
    around are small, because there each value that is not zero costs most bits.
    """
    if not options.deadzone and not options.sparse_deadzone:
        return v.round()
    size = v.abs()
    deadzone = options.deadzone + options.sparse_deadzone / (mean_around(size) + SPARSE)
    return v.sign() * (size + 0.5 - deadzone.clamp(max=MAX_DEADZONE)).floor()


def _integers(v: Tensor) -> Int8:
    """What a file holds of rounded latents."""
    integers: Int8 = v.clamp(-LIMIT, LIMIT).to(torch.int8).cpu().numpy()
    return integers
