"""A device is what the user names, or an error in plain words."""

import pytest
import torch

from codectk.device import pick_device
from codectk.errors import OptionsError


def test_auto_takes_a_gpu_where_there_is_one():
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cpu:x", "mps", "meta", f"cuda:{torch.cuda.device_count()}"])
def test_a_device_that_is_not_here_is_refused(name):
    with pytest.raises(OptionsError, match="--device auto"):
        pick_device(name)
