"""Pillow itself opens and saves `.ctk` pictures, in processes of their own since it cannot be told to forget."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import codectk

GOLDEN = Path(__file__).parents[1] / "frappe" / "golden"


def python(folder: Path, source: str) -> str:
    start = "import codectk, codectk.pillow\nfrom PIL import Image\nimport numpy as np\ncodectk.pillow.register()\n"
    script = start + source
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for mode, shape, kind in (("L", (9, 7), "uint8"), ("RGB", (9, 7, 3), "uint8"), ("RGBA", (9, 7, 4), "uint8")):
        x = rng.integers(0, 256, shape, kind)
        np.save(tmp_path / f"{mode}.npy", x)
        codectk.compress(x, "png").save(tmp_path / f"{mode}.ctk")
    deep = rng.integers(0, 1 << 16, (9, 7), np.uint16)
    np.save(tmp_path / "I;16.npy", deep)
    codectk.compress(deep, "png").save(tmp_path / "I;16.ctk")
    return tmp_path


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_a_picture_opens_in_its_mode_and_with_its_pixels(folder, mode):
    said = python(
        folder,
        f"image = Image.open('{mode}.ctk')\nprint(image.mode, image.size, image.format, image.get_format_mimetype())\n"
        f"assert np.array_equal(np.asarray(image), np.load('{mode}.npy'))\n"
        f"assert np.array_equal(np.asarray(Image.open(open('{mode}.ctk', 'rb'))), np.load('{mode}.npy'))\n",
    )
    assert said == f"{mode} (7, 9) CTK image/x-ctk"


def test_size_and_mode_are_known_before_anything_is_decoded(folder):
    python(
        folder,
        "codectk.pillow.load_codec = None\nimage = Image.open('RGB.ctk')\nassert image.size == (7, 9)\n"
        "try:\n    image.load()\nexcept TypeError:\n    pass\nelse:\n    raise SystemExit('decoded')\n",
    )


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_a_picture_is_saved_by_the_codec_that_is_named(folder, mode):
    python(
        folder,
        f"Image.open('{mode}.ctk').save('copy.ctk', codec='jpegls', near=0)\n"
        f"assert np.array_equal(np.asarray(Image.open('copy.ctk')), np.load('{mode}.npy'))\n"
        "assert Image.open('copy.ctk').info['codec'] == 'jpegls'\n",
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [("", "name a codec"), ("codec='jpgls'", "Did you mean"), ("codec='png', quality=3", "no option 'quality'")],
)
def test_a_mistake_in_saving_leaves_no_file(folder, words, says):
    said = python(
        folder,
        f"try:\n    Image.open('RGB.ctk').save('copy.ctk', {words})\nexcept ValueError as error:\n    print(error)\n",
    )
    assert says in said
    assert not (folder / "copy.ctk").exists()


@pytest.mark.parametrize(
    "damage", [lambda d: d[:20], lambda d: d[:-1], lambda d: d + b"x", lambda d: d[:9] + b"\xff" + d[10:]]
)
def test_a_damaged_file_is_pillow_s_own_error(folder, damage):
    data = (folder / "RGB.ctk").read_bytes()
    (folder / "bad.ctk").write_bytes(damage(data))
    said = python(
        folder,
        "from PIL import UnidentifiedImageError\n"
        "try:\n    Image.open('bad.ctk')\nexcept UnidentifiedImageError as error:\n    print('refused')\n",
    )
    assert said == "refused"


def test_a_field_is_no_picture(folder):
    from codectk.arrays import ArrayInfo
    from codectk.container import Header, pack

    header = Header("any", "any", 1, ArrayInfo("field/f32", (2, 3), (0.0, 1.0)))
    (folder / "field.ctk").write_bytes(pack(header, (b"",)))
    said = python(
        folder,
        "from PIL import UnidentifiedImageError\n"
        "try:\n    Image.open('field.ctk')\nexcept UnidentifiedImageError:\n    print('refused')\n",
    )
    assert said == "refused"


def test_weights_are_found_by_their_digest(folder):
    said = python(
        folder,
        f"image = Image.open('{GOLDEN / 'photo.ctk'}')\n"
        "try:\n    image.load()\nexcept OSError as error:\n    print(error)\n"
        f"codectk.pillow.register(weights=['{GOLDEN / 'tiny.safetensors'}'])\n"
        f"pixels = np.asarray(Image.open('{GOLDEN / 'photo.ctk'}')).astype(int)\n"
        f"assert np.abs(pixels - np.load('{GOLDEN / 'photo.npy'}')).max() <= 1\n",
    )
    assert "weights" in said


def test_pillow_does_not_know_ctk_before_it_is_registered(folder):
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(folder / "RGB.ctk")
