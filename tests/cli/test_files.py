"""compress and decompress: right files from right input, one clear message and no file from wrong input."""

import json
import resource
import signal
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import GOLDEN, Run, mistakes, program


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_there_and_back_with_a_classic_codec(tmp_path: Path, codectk: Run, photo: Path) -> None:
    done = codectk("compress", photo, "-c", "png")
    assert done.returncode == 0, done.stderr
    size = (tmp_path / "photo.ctk").stat().st_size
    assert f"{size} bytes, {8 * size / (61 * 43):.4f} bpp" in done.stdout
    assert codectk("decompress", "photo.ctk", "-o", "back.png").returncode == 0
    assert np.array_equal(pixels(tmp_path / "back.png"), pixels(photo))


def test_there_and_back_with_frappe(tmp_path: Path, codectk: Run, photo: Path, weights: Path) -> None:
    assert codectk("compress", photo, "-w", weights, "--channels", 3).returncode == 0
    done = codectk("decompress", "photo.ctk", "-w", weights, "-o", "back.tiff")
    assert done.returncode == 0, done.stderr
    assert pixels(tmp_path / "back.tiff").shape == (43, 61, 3)


def test_frappe_works_as_it_is_installed(tmp_path: Path, codectk: Run, photo: Path) -> None:
    Image.open(photo).resize((610, 430), Image.Resampling.BICUBIC).save(tmp_path / "large.png")
    done = codectk("compress", "large.png", "-c", "frappe", "--bpp", 0.2)
    assert done.returncode == 0, done.stderr
    assert 8 * (tmp_path / "large.ctk").stat().st_size <= 0.2 * 610 * 430
    assert codectk("decompress", "large.ctk", "-o", "back.png").returncode == 0
    error = pixels(tmp_path / "back.png").astype(float) - pixels(tmp_path / "large.png")
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 30


def test_the_golden_file_opens_through_the_program(tmp_path: Path, codectk: Run, weights: Path) -> None:
    assert codectk("decompress", GOLDEN / "photo.ctk", "-w", weights, "-o", "x.npy").returncode == 0
    x_hat = np.load(tmp_path / "x.npy").astype(int)
    assert np.abs(x_hat - np.load(GOLDEN / "photo.npz")["x_hat"]).max() <= 1


def test_quality_is_a_flag_of_the_codec(tmp_path: Path, codectk: Run, photo: Path) -> None:
    assert codectk("compress", photo, "-c", "jpeg", "--quality", 20, "-o", "low.ctk").returncode == 0
    assert codectk("compress", photo, "-c", "jpeg", "--quality=95", "-o", "high.ctk").returncode == 0
    assert (tmp_path / "low.ctk").stat().st_size < (tmp_path / "high.ctk").stat().st_size
    assert "--quality" in codectk("compress", "-c", "jpeg", "--help").stdout


def test_a_wanted_size_or_quality_is_reached(tmp_path: Path, codectk: Run, photo: Path) -> None:
    large = Image.open(photo).resize((488, 344), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.png")
    for bpp in (0.5, 1.0):
        done = codectk("compress", "large.png", "-c", "jpeg", "--bpp", bpp, "-o", f"{bpp}.ctk")
        assert done.returncode == 0, done.stderr
        assert 8 * (tmp_path / f"{bpp}.ctk").stat().st_size <= bpp * 488 * 344
    assert (tmp_path / "0.5.ctk").stat().st_size < (tmp_path / "1.0.ctk").stat().st_size
    assert codectk("compress", "large.png", "-c", "jpeg", "--psnr", 38, "-o", "good.ctk").returncode == 0
    assert codectk("decompress", "good.ctk", "-o", "good.png").returncode == 0
    error = np.mean((pixels(tmp_path / "good.png").astype(float) - np.asarray(large)) ** 2)
    assert 10 * np.log10(255**2 / error) >= 38


def test_wishes_that_cannot_be_met_are_told(codectk: Run, photo: Path) -> None:
    assert "smallest file has" in mistakes(codectk("compress", photo, "-c", "jpeg", "--bpp", 0.001))
    assert "no settings to search" in mistakes(codectk("compress", photo, "-c", "png", "--psnr", 30))
    assert "one of --bpp and --psnr" in mistakes(codectk("compress", photo, "-c", "jpeg", "--psnr", 30, "--bpp", 1))


def test_folders_keep_their_tree(tmp_path: Path, codectk: Run, photo: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    photo.rename(tmp_path / "in" / "a.png")
    Image.open(tmp_path / "in" / "a.png").save(tmp_path / "in" / "deep" / "b.bmp")
    assert codectk("compress", "in", "-c", "webp", "-o", "out").returncode == 0
    assert names(tmp_path / "out") == {"a.ctk", "deep/b.ctk"}
    assert codectk("decompress", "out", "-o", "back").returncode == 0
    assert names(tmp_path / "back") == {"a.png", "deep/b.png"}


@pytest.mark.parametrize("there", [True, False], ids=["there", "not yet there"])
def test_an_output_with_a_separator_at_its_end_is_a_folder(
    tmp_path: Path, codectk: Run, photo: Path, there: bool
) -> None:
    if there:
        (tmp_path / "new").mkdir()
    assert codectk("compress", photo, "-c", "png", "-o", "new/").returncode == 0
    assert codectk("decompress", "new/photo.ctk", "-o", "back/").returncode == 0
    assert names(tmp_path) == {"photo.png", "new/photo.ctk", "back/photo.png"}


def test_a_folder_without_files_to_open_is_a_mistake(tmp_path: Path, codectk: Run) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no .ctk files" in mistakes(codectk("decompress", "empty"))


def test_weights_go_only_to_codecs_that_need_them(tmp_path: Path, codectk: Run, photo: Path, weights: Path) -> None:
    assert codectk("compress", photo, "-c", "png", "-o", "mixed/a.ctk").returncode == 0
    assert codectk("compress", photo, "-w", weights, "-o", "mixed/b.ctk").returncode == 0
    done = codectk("decompress", "mixed", "-w", weights, "-o", "back")
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "back") == {"a.png", "b.png"}


@pytest.mark.parametrize(
    "words",
    [
        ["-cjpeg"],
        ["-c", "png", "-c", "jpeg"],
        ["--codec=jpeg"],
        ["--codec", "jpeg", "-o", "photo.ctk"],
    ],
    ids=" ".join,
)
def test_the_codec_is_named_in_every_way_that_flags_are_written(
    tmp_path: Path, codectk: Run, photo: Path, words: list[str]
) -> None:
    done = codectk("compress", photo, *words, "--quality", "5")
    assert done.returncode == 0, done.stderr
    about = json.loads(codectk("info", "photo.ctk", "--json").stdout)
    assert about["codec"] == "jpeg"


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path, codectk: Run, photo: Path) -> None:
    (tmp_path / "bad.png").write_bytes(photo.read_bytes()[:100])
    Image.open(photo).save(tmp_path / "other.png")
    done = codectk("compress", "bad.png", "photo.png", "other.png", "-c", "jpeg")
    assert "bad.png" in mistakes(done)
    assert (tmp_path / "photo.ctk").exists()
    assert (tmp_path / "other.ctk").exists()
    assert not (tmp_path / "bad.ctk").exists()


def test_nothing_is_overwritten_without_force(tmp_path: Path, codectk: Run, photo: Path) -> None:
    (tmp_path / "photo.ctk").write_bytes(b"precious")
    assert "--force" in mistakes(codectk("compress", photo, "-c", "jpeg"))
    assert (tmp_path / "photo.ctk").read_bytes() == b"precious"
    assert codectk("compress", photo, "-c", "jpeg", "--force").returncode == 0
    assert "--force" in mistakes(codectk("decompress", "photo.ctk"))


def test_two_inputs_of_one_name_are_refused_before_work(tmp_path: Path, codectk: Run, photo: Path) -> None:
    Image.open(photo).save(tmp_path / "photo.bmp")
    before = names(tmp_path)
    assert "photo.ctk" in mistakes(codectk("compress", "photo.png", "photo.bmp", "-c", "jpeg"))
    assert names(tmp_path) == before


def test_an_exif_rotated_photo_comes_back_upright(tmp_path: Path, codectk: Run, photo: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(photo).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert codectk("compress", "turned.jpg", "-c", "png").returncode == 0
    assert codectk("decompress", "turned.ctk").returncode == 0
    assert pixels(tmp_path / "turned.png").shape == (61, 43, 3)


def test_transparency_is_kept_flattened_or_refused_never_dropped(
    tmp_path: Path, codectk: Run, photo: Path, weights: Path
) -> None:
    image = Image.open(photo).convert("RGBA")
    image.putalpha(120)
    image.save(tmp_path / "glass.png")
    assert "--background" in mistakes(codectk("compress", "glass.png", "-w", weights))
    assert codectk("compress", "glass.png", "-w", weights, "--background", "white").returncode == 0
    assert codectk("compress", "glass.png", "-c", "png", "-o", "kept.ctk").returncode == 0
    assert codectk("decompress", "kept.ctk").returncode == 0
    assert np.array_equal(pixels(tmp_path / "kept.png"), np.asarray(image))


def test_deep_pictures_are_kept_reduced_or_refused(tmp_path: Path, codectk: Run, weights: Path) -> None:
    deep = (np.arange(20 * 30, dtype=np.uint16) * 100).reshape(20, 30)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert "--depth 8" in mistakes(codectk("compress", "deep.png", "-w", weights))
    assert codectk("compress", "deep.png", "-w", weights, "--depth", 8).returncode == 0
    assert codectk("compress", "deep.png", "-c", "jpegls", "-o", "kept.ctk").returncode == 0
    assert codectk("decompress", "kept.ctk").returncode == 0
    assert np.array_equal(pixels(tmp_path / "kept.png"), deep)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.write_bytes(b""), "0 bytes"),
        (lambda p: p.write_bytes(b"just some text"), "not a picture"),
        (lambda p: p.write_bytes(_truncated_png()), "damaged"),
        (lambda p: p.mkdir(), "holds no pictures"),
        (lambda p: p.write_bytes(b"\x89CTK\x01"), "not a picture"),
    ],
    ids=["missing", "empty", "text", "truncated", "folder", "ctk"],
)
def test_bad_pictures_are_one_message_and_no_file(tmp_path: Path, codectk: Run, make: object, words: str) -> None:
    make(tmp_path / "x.png")  # type: ignore[operator]
    before = names(tmp_path)
    message = mistakes(codectk("compress", "x.png", "-c", "jpeg"))
    assert words in message
    assert "x.png" in message
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-5], "5 bytes are missing"),
        (lambda data: data + b"more", "4 bytes follow"),
        (lambda data: data[:20], "cut off"),
        (lambda data: b"", "0 bytes"),
        (lambda data: bytes([*data[:-3], data[-3] ^ 1, *data[-2:]]), "damaged in segment 1"),
        (lambda data: bytes([*data[:12], data[12] ^ 16, *data[13:]]), "check sum"),
        (lambda data: data[:4] + b"\x09" + data[5:], "container version 9"),
        (lambda data: b"GIF89a" + data, "not a .ctk file"),
    ],
    ids=["cut", "trailing", "cut header", "empty", "flip in segment", "flip in header", "newer", "other format"],
)
def test_bad_ctk_files_are_one_message_and_no_file(
    tmp_path: Path, codectk: Run, photo: Path, damage: object, words: str
) -> None:
    assert codectk("compress", photo, "-c", "jpeg").returncode == 0
    file = tmp_path / "photo.ctk"
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    photo.unlink()
    before = names(tmp_path)
    message = mistakes(codectk("decompress", "photo.ctk"))
    assert words in message
    assert "photo.ctk" in message
    assert names(tmp_path) == before


def test_other_weights_and_no_weights_are_refused(tmp_path: Path, codectk: Run, photo: Path, weights: Path) -> None:
    from codectk.checkpoint import Checkpoint

    checkpoint = Checkpoint.open(weights)
    changed = {k: v * 2 if k == "encoders.0.0.bias" else v for k, v in checkpoint.tensors.items()}
    Checkpoint(changed, "frappe", "codectk-frappe", "0.1.0", 1, checkpoint.config).save(tmp_path / "other.safetensors")
    assert codectk("compress", photo, "-w", weights).returncode == 0
    message = mistakes(codectk("decompress", "photo.ctk", "-w", "other.safetensors", "-o", "x.png"))
    assert checkpoint.digest[:16] in message
    assert "-w" in mistakes(codectk("decompress", "photo.ctk", "-o", "x.png"))
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["-c", "jpg"], "Did you mean 'jpeg'"),
        (["-c", "frappe", "--channels", "22"], "do not decode 22 channels"),
        ([], "Choose one with -c"),
        (["-c", "jpeg", "-w", "w.safetensors"], "Leave -w out"),
        (["-c", "jpeg", "--quality", "200"], "less than or equal to 100"),
        (["-c", "jpeg", "--quality", "high"], "quality"),
        (["-w", "missing.safetensors"], "does not exist"),
        (["-w", "photo.png"], "not a weights file"),
    ],
    ids=["near name", "too many channels", "none", "needless weights", "bounds", "type", "missing weights", "png"],
)
def test_bad_requests_are_one_message(codectk: Run, photo: Path, words: list[str], part: str) -> None:
    assert part in mistakes(codectk("compress", photo, *words))


def test_a_misspelt_flag_is_wrong_usage_with_the_nearest_name(codectk: Run, photo: Path) -> None:
    done = codectk("compress", photo, "-c", "jpeg", "--qualty", "5")
    assert done.returncode == 2
    assert "--quality" in done.stderr


def test_lossy_output_formats_are_refused(tmp_path: Path, codectk: Run, photo: Path) -> None:
    assert codectk("compress", photo, "-c", "jpeg").returncode == 0
    assert ".png" in mistakes(codectk("decompress", "photo.ctk", "-o", "again.jpg"))
    assert not (tmp_path / "again.jpg").exists()


def test_a_full_disk_leaves_no_file_behind(tmp_path: Path, photo: Path) -> None:
    """A file size limit makes the operating system refuse the write half-way, as a full disk does."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))

    large = Image.open(photo).resize((300, 300))
    large.save(tmp_path / "large.png")
    before = names(tmp_path)
    done = subprocess.run(
        [program(), "compress", "large.png", "-c", "png"],
        cwd=tmp_path,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "large.ctk cannot be written" in mistakes(done)
    assert names(tmp_path) == before


def _truncated_png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = chunk(b"IHDR", bytes([0, 0, 0, 50, 0, 0, 0, 50, 8, 2, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(50 * 151)))[:30]


def test_fewer_segments_of_a_codec_that_needs_all_are_refused(codectk: Run, photo: Path, tmp_path: Path) -> None:
    assert codectk("compress", photo, "-c", "png").returncode == 0
    assert "needs all segments" in mistakes(codectk("decompress", "photo.ctk", "-o", "x.png", "--segments", "2"))
    assert not (tmp_path / "x.png").exists()
    assert codectk("decompress", "photo.ctk", "-o", "x.png", "--segments", "1").returncode == 0
