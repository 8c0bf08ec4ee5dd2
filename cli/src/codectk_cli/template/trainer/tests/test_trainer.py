"""What is special about this trainer."""

import torch

from codectk_blocky.trainer import Predictor


def test_a_plane_is_predicted_without_error() -> None:
    """Left plus above less above-left continues any plane."""
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    x = (2 * rows + 3 * columns)[None, :, :, None]
    model = Predictor()
    with torch.no_grad():
        model.weights.copy_(torch.tensor([1.0, 1.0, -1.0]))
    assert float(model(x).detach()) < 1e-9
