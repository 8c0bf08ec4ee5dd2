"""Loss and accuracies of a network over pictures, each counted once whatever the batches and processes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codectk.train import Run
from codectk_dct_backbones.data.batches import Batch

TOP = 5


@dataclass(frozen=True)
class Result:
    """Over some pictures.

    Attributes:
        loss: mean cross entropy.
        top1: share whose class has the highest logit.
        top5: share whose class is among the five highest.
        count: pictures.
    """

    loss: float
    top1: float
    top5: float
    count: int


@torch.no_grad()
def evaluate(network: nn.Module, batches: Iterable[Batch], prepare: Callable[[Batch], Any], run: Run) -> Result:
    """The result over all processes.

    Args:
        network: not wrapped; it is left in the mode it was in.
        batches: of this process.
        prepare: batch → the network's argument.
        run: device, precision, processes.
    """
    same_everywhere(network, run)
    was_training = network.training
    network.eval()
    sums = torch.zeros(4, dtype=torch.float64, device=run.device)
    for batch in batches:
        with run.autocast():
            logits = network(prepare(batch))
        sums += scores(logits.float(), batch.labels.to(run.device))
    network.train(was_training)
    loss, top1, top5, count = (run.all_reduce(sums) * run.world_size).tolist()
    number = max(1, round(count))
    return Result(loss / number, round(top1) / number, round(top5) / number, round(count))


def scores(logits: Tensor, labels: Tensor) -> Tensor:
    """Sums over a batch, float64: cross entropy, right at first, right among the first five, items.

    Args:
        logits: [B, classes].
        labels: [B].
    """
    loss = F.cross_entropy(logits, labels, reduction="sum")
    hits = logits.topk(min(TOP, logits.shape[1])).indices == labels[:, None]
    count = torch.tensor(len(labels), device=logits.device)
    return torch.stack([loss.double(), hits[:, 0].sum().double(), hits.sum().double(), count.double()])


def same_everywhere(network: nn.Module, run: Run) -> None:
    """Take over the main process's running statistics: those of each process come of its own part of the batches."""
    if run.world_size > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)
