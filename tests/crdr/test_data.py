"""Pictures, crops and knobs: what is read, and that it depends on the step alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from codectk.errors import InputError
from codectk.options import RunOptions
from codectk.train import Run
from codectk_crdr.data import Pictures, draw, open_images_files
from codectk_crdr.knobs import draw_knobs
from codectk_crdr.options import MAX_BETA
from codectk_crdr.train_options import TrainOptions

from .trainings import Listen, options


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ramp(height: int, width: int) -> np.ndarray:
    x = np.zeros((height, width, 3), np.uint8)
    x[..., 0], x[..., 1] = np.arange(height)[:, None], np.arange(width)
    return x


def crop_options(**changes: object) -> TrainOptions:
    return TrainOptions.parse({"image_size": 64, **changes})


def opened(path: Path, chosen: TrainOptions) -> tuple[Pictures, Listen]:
    listen = Listen()
    with Run(path / "run", RunOptions(device="cpu"), watcher=listen) as run:
        return Pictures(chosen, run), listen


def test_crops_lie_anywhere_and_are_flipped_half_of_the_time() -> None:
    crops = [((draw(ramp(100, 120), crop_options(), rng(i)) + 1) * 127.5).round() for i in range(200)]
    tops = {int(crop[0].min()) for crop in crops}
    assert tops == {int(crop[0, 0, 0]) for crop in crops}, "rows stay in order"
    assert min(tops) == 0 and max(tops) == 36
    flipped = sum(bool(crop[1, 0, 0] > crop[1, 0, 1]) for crop in crops)
    assert 70 < flipped < 130
    assert {int(crop[1].min()) for crop in crops} >= {0, 56}


def test_values_become_minus_1_to_1() -> None:
    x = np.zeros((64, 64, 3), np.uint8)
    x[..., 1] = 255
    crop = draw(x, crop_options(), rng())
    assert crop.dtype == torch.float32
    assert crop[0].unique().tolist() == [-1.0] and torch.allclose(crop[1], torch.tensor(1.0))


@pytest.mark.parametrize("shape", [(10, 200), (63, 64), (1, 1)])
def test_small_pictures_are_reflected(shape: tuple[int, int]) -> None:
    crop = draw(ramp(*shape), crop_options(), rng())
    assert crop.shape == (3, 64, 64)
    if shape[0] == 10:
        rows = ((crop[0, :, 0] + 1) * 127.5).round().int().tolist()
        assert rows[:20] == [*range(10), *range(8, -1, -1), 1]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_resize_is_random_but_leaves_a_crop(interpolation: str) -> None:
    """The slope of a ramp tells by how much it was resized."""
    chosen = crop_options(resize_range="0.5,1.0", interpolation=interpolation)
    slopes = []
    for i in range(60):
        crop = (draw(ramp(100, 200), chosen, rng(i)) + 1) * 127.5
        slopes.append(float((crop[0, 60, 0] - crop[0, 3, 0]) / 57))
    assert min(slopes) < 1.1
    assert 1.45 < max(slopes) < 1.6, "not below 64 of 100 pixels"
    small = (draw(ramp(32, 32), chosen, rng()) + 1) * 127.5
    assert abs(float((small[0, 60, 0] - small[0, 3, 0]) / 57) - 0.5) < 0.05, "a small picture grows to the crop"


def test_batches_depend_on_the_step_alone_and_leave_out_what_fills_none(tmp_path: Path, pictures: Path) -> None:
    data, _ = opened(tmp_path, options(pictures))
    load = data.batches("train", options(pictures))
    first = [load(i) for i in range(6)]
    again = {i: load(i) for i in reversed(range(6))}
    assert all(torch.equal(first[i], again[i]) for i in range(6))
    assert not torch.equal(first[0], first[2]), "five pictures are two batches of two; then comes another epoch"
    assert not torch.equal(data.batches("other", options(pictures))(0), first[0])


def test_open_images_are_read_from_the_subsets_that_are_named(tmp_path: Path) -> None:
    for k in (0, 2, 10):
        (tmp_path / f"train_{k}").mkdir()
        for name in ("b", "a"):
            Image.new("RGB", (70, 70)).save(tmp_path / f"train_{k}" / f"{name}{k}.jpg")
    (tmp_path / "train_0" / "notes.txt").write_text("no picture")
    assert [path.name for path in open_images_files(tmp_path, (2, 0))] == ["a2.jpg", "b2.jpg", "a0.jpg", "b0.jpg"]
    assert len(open_images_files(tmp_path, ())) == 6
    with pytest.raises(InputError, match="train_7"):
        open_images_files(tmp_path, (0, 7))
    with pytest.raises(InputError, match="no folder train_0"):
        open_images_files(tmp_path / "train_0", ())
    chosen = options(tmp_path, layout="OpenImages", subset_list="0,10")
    data, _ = opened(tmp_path, chosen)
    assert len(data.train) + len(data.val) == 4
    (tmp_path / "validation").mkdir()
    Image.new("RGB", (70, 70)).save(tmp_path / "validation" / "v.jpg")
    data, _ = opened(tmp_path, chosen)
    assert (len(data.train), [data.val[0].id]) == (4, ["v.jpg"])


def test_the_kodak_layout_reads_png_files_alone(tmp_path: Path, pictures: Path) -> None:
    Image.new("RGB", (70, 70)).save(pictures / "other.jpg")
    data, _ = opened(tmp_path, options(pictures, layout="Kodak", val_data=str(pictures)))
    assert [data.train[i].id for i in range(len(data.train))] == [f"{i}.png" for i in range(6)]
    with pytest.raises(InputError, match=r"holds no \*.png"):
        opened(tmp_path, options(tmp_path, layout="Kodak"))


@pytest.mark.parametrize("layout", ["folder", "Kodak"])
def test_a_broken_picture_is_named_counted_and_skipped(tmp_path: Path, pictures: Path, layout: str) -> None:
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    data, listen = opened(tmp_path, options(pictures, layout=layout))
    assert any("broken.png" in message and "skipped (1)" in message for message in listen.messages)
    assert any(message.startswith("1 of 7 pictures skipped; ") for message in listen.messages)
    assert len(data.train) + len(data.val) == 6


def test_too_few_pictures_are_refused(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(InputError, match="5 pictures do not fill a batch of 8"):
        opened(tmp_path, options(pictures, batch_size=8))


def realism(**changes: object) -> TrainOptions:
    given = {"realism": True, "gan.type": "rgan", "batch_size": 64, **changes}
    return TrainOptions.parse(given)


def test_knobs_of_the_published_method_are_whole_and_one_for_a_batch() -> None:
    chosen = realism(quality="integer", sampling="batch", beta_steps=100)
    drawn = [draw_knobs(chosen, rng(i), range(64)) for i in range(400)]
    qualities = [knobs.q.tolist() for knobs in drawn if knobs.q is not None]
    assert {len(q) for q in qualities} == {1}
    assert {q[0] for q in qualities} == {0, 1, 2, 3, 4}
    steps = [float(knobs.beta) / MAX_BETA * 100 for knobs in drawn if knobs.beta is not None]
    assert all(abs(step - round(step)) < 1e-4 for step in steps)
    assert round(min(steps)) <= 1 and round(max(steps)) >= 99


def test_real_knobs_are_one_for_each_crop_and_processes_share_what_is_drawn() -> None:
    whole = draw_knobs(realism(), rng(), range(64))
    assert whole.q is not None and whole.beta is not None
    assert len(whole.q.unique()) == 64 and whole.q.min() >= 0 and whole.q.max() <= 4
    assert whole.beta.min() >= 0 and whole.beta.max() <= MAX_BETA
    second = draw_knobs(realism(), rng(), range(32, 64))
    assert second.q is not None and second.beta is not None
    assert torch.equal(second.q, whole.q[32:]) and torch.equal(second.beta, whole.beta[32:])


def test_a_power_above_1_draws_low_realisms_more_often() -> None:
    beta = draw_knobs(realism(beta_power=2.0, batch_size=4000), rng(), range(4000)).beta
    assert beta is not None
    assert abs(float((beta < MAX_BETA / 4).float().mean()) - 0.5) < 0.05


def test_models_without_knobs_get_none() -> None:
    chosen = TrainOptions.parse({"levels": 1, "rate.type": "hific", "rate.lambda_a": 0.05})
    knobs = draw_knobs(chosen, rng(), range(8))
    assert knobs.q is None and knobs.beta is None
