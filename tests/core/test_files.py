"""Output files appear whole or not at all, and every failure names the file."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from codectk.errors import InputError, OutputError
from codectk.files import atomic_output, check_file, read_bytes, refuse_existing, write_bytes


def test_a_file_is_written_into_folders_that_are_made_for_it(tmp_path):
    path = tmp_path / "new" / "folder" / "file.bin"
    write_bytes(path, b"content")
    assert path.read_bytes() == b"content"
    assert list(path.parent.iterdir()) == [path]


def test_the_file_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "file.png"
    with atomic_output(path) as temporary:
        temporary.write_bytes(b"content")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == ".png"
    assert not temporary.exists()
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_inside_leaves_neither_a_file_nor_a_temporary_one(tmp_path, error):
    def fail():
        with atomic_output(tmp_path / "file.bin") as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_failure_inside_keeps_the_file_that_should_be_replaced(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"precious")

    def fail():
        with atomic_output(path, force=True) as temporary:
            temporary.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"file\.bin cannot be written: No space left on device"):
        fail()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"precious"


def test_an_existing_file_is_kept_without_force(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"precious")
    for attempt in (lambda: write_bytes(path, b"new"), lambda: refuse_existing(path, force=False)):
        with pytest.raises(OutputError, match=r"file\.bin exists already.*--force"):
            attempt()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"precious"


def test_an_existing_file_is_replaced_with_force(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old and longer")
    write_bytes(path, b"new", force=True)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_is_never_replaced(tmp_path, force):
    with pytest.raises(OutputError, match="is a folder"):
        write_bytes(tmp_path, b"new", force)


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_regular_file_is_never_replaced(tmp_path, force):
    pipe, link, loop = tmp_path / "pipe.bin", tmp_path / "link.bin", tmp_path / "loop.bin"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    loop.symlink_to(loop)
    for path in (pipe, link, loop):
        with pytest.raises(OutputError, match=rf"{path.name} is not a regular file"):
            write_bytes(path, b"new", force)
    with pytest.raises(OutputError, match="/dev/null is not a regular file"):
        refuse_existing(Path("/dev/null"), force)
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert link.is_symlink()
    assert len(list(tmp_path.iterdir())) == 3


def test_force_replaces_what_a_link_leads_to_and_keeps_the_link(tmp_path):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target.bin", tmp_path / "link.bin"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with pytest.raises(OutputError, match=r"link\.bin exists already"):
        write_bytes(link, b"new")
    assert target.read_bytes() == b"old"
    write_bytes(link, b"new", force=True)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


def test_a_link_to_nothing_counts_as_existing(tmp_path):
    link, target = tmp_path / "link.bin", tmp_path / "target.bin"
    link.symlink_to(target)
    with pytest.raises(OutputError, match=r"link\.bin exists already"):
        write_bytes(link, b"new")
    assert not target.exists()
    write_bytes(link, b"new", force=True)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def no_hard_links(*_):
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept_without_force(tmp_path, monkeypatch, hard_links):
    if not hard_links:
        monkeypatch.setattr(os, "link", no_hard_links)
    path = tmp_path / "file.bin"

    def meanwhile(force):
        with atomic_output(path, force) as temporary:
            temporary.write_bytes(b"new")
            path.write_bytes(b"of another")

    with pytest.raises(OutputError, match=r"file\.bin exists already"):
        meanwhile(force=False)
    assert path.read_bytes() == b"of another"
    meanwhile(force=True)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_system_without_hard_links_serves_too(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_hard_links)
    write_bytes(tmp_path / "file.bin", b"new")
    assert (tmp_path / "file.bin").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["x" * 251 + ".png", "é" * 125 + ".png", "a." + "x" * 253, "." + "x" * 254])
def test_every_name_that_the_file_system_takes_is_written(tmp_path, name):
    path = tmp_path / name
    with atomic_output(path) as temporary:
        temporary.write_bytes(b"content")
        if name.endswith(".png"):
            assert temporary.suffix == ".png"
    assert path.read_bytes() == b"content"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_too_long_is_an_output_error(tmp_path):
    for attempt in (lambda path: write_bytes(path, b"x"), lambda path: refuse_existing(path, force=False)):
        with pytest.raises(OutputError, match="File name too long"):
            attempt(tmp_path / ("x" * 300))


def test_a_parent_that_is_a_file_is_an_output_error(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OutputError, match="cannot be written"):
        write_bytes(tmp_path / "file" / "inside.bin", b"new")


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_have_the_mode_that_the_user_asks_for(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "file.bin", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file.bin").stat().st_mode) == mode


def test_what_is_no_regular_file_is_refused_by_name(tmp_path):
    empty, pipe = tmp_path / "empty.bin", tmp_path / "pipe.bin"
    empty.touch()
    os.mkfifo(pipe)
    for path, reason in (
        (empty, "is empty"),
        (pipe, "is not a regular file"),
        (tmp_path, "is a folder"),
        (tmp_path / "nothing", "does not exist"),
        (tmp_path / ("x" * 300), "."),
    ):
        with pytest.raises(InputError) as caught:
            read_bytes(path)
        assert str(path) in caught.value.problem
        assert reason in caught.value.problem


def test_a_file_above_the_limit_is_refused(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(bytes(11))
    check_file(path, limit=11)
    with pytest.raises(InputError, match="11 bytes; at most 10"):
        read_bytes(path, limit=10)


DISK_FULL = """
import json, resource, signal, sys
from pathlib import Path
import numpy as np
import torch
from codectk import ArrayInfo, Checkpoint
from codectk.errors import OutputError
from codectk.files import write_bytes
from codectk.images import write_image
from codectk.inputs import write_array
from codectk.state import save_state

folder = Path(sys.argv[1])
x = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
field = np.zeros((300, 300), "f4")
writers = {
    "bytes.bin": lambda path: write_bytes(path, bytes(100_000), force=True),
    "photo.png": lambda path: write_image(path, x, ArrayInfo("image/rgb8", x.shape), force=True),
    "photo.tif": lambda path: write_image(path, x, ArrayInfo("image/rgb8", x.shape), force=True),
    "field.npy": lambda path: write_array(path, field, ArrayInfo("field/f32", field.shape), force=True),
    "weights.safetensors": lambda path: Checkpoint({"a": field}, "tiny", "d", "1", 1, {}).save(path, force=True),
    "state.safetensors": lambda path: save_state(path, {"a": torch.zeros(100_000)}),
}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
outcome = {}
for name, write in writers.items():
    for existing in (False, True):
        path = folder / f"{existing}-{name}"
        if existing:
            path.write_bytes(b"precious")
        try:
            write(path)
            outcome[path.name] = "written"
        except OutputError as error:
            outcome[path.name] = str(error)
        except BaseException as error:
            outcome[path.name] = repr(error)
print(json.dumps(outcome))
"""


def test_a_full_disk_is_an_output_error_that_leaves_nothing_behind(site, tmp_path):
    # A limit on the size of files makes writing fail half-way, as a full disk does.
    result = site.run(DISK_FULL, str(tmp_path))
    assert result.returncode == 0, result.stderr
    outcome = json.loads(result.stdout)
    assert len(outcome) == 12
    for name, message in outcome.items():
        assert message.startswith(f"{tmp_path / name} cannot be written: "), message
        assert "Free space" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(n for n in outcome if n.startswith("True"))
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"precious"}
