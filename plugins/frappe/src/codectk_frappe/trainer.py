"""Training channel by channel, as published: a filter learns the residual, then a new decoder learns all channels.

for each channel i:
    phase "i.filter":  residual of the model so far ≈ single decoder(noise(filter i(x)))      the filter is kept
    phase "i.decoder": x ≈ merged decoder i+1(round(filters 0..i (x))), filters frozen        both are kept
    then validation on whole files, and weights that work are on disk
"""

import math
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from codectk.arrays import Array, ArrayInfo
from codectk.checkpoint import Checkpoint
from codectk.compression import LoadedCodec
from codectk.container import DIGEST_BYTES, unpack
from codectk.metric import PSNR
from codectk.registry import Registered
from codectk.runs import SO_FAR
from codectk.state import load_state, save_state
from codectk.train import Run
from codectk_frappe import plugin
from codectk_frappe.codec import FrappeCodec
from codectk_frappe.first_channels import FirstChannels, ending_with
from codectk_frappe.joint import JointTrainer
from codectk_frappe.model import Decoder, ScaleEncoder, merged_decoder, single_decoder, state_arrays, to_grid
from codectk_frappe.optimizer import Adan, learning_rate
from codectk_frappe.options import EncodeOptions, ScaleGroup, TrainOptions, at
from codectk_frappe.results import History, compression_ratio, report
from codectk_frappe.start import klt_filter, widen
from codectk_frappe.training import DISTRIBUTION, PictureTrainer

START_PICTURES = 64
"""Crops from whose statistics a filter starts."""


class FrappeTrainer(PictureTrainer):
    """Trainer of the frappe codec in mode progressive; see `PictureTrainer`."""

    def __init__(self, options: TrainOptions, run: Run) -> None:
        super().__init__(options, run)
        self.history = History(self.fingerprint)
        run.keep(encoders=self.encoders, history=self.history)
        self.first: FirstChannels | None = None
        if options.resume_checkpoint and not run.finished("first"):
            self.first = FirstChannels(options)

    def train(self) -> None:
        """Both phases for every channel, and what they reached."""
        if self.first is not None:
            self._take_up(self.first)
            self.first = None  # of up to gigabytes
            self.run.finish("first")
        for channel in range(self.options.resume_channels or 0, len(self.options.ps)):
            if not self.run.finished(f"{channel}.filter"):
                self._train_filter(channel)
                self.run.finish(f"{channel}.filter")
            if not self.run.finished(f"{channel}.decoder"):
                self._train_decoder(channel)
                self.run.finish(f"{channel}.decoder")
        self.run.results = report(self.options, self.run, self.history.points)
        if self.run.results["bd_avif"] is not None:
            bd_rate = self.run.results["bd_avif"]
            self.run.message(f"BD-rate against the published curve of AVIF on Kodak's pictures: {bd_rate:+.1f} %")

    def export(self) -> Checkpoint:
        """Filters once, and the decoder of every operating point."""
        return self._weights(len(self.options.ps))

    def _weights(self, n: int) -> Checkpoint:
        """Weights of a model that ends with channel `n`."""
        tensors: dict[str, Array] = {}
        for s, group in enumerate(self.model_options.groups(n)):
            whole = state_arrays(self.encoders[s], f"encoders.{s}.")
            tensors |= {name: tensor[: group.count] for name, tensor in whole.items()}
        for m in range(1, n + 1):
            state = load_state(self._snapshot_path(m))
            tensors |= {f"merged.{m}.decoder.{name}": tensor.numpy() for name, tensor in state.items()}
        return self._checkpoint(tensors, self.history.state_dict(), ending_with(self.model_options, n))

    def _take_up(self, first: FirstChannels) -> None:
        """Begin with filters, decoders and results of the first channels of other weights."""
        run, n = self.run, first.count
        first.fill(self.encoders)
        if run.is_main:
            for m in range(1, n + 1):
                save_state(self._snapshot_path(m), first.decoder(m))
            self._take_up_history(first)
            self._weights(n).save(run.folder / SO_FAR, force=True)
        run.barrier()
        run.message(f"going on from the first {n} channels of {first.path}")

    def _take_up_history(self, first: FirstChannels) -> None:
        points = first.history()
        if points is None:
            self.run.message(f"{first.path} lacks validation results of these channels, so they are made now")
            for m in range(1, first.count + 1):
                self._validate(m, self._snapshot(m))
            return
        self.history.points = points
        if first.validated_on() != self.fingerprint.rpartition(" ")[2]:
            self.run.message(f"the results of the first {first.count} channels are of other validation pictures")

    def _train_filter(self, channel: int) -> None:
        """Phase 1: one filter and a throw-away decoder learn what the model so far leaves over."""
        options, run = self.options, self.run
        filters = ScaleEncoder(self.model_options, options.ps[channel], 1)
        decoder = single_decoder(self.model_options, channel)
        group = ScaleGroup(options.ps[channel], channel, channel + 1)
        previous = self._snapshot(channel).to(run.device).eval() if channel else None
        if options.encoder_init == "klt":
            klt_filter(filters, self._pairs(channel, previous), at(options.encoder_std, channel))
        single = _Single(filters, decoder, group, self)
        coder = run.setup(single)
        factors = {filters: at(options.encoder_lr_scale, channel), decoder: 1.0}
        optimizer = Adan([{"params": list(part.parameters()), "factor": factor} for part, factor in factors.items()])
        total = int(at(options.epochs_single, channel)) * self._steps_per_epoch
        weight, exponent = at(options.lam, channel), at(options.rpe, channel)
        for step, batch in run.steps(
            f"{channel}.filter", total, self._batches(channel, "filter"), single=single, optimizer=optimizer
        ):
            x = batch.to(run.device)
            target = self._residual(previous, x, channel)
            with run.autocast():
                residual, latent = coder(x)
            error = (residual.float() - target).square().mean()
            power = run.all_reduce(target.square().mean())
            rate = self._log2_std(latent.float()) if weight > 0 else torch.zeros((), device=run.device)
            loss = self._log10(error) + weight * power**exponent * rate
            rates = (options.min_lr, at(options.sc_max_lr, channel), int(at(options.sc_lr_pow, channel)))
            self._update(optimizer, loss, learning_rate(step, total, *rates))
            if run.wants_log:
                run.log(loss=float(loss.detach()), residual_db=-10 * float(error.detach().log10()))
        self.encoders.adopt(channel, filters)

    def _train_decoder(self, channel: int) -> None:
        """Phase 2: a new decoder learns the picture from the rounded latents of all filters so far."""
        options, run, n = self.options, self.run, channel + 1
        module = merged_decoder(self.model_options, n)
        if options.decoder_init == "previous" and channel:
            widen(module, self._snapshot(channel))
        decoder = run.setup(module)
        optimizer = Adan([{"params": list(module.parameters()), "factor": 1.0}])
        total = int(at(options.epochs_merged, channel)) * self._steps_per_epoch
        self.encoders.train(options.merged_decoder_noise)
        for step, batch in run.steps(
            f"{channel}.decoder", total, self._batches(channel, "decoder"), decoder=module, optimizer=optimizer
        ):
            x = batch.to(run.device)
            with torch.no_grad():
                latents = self.encoders.latents(x, n)
                rounded = [latent.round() for latent in latents] if options.merged_decoder_round else latents
                grid = to_grid(rounded, self.model_options.groups(n), self.model_options.pitch)
            with run.autocast():
                x_hat = decoder(grid)
            loss = self._log10((x_hat.float() - x).square().mean())
            rates = (options.min_lr, at(options.md_max_lr, channel), int(at(options.md_lr_pow, channel)))
            self._update(optimizer, loss, learning_rate(step, total, *rates))
            if run.wants_log:
                run.log(loss=float(loss.detach()), psnr=_psnr(float(loss.detach())))
        self.encoders.eval()
        if run.is_main:
            save_state(self._snapshot_path(n), module.state_dict())
            self._validate(n, module)
            self._weights(n).save(run.folder / SO_FAR, force=True)
        run.barrier()

    def _log10(self, error: Tensor) -> Tensor:
        """log10 of the mean error over all processes, with the gradient that this mean has."""
        whole = self.run.all_reduce(error)
        value: Tensor = torch.log10(whole) + (error - error.detach()) / (whole * math.log(10))
        return value

    def _log2_std(self, z: Tensor) -> Tensor:
        """log2 of the standard deviation over all processes' values, with the gradient that it has."""
        if self.run.world_size == 1:
            return torch.log2(z.std())
        count = z.numel() * self.run.world_size
        first, second = z.mean(), z.square().mean()
        mean = self.run.all_reduce(first)
        variance = (self.run.all_reduce(second) - mean**2) * count / (count - 1)
        slope = (second - 2 * mean * first) / (2 * math.log(2) * variance)
        return variance.log2() / 2 + slope - slope.detach()

    @torch.no_grad()
    def _residual(self, decoder: nn.Module | None, x: Tensor, n: int) -> Tensor:
        """What the model of the first `n` channels leaves over of x, from latents neither rounded nor noisy."""
        if decoder is None:
            return x
        self.encoders.eval()
        grid = to_grid(self.encoders.latents(x, n), self.model_options.groups(n), self.model_options.pitch)
        return x - decoder(grid)  # type: ignore[no-any-return]

    def _pairs(self, channel: int, previous: nn.Module | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Training crops as the encoder sees them, and what the model so far leaves over of each."""
        load = self._batches(channel, "start")
        for step in range(-(-START_PICTURES // self.options.batch_size)):
            x = load(step).to(self.run.device)
            yield self.encoders.encoder_input(x), self._residual(previous, x, channel)

    def _validate(self, n: int, decoder: nn.Module) -> None:
        """Real files of the validation pictures: their mean size and PSNR."""
        tensors = state_arrays(self.encoders, "encoders.") | state_arrays(decoder, f"merged.{n}.decoder.")
        codec = FrappeCodec(self.model_options, tensors, str(self.run.device))
        spec = plugin.codectk_codecs()[0]
        loaded = LoadedCodec(Registered(spec, DISTRIBUTION, version(DISTRIBUTION)), codec, bytes(DIGEST_BYTES))
        quality, rates = PSNR(), []
        for i in range(len(self.val_data)):
            sample = self.val_data[i]
            info = ArrayInfo(sample.info.kind, sample.info.shape)
            data = loaded.compress(sample.x, info, EncodeOptions(channels=n)).data
            quality.update(sample.x, loaded.decompress(unpack(data)), info)
            rates.append(8 * len(data) / info.pixels)
        bpp, psnr = float(np.mean(rates)), quality.compute()["psnr"]
        ratio = compression_ratio(bpp)
        self.history.add(n, bpp, psnr)
        self.run.log(val_bpp=bpp, val_psnr=psnr, val_cr=ratio)
        place = f"channel {n} of {len(self.options.ps)}"
        self.run.message(f"{place}: {psnr:.2f} dB at {bpp:.4f} bpp, CR {ratio:.1f} (whole files)")

    def _snapshot_path(self, n: int) -> Path:
        return self.run.scratch / f"decoder_{n:03d}.safetensors"

    def _snapshot(self, n: int) -> Decoder:
        decoder = merged_decoder(self.model_options, n)
        decoder.load_state_dict(load_state(self._snapshot_path(n)))
        return decoder


class _Single(nn.Module):
    """Filter and throw-away decoder in one module, so that several processes share all gradients."""

    def __init__(self, filters: ScaleEncoder, decoder: nn.Module, group: ScaleGroup, trainer: FrappeTrainer) -> None:
        super().__init__()
        self.filters, self.decoder = filters, decoder
        self._input = trainer.encoders.encoder_input
        self._group, self._pitch = group, trainer.model_options.pitch

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # Latents in low precision would round to other integers than the encoder's.
        with torch.autocast(x.device.type, enabled=False):
            latent = self.filters(self._input(x))
        return self.decoder(to_grid([latent], [self._group], self._pitch)), latent


def _psnr(log_mse: float) -> float:
    """dB of a log10 mean squared error over the range [-1, 1]."""
    return float(10 * (np.log10(4.0) - log_mse))


def make_trainer(options: TrainOptions, run: Run) -> "FrappeTrainer | JointTrainer":
    """The trainer of the chosen mode."""
    return (JointTrainer if options.mode == "joint" else FrappeTrainer)(options, run)
