"""Output files appear whole or not at all, and every failure names the file."""

import json
import os
import stat

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
