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
import time
from pathlib import Path
import numpy as np
import torch
import codectk.train
from codectk.errors import OptionsError, TrainingStopped
from codectk.options import RunOptions
from codectk.state import save_state
from codectk.train import Run


def slow_save(path, state):
    time.sleep(1)
    save_state(path, state)


def divides(run, batch_size):
    try:
        run.share(batch_size)
    except OptionsError:
        return False
    return True


def learn(run, stop_at):
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    network = run.setup(module)
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)

    def load(step):
        batch = run.rng(step).normal(size=(8, 3)).astype("f4")
        return torch.from_numpy(batch[list(run.share(8))])

    for step, x in run.steps("all", 6, load, module=module, optimizer=optimizer):
        loss = (network(x) - x.sum(dim=1, keepdim=True)).square().mean()
        # Only the last process has a bad loss; all of them must leave the step out.
        if run.skip(loss * float("nan") if step == 1 and run.rank == run.world_size - 1 else loss):
            continue
        optimizer.zero_grad()
        run.backward(loss)
        optimizer.step()
        run.log(loss=float(run.all_reduce(loss)))
        # Only the last process is asked to stop; all of them must, at the same step.
        if step == stop_at and run.rank == run.world_size - 1:
            os.kill(os.getpid(), signal.SIGTERM)
    return {name.replace(".", "_"): tensor.numpy() for name, tensor in module.state_dict().items()}


def main(folder, stop_at):
    torch.set_num_threads(1)
    codectk.train.save_state = slow_save
    options = RunOptions(device="cpu", log_every=1, workers=1)
    state = folder / "state.safetensors"
    try:
        with Run(folder, options, resume=state.exists()) as run:
            assert divides(run, 8)
            assert divides(run, 7) == (run.world_size == 1)
            np.savez(folder / f"rank{run.rank}.npz", **learn(run, stop_at))
    except TrainingStopped:
        # The launcher kills all processes as soon as one ends with an error, so none may end before the state is saved.
        assert state.exists(), "a process left while another one was saving"
        Path(folder, f"stopped-{run.rank}-{run.step}").touch()


main(Path(sys.argv[1]), int(sys.argv[2]))
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
        return [float(row["value"]) for row in csv.DictReader(stream) if row["name"] == "loss"]


def test_two_processes_learn_what_one_does_also_when_stopped_and_resumed(launch):
    one = launch("one", 1)
    two = launch("two", 2, stop_at=2)
    assert sorted(path.name for path in two.glob("stopped-*")) == ["stopped-0-3", "stopped-1-3"]
    assert len(losses(two)) == 2
    launch("two", 2)
    alone, first, second = (dict(np.load(path)) for path in (one / "rank0.npz", two / "rank0.npz", two / "rank1.npz"))
    for name in alone:
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], alone[name], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(losses(two), losses(one), rtol=1e-5)
    assert len(losses(two)) == 5
