"""Pictures to coefficients and back, beside a plain implementation in numpy and what the original does."""

import hashlib
import math

import numpy as np
import pytest
import torch

from codectk.errors import InputError, OptionsError
from codectk_dct_backbones import dct, planes
from codectk_dct_backbones.budget import Budget, channels
from codectk_dct_backbones.pipeline import Coefficients, from_pictures, to_pictures, trimmed, untrimmed
from codectk_dct_backbones.ranges import FROM_FULL, Compat, RangeMode
from codectk_dct_backbones.statistics import load

OPENCV_DIGEST = "026e10972a4af2569bd8db36f87b7816fcc44faf787ba1b12d22729905e4da84"
"""SHA-256 of Y, Cb and Cr of all colours with parts 0, 5, ... 255 by `cv2.cvtColor`, OpenCV 5.0.0."""

RED = (255, 0, 0)
BUDGETS = [Budget(), Budget(16, 16, 16), Budget(64, 5, 0), Budget(0, 64, 33), Budget(1, 0, 0)]


def photo(height: int = 64, width: int = 96, seed: int = 0) -> torch.Tensor:
    """`[1, 3, H, W]`: smooth coloured shapes with some noise, full contrast."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 16
    waves = [np.sin(x * a + y * b + c) for a, b, c in rng.uniform(-1, 1, (3, 3))]
    picture = 128 + 150 * np.stack(waves) + rng.normal(0, 4, (3, height, width))
    return torch.from_numpy(np.clip(picture.round(), 0, 255).astype(np.uint8))[None]


def flat(colour: tuple[int, int, int]) -> torch.Tensor:
    return torch.tensor(colour, dtype=torch.uint8)[None, :, None, None].expand(1, 3, 16, 16).clone()


def plain_dct(plane: np.ndarray) -> np.ndarray:
    """Block by block, straight from the definition: `A X A^T`, flattened column after column."""
    a = np.array([[math.cos(math.pi * (n + 0.5) * k / 8) for n in range(8)] for k in range(8)]) / 2
    a[0] = math.sqrt(1 / 8)
    height, width = (side // 8 for side in plane.shape)
    blocks = np.zeros((64, height, width))
    for row in range(height):
        for column in range(width):
            block = plane[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            blocks[:, row, column] = (a @ block @ a.T).flatten(order="F")
    return blocks


def error(rgb: torch.Tensor, range_mode: RangeMode, compat: Compat = "none") -> float:
    """Mean distance of a picture from the one that its coefficients are of."""
    coefficients = from_pictures(rgb, range_mode=range_mode, compat=compat)
    return (to_pictures(coefficients, range_mode=range_mode) - rgb).abs().mean().item()


def test_the_convolution_is_the_dct_of_every_block() -> None:
    plane = torch.rand(2, 24, 40, dtype=torch.float64) * 255
    expected = np.stack([plain_dct(one.numpy()) for one in plane])
    np.testing.assert_allclose(dct.forward(plane), expected, atol=1e-10)
    assert dct.forward(plane).shape == (2, 64, 3, 5)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-3), (torch.float64, 1e-10)])
def test_the_inverse_gives_the_plane_back(dtype: torch.dtype, bound: float) -> None:
    plane = torch.rand(3, 32, 48, dtype=dtype) * 255
    assert (dct.inverse(dct.forward(plane)) - plane).abs().max() < bound


def test_channel_numbers_count_vertical_frequencies_first() -> None:
    stripes = torch.cos(math.pi * (torch.arange(8) + 0.5) / 8)
    horizontal, vertical = (
        dct.forward(plane[None])[0, :, 0, 0] for plane in (stripes.expand(8, 8), stripes.expand(8, 8).T)
    )
    assert horizontal.abs().argmax() == 8
    assert vertical.abs().argmax() == 1


def test_the_first_coefficient_is_eight_times_the_mean() -> None:
    plane = torch.rand(1, 8, 8) * 255
    torch.testing.assert_close(dct.forward(plane)[0, 0, 0, 0], 8 * plane.mean())


@pytest.mark.parametrize("kept", [(), (0,), channels(17), (63, 5)])
def test_channels_that_are_asked_for_are_those_of_the_whole_block(kept: tuple[int, ...]) -> None:
    plane = torch.rand(2, 16, 24) * 255
    some, whole = dct.forward(plane, kept), dct.forward(plane)
    torch.testing.assert_close(some, whole[:, list(kept)], rtol=0, atol=1e-3)
    only = torch.zeros_like(whole)
    only[:, list(kept)] = some
    torch.testing.assert_close(dct.inverse(some, kept), dct.inverse(only), rtol=0, atol=1e-3)


def test_colours_are_those_of_opencv_to_the_last_bit() -> None:
    parts = torch.arange(0, 256, 5, dtype=torch.uint8)
    rgb = torch.stack(torch.meshgrid(parts, parts, parts, indexing="ij")).reshape(1, 3, 52, -1)
    ycc = torch.stack(planes.to_ycc(rgb), dim=1)[0].to(torch.uint8)
    assert hashlib.sha256(ycc.numpy().tobytes()).hexdigest() == OPENCV_DIGEST


def test_edges_are_repeated_up_to_whole_blocks_of_chroma() -> None:
    rgb = photo(37, 50)
    padded = np.pad(rgb.numpy(), ((0, 0), (0, 0), (0, 11), (0, 14)), mode="edge")
    for odd, whole in zip(from_pictures(rgb), from_pictures(torch.from_numpy(padded)), strict=True):
        assert torch.equal(odd, whole)
    assert from_pictures(rgb).y.shape == (1, 64, 6, 8)


def test_a_picture_of_one_pixel_is_one_flat_block() -> None:
    one = from_pictures(flat((200, 100, 50))[:, :, :1, :1])
    for small, large in zip(one, from_pictures(flat((200, 100, 50))), strict=True):
        assert torch.equal(small, large)


@pytest.mark.parametrize("rgb", [photo().float() / 255, photo()[0], photo()[:, :1]])
def test_what_is_no_8_bit_colour_picture_is_refused(rgb: torch.Tensor) -> None:
    with pytest.raises(InputError, match="no 8-bit RGB"):
        from_pictures(rgb)


def test_chroma_is_the_mean_of_four_pixels() -> None:
    rgb = photo()
    _, cb, cr = planes.to_ycc(rgb)
    _, half_cb, half_cr = planes.from_pictures(rgb, "full")
    for half, plane in ((half_cb, cb), (half_cr, cr)):
        assert torch.equal(half[0], plane[0].reshape(32, 2, 48, 2).mean((1, 3)))


@pytest.mark.parametrize("range_mode", ["studio", "full"])
def test_neutral_grey_stays_neutral_exactly(range_mode: RangeMode) -> None:
    for level in (0, 77, 255):
        y, cb, cr = planes.from_pictures(flat((level, level, level)), range_mode)
        assert (cb == 128).all()
        assert (cr == 128).all()
        expected = level if range_mode == "full" else level * 219 / 255 + 16
        torch.testing.assert_close(y, torch.full_like(y, expected))


def test_the_range_of_a_picture_does_not_depend_on_what_it_shows() -> None:
    dull, bright = photo() // 4 + 96, photo()
    for rgb in (dull, bright):
        of_full, of_studio = from_pictures(rgb, range_mode="full"), from_pictures(rgb, range_mode="studio")
        for linear, full, studio in zip(FROM_FULL["studio"], of_full, of_studio, strict=True):
            torch.testing.assert_close(linear.dc(full[:, 0]), studio[:, 0], rtol=0, atol=1e-3)
            torch.testing.assert_close(linear.scale * full[:, 1:], studio[:, 1:], rtol=0, atol=1e-3)


@pytest.mark.parametrize("range_mode", ["studio", "full"])
def test_a_picture_and_its_copy_of_less_contrast_come_back_equally_well(range_mode: RangeMode) -> None:
    rgb = photo()
    loss = error(rgb, range_mode)
    assert loss < 4  # what 4:2:0 costs
    assert error(rgb // 2 + 64, range_mode) < loss
    assert error(flat(RED), range_mode) < 0.5


@pytest.mark.parametrize(("range_mode", "published"), [("studio", 9.2), ("full", 9.6)])
def test_the_originals_range_distorts_red_as_it_was_seen_to(range_mode: RangeMode, published: float) -> None:
    assert error(flat(RED), range_mode, "original") == pytest.approx(published, abs=0.05)


def test_the_originals_range_is_decided_for_every_picture_of_a_batch() -> None:
    batch = torch.cat((photo(), photo() // 2 + 64, photo(seed=1)))
    together = planes.from_pictures(batch, "studio", "original")
    for index in range(3):
        alone = planes.from_pictures(batch[index : index + 1], "studio", "original")
        assert all(torch.equal(a[index], b[0]) for a, b in zip(together, alone, strict=True))
    dull = planes.from_pictures(batch[1:2], "full")
    assert all(torch.equal(a[1], b[0]) for a, b in zip(together, dull, strict=True))  # left as it was
    assert not torch.equal(together[0][0], planes.from_pictures(batch[:1], "full")[0][0])


@pytest.mark.parametrize("budget", BUDGETS)
def test_trimmed_tensors_hold_the_budgets_channels_and_others_zeros_elsewhere(budget: Budget) -> None:
    whole, rgb = from_pictures(photo()), photo()
    short, masked = from_pictures(rgb, budget), from_pictures(rgb, budget, trim=False)
    for all_64, some, zeroed, count in zip(whole, short, masked, budget.counts, strict=True):
        kept = list(channels(count))
        torch.testing.assert_close(some, all_64[:, kept], rtol=0, atol=1e-3)
        assert torch.equal(zeroed[:, kept], some)
        assert not zeroed[:, sorted(set(range(64)) - set(kept))].any()
    back = trimmed(masked, budget)
    assert all(torch.equal(a, b) for a, b in zip(back, short, strict=True))
    assert [x.shape[1] for x in untrimmed(short, budget)] == [64, 64, 64]


@pytest.mark.parametrize("range_mode", ["studio", "full"])
def test_a_plane_of_which_nothing_is_kept_is_grey(range_mode: RangeMode) -> None:
    for budget in (Budget(64, 0, 0), Budget(0, 64, 64)):
        found = to_pictures(from_pictures(photo(), budget, range_mode), budget, range_mode)[0]
        luma = 0.299 * found[0] + 0.587 * found[1] + 0.114 * found[2]
        if budget.luma:
            assert float((found - luma).abs().max()) < 1e-3
        else:
            assert float((luma - 128).abs().max()) < 1e-2


def test_more_coefficients_give_a_nearer_picture() -> None:
    rgb = photo()
    distances = []
    for count in (1, 4, 16, 64):
        budget = Budget(count, count, count)
        distances.append((to_pictures(from_pictures(rgb, budget), budget) - rgb).abs().mean().item())
    assert distances == sorted(distances, reverse=True)


def test_statistics_of_the_other_range_are_refused() -> None:
    with pytest.raises(OptionsError, match=r"'studio'.*'full'"):
        from_pictures(photo(), range_mode="full", statistics=load("imagenet"))


def test_the_precision_of_the_networks_does_not_reach_the_coefficients() -> None:
    expected = from_pictures(photo())
    with torch.autocast("cpu", torch.bfloat16):
        found = from_pictures(photo())
        picture = to_pictures(found)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert picture.dtype == torch.float32


def test_gradients_pass_through_both_directions() -> None:
    for cached in (dct.basis, dct._kernel):
        cached.cache_clear()
    with torch.inference_mode():
        dct.inverse(dct.forward(torch.rand(1, 8, 8), (3,)), (3,))  # makes what later calls share
    blocks = torch.rand(1, 64, 2, 2, requires_grad=True)
    dct.forward(dct.inverse(blocks)).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(blocks.grad, torch.ones_like(blocks), rtol=0, atol=1e-4)
    some = torch.rand(1, 1, 2, 2, requires_grad=True)
    dct.inverse(some, (3,)).square().sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(some.grad, 2 * some.detach())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("allowed", [False, True])
def test_the_gpu_gives_the_cpus_coefficients(allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    rgb, budget = torch.cat((photo(), photo(seed=1))), Budget(64, 16, 5)
    expected, found = from_pictures(rgb, budget), from_pictures(rgb.cuda(), budget)
    for a, b in zip(expected, found, strict=True):
        assert b.is_cuda
        torch.testing.assert_close(a, b.cpu(), rtol=0, atol=1e-3)
    back = to_pictures(Coefficients(*found), budget).cpu()
    torch.testing.assert_close(back, to_pictures(expected, budget), rtol=0, atol=1e-3)
    assert torch.backends.cudnn.allow_tf32 == allowed
