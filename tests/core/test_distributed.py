"""Two processes train what one does."""

import csv
import os
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import os
import signal
import sys
from pathlib import Path
import numpy as np
import torch
from codectk.errors import OptionsError, TrainingStopped
from codectk.options import RunOptions
from codectk.train import Run

folder, stop_at = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
options = RunOptions(device="cpu", log_every=1, workers=1)

with Run(folder, options, resume=(folder / "state.safetensors").exists()) as run:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    network = run.setup(module)
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    try:
        run.share(7)
        divides = True
    except OptionsError:
        divides = False
    assert divides == (run.world_size == 1)

    def load(step):
        batch = run.rng(step).normal(size=(8, 3)).astype("f4")
        return torch.from_numpy(batch[list(run.share(8))])

    try:
        for step, x in run.steps("all", 6, load, module=module, optimizer=optimizer):
            loss = (network(x) - x.sum(dim=1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            run.backward(loss)
            optimizer.step()
            run.log(loss=float(run.all_reduce(loss)))
            # Only the last process is asked to stop; all of them must, at the same step.
            if step == stop_at and run.rank == run.world_size - 1:
                os.kill(os.getpid(), signal.SIGTERM)
    except TrainingStopped:
        Path(folder, f"stopped-{run.rank}-{run.step}").touch()
    else:
        arrays = {name.replace(".", "_"): tensor.numpy() for name, tensor in module.state_dict().items()}
        np.savez(folder / f"rank{run.rank}.npz", **arrays)
"""


@pytest.fixture
def launch(tmp_path):
    """Run the script in that many processes; returns its folder."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")

    def start(name, processes, stop_at=-1):
        folder = tmp_path / name
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, *(torchrun if processes > 1 else []), str(script), str(folder), str(stop_at)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert result.returncode == 0, result.stderr
        return folder

    return start


def losses(folder):
    with (folder / "log.csv").open(newline="", encoding="utf-8") as stream:
        return [float(row["value"]) for row in csv.DictReader(stream)]


def test_two_processes_learn_what_one_does_also_when_stopped_and_resumed(launch):
    one = launch("one", 1)
    two = launch("two", 2, stop_at=2)
    assert sorted(path.name for path in two.glob("stopped-*")) == ["stopped-0-3", "stopped-1-3"]
    assert len(losses(two)) == 3
    launch("two", 2)
    alone, first, second = (dict(np.load(path)) for path in (one / "rank0.npz", two / "rank0.npz", two / "rank1.npz"))
    for name in alone:
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], alone[name], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(losses(two), losses(one), rtol=1e-5)
    assert len(losses(two)) == 6
