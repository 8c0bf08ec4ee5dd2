"""Results of an evaluation as a real pandas table."""

import json
import sys

import numpy as np
import pandas
import pytest

from codectk import results
from codectk.errors import InputError
from codectk.evaluate import Row

ROWS = [
    Row("jpeg", {"quality": 20}, "a.png", 0, "files/a.ctk", 12, 30, 20.0, {"psnr": 31.5}, 0.1, 0.2, {"bits": 7.0}),
    Row("jpeg", {"quality": 90}, "a.png", 0, "files/b.ctk", 12, 60, 40.0, {"psnr": float("inf")}, 0.1, 0.2),
    Row("avif", {}, "b.png", 1, error="refused"),
]


def check(table):
    assert list(table["codec"]) == ["jpeg", "jpeg", "avif"]
    assert list(table["bytes"]) == [30, 60, 0]
    assert table["bytes"].dtype == np.int64
    assert table["psnr"].dtype == table["note_bits"].dtype == table["bpp"].dtype == np.float64
    assert table["psnr"].isna().tolist() == [False, True, True]
    assert table["setting"][0] == "quality=20"
    means = table[table["error"] == ""].groupby("codec")["bpp"].mean()
    assert means["jpeg"] == 30.0


def test_rows_in_memory_are_a_table():
    check(results.table(ROWS))
    assert results.table([]).empty
    assert "bpp" in results.table([]).columns


def test_a_folder_of_results_is_a_table(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row.flat()) + "\n" for row in ROWS))
    for place in (tmp_path, str(tmp_path), tmp_path / "rows.jsonl"):
        table = results.read(place)
        check(table)
        assert isinstance(table, pandas.DataFrame)


@pytest.mark.parametrize("text", ["{", "[1]\n", '{"codec": "x"}\n', "\x00"])
def test_a_damaged_file_is_a_plain_error(tmp_path, text):
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(InputError, match=r"rows\.jsonl"):
        results.read(tmp_path)


def test_no_results_are_a_plain_error(tmp_path):
    with pytest.raises(InputError):
        results.read(tmp_path)


def test_without_pandas_the_command_that_installs_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"pip install .codectk-core\[pandas\]"):
        results.table(ROWS)
