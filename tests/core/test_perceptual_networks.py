"""LPIPS, DISTS and Inception compute what their papers say, against plain numpy, and pass gradients to x_hat alone."""

import copy

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.numpy import save_file
from torch.nn import functional

from codectk.errors import InputError
from codectk.perceptual.dists import Dists
from codectk.perceptual.inception import Inception
from codectk.perceptual.lpips import Lpips

from . import perceptual


@pytest.fixture(scope="module")
def states():
    return {"alex": perceptual.lpips("alex"), "vgg": perceptual.lpips("vgg"), "dists": perceptual.dists()}


@pytest.fixture(scope="module")
def networks(states, tmp_path_factory):
    """Networks of these weights, by name."""
    folder = tmp_path_factory.mktemp("weights")
    for name, state in states.items():
        save_file(state, folder / name)
    return {
        "alex": Lpips(folder / "alex"),
        "vgg": Lpips(folder / "vgg", "vgg"),
        "dists": Dists(folder / "dists"),
    }


def pair(height, width, low=-1.0):
    """Two pictures (1, 3, H, W) with values from `low` to 1."""
    rng = np.random.default_rng(height)
    x = rng.uniform(low, 1, (1, 3, height, width)).astype(np.float32)
    return x, np.clip(x + rng.normal(0, 0.3, x.shape), low, 1).astype(np.float32)


def conv(x, weight, bias, stride=1, padding=0):
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(x, weight.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
    return np.tensordot(weight.astype(np.float64), windows, ((1, 2, 3), (0, 3, 4))) + bias[:, None, None]


def layers(x, state, kinds):
    """Every convolution's features after its ReLU, in float64; `kinds` gives (stride, padding) or a pooling."""
    found, h = [], x
    for number, kind in kinds.items():
        if callable(kind):
            h = kind(h)
        else:
            weight, bias = (state[f"features.{number}.{part}"] for part in ("weight", "bias"))
            h = np.maximum(conv(h, weight, bias, *kind), 0)
            found.append(h)
    return found


def max_pool(size):
    return lambda x: sliding_window_view(x, (size, size), axis=(1, 2))[:, ::2, ::2].max((3, 4))


def hann_pool(x):
    window = np.outer(np.hanning(5)[1:-1], np.hanning(5)[1:-1])
    squares = np.pad(x**2, ((0, 0), (1, 1), (1, 1)))
    blurred = (sliding_window_view(squares, (3, 3), axis=(1, 2)) * window).sum((3, 4)) / window.sum()
    return np.sqrt(blurred[:, ::2, ::2] + 1e-12)


def vgg16(pool):
    return {n: pool if n in (4, 9, 16, 23) else (1, 1) for n in sorted([*perceptual.VGG16, 4, 9, 16, 23])}


ALEXNET = {0: (4, 2), 2: max_pool(3), 3: (1, 2), 5: max_pool(3), 6: (1, 1), 8: (1, 1), 10: (1, 1)}
TAPPED = {"alex": range(5), "vgg": (1, 3, 6, 9, 12)}


def lpips_by_hand(x, y, state, network):
    shift, scale = (np.array(v)[:, None, None] for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    kinds = ALEXNET if network == "alex" else vgg16(max_pool(2))
    features = [layers((z.astype(np.float64) - shift) / scale, state, kinds) for z in (x, y)]
    total = 0.0
    for k, layer in enumerate(TAPPED[network]):
        a, b = (f[layer] / (np.sqrt((f[layer] ** 2).sum(0)) + 1e-10) for f in features)
        weight = state[f"lin{k}.model.1.weight"][0]
        total += ((a - b) ** 2 * weight).sum(0).mean()
    return total


def dists_by_hand(x, y, state):
    mean, deviation = (np.array(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    stages = []
    for z in (x.astype(np.float64), y.astype(np.float64)):
        found = layers((z - mean) / deviation, state, vgg16(hann_pool))
        stages.append([z, *(found[k] for k in TAPPED["vgg"])])
    similarities = []
    for planes in zip(*stages, strict=True):
        a, b = (plane.reshape(len(plane), -1) for plane in planes)
        means = a.mean(1), b.mean(1)
        covariance = (a * b).mean(1) - means[0] * means[1]
        texture = (2 * means[0] * means[1] + 1e-6) / (means[0] ** 2 + means[1] ** 2 + 1e-6)
        structure = (2 * covariance + 1e-6) / (a.var(1) + b.var(1) + 1e-6)
        similarities.append((texture, structure))
    texture, structure = (np.concatenate(part) for part in zip(*similarities, strict=True))
    alpha, beta = (state[name].ravel().astype(np.float64) for name in ("alpha", "beta"))
    return 1 - (alpha @ texture + beta @ structure) / (alpha.sum() + beta.sum())


def value(network, x, y):
    with torch.no_grad():
        (result,) = network(torch.from_numpy(x), torch.from_numpy(y)).tolist()
    return result


@pytest.mark.parametrize(("name", "size"), [("alex", (39, 45)), ("alex", (31, 31)), ("vgg", (18, 21))])
def test_lpips_is_what_numpy_computes(networks, states, name, size):
    x, y = pair(*size)
    wanted = lpips_by_hand(x[0], y[0], states[name], name)
    assert wanted > 0.01
    assert value(networks[name], x, y) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("size", [(18, 21), (5, 4), (1, 1)])
def test_dists_is_what_numpy_computes(networks, states, size):
    x, y = pair(*size, low=0.0)
    wanted = dists_by_hand(x[0], y[0], states["dists"])
    assert wanted > 0.001
    assert value(networks["dists"], x, y) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("name", ["alex", "vgg", "dists"])
def test_equal_pictures_are_at_distance_0_and_the_distance_is_symmetric(networks, name):
    x, y = pair(33, 35, low=0.0)
    assert value(networks[name], x, x.copy()) == 0
    assert value(networks[name], x, y) == pytest.approx(value(networks[name], y, x), rel=1e-5)


@pytest.mark.parametrize("name", ["alex", "dists"])
def test_each_picture_of_a_batch_is_measured_alone(networks, name):
    pairs = [pair(33, 35, low=0.0)]
    pairs.append((pairs[0][0][..., ::-1].copy(), pairs[0][1]))
    batch = [torch.from_numpy(np.concatenate(part)) for part in zip(*pairs, strict=True)]
    with torch.no_grad():
        together = networks[name](*batch)
    assert together.shape == (2,)
    assert together.tolist() == pytest.approx([value(networks[name], *p) for p in pairs], rel=1e-4)


@pytest.mark.parametrize("name", ["alex", "dists"])
def test_gradients_go_to_x_hat_alone(networks, name):
    network = networks[name]
    x, x_hat = (torch.from_numpy(part).requires_grad_() for part in pair(33, 35, low=0.0))
    loss = network(x, x_hat).sum()
    loss.backward()
    assert x.grad is None
    assert all(parameter.grad is None for parameter in network.parameters())
    step = torch.zeros_like(x_hat)
    step[..., 15:20, 15:20] = 0.02 * x_hat.grad[..., 15:20, 15:20].sign()
    with torch.no_grad():
        change = (network(x, x_hat + step) - network(x, x_hat - step)).sum() / 2
    assert float(change) == pytest.approx(float((x_hat.grad * step).sum()), rel=0.15)


def test_gradients_are_numbers_where_all_features_are_0(networks):
    network = copy.deepcopy(networks["alex"])
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            parameter.fill_(-100)
    x, x_hat = (torch.from_numpy(part) for part in pair(33, 35))
    network(x, x_hat.requires_grad_()).sum().backward()
    assert x_hat.grad.isfinite().all()


@pytest.mark.parametrize("name", ["alex", "dists"])
@pytest.mark.parametrize("how", ["autocast", "channels last", "bfloat16 inputs"])
def test_mixed_precision_and_layout_change_little(networks, name, how):
    x, y = pair(33, 35, low=0.0)
    wanted = value(networks[name], x, y)
    a, b = (torch.from_numpy(part) for part in (x, y))
    if how == "channels last":
        a, b = (part.to(memory_format=torch.channels_last) for part in (a, b))
    if how == "bfloat16 inputs":
        a, b = a.bfloat16(), b.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        b.requires_grad_()
        result = networks[name](a, b)
        result.sum().backward()
    assert result.dtype == torch.float32
    assert result.item() == pytest.approx(wanted, rel=1e-5 if how == "channels last" else 0.05)
    assert b.grad.isfinite().all()


def test_training_mode_of_the_model_around_changes_nothing(networks):
    x, y = pair(33, 35)
    before = value(networks["alex"], x, y)
    assert value(networks["alex"].train(), x, y) == before


@pytest.mark.parametrize(
    ("name", "shapes", "told"),
    [
        ("alex", ((1, 3, 33, 33), (1, 3, 33, 34)), "differ"),
        ("alex", ((2, 3, 33, 33), (1, 3, 33, 33)), "differ"),
        ("alex", ((1, 1, 33, 33),) * 2, "sides from 31"),
        ("alex", ((1, 3, 30, 33),) * 2, "sides from 31"),
        ("vgg", ((1, 3, 15, 33),) * 2, "sides from 16"),
        ("dists", ((3, 33, 33),) * 2, "sides from 1"),
    ],
)
def test_what_cannot_be_compared_is_told(networks, name, shapes, told):
    with pytest.raises(InputError, match=told):
        networks[name](*(torch.zeros(shape) for shape in shapes))


@pytest.fixture(scope="module")
def inception_state():
    return perceptual.inception()


@pytest.fixture(scope="module")
def inception(inception_state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception"
    save_file(inception_state, path)
    return Inception(path)


def test_inception_has_the_published_names_and_shapes_and_no_classifier(inception, inception_state):
    found = {name: tuple(tensor.shape) for name, tensor in inception.state_dict().items()}
    wanted = {n: a.shape for n, a in inception_state.items() if not n.startswith(("fc.", "AuxLogits."))}
    assert found == wanted
    assert len(found) == 94 * 5
    # torchvision's inception_v3 has 27,161,264 parameters, of which 3,326,696 are AuxLogits' and 2,049,000 fc's.
    assert sum(p.numel() for p in inception.parameters()) == 27_161_264 - 3_326_696 - 2_049_000


def test_inception_computes_what_its_table_says(inception, inception_state):
    x = torch.rand(2, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = inception(x)
        wanted = by_table(x, {name: torch.from_numpy(array) for name, array in inception_state.items()})
    assert features.shape == (2, 2048)
    assert features.std() > 0.01
    torch.testing.assert_close(features, wanted, rtol=1e-3, atol=1e-4)


def by_table(x, state):
    """Inception's features, block by block from lists of branches."""

    def chain(block, names, h, last=None):
        for name in names.split():
            full = f"{block}.branch{name}" if block else name
            weight = state[f"{full}.conv.weight"]
            same = [side // 2 for side in weight.shape[2:]]
            stride, padding = last if last and name == names.split()[-1] else (1, same)
            h = functional.conv2d(h, weight, None, stride, padding)
            mean, var, gain, bias = (
                state[f"{full}.bn.{part}"].view(-1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
            )
            h = ((h - mean) / (var + 0.001).sqrt() * gain + bias).clamp(min=0)
        return h

    def mean_of_those_inside(h):
        ones = functional.avg_pool2d(torch.ones_like(h), 3, 1, 1)
        return functional.avg_pool2d(h, 3, 1, 1) / ones

    def block(name, h, *branches):
        """Each branch: names, or (names, stride) of a last convolution that halves."""
        return [chain(name, b, h) if isinstance(b, str) else chain(name, b[0], h, (b[1], 0)) for b in branches]

    h = 2 * functional.interpolate(x, (299, 299), mode="bilinear", align_corners=False) - 1
    h = chain("", "Conv2d_2a_3x3", chain("", "Conv2d_1a_3x3", h, (2, 0)), (1, 0))
    h = functional.max_pool2d(chain("", "Conv2d_2b_3x3", h), 3, 2)
    h = functional.max_pool2d(chain("", "Conv2d_4a_3x3", chain("", "Conv2d_3b_1x1", h), (1, 0)), 3, 2)
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        parts = block(name, h, "1x1", "5x5_1 5x5_2", "3x3dbl_1 3x3dbl_2 3x3dbl_3")
        h = torch.cat([*parts, chain(name, "_pool", mean_of_those_inside(h))], 1)
    parts = block("Mixed_6a", h, ("3x3", 2), ("3x3dbl_1 3x3dbl_2 3x3dbl_3", 2))
    h = torch.cat([*parts, functional.max_pool2d(h, 3, 2)], 1)
    for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        parts = block(name, h, "1x1", "7x7_1 7x7_2 7x7_3", "7x7dbl_1 7x7dbl_2 7x7dbl_3 7x7dbl_4 7x7dbl_5")
        h = torch.cat([*parts, chain(name, "_pool", mean_of_those_inside(h))], 1)
    parts = block("Mixed_7a", h, ("3x3_1 3x3_2", 2), ("7x7x3_1 7x7x3_2 7x7x3_3 7x7x3_4", 2))
    h = torch.cat([*parts, functional.max_pool2d(h, 3, 2)], 1)
    for name in ("Mixed_7b", "Mixed_7c"):
        pooled = functional.max_pool2d(h, 3, 1, 1) if name == "Mixed_7c" else mean_of_those_inside(h)
        ends = ("3x3_1 3x3_2a", "3x3_1 3x3_2b", "3x3dbl_1 3x3dbl_2 3x3dbl_3a", "3x3dbl_1 3x3dbl_2 3x3dbl_3b")
        h = torch.cat([*block(name, h, "1x1", *ends), chain(name, "_pool", pooled)], 1)
    return h.mean((2, 3))
