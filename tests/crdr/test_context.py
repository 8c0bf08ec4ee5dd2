"""Contexts: an element's means and scales follow from what is decoded before it, in floats and in integers alike."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from codectk_crdr.context import Part, make_context, pack, unpack
from codectk_crdr.exact import ExactPath, positions, rows
from codectk_crdr.floating import FloatPath
from codectk_crdr.model import CompressionModel

from .tiny import CONTEXTS, exact_arrays, tiny_model, tiny_options

Seen = list[tuple[Part, Tensor, Tensor]]
Path = ExactPath | FloatPath

HEIGHT, WIDTH = 8, 12


@pytest.fixture(scope="module", params=CONTEXTS)
def model(request: pytest.FixtureRequest) -> CompressionModel:
    """Slices of 2 channels with channel context; those from 2 on see the first two alone."""
    return tiny_model(context=request.param, slices=4, support_slices=2)


@pytest.fixture(scope="module", params=["integers", "floats"])
def path(request: pytest.FixtureRequest, model: CompressionModel) -> Path:
    if request.param == "floats":
        return FloatPath(model)
    return ExactPath(exact_arrays(model), model.options, torch.device("cpu"))


@pytest.fixture(scope="module")
def z(model: CompressionModel) -> Tensor:
    torch.manual_seed(1)
    return torch.randint(-4, 5, (HEIGHT // 4, WIDTH // 4, model.options.hyper_channels), dtype=torch.int32)


@pytest.fixture(scope="module")
def symbols(model: CompressionModel) -> Tensor:
    torch.manual_seed(2)
    return torch.randint(-5, 6, (HEIGHT, WIDTH, model.options.latent_channels), dtype=torch.int32)


def run(path: Path, z: Tensor, symbols: Tensor) -> tuple[Seen, Tensor]:
    """Means and scales of all parts, and y_hat, with symbols that are given."""
    seen: Seen = []

    def code(part: Part, means: Tensor, scales: Tensor) -> Tensor:
        seen.append((part, means, scales))
        return rows(part, symbols)

    with torch.no_grad():
        return seen, path.run(z, code)


def changed(part: Part, symbols: Tensor) -> Tensor:
    """With other symbols in this part alone."""
    mask = torch.zeros_like(symbols)
    where = positions(part, torch.arange(symbols[:, :, 0].numel()).view(HEIGHT, WIDTH, 1))[:, 0]
    mask.view(-1, symbols.shape[2])[where, part.start : part.stop] = 1
    return symbols + 7 * mask


def test_parts_hold_every_element_once(path: Path, z: Tensor, symbols: Tensor) -> None:
    seen, _ = run(path, z, symbols)
    times = torch.zeros_like(symbols)
    for part, means, scales in seen:
        assert means.shape == scales.shape == rows(part, symbols).shape
        times += changed(part, symbols) != symbols
    assert bool((times == 1).all())


def test_nothing_depends_on_what_is_decoded_at_the_same_time_or_later(path: Path, z: Tensor, symbols: Tensor) -> None:
    seen, y_hat = run(path, z, symbols)
    for n, (part, _, _) in enumerate(seen):
        others, other_y_hat = run(path, z, changed(part, symbols))
        for (_, means, scales), (_, other_means, other_scales) in zip(seen[: n + 1], others, strict=False):
            assert torch.equal(means, other_means)
            assert torch.equal(scales, other_scales)
        channels = slice(0, part.start)  # of groups and slices before
        assert torch.equal(y_hat[:, channels], other_y_hat[:, channels])
        assert not torch.equal(y_hat, other_y_hat)


def test_everything_depends_on_the_first_part_and_on_the_hyperprior(path: Path, z: Tensor, symbols: Tensor) -> None:
    seen, _ = run(path, z, symbols)
    others, _ = run(path, z, changed(seen[0][0], symbols))
    for (_, means, scales), (_, other_means, other_scales) in list(zip(seen, others, strict=True))[1:]:
        assert not torch.equal(means, other_means)
        assert not torch.equal(scales, other_scales)
    for (_, means, scales), (_, other_means, other_scales) in zip(seen, run(path, z + 1, symbols)[0], strict=True):
        assert not torch.equal(means, other_means)
        assert not torch.equal(scales, other_scales)


def test_both_paths_code_in_the_same_order(model: CompressionModel, z: Tensor, symbols: Tensor) -> None:
    """Where the integer path takes several slices in one step, they are those that do not see each other."""
    exact = ExactPath(exact_arrays(model), model.options, torch.device("cpu"))
    parts = [
        [(p.start, p.stop, p.parity) for p, _, _ in run(path, z, symbols)[0]] for path in (exact, FloatPath(model))
    ]
    if model.options.context == "channel":
        assert parts[0] == [*parts[1][:2], (parts[1][2][0], parts[1][-1][1], None)]
    else:
        assert parts[0] == parts[1]


def test_later_slices_do_not_see_each_other() -> None:
    """As published: of 10 slices those from 5 on see slices 0 to 4, and not each other."""
    model = tiny_model(context="channel", latent_channels=10, slices=10, support_slices=5)
    torch.manual_seed(3)
    z = torch.randint(-4, 5, (2, 2, model.options.hyper_channels), dtype=torch.int32)
    symbols = torch.randint(-5, 6, (8, 8, 10), dtype=torch.int32)
    seen, _ = run(FloatPath(model), z, symbols)
    assert len(seen) == 10
    for i in range(10):
        altered = symbols.clone()
        altered[:, :, i] += 9
        others, _ = run(FloatPath(model), z, altered)
        moved = [
            n
            for n, (one, other) in enumerate(zip(seen, others, strict=True))
            if not torch.equal(one[1], other[1]) or not torch.equal(one[2], other[2])
        ]
        assert moved == (list(range(i + 1, 10)) if i < 5 else [])


@pytest.mark.parametrize("parity", [0, 1])
def test_packing_takes_one_colour_of_the_checkerboard_in_order(parity: int) -> None:
    rows_, columns = torch.meshgrid(torch.arange(4), torch.arange(6), indexing="ij")
    packed = pack((10 * rows_ + columns)[None, None].float(), parity)[0, 0]
    wanted = [[10 * r + c for c in range(6) if (r + c) % 2 == parity] for r in range(4)]
    assert packed.tolist() == wanted


def test_unpacking_is_the_inverse_of_packing() -> None:
    x = torch.randn(2, 3, 6, 8)
    assert torch.equal(unpack(pack(x, 0), pack(x, 1)), x)


@pytest.mark.parametrize("parity", [None, 0, 1])
def test_integer_and_float_layouts_of_a_part_are_the_same(parity: int | None) -> None:
    x, part = torch.randn(1, 5, 6, 8), Part(1, 4, parity)
    taken: Callable[[Tensor], Tensor] = part.take
    assert torch.equal(taken(x)[0].permute(1, 2, 0).flatten(0, 1), rows(part, x[0].permute(1, 2, 0)))


@pytest.mark.parametrize("context", ["channel", "space_channel"])
def test_batches_are_coded_each_on_its_own(context: str) -> None:
    net = make_context(tiny_options(context=context)).eval()
    torch.manual_seed(0)
    hyper = torch.randn(2, 32, 4, 4)

    def alone(batch: Tensor) -> Tensor:
        return net(batch, lambda part, means, scales: means.round() + scales).detach()

    assert torch.allclose(alone(hyper), torch.cat([alone(one[None]) for one in hyper]), atol=1e-5)
