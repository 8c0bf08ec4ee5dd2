"""`codectk dct-backbones check`: what is right is found right, what is wrong is noticed and named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from codectk.errors import InputError, OptionsError, OutputError
from codectk.testing import CommandConformance
from codectk_cli.main import _run
from codectk_dct_backbones import check as module
from codectk_dct_backbones import dct, planes
from codectk_dct_backbones.budget import Budget
from codectk_dct_backbones.check import CheckFailed, check, expected
from codectk_dct_backbones.plugin import codectk_commands
from codectk_dct_backbones.tool_options import CheckOptions

from .jpeg_files import picture, saved
from .pictures import folder

CHECK, SUMMARY = codectk_commands()


class TestCheck(CommandConformance):
    spec = CHECK

    def values_to_try(self) -> list[dict[str, Any]]:
        return [{"indices": [3, 4]}, {"train_dirs": ["one", "with blank"], "crop_scale": [0.5, 0.75]}]


class TestSummary(CommandConformance):
    spec = SUMMARY

    def values_to_try(self) -> list[dict[str, Any]]:
        return [{"variant": "full-grid", "coeff_count": [3, 0], "channel_scale": [0.5, 1.0], "output": "cost.json"}]


PARTS = ("recon", "luma", "cb", "cr", "original")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(saved(picture(200, 260), quality=92))
    return path


def options(photo: Path, **values: Any) -> CheckOptions:
    place = photo.parent / f"out{len(list(photo.parent.iterdir()))}"
    return CheckOptions.parse({"file": str(photo), "output_dir": str(place), "image_size": 128, **values})


def figures(photo: Path, **values: Any) -> dict[str, Any]:
    said = check(options(photo, **values))
    found: dict[str, Any] = said[str(photo)]
    return found


@pytest.mark.parametrize("kind", ["jpeg", "recomputed"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"split": "val", "range_mode": "full"},
        {"coeff_count_luma": 20, "coeff_count_cb": 3, "coeff_count_cr": 0},
        {"coeff_count_luma": 0, "coeff_window_chroma": 2, "dct_stats": "none"},
        {"seed": 7, "flip_prob": 1, "crop_scale": "0.2 0.4"},
    ],
)
def test_both_pipelines_give_what_the_coefficients_must(photo: Path, kind: str, values: dict[str, Any]) -> None:
    found = figures(photo, input=kind, **values)
    assert found["result"] == "as it must be"
    assert found["off what it must be (rms)"] <= found["which may be"]
    assert found["mean |reconstruction - original|"] == pytest.approx(found["as the coefficients must give"], abs=2)


def test_what_is_computed_of_pixels_is_right_to_a_quarter_of_a_level(photo: Path) -> None:
    assert figures(photo, input="recomputed")["off what it must be (rms)"] < 0.25


def test_fewer_coefficients_reconstruct_worse(photo: Path) -> None:
    psnr = [figures(photo, coeff_count=n, split="val")["PSNR in dB"] for n in (64, 16, 4, 1)]
    assert psnr == sorted(psnr, reverse=True)
    assert len(set(psnr)) == 4


def test_a_jpeg_file_is_read_without_its_pixels_unless_asked_otherwise(photo: Path) -> None:
    assert figures(photo)["coefficients"] == "read out of the JPEG file"
    assert figures(photo, input="recomputed")["coefficients"] == "computed of pixels"
    assert figures(photo, compat="original")["coefficients"] == "computed of pixels"
    png = photo.with_suffix(".png")
    picture(200, 260).save(png)
    assert figures(png)["coefficients"] == "computed of pixels"


def test_transposed_blocks_are_noticed_and_named(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = dct.forward

    def transposed(x: Tensor, channels: Any = None) -> Tensor:
        kept = range(64) if channels is None else channels
        return straight(x, [8 * (c % 8) + c // 8 for c in kept])

    monkeypatch.setattr(dct, "forward", transposed)
    with pytest.raises(CheckFailed, match="its blocks look transposed"):
        figures(photo, input="recomputed")


@pytest.mark.parametrize("kind", ["jpeg", "recomputed"])
def test_transposed_blocks_are_noticed_whatever_the_input(
    photo: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = module._Checked._coefficients

    def transposed(self: Any) -> Any:
        y, cb, cr = straight(self)[0]
        y = y.unflatten(1, (8, 8)).transpose(1, 2).flatten(1, 2)
        return type(straight(self)[0])(y, cb, cr), straight(self)[1]

    monkeypatch.setattr(module._Checked, "_coefficients", transposed)
    given = options(photo, input=kind)
    with pytest.raises(CheckFailed, match="its blocks look transposed") as failed:
        check(given)
    assert str(given.output_dir) in failed.value.next_step
    assert len(list(given.output_dir.iterdir())) == 5, "the pictures show what is wrong"


def test_a_range_that_is_not_mapped_is_noticed(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = planes.from_pictures
    monkeypatch.setattr(planes, "from_pictures", lambda rgb, range_mode, compat: straight(rgb, "full", compat))
    with pytest.raises(CheckFailed, match="levels off"):
        figures(photo, input="recomputed")


def test_ranges_of_the_public_code_are_told_but_are_no_failure(photo: Path) -> None:
    assert "compat original" in figures(photo, compat="original", split="val")["result"]


def test_a_plain_picture_is_said_to_show_little(tmp_path: Path) -> None:
    path = tmp_path / "plain.png"
    Image.new("RGB", (64, 64), (10, 200, 90)).save(path)
    found = figures(path, image_size=32)
    assert found["result"] == "as it must be, but the picture is too plain to notice transposed blocks"


def test_the_pictures_show_what_they_are_called(photo: Path) -> None:
    given = options(photo, split="val", coeff_count_chroma=0)
    check(given)
    x = {part: np.asarray(Image.open(given.output_dir / f"photo_{part}.png")).astype(float) for part in PARTS}
    assert {part: array.shape for part, array in x.items()} == {
        "recon": (128, 128, 3), "luma": (128, 128), "cb": (64, 64), "cr": (64, 64), "original": (128, 128, 3)
    }  # fmt: skip
    y = 16 + 219 / 255 * (x["original"] @ [0.299, 0.587, 0.114])
    assert np.abs(x["luma"] - y).mean() < 1.5
    assert (x["cb"] == 128).all(), "without coefficients, chroma is neutral"
    assert np.ptp(x["recon"], axis=2).max() <= 1, "and the picture is grey"


def test_the_whole_picture_of_so_many_pixels_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    grey = picture(64, 64).convert("L")
    grey.save(path)
    given = options(path, image_size=64, crop_scale="1 1", flip_prob=0)
    check(given)
    recon = np.asarray(Image.open(given.output_dir / "grey_recon.png"))
    assert np.abs(recon[:, :, 1].astype(int) - np.asarray(grey)).max() <= 1


def test_pictures_of_folders_are_chosen_by_number(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", {"blue": 4, "red": 4})
    said = check(
        CheckOptions.parse(
            {"train_dirs": [data], "val_dir": data, "indices": "0,5", "image_size": 32, "output_dir": tmp_path / "out",
             "show_progress": True}
        )
    )  # fmt: skip
    assert [said[str(data / name)]["class"] for name in ("blue/0.jpg", "red/1.jpg")] == ["blue", "red"]
    assert "8 pictures of 2 classes" in said["folders"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"train_{i}_{part}.png" for i in (0, 5) for part in PARTS}
    with pytest.raises(InputError, match="no picture 8 among 8"):
        check(CheckOptions(train_dirs=(data,), val_dir=data, indices=(8,), output_dir=tmp_path / "more"))


def test_results_are_not_replaced_without_force(photo: Path) -> None:
    given = options(photo)
    check(given)
    before = (given.output_dir / "photo_luma.png").read_bytes()
    with pytest.raises(OutputError, match="--force"):
        check(given.model_copy(update={"seed": 5}))
    assert (given.output_dir / "photo_luma.png").read_bytes() == before
    check(given.model_copy(update={"seed": 5, "force": True}))
    assert (given.output_dir / "photo_luma.png").read_bytes() != before


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"coeff_count": 0}, "No coefficient is kept"),
        ({"file": "x.jpg", "val_dir": "v"}, "not both"),
        ({"crop_scale": "0.5"}, "two shares"),
        ({"crop_scale": "0.5 0.2"}, "two shares"),
        ({"image_size": 100}, "multiple of 16"),
        ({"input": "jpeg", "compat": "original"}, "does not read"),
        ({"indices": "-1"}, "from 0"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any], part: str) -> None:
    with pytest.raises(OptionsError, match=part):
        CheckOptions.parse(values)


def test_the_command_runs_on_a_file_and_without_any(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(photo.parent)
    assert _run(["dct-backbones", "check", "photo.jpg", "--image-size", "64", "--coeff-window", "4"]) == 0
    out = capsys.readouterr().out
    assert "coefficients: Y 16, Cb 16, Cr 16: 25.0% of all values, in the range studio" in out
    assert "as it must be" in out
    assert _run(["dct-backbones", "check", "--image-size", "64", "-o", "made"]) == 0
    assert "checks" in capsys.readouterr().out
    assert len(list(Path("made").iterdir())) == 5


def test_the_definition_agrees_with_the_pipeline_on_noise() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3, 32, 48), dtype=np.uint8)
    budget = Budget(10, 4, 7)
    y, cb, cr = planes.from_pictures(torch.from_numpy(rgb)[None])
    kept = [dct.inverse(dct.forward(x, c), c) for x, c in zip(
        (y, cb, cr), (budget.luma_channels, budget.cb_channels, budget.cr_channels), strict=True
    )]  # fmt: skip
    ours = planes.to_pictures(*kept)[0].numpy()
    assert np.abs(ours - expected(rgb, budget)).max() < 2, "colours are rounded by other rules, by a level at most"
