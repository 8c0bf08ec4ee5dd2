"""Weights of metrics are found where they are said to be; what is not what it should be is refused in one line."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from codectk.errors import WeightsError
from codectk.perceptual.dists import Dists
from codectk.perceptual.lpips import Lpips
from codectk.perceptual.weights import FOLDER, find, read

from . import perceptual

NAME = "lpips_alex.safetensors"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / NAME
    save_file(perceptual.lpips("alex"), path)
    return path


@pytest.fixture(autouse=True)
def no_folder(monkeypatch):
    monkeypatch.delenv(FOLDER, raising=False)


def told(place=None):
    """The message, after a check that it is one line with a next step."""
    with pytest.raises(WeightsError) as caught:
        Lpips(place)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.next_step
    return message


def test_an_explicit_path_and_the_folder_give_the_same_network(good, monkeypatch):
    monkeypatch.setenv(FOLDER, str(good.parent))
    named, found = Lpips(good).state_dict(), Lpips().state_dict()
    assert set(named) == set(found)
    assert all(torch.equal(named[name], found[name]) for name in named)
    assert torch.equal(named["lin0.model.1.weight"], torch.from_numpy(perceptual.lpips("alex")["lin0.model.1.weight"]))


def test_without_a_folder_the_variable_the_file_and_its_origin_are_told():
    message = told()
    assert FOLDER in message
    assert NAME in message
    assert "alexnet-owt-7be5be79.pth" in message
    assert "weights/v0.1/alex.pth" in message


def test_a_missing_file_is_told_with_its_path(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    assert str(tmp_path / NAME) in told()
    assert "other.safetensors" in told(tmp_path / "other.safetensors")
    assert "is a folder" in told(tmp_path)


def broken(change):
    """The state after a change."""
    state = dict(perceptual.lpips("alex"))
    change(state)
    return state


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda s: s.pop("lin3.model.1.weight"), ["lacks 1 of 15", "lin3.model.1.weight"]),
        (lambda s: [s.pop(n) for n in list(s) if n.startswith("features.")], ["lacks 10 of 15", "features.0.bias"]),
        (lambda s: s.update({"features.0.bias": np.zeros(63, np.float32)}), ["features.0.bias", "(63,)", "(64,)"]),
        (lambda s: s.update({"features.0.bias": np.zeros(64, np.int32)}), ["features.0.bias", "I32"]),
        (lambda s: s.update({"features.0.bias": np.full(64, np.nan, np.float32)}), ["features.0.bias", "NaN"]),
    ],
    ids=["a head", "the trunk", "shape", "integers", "NaN"],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, change, parts):
    path = tmp_path / "w.safetensors"
    save_file(broken(change), path)
    message = told(path)
    assert all(part in message for part in [str(path), "alexnet-owt", *parts])


@pytest.mark.parametrize("kind", ["cut", "noise", "huge header", "empty", "pickle"])
def test_hostile_files_are_refused(tmp_path, good, kind):
    path = tmp_path / "w.safetensors"
    if kind == "pickle":
        torch.save({"features.0.bias": torch.zeros(64)}, path)
    else:
        data = good.read_bytes()
        content = {
            "cut": data[:-9],
            "noise": bytes(range(256)) * 4,
            "huge header": b"\xff" * 8 + data[8:],
            "empty": b"",
        }
        path.write_bytes(content[kind])
    assert str(path) in told(path)


def test_half_precision_is_read_as_float32_and_a_classifier_is_ignored(tmp_path):
    state = {name: torch.from_numpy(array).bfloat16() for name, array in perceptual.lpips("alex").items()}
    save_torch(state | {"classifier.1.weight": torch.zeros(8, 8)}, tmp_path / "w")
    read_back = Lpips(tmp_path / "w").state_dict()
    assert set(read_back) == set(state)
    assert all(t.dtype == torch.float32 and torch.equal(t, state[n].float()) for n, t in read_back.items())


def test_a_file_that_is_overwritten_later_does_not_change_the_network(tmp_path, good):
    path = tmp_path / "w"
    path.write_bytes(good.read_bytes())
    network = Lpips(path)
    before = network.features[0].weight.clone()
    with path.open("r+b") as stream:
        stream.write(b"\0" * path.stat().st_size)
    assert torch.equal(network.features[0].weight, before)


def test_weights_of_dists_that_sum_to_0_are_refused(tmp_path):
    state = perceptual.dists()
    save_file(state | {"beta": -state["alpha"]}, tmp_path / "w")
    with pytest.raises(WeightsError, match="alpha and beta"):
        Dists(tmp_path / "w")


def test_random_numbers_of_the_process_are_left_alone(good):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    Lpips(good)
    assert torch.equal(torch.rand(3), wanted)


class Hub:
    """A hub with one file."""

    def __init__(self, path):
        self.path = path
        self.asked = []

    def hf_hub_download(self, repo_id, filename):
        self.asked.append((repo_id, filename))
        if self.path is None:
            raise ConnectionError("the network is\nunreachable")
        return str(self.path)


def test_a_file_of_the_hub_is_asked_for_by_owner_repository_and_path(good, monkeypatch):
    hub = Hub(good)
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=hub.hf_hub_download))
    assert find("hf:someone/metrics/deep/w.safetensors", NAME, "") == good
    monkeypatch.setenv(FOLDER, "hf:someone/metrics")
    assert find(None, NAME, "") == good
    assert hub.asked == [("someone/metrics", "deep/w.safetensors"), ("someone/metrics", NAME)]


@pytest.mark.parametrize(
    ("module", "place", "parts"),
    [
        (None, "hf:someone/metrics/w", ["pip install huggingface_hub"]),
        (
            Hub(None),
            "hf:someone/metrics/w",
            ["hf:someone/metrics/w cannot be fetched", "ConnectionError: the network is"],
        ),
        (Hub(None), "hf:someone/metrics", ["hf:owner/repo/file"]),
        (Hub(None), "hf:/metrics/w", ["hf:owner/repo/file"]),
    ],
    ids=["not installed", "offline", "no file", "no owner"],
)
def test_what_the_hub_cannot_give_is_told(monkeypatch, module, place, parts):
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    message = told(place)
    assert all(part in message for part in parts)


def test_only_wanted_tensors_are_read(tmp_path):
    save_file({"a": np.ones(3, np.float32), "b": np.full(3, np.nan, np.float32)}, tmp_path / "w")
    found = read(tmp_path / "w", {"a": (3,)}, "nothing")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"a": [1, 1, 1]}
