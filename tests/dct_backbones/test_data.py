"""Labelled pictures: folders of classes, caps, crops, augmentation, mixing and batches."""

from collections import Counter
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from codectk.errors import InputError
from codectk.options import RunOptions
from codectk.train import Run
from codectk_dct_backbones.data import augment
from codectk_dct_backbones.data.batches import Batches, PixelReader
from codectk_dct_backbones.data.files import FileReader
from codectk_dct_backbones.data.generated import Patterns, generated
from codectk_dct_backbones.data.mixing import cutmix, mixup, mosaic
from codectk_dct_backbones.data.pixels import decode, draw_box, middle, train_picture, training_box
from codectk_dct_backbones.data.preparation import Preparation
from codectk_dct_backbones.data.source import Folders, balanced, open_folders
from codectk_dct_backbones.jpeg.file import read
from codectk_dct_backbones.plan import Augmentation, Plan
from codectk_dct_backbones.statistics import load
from codectk_dct_backbones.train_options import CompressedOptions

from .pictures import Listen, folder, jpeg, picture

RNG = np.random.default_rng


def batches(train: Folders, val: Folders, run: Run, size: int = 4) -> Batches:
    return Batches(train, val, run, PixelReader(32, 36, Augmentation()), size, [32])


def test_labels_mean_the_same_on_both_sides(tmp_path: Path) -> None:
    one, two = folder(tmp_path / "1", {"b": 2}), folder(tmp_path / "2", {"a": 3, "c": 1})
    train, val = open_folders([one, two], folder(tmp_path / "v", {"a": 1, "b": 1, "c": 2}))
    assert train.classes == val.classes == ("a", "b", "c")
    for source in (train, val):
        assert [Path(p).parent.name for p in source.paths] == [source.classes[k] for k in source.labels]
    assert Counter(train.labels.tolist()) == {0: 3, 1: 2, 2: 1}


@pytest.mark.parametrize(("train", "val", "part"), [("ab", "abc", "no training pictures: c"), ("abc", "c", "a, b")])
def test_classes_that_one_side_lacks_are_named(tmp_path: Path, train: str, val: str, part: str) -> None:
    roots = [folder(tmp_path / k, dict.fromkeys(names, 2)) for k, names in (("t", train), ("v", val))]
    (tmp_path / "t" / "c").mkdir(exist_ok=True)  # a folder without pictures is no class
    with pytest.raises(InputError, match=part):
        open_folders([roots[0]], roots[1])


def test_without_evaluation_pictures_some_of_each_class_are_held_out(tmp_path: Path) -> None:
    train, val = open_folders([folder(tmp_path / "t", {"a": 20, "b": 4})], None)
    assert (Counter(train.labels.tolist()), Counter(val.labels.tolist())) == ({0: 18, 1: 3}, {0: 2, 1: 1})
    assert not {*train.paths} & {*val.paths}
    folder(tmp_path / "t" / "..", {"single": 0})
    with pytest.raises(InputError, match="one"):
        open_folders([folder(tmp_path / "u", {"a": 2, "one": 1})], None)


@pytest.mark.parametrize("make", ["missing", "empty", "flat"])
def test_what_is_no_folder_of_classes_is_a_plain_error(tmp_path: Path, make: str) -> None:
    root = tmp_path / "root"
    if make != "missing":
        root.mkdir()
    if make == "flat":
        picture(0).save(root / "1.png")
    with pytest.raises(InputError, match="root"):
        open_folders([root], None)


def test_caps_keep_classes_balanced_and_depend_on_the_seed() -> None:
    """The public code keeps the first files, of one or two classes, and then one of each."""
    labels = np.repeat(np.arange(5), [100, 100, 100, 100, 3])
    kept = balanced(labels, 43, RNG(0))
    assert Counter(labels[kept].tolist()) == {0: 10, 1: 10, 2: 10, 3: 10, 4: 3}
    assert len({*kept.tolist()}) == 43
    assert kept.tolist() == balanced(labels, 43, RNG(0)).tolist() != balanced(labels, 43, RNG(1)).tolist()
    assert len({*labels[balanced(labels, 3, RNG(0))].tolist()}) == 3
    assert balanced(labels, None, RNG(0)).tolist() == balanced(labels, 999, RNG(0)).tolist() == [*range(403)]
    uneven = Counter(labels[balanced(labels, 42, RNG(2))].tolist())
    assert uneven[4] == 3 and sorted(uneven.values())[1:] == [9, 10, 10, 10]


def test_generated_pictures_are_the_same_every_time_and_apart_in_both_splits() -> None:
    train, val = generated("train"), generated("val")
    assert train.read(5) == generated("train").read(5) == train.take([3, 5]).read(1)
    assert len({train.read(i) for i in range(0, 64)} | {val.read(i) for i in range(0, 32)}) == 96
    assert len(set(train.labels)) == len(set(val.labels)) == len(train.classes) == 8
    sample = Patterns("val")[40]
    assert sample.meta["label"] == val.classes[val.labels[40]]
    with pytest.raises(IndexError):
        Patterns("val")[len(val.labels)]


def test_pictures_are_decoded_upright_and_as_rgb() -> None:
    image = picture(1, size=(40, 24))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(jpeg(image, exif=exif.tobytes()), "x").size == (24, 40)
    stream = BytesIO()
    image.convert("CMYK").save(stream, "JPEG")
    assert decode(stream.getvalue(), "x").mode == "RGB"
    for bad in (b"", b"nothing", jpeg(image)[:300]):
        with pytest.raises(InputError, match="photo 7"):
            decode(bad, "photo 7")


def test_random_parts_lie_in_the_picture_and_have_the_shares_asked_for() -> None:
    boxes = np.array([draw_box(300, 200, 0.08, RNG(i)) for i in range(400)])
    left, top, width, height = boxes.T
    assert (left >= 0).all() and (top >= 0).all() and (left + width <= 300).all() and (top + height <= 200).all()
    shares, ratios = width * height / 60000, width / height
    assert shares.min() < 0.12 and shares.max() > 0.85 and 0.3 < shares.mean() < 0.6
    assert ratios.min() > 0.7 and ratios.max() < 1.4
    assert draw_box(1000, 10, 0.9, RNG(0)) == (493, 0, 13, 10)


def test_the_middle_is_that_of_the_scaled_picture() -> None:
    image = picture(2, size=(120, 60))
    scaled = image.resize((80, 40), Image.Resampling.BILINEAR)
    expected = np.asarray(scaled.crop((24, 4, 56, 36))).transpose(2, 0, 1)
    difference = np.abs(middle(image, 32, 40).astype(int) - expected)
    assert difference.max() <= 2


def test_all_that_is_random_of_a_picture_comes_from_its_generator() -> None:
    plan = Augmentation(auto_augment=True, jitter=0.4, sharpness_chance=0.5, affine=True)
    made = [train_picture(picture(3), 32, plan, RNG(seed)) for seed in (0, 0, 1)]
    assert (made[0] == made[1]).all() and (made[0] != made[2]).any()
    assert made[0].shape == (3, 32, 32) and made[0].dtype == np.uint8


def test_half_of_the_pictures_are_flipped() -> None:
    still = Augmentation(scale=1.0, flip=0.0)
    half = Augmentation(scale=1.0, flip=0.5)
    image = picture(4, size=(32, 32))
    flipped = [
        (train_picture(image, 32, half, RNG(i)) != train_picture(image, 32, still, RNG(i))).any() for i in range(60)
    ]
    assert 15 < sum(flipped) < 45


def test_operations_of_autoaugment_do_what_they_are_called() -> None:
    image = picture(5, size=(33, 33))
    x = np.asarray(image).astype(int)

    def after(name: str, share: float, sign: int = 1) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
        return np.asarray(augment.OPERATIONS[name](image, share, sign)).astype(int)

    assert (after("invert", 0) == 255 - x).all()
    assert (after("posterize", 1) == x // 16 * 16).all()
    assert (after("solarize", 1) == 255 - x).all() and (after("solarize", 0) == x).all()
    assert np.ptp(after("autocontrast", 0)) == 255
    assert after("colour", 1, -1).std(2).mean() < 0.3 * x.std(2).mean()
    assert after("contrast", 1, -1).std() < 0.3 * x.std() < x.std() < after("contrast", 1).std()
    assert (after("rotate", 1)[16, 16] - x[16, 16] <= 3).all() and (after("rotate", 1)[0, 0] == 0).all()
    assert (after("rotate", 0) == x).all() and (after("shear", 0) == x).all()
    sheared = after("shear", 1)
    assert np.abs(sheared[-1, :20] - x[-1, 10:30]).mean() < 3 < np.abs(sheared[-1, :20] - x[-1, :20]).mean()
    assert len(augment.POLICY) == 25
    assert {name for pair in augment.POLICY for name, _, _ in pair} == {*augment.OPERATIONS}


def test_affine_leaves_grey_where_nothing_is_and_never_shifts_more_than_a_tenth() -> None:
    white = Image.new("RGB", (100, 100), "white")
    for seed in range(40):
        x = np.asarray(augment.affine(white, RNG(seed)))
        assert {tuple(p) for p in x.reshape(-1, 3)[[0, -1]]} <= {(255, 255, 255), augment.GREY}
        seen = np.argwhere(x[:, :, 0] == 255)
        assert np.abs(seen.mean(0) - 49.5).max() <= 10.6
        assert 48 <= np.ptp(seen[:, 0]) + 1 <= 100


def test_mixup_mixes_pictures_and_targets_in_one_share_each() -> None:
    values = torch.arange(6.0)
    x = (values.view(6, 1, 1, 1).expand(6, 2, 4, 4), values.view(6, 1, 1, 1).expand(6, 1, 2, 2))
    mixed, targets = mixup(x, torch.eye(6), 1.0, RNG(0))
    expected = targets @ values
    for part in mixed:
        assert torch.allclose(part, expected.view(6, 1, 1, 1).expand_as(part))
    assert torch.allclose(targets.sum(1), torch.ones(6))
    assert len({round(float(t.max()), 4) for t in targets}) > 3, "one share for each sample"


def shown(x: torch.Tensor, classes: int) -> torch.Tensor:
    """Share of the pixels that each class has in pictures whose pixels are numbers of classes."""
    return torch.stack([(x.round() == k).float().mean((1, 2, 3)) for k in range(classes)], 1)


def test_labels_of_mosaics_are_those_of_the_pictures_in_them() -> None:
    """The public code takes those of other four pictures."""
    x = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 8, 8)
    made, targets = mosaic(x, torch.eye(8), RNG(0), original=False)
    assert made.shape == x.shape and torch.allclose(targets, shown(made, 8))
    made, wrong = mosaic(x, torch.eye(8), RNG(0), original=True)
    assert not torch.allclose(wrong, shown(made, 8)) and torch.allclose(wrong.sum(1), torch.ones(8))


@pytest.mark.parametrize("seed", range(6))
def test_cutmix_cuts_a_rectangle_and_targets_tell_its_share(seed: int) -> None:
    x = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 1, 16, 12)
    made, targets = cutmix(x, torch.eye(5), RNG(seed), original=False)
    assert torch.allclose(targets, shown(made, 5), atol=1e-6)
    blended, targets = cutmix(x, torch.eye(5), RNG(seed), original=True)
    assert torch.allclose(blended, (targets @ torch.arange(5.0)).view(5, 1, 1, 1).expand_as(blended))


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Folders, Folders]:
    return open_folders([folder(tmp_path / "t", {"a": 5, "b": 4})], folder(tmp_path / "v", {"a": 3, "b": 4}))


def test_batches_depend_on_the_step_alone(sources: tuple[Folders, Folders], tmp_path: Path) -> None:
    with Run(tmp_path / "r", RunOptions(device="cpu", workers=0)) as run:
        one, other = batches(*sources, run), batches(*sources, run)
        assert one.per_epoch == 2
        first = [one.load(step) for step in range(4)]
        again = [other.load(step) for step in (3, 2, 1, 0)][::-1]
        for a, b in zip(first, again, strict=True):
            assert torch.equal(a.x[0], b.x[0]) and torch.equal(a.labels, b.labels)
        assert not torch.equal(first[0].x[0], first[2].x[0])


def test_an_epoch_has_each_picture_at_most_once(sources: tuple[Folders, Folders], tmp_path: Path) -> None:
    asked: list[str] = []

    class Notes(PixelReader):
        def train(self, data: bytes, name: str, side: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
            asked.append(name)
            return super().train(data, name, side, rng)

    with Run(tmp_path / "r", RunOptions(device="cpu", workers=0)) as run:
        made = Batches(*sources, run, Notes(32, 36, Augmentation()), 4, [32])
        for step in range(2):
            made.load(step)
    assert len(asked) == len({*asked}) == 8


def test_files_that_cannot_be_used_are_named_once_and_left_out(
    sources: tuple[Folders, Folders], tmp_path: Path
) -> None:
    Path(sources[0].paths[2]).write_bytes(b"no picture")
    Path(sources[1].paths[0]).write_bytes(jpeg(picture(0))[:200])
    Path(sources[1].paths[1]).unlink()
    listen = Listen()
    with Run(tmp_path / "r", RunOptions(device="cpu", workers=2), watcher=listen) as run:
        made = batches(*sources, run)
        for step in range(8):
            assert len(made.load(step).labels) == 4
        for _ in range(2):
            assert sum(len(batch.labels) for batch in made.evaluation()) == 5
    assert (made.train.skipped, made.val.skipped) == (1, 2)
    assert sorted(message.split()[0] for message in listen.messages) == ["skipped"] * 3
    assert sources[0].paths[2] in " ".join(listen.messages)


def test_if_no_file_can_be_used_that_is_said(sources: tuple[Folders, Folders], tmp_path: Path) -> None:
    for path in sources[0].paths:
        Path(path).write_bytes(b"no picture")
    with Run(tmp_path / "r", RunOptions(device="cpu", workers=0)) as run, pytest.raises(InputError, match="None of 9"):
        batches(*sources, run).load(0)


def test_too_few_pictures_for_a_batch_are_said(sources: tuple[Folders, Folders], tmp_path: Path) -> None:
    with Run(tmp_path / "r", RunOptions(device="cpu")) as run, pytest.raises(InputError, match="do not fill a batch"):
        batches(*sources, run, 10)


def test_coefficients_of_files_are_near_those_of_the_decoded_pictures() -> None:
    """Within quantisation, for the middle, which is scaled."""
    options = CompressedOptions.parse({"variant": "block-stem", "coeff_count": 16})
    statistics = load("imagenet", "studio")
    architecture = options.architecture(2)
    plan = Plan(image_size=64, resize=72)
    data = jpeg(picture(7, size=(200, 150)), quality=98)
    files = FileReader(plan, architecture, True, statistics).middle(data, "x")
    pixels = PixelReader(64, 72, Augmentation()).middle(data, "x")[0]
    recomputed = Preparation(architecture, True, statistics)((torch.from_numpy(pixels)[None],))
    for a, b in zip(files, recomputed, strict=True):
        assert a.shape == b.shape[1:]
        assert np.abs(a[0] - b[0, 0].numpy()).max() < 0.05
        assert np.abs(a - b[0].numpy()).mean() < 0.15


def test_files_are_cropped_and_flipped_as_decoded_pictures_are() -> None:
    """The same draws give the same part, so that both inputs of a trainer see the same pictures."""
    options = CompressedOptions.parse({"variant": "block-stem", "coeff_count": 1})
    architecture = options.architecture(2)
    plan = Plan(image_size=32, augmentation=Augmentation())
    data = jpeg(picture(8, size=(120, 90)), quality=98)
    reader = FileReader(plan, architecture, True, None)
    for seed in range(6):
        y = reader.train(data, "x", 32, RNG(seed))[0]
        pixels = train_picture(decode(data, "x"), 32, plan.augmentation, RNG(seed))
        recomputed = Preparation(architecture, True, None)((torch.from_numpy(pixels)[None],))[0]
        assert np.abs(y - recomputed[0].numpy()).max() < 12  # of 8 times 219


def test_aligned_crops_are_whole_blocks_of_the_file() -> None:
    """Read as they are, even of a coarsely quantised file; and the same part of the decoded picture."""
    options = CompressedOptions.parse({"variant": "block-stem", "crop": "aligned"})
    architecture, augmentation = options.architecture(2), options.plan().augmentation
    image = picture(9, size=(120, 90))
    file, seen = read(jpeg(image, quality=30)), set()
    luma = file.planes[0]
    whole = (luma.blocks * luma.table.astype(np.int32)).reshape(*luma.blocks.shape[:2], 8, 8).swapaxes(2, 3)
    reader = FileReader(Plan(image_size=64, augmentation=replace(augmentation, flip=0.0)), architecture, True, None)
    for seed in range(12):
        y = reader.train(jpeg(image, quality=30), "x", 64, RNG(seed))[0]
        left, top, width, height = training_box(120, 90, 64, augmentation, RNG(seed))
        assert (width, height, left % 16, top % 16) == (64, 64, 0, 0)
        seen.add((left, top))
        part = whole[top // 8 : top // 8 + 8, left // 8 : left // 8 + 8].reshape(8, 8, 64).transpose(2, 0, 1)
        np.testing.assert_allclose(y[1:], part[1:] * 219 / 255, atol=1e-3)
    assert len(seen) > 4
    small = training_box(120, 50, 64, augmentation, RNG(0))
    assert small == draw_box(120, 50, augmentation.scale, RNG(0), augmentation.most)
