"""Files of a progressive codec: made smaller without decoding, and opened when they were cut."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codectk.container import Container, unpack

from .conftest import Run, mistakes
from .layers import LAYERS

PIXELS = 61 * 43


@pytest.fixture
def run(codectk: Run, plugin: Callable[..., dict[str, str]]) -> Run:
    """The program with the codecs `layers`, which is progressive, and `whole`, which says it is not."""
    environment = plugin("codectk-layers", LAYERS)

    def call(*words: object) -> "subprocess.CompletedProcess[str]":
        return codectk(*words, env=environment)

    return call


@pytest.fixture
def file(tmp_path: Path, run: Run, photo: Path) -> Container:
    """`photo.ctk` of eight segments."""
    assert run("compress", photo, "-c", "layers").returncode == 0
    photo.unlink()
    found = unpack((tmp_path / "photo.ctk").read_bytes())
    assert len(found.segments) == 8
    assert found.header.symbol_check is not None
    return found


def cut_after(data: bytes, file: Container, segments: int, more: int = 0) -> bytes:
    """The first bytes of a file: its header, so many segments, and some bytes more."""
    return data[: file.header_bytes + sum(file.header.segment_lengths[:segments]) + more]


def test_a_truncated_file_decodes_to_what_the_first_segments_of_the_whole_decode_to(
    tmp_path: Path, run: Run, file: Container
) -> None:
    for count in (1, 4, 8):
        done = run("truncate", "photo.ctk", "--segments", count, "-o", f"{count}.ctk")
        assert done.returncode == 0, done.stderr
        size = (tmp_path / f"{count}.ctk").stat().st_size
        assert f"{count} of 8 segments, {size} bytes, {8 * size / PIXELS:.4f} bpp" in done.stdout
        assert run("decompress", f"{count}.ctk", "-o", f"{count}.png").returncode == 0
        assert run("decompress", "photo.ctk", "--segments", count, "-o", f"whole{count}.png").returncode == 0
        mine, wanted = (np.asarray(Image.open(tmp_path / name)) for name in (f"{count}.png", f"whole{count}.png"))
        assert np.array_equal(mine, wanted)
        about = json.loads(run("info", f"{count}.ctk", "--json").stdout)
        assert (about["bytes"], about["segments"]) == (size, list(file.header.segment_lengths[:count]))
    assert (tmp_path / "8.ctk").read_bytes() == (tmp_path / "photo.ctk").read_bytes()


def test_the_header_keeps_all_but_the_check_of_all_symbols(tmp_path: Path, run: Run, photo: Path) -> None:
    assert run("compress", photo, "-c", "layers", "--planes", 5).returncode == 0
    before = unpack((tmp_path / "photo.ctk").read_bytes())
    assert run("truncate", "photo.ctk", "--segments", 2, "-o", "small.ctk").returncode == 0
    after = unpack((tmp_path / "small.ctk").read_bytes())
    assert after.header.params == {"n": 5}
    assert after.header.symbol_check is None
    assert after.segments == before.segments[:2]
    same = ("codec", "distribution", "bitstream_version", "info", "params", "weights_digest")
    assert all(getattr(after.header, name) == getattr(before.header, name) for name in same)


@pytest.mark.parametrize("unit", ["--bytes", "--bpp"])
def test_as_many_segments_are_kept_as_fit(tmp_path: Path, run: Run, file: Container, unit: str) -> None:
    assert run("truncate", "photo.ctk", "--segments", 5, "-o", "five.ctk").returncode == 0
    size = (tmp_path / "five.ctk").stat().st_size
    for limit, kept in ((size - 1, 4), (size, 5), (size + 1, 5)):
        value = limit if unit == "--bytes" else repr(8 * limit / PIXELS)
        done = run("truncate", "photo.ctk", unit, value, "-o", f"{limit}.ctk")
        assert done.returncode == 0, done.stderr
        made = (tmp_path / f"{limit}.ctk").read_bytes()
        assert len(made) <= limit
        assert len(unpack(made).segments) == kept


def test_what_is_small_enough_is_left_or_copied(tmp_path: Path, run: Run, file: Container) -> None:
    before = (tmp_path / "photo.ctk").read_bytes()
    os.utime(tmp_path / "photo.ctk", (1, 1))
    for words in (["--bytes", len(before)], ["--segments", 9], ["--bpp", 99]):
        done = run("truncate", "photo.ctk", *words)
        assert done.returncode == 0, done.stderr
        assert "left as it is" in done.stdout
    assert (tmp_path / "photo.ctk").stat().st_mtime == 1
    done = run("truncate", "photo.ctk", "--segments", 8, "-o", "copy.ctk")
    assert "copied" in done.stdout
    assert (tmp_path / "copy.ctk").read_bytes() == before


def test_a_file_is_replaced_with_force_alone(tmp_path: Path, run: Run, file: Container) -> None:
    before = (tmp_path / "photo.ctk").read_bytes()
    assert "--force" in mistakes(run("truncate", "photo.ctk", "--segments", 3))
    assert (tmp_path / "photo.ctk").read_bytes() == before
    assert run("truncate", "photo.ctk", "--segments", 3, "--force").returncode == 0
    assert unpack((tmp_path / "photo.ctk").read_bytes()).segments == file.segments[:3]


def test_folders_keep_their_tree_and_one_bad_file_does_not_stop_the_others(
    tmp_path: Path, run: Run, file: Container
) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "bad.ctk").write_bytes(b"rubbish")
    (tmp_path / "photo.ctk").rename(tmp_path / "in" / "deep" / "a.ctk")
    assert "bad.ctk" in mistakes(run("truncate", "in", "--segments", 1, "-o", "out"))
    assert [str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.ctk")] == ["deep/a.ctk"]


@pytest.mark.parametrize("unit", ["--bytes", "--bpp"])
def test_too_small_a_size_is_an_error_that_gives_the_smallest(
    tmp_path: Path, run: Run, file: Container, unit: str
) -> None:
    message = mistakes(run("truncate", "photo.ctk", unit, "1" if unit == "--bytes" else "0.01", "-o", "x.ctk"))
    assert not (tmp_path / "x.ctk").exists()
    smallest = message.split(f"{unit} ")[1].split()[0]
    done = run("truncate", "photo.ctk", unit, smallest, "-o", "x.ctk")
    assert done.returncode == 0, done.stderr
    assert len(unpack((tmp_path / "x.ctk").read_bytes()).segments) == 1


def test_a_codec_that_is_not_progressive_is_refused(tmp_path: Path, run: Run, photo: Path) -> None:
    assert run("compress", photo, "-c", "whole").returncode == 0
    message = mistakes(run("truncate", "photo.ctk", "--segments", 1, "-o", "x.ctk"))
    assert "codec whole is not progressive" in message
    assert not (tmp_path / "x.ctk").exists()


def test_a_codec_that_is_not_here_is_named_with_its_distribution(tmp_path: Path, codectk: Run, file: Container) -> None:
    message = mistakes(codectk("truncate", "photo.ctk", "--segments", 1, "-o", "x.ctk"))
    assert "pip install codectk-layers" in message


@pytest.mark.parametrize("words", [[], ["--bpp", "1", "--segments", "2"], ["--bpp", "nan"], ["--bytes", "0"]])
def test_exactly_one_limit_is_given(tmp_path: Path, run: Run, file: Container, words: list[str]) -> None:
    done = run("truncate", "photo.ctk", "-o", "x.ctk", *words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_frappe_is_truncated_without_its_weights_and_without_torch(
    tmp_path: Path, codectk: Run, photo: Path, weights: Path
) -> None:
    assert codectk("compress", photo, "-w", weights).returncode == 0
    script = (
        "import sys\nfrom codectk_cli.main import cli\n"
        "cli.main(['truncate', 'photo.ctk', '--segments', '1', '-o', 'one.ctk'], standalone_mode=False)\n"
        "assert not {'torch', 'codectk_frappe.codec'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(unpack((tmp_path / "one.ctk").read_bytes()).segments) == 1


@pytest.mark.parametrize("count", [1, 5, 7])
def test_a_file_cut_right_after_a_segment_decodes_with_a_warning(
    tmp_path: Path, run: Run, file: Container, count: int
) -> None:
    data = (tmp_path / "photo.ctk").read_bytes()
    (tmp_path / "cut.ctk").write_bytes(cut_after(data, file, count))
    done = run("decompress", "cut.ctk", "-o", "cut.png")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("warning:")
    assert f"{count} of 8 segments" in done.stderr
    assert run("decompress", "photo.ctk", "--segments", count, "-o", "whole.png").returncode == 0
    assert (tmp_path / "cut.png").read_bytes() == (tmp_path / "whole.png").read_bytes()


def test_a_file_cut_inside_a_segment_says_how_many_are_whole_and_decodes_them(
    tmp_path: Path, run: Run, file: Container
) -> None:
    data = (tmp_path / "photo.ctk").read_bytes()
    for more in (1, file.header.segment_lengths[3] - 1):
        (tmp_path / "cut.ctk").write_bytes(cut_after(data, file, 3, more))
        message = mistakes(run("decompress", "cut.ctk", "-o", "x.png"))
        assert "3 of 8 segments are whole" in message
        assert "--segments 3" in message
        assert "3 whole segments, not 4" in mistakes(run("decompress", "cut.ctk", "-o", "x.png", "--segments", 4))
        assert not (tmp_path / "x.png").exists()
    for count in (2, 3):
        assert run("decompress", "cut.ctk", "-o", f"{count}.png", "--segments", count).returncode == 0
        assert run("decompress", "photo.ctk", "-o", f"whole{count}.png", "--segments", count).returncode == 0
        assert (tmp_path / f"{count}.png").read_bytes() == (tmp_path / f"whole{count}.png").read_bytes()


def test_a_file_without_a_whole_segment_is_refused(tmp_path: Path, run: Run, file: Container) -> None:
    data = (tmp_path / "photo.ctk").read_bytes()
    for more in (0, 1):
        (tmp_path / "cut.ctk").write_bytes(cut_after(data, file, 0, more))
        for words in (["decompress", "-o", "x.png"], ["decompress", "--segments", 1], ["truncate", "--segments", 1]):
            assert "0 of 8 segments are whole" in mistakes(run(*words, "cut.ctk"))


@pytest.mark.parametrize("words", [[], ["--segments", "1"]])
def test_a_cut_file_of_a_codec_that_needs_all_segments_is_refused(
    tmp_path: Path, run: Run, photo: Path, words: list[str]
) -> None:
    assert run("compress", photo, "-c", "whole").returncode == 0
    data = (tmp_path / "photo.ctk").read_bytes()
    file = unpack(data)
    for cut in (cut_after(data, file, 7), cut_after(data, file, 7, 1)):
        (tmp_path / "cut.ctk").write_bytes(cut)
        assert "7 of 8 segments are whole" in mistakes(run("decompress", "cut.ctk", "-o", "x.png", *words))
    assert not (tmp_path / "x.png").exists()


def test_a_cut_file_whose_segments_are_damaged_is_refused(tmp_path: Path, run: Run, file: Container) -> None:
    cut = bytearray(cut_after((tmp_path / "photo.ctk").read_bytes(), file, 3))
    cut[-1] ^= 1
    (tmp_path / "cut.ctk").write_bytes(bytes(cut))
    for words in (["decompress", "-o", "x.png"], ["decompress", "--segments", 1], ["truncate", "--segments", 1]):
        assert "damaged in segment 3 of 8" in mistakes(run(*words, "cut.ctk"))


def test_a_cut_file_is_made_sound(tmp_path: Path, run: Run, file: Container) -> None:
    data = (tmp_path / "photo.ctk").read_bytes()
    (tmp_path / "cut.ctk").write_bytes(cut_after(data, file, 3, 1))
    done = run("truncate", "cut.ctk", "--segments", 8, "-o", "sound.ctk")
    assert done.returncode == 0, done.stderr
    assert unpack((tmp_path / "sound.ctk").read_bytes()).segments == file.segments[:3]
    done = run("decompress", "sound.ctk", "-o", "x.png")
    assert (done.returncode, done.stderr) == (0, "")
