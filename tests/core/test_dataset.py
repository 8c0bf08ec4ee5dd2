"""Folders as datasets: the usable files, in a fixed order, split the same way every time."""

import numpy as np
import pytest
from PIL import Image

from codectk.dataset import Files, find_data, hold_out, sample_photos
from codectk.errors import InputError, UnknownName


@pytest.fixture
def folder(tmp_path):
    """Twenty grey pictures, each of one value, and two files that are no pictures."""
    for value in range(20):
        Image.new("L", (5, 4), value).save(tmp_path / f"{value:02d}.png")
    (tmp_path / "10b.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_bytes(b"no picture either")
    return tmp_path


def test_files_are_read_in_order_and_grey_becomes_colour_where_only_colour_is_taken(folder):
    data = Files(sorted(folder.glob("*.png"))[:3], ("image/rgb8",))
    assert [data[i].id for i in range(len(data))] == ["00.png", "01.png", "02.png"]
    for i in (2, 0, 1, 2):
        assert data[i].info.kind == "image/rgb8"
        np.testing.assert_array_equal(data[i].x, np.full((4, 5, 3), i, np.uint8))


def test_files_that_cannot_be_used_are_left_out_with_the_reason(folder):
    reasons = []
    data = Files(sorted(folder.glob("*.png")), ("image/gray8",), reasons.append)
    assert len(data) == 20
    assert data[11].id == "11.png"
    assert data.skipped == reasons
    assert len(reasons) == 1
    assert "10b.png" in reasons[0]


def test_without_one_usable_file_there_is_no_dataset(folder):
    with pytest.raises(InputError, match=r"None of 1 files.*10b\.png"):
        Files([folder / "10b.png"], ("image/rgb8",))
    with pytest.raises(InputError, match="None of 0 files"):
        Files([], ("image/rgb8",))
    with pytest.raises(InputError, match="does not take image/gray8"):
        Files([folder / "00.png"], ("image/rgba8",))


def test_samples_that_do_not_fit_in_memory_are_read_again(folder, monkeypatch):
    monkeypatch.setattr("codectk.dataset.CACHE_BYTES", 50)
    data = Files(sorted(folder.glob("0*.png")), ("image/gray8",))
    for _ in range(2):
        assert [int(data[i].x[0, 0, 0]) for i in range(10)] == list(range(10))
    assert data._cached_bytes == sum(sample.x.nbytes for sample in data._cache.values()) <= 50


def test_a_tenth_of_a_folder_is_held_out_the_same_way_every_time(folder):
    paths = sorted(folder.glob("[01]?.png"))
    train, val = hold_out(paths)
    assert (len(train), len(val)) == (18, 2)
    assert sorted(train + val) == paths
    assert hold_out(paths[::-1])[1] == val[::-1]
    # Only the names decide, so that a run resumed elsewhere does not train on what it is validated with.
    assert [path.name for path in val] == ["03.png", "06.png"]
    assert [len(part) for part in hold_out(paths[:2])] == [1, 1]
    with pytest.raises(InputError, match="--val-data"):
        hold_out(paths[:1])


def test_training_data_of_a_folder_and_its_validation_data_are_disjoint(folder):
    train, val = find_data(str(folder), None, ("image/gray8",))
    names = [{data[i].id for i in range(len(data))} for data in (train, val)]
    assert names[0].isdisjoint(names[1])
    assert len(names[0] | names[1]) == 20


def test_a_folder_named_for_validation_is_taken_whole(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    Image.new("L", (5, 4), 99).save(other / "val.png")
    train, val = find_data(str(folder), str(other), ("image/gray8",))
    assert (len(train), len(val)) == (21, 1)


def test_photos_of_scikit_image_serve_without_a_download():
    train, val = sample_photos("train"), sample_photos("val")
    assert len(train) == 7
    assert set(train).isdisjoint(val)
    assert all(path.is_file() for path in (*train, *val))


def test_data_that_nobody_knows_is_refused(folder):
    with pytest.raises(InputError, match="is not a folder"):
        find_data(str(folder / "nothing"), None, ("image/rgb8",))
    with pytest.raises(UnknownName, match=r"'fotos'.*'photos'"):
        find_data("fotos", None, ("image/rgb8",))
