"""What a training of mode progressive reports: quality and size per channel, and one BD-rate against AVIF."""

import math
from collections.abc import Sequence
from typing import Any

from codectk.errors import InputError
from codectk.evaluate import bd_rate
from codectk.train import Run
from codectk_frappe.options import PER_CHANNEL, TrainOptions, at

AVIF = (
    *((0.0441157, 24.23690836), (0.06284926, 25.25622596), (0.09121535, 26.32338345), (0.22538418, 29.26768998)),
    *((0.3614841, 31.15876267), (0.67526669, 34.19219484), (1.44184875, 38.55725398), (2.65533447, 41.76542381)),
)
"""(bpp, PSNR in dB) of AVIF on the Kodak pictures, as the published training script holds them."""

BITS = 24
"""Bits per pixel of a picture that is not compressed."""


class History:
    """Validation results, one point per channel, and the data that they rest on.

    Attributes:
        data: fingerprint of the pictures.
        points: `{"channels": n, "bpp": …, "psnr": …}` for n = 1, 2, …: mean size of whole files, mean PSNR in dB; None
            for an infinite PSNR.
    """

    def __init__(self, data: str) -> None:
        self.data = data
        self.points: list[dict[str, Any]] = []

    def add(self, n: int, bpp: float, psnr: float) -> None:
        """The point of `n` channels."""
        self.points.append({"channels": n, "bpp": bpp, "psnr": psnr if math.isfinite(psnr) else None})

    def state_dict(self) -> dict[str, Any]:
        """For the saved state and the checkpoint."""
        return {"validation": self.points, "data": self.data}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take on a saved state.

        Raises:
            InputError: it was reached on other data.
        """
        if state["data"] != self.data:
            raise InputError("The pictures are not those that the run began with.", "Put them back, or start anew.")
        self.points = list(state["validation"])


def compression_ratio(bpp: float) -> float:
    """24 bits over the mean bits per pixel, not the mean of the pictures' ratios."""
    return BITS / bpp


def bd_avif(points: Sequence[dict[str, Any]]) -> float | None:
    """BD-rate in percent against AVIF's points on Kodak; negative is better, None where it cannot be computed.

    Points that another beats in size and quality are left out; of two identical ones, one stays.
    """
    curve = [(point["bpp"], point["psnr"]) for point in points if point["psnr"] is not None]
    return bd_rate(AVIF, curve).percent


def report(options: TrainOptions, run: Run, points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The content of `results.json`, under the published script's names.

    Args:
        options: of the training.
        run: its device and time.
        points: see `History`.
    """
    psnr = [point["psnr"] for point in points]
    ratios = [compression_ratio(point["bpp"]) for point in points]
    return {
        "device": str(run.device),
        "config": _config(options, run),
        "valid_psnr": psnr,
        "valid_cr": ratios,
        "final_psnr": psnr[-1] if psnr else None,
        "final_cr": ratios[-1] if ratios else None,
        "bd_avif": bd_avif(points),
        "total_time_hours": run.seconds / 3600,
    }


def _config(options: TrainOptions, run: Run) -> dict[str, Any]:
    """All options under the guide's names, with lists as long as `ps`, without those of a resume."""
    config = options.model_dump(mode="json")
    for name in PER_CHANNEL:
        config[name] = [at(config[name], channel) for channel in range(len(options.ps))]
    config["decoder_ps"] = options.pitch
    config["train_ds"], config["val_ds"] = config.pop("data"), config.pop("val_data")
    del config["resume_checkpoint"], config["resume_channels"]
    return {
        **config,
        "num_workers": run.options.workers,
        "save_checkpoint_name": run.options.save_checkpoint_name,
        "seed": run.options.seed,
        "precision": run.options.precision,
    }
