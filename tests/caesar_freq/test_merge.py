"""`codectk caesar-freq merge`: one file of the phases' weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from codectk.checkpoint import Checkpoint
from codectk.errors import InputError, OptionsError, OutputError, WeightsError
from codectk_caesar_freq.architecture import COMPRESSOR, DIFFUSION, STUDENT, WindowConfig
from codectk_caesar_freq.learned.parts import load_part
from codectk_caesar_freq.learned.predictor import Predictor
from codectk_caesar_freq.merge import MergeOptions, merge

from .small import FREQUENCY, WINDOW, part

PARTS = (COMPRESSOR, DIFFUSION, STUDENT)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Weights of each phase."""
    for name in PARTS:
        part(name).save(tmp_path / f"{name}.safetensors")
    return {name: str(tmp_path / f"{name}.safetensors") for name in PARTS}


def merged(files: dict[str, str], tmp_path: Path, **changes: Any) -> Checkpoint:
    output = tmp_path / "all.safetensors"
    merge(MergeOptions.parse({**files, "output": str(output), **changes}))
    return Checkpoint.open(output)


def test_a_merged_file_holds_every_part_with_its_architecture(files: dict[str, str], tmp_path: Path) -> None:
    made = merged(files, tmp_path)
    expected = {name: tensor for phase in PARTS for name, tensor in part(phase).tensors.items()}
    assert set(made.tensors) == set(expected)
    assert all(np.array_equal(made.tensors[name], tensor) for name, tensor in expected.items())
    assert set(made.config["parts"]) == set(PARTS) and made.config["window"] == WINDOW.model_dump(mode="json")
    assert made.training[STUDENT] == {"seed": 0}
    assert Predictor.load(made).methods == ("linear", "student", "teacher")
    assert load_part(made, COMPRESSOR) is not None


def test_the_merged_student_predicts_as_its_own_file_does(files: dict[str, str], tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(3, 9, 9))
    alone, together = (Predictor.load(c) for c in (part(STUDENT), merged(files, tmp_path)))
    assert np.array_equal(alone.predict(x, "student", 7, 3), together.predict(x, "student", 7, 3))


def test_missing_parts_are_errors_unless_they_are_left_out(files: dict[str, str], tmp_path: Path) -> None:
    some = {name: path for name, path in files.items() if name != DIFFUSION}
    with pytest.raises(WeightsError, match="--without diffusion"):
        merged(some, tmp_path)
    made = merged(some, tmp_path, without="diffusion")
    assert set(made.config["parts"]) == {COMPRESSOR, STUDENT}
    with pytest.raises(WeightsError, match="both"):
        merged(files, tmp_path, without="diffusion", force=True)
    with pytest.raises(WeightsError, match="least one"):
        merged({}, tmp_path, without=",".join(PARTS), force=True)
    with pytest.raises(OptionsError, match="no part"):
        MergeOptions.parse({**files, "output": "x", "without": "teacher"})


def test_parts_must_be_in_their_files_and_fit_together(files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no part diffusion"):
        merged({**files, DIFFUSION: files[STUDENT]}, tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        merged({**files, DIFFUSION: str(tmp_path / "none.safetensors")}, tmp_path)
    other = str(tmp_path / "other.safetensors")
    part(STUDENT, frequency=FREQUENCY.model_copy(update={"wavelet": "cdf97"})).save(Path(other))
    with pytest.raises(WeightsError, match=r"transform: wavelet cdf97, wavelet haar"):
        merged({**files, STUDENT: other}, tmp_path)
    part(STUDENT, window=WindowConfig(n_frame=10, interpo_rate=3, tile=32)).save(Path(other), force=True)
    with pytest.raises(WeightsError, match="windows: n_frame"):
        merged({**files, STUDENT: other}, tmp_path)
    assert not (tmp_path / "all.safetensors").exists()


def test_an_output_is_replaced_by_force_alone(files: dict[str, str], tmp_path: Path) -> None:
    first = merged(files, tmp_path)
    with pytest.raises(OutputError, match="exists"):
        merged(files, tmp_path)
    assert merged(files, tmp_path, force=True, licence="CC0").licence == "CC0" != first.licence


def test_half_precision_halves_the_file_and_changes_predictions_little(files: dict[str, str], tmp_path: Path) -> None:
    whole = merged(files, tmp_path)
    half = merged(files, tmp_path, half=True, force=True)
    for name in (DIFFUSION, STUDENT):
        kinds = {t.dtype for key, t in half.tensors.items() if key.startswith(f"{name}.") and "signal" not in key}
        assert kinds == {np.dtype(np.float16)}
    assert half.tensors["diffusion.signal_power"].dtype == np.float64
    tables = [name for name in whole.tensors if ".tables." in name]
    assert tables and all(np.array_equal(half.tensors[name], whole.tensors[name]) for name in tables)
    x = np.random.default_rng(0).normal(size=(3, 9, 9))
    first, second = (Predictor.load(c).predict(x, "student", 7, 3) for c in (whole, half))
    assert 0 < np.abs(first - second).max() < 0.02


def test_the_command_line_tells_what_was_written(files: dict[str, str], tmp_path: Path) -> None:
    from codectk_cli.main import cli

    flags = [word for name, path in files.items() for word in (f"--{name}", path)]
    output = tmp_path / "all.safetensors"
    done = CliRunner().invoke(cli, ["caesar-freq", "merge", *flags, "-o", str(output)])
    assert done.exit_code == 0, done.output
    assert Checkpoint.open(output).digest in done.output
    assert all(name in done.output for name in PARTS)
