"""Weights of others: what is no plain tensor is refused, and nothing in a file is run."""

import os
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from safetensors.torch import save_file

from codectk.errors import WeightsError
from codectk.published import is_pickled, plain_tensors, read_pickled, read_safetensors, shown

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.count": torch.tensor(3), "b": torch.zeros(4).half()}


def plain(name: str) -> str | None:
    return None if name.endswith("count") else name.removeprefix("module.")


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "published.pth"
    torch.save({"model": STATE}, path)
    return path


def test_a_checkpoint_is_read(checkpoint: Path) -> None:
    assert is_pickled(checkpoint)
    found = plain_tensors(checkpoint, read_pickled(checkpoint, "")["model"], plain, "")
    assert sorted(found) == ["a.weight", "b"]
    assert torch.equal(found["a.weight"], STATE["a.weight"])


def test_what_would_have_to_be_run_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": STATE, "more": Harmful()}, "harmful.pth")
    with pytest.raises(WeightsError, match="could run any program; it was not opened") as caught:
        read_pickled(Path("harmful.pth"), "Save it in another way.")
    assert caught.value.next_step == "Save it in another way."
    assert not Path("was-run").exists()


def test_a_cut_or_compressed_checkpoint_is_damaged(checkpoint: Path, tmp_path: Path) -> None:
    whole, packed = checkpoint.read_bytes(), tmp_path / "packed.pth"
    with ZipFile(checkpoint) as archive, ZipFile(packed, "w", ZIP_DEFLATED) as other:
        for entry in archive.infolist():
            other.writestr(entry.filename, archive.read(entry))
    checkpoint.write_bytes(whole[: len(whole) // 2])
    for path in (checkpoint, packed):
        with pytest.raises(WeightsError, match="is damaged, or neither"):
            read_pickled(path, "")


def test_safetensors_are_read_unless_they_are_codectks_own(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(STATE, path)
    assert not is_pickled(path)
    assert read_safetensors(path).keys() == STATE.keys()
    save_file(STATE, path, {"codectk": "{}"})
    with pytest.raises(WeightsError, match="is a weights file of codectk already"):
        read_safetensors(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match="is damaged, or neither"):
        read_safetensors(path)


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"b": torch.zeros(1), "module.b": torch.zeros(1)}, "tensor 'b' is there twice"),
        ({"b": torch.zeros(2, dtype=torch.int64)}, "tensor 'b' is int64, not float32"),
        ({"b": torch.zeros(3, 3).to_sparse()}, "not float32, float16 or bfloat16 in a plain layout"),
        ({"b": torch.zeros(1, device="meta")}, "in a plain layout"),
        ({"b": torch.zeros(1).expand(1 << 40)}, "holds tensors of more bytes than the file has"),
    ],
)
def test_tensors_that_are_not_plain_numbers_in_the_file_are_refused(
    checkpoint: Path, state: dict[str, torch.Tensor], problem: str
) -> None:
    with pytest.raises(WeightsError, match=problem):
        plain_tensors(checkpoint, state, plain, "Name another.")


def test_names_from_files_are_shown_short_and_readable() -> None:
    assert shown("a\x1b[2J") == "'a?[2J'"
    assert len(shown("a" * 1000)) < 70
