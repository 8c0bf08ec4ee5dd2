"""One training process per device, started by torch's own launcher, whose own words are not passed on."""

import logging
import os
import sys
import tempfile
from pathlib import Path

import click

from codectk.errors import OptionsError
from codectk.options import Options, RunOptions
from codectk_cli.shared import fail


def check(options: Options, run_options: RunOptions) -> None:
    """Find out what would stop every process, before any is started.

    Raises:
        OptionsError: the batch cannot be divided evenly, or there are too few devices.
    """
    import torch

    from codectk.device import pick_device

    devices = run_options.devices
    batch_size = getattr(options, "batch_size", None)
    if isinstance(batch_size, int) and batch_size % devices:
        raise OptionsError(
            f"A batch of {batch_size} cannot be divided among {devices} processes.",
            f"Choose a --batch-size that is a multiple of {devices}, or fewer --devices.",
        )
    if pick_device(run_options.device).type == "cuda" and devices > torch.cuda.device_count():
        raise OptionsError(
            f"There are {torch.cuda.device_count()} CUDA devices here, not {devices}.", "Choose fewer --devices."
        )


def launch(devices: int, words: list[str]) -> int:
    """Run `codectk` with these words once per device; returns the exit code.

    The terminal belongs to the first process. A signal that comes here reaches all of them.
    """
    import torch.distributed.run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices)))
    sys.stdout.flush()
    logging.disable()
    with tempfile.TemporaryDirectory(prefix="codectk-") as folder:
        silent = ",".join(f"{rank}:3" for rank in range(1, devices))
        settings = ["--standalone", f"--nproc-per-node={devices}", f"--redirects={silent}", f"--log-dir={folder}"]
        try:
            torch.distributed.run.main([*settings, "-m", "codectk_cli", *words])
        except SignalException as error:
            return 128 + int(error.sigval)
        except ChildFailedError as error:
            codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
            if codes.get(0, 0) <= 0:  # the first process had nothing to say, or no time for it
                fail(_last_error(Path(folder)) or "A training process ended without a word.")
            return max(*codes.values(), 1)
        finally:
            logging.disable(logging.NOTSET)
    return 0


def _last_error(folder: Path) -> str:
    """The last error that a process wrote of those whose words were kept in `folder`."""
    for path in sorted(folder.rglob("stderr.log")):
        text = click.unstyle(path.read_text(encoding="utf-8", errors="replace"))
        errors = [line for line in text.splitlines() if line.startswith("error: ")]
        if errors:
            return errors[-1].removeprefix("error: ")
    return ""
