"""Damaged JPEG files through the compiled reader, resampler and writer: no read or write outside, no endless loop.

Files of every kind are made on the spot, or taken from --pictures FOLDER, and changed at random: bytes, bits, parts
cut, doubled or exchanged. Of each a crop is loaded, each is read, and what could be read is written and must come back.

python benchmarks/fuzz_jpeg.py --files 100000 --seed 0

The same with sanitizers, which stop at the first wrong address, overflow or shift:

cd plugins/dct_backbones && gcc -std=gnu11 -O1 -g -fPIC -shared -fvisibility=hidden -pthread \\
    -fsanitize=address,undefined -fno-sanitize-recover=all -o /tmp/sanitized.so native/*.c -lm && cd ../..
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \\
    python benchmarks/fuzz_jpeg.py --library /tmp/sanitized.so --seconds 300
"""

import argparse
import re
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "dct_backbones"))
from jpeg_files import picture, random_file, same, saved

from codectk.errors import InputError
from codectk_dct_backbones import native
from codectk_dct_backbones.jpeg.file import JpegFile, read
from codectk_dct_backbones.jpeg.loading import Crop, load, picture_size
from codectk_dct_backbones.jpeg.writing import write

MOST_PIXELS = 1 << 20
SLOW = 2.0
"""Seconds that no file may take."""


def sources(folder: Path | None) -> list[bytes]:
    """Files to damage."""
    if folder is not None:
        return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")]
    kinds = [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"progressive": True, "restart_marker_blocks": 2}]
    kinds += [{"keep_rgb": True}, {"quality": 100}, {"quality": 2}, {"orientation": 6}]
    files = [saved(picture(*size), **kind) for size in ((9, 7), (33, 47), (70, 64)) for kind in kinds]
    factors = (((1, 1),), ((4, 1), (1, 1), (1, 1)), ((2, 2), (2, 1), (1, 2)), ((4, 4), (4, 4), (4, 4)))
    made = [random_file(f, 37, 50) for f in factors]
    return files + [write(file, progressive=progressive) for file in made for progressive in (False, True)]


def damaged(files: list[bytes], rng: np.random.Generator) -> bytes:
    """One of the files, changed a few times."""
    data = bytearray(files[rng.integers(len(files))])
    for _ in range(int(rng.integers(1, 6))):
        at, length = int(rng.integers(2, max(3, len(data)))), int(rng.integers(1, 40))
        way = rng.integers(7)
        if way == 0 and at < len(data):
            data[at] ^= 1 << int(rng.integers(8))
        elif way == 1 and at < len(data):
            data[at] = int(rng.integers(256))
        elif way == 2:
            del data[at : at + length]
        elif way == 3:
            data[at:at] = data[at : at + length]
        elif way == 4:
            data[at : at + length] = rng.integers(0, 256, length, np.uint8).tobytes()
        elif way == 5:
            other = files[rng.integers(len(files))]
            data[at:] = other[min(at, len(other)) :]
        else:
            head = min(len(data), 700)
            data[int(rng.integers(2, max(3, head))) % len(data)] = int(rng.choice([0, 1, 16, 17, 34, 63, 64, 255]))
    return bytes(data)


def outcome(data: bytes, rng: np.random.Generator) -> str:
    """What became of a file.

    Raises:
        AssertionError: what was written did not come back.
    """
    with suppress(InputError):  # files that are damaged below the crop are not refused
        part(data, rng)
    try:
        file = read(data, MOST_PIXELS)
    except InputError as refusal:
        return re.sub(r"\d+ x \d+", "too many", refusal.problem.removeprefix("The data ").split(";")[0])
    return rewritten(file)


def part(data: bytes, rng: np.random.Generator) -> None:
    """A random crop, scaled or not."""
    height, width = picture_size(data)
    if height * width > MOST_PIXELS:
        return
    top, left = int(rng.integers(height)), int(rng.integers(width))
    crop = Crop(top, left, int(rng.integers(1, height - top + 1)), int(rng.integers(1, width - left + 1)))
    size = int(rng.choice([16, 32, 64]))
    for chosen in (crop, None):
        load(data, size=size, crop=chosen, flip=bool(rng.integers(2)), most_pixels=MOST_PIXELS)


def rewritten(file: JpegFile) -> str:
    """Written and read again."""
    for progressive in (False, True):
        if not same(read(write(file, progressive=progressive)), file):
            raise AssertionError("what was written did not come back")
    return "read and written"


def main() -> int:
    """Run; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the next has the next")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--pictures", type=Path, help="folder of files to damage")
    parser.add_argument("--library", type=Path, help="the compiled part to test")
    given = parser.parse_args()
    if given.library:
        native.LIBRARY = given.library
    files, begin, wrong = sources(given.pictures), time.monotonic(), 0
    counts: Counter[str] = Counter()
    for seed in range(given.seed, given.seed + given.files):
        if time.monotonic() - begin > given.seconds:
            break
        rng = np.random.default_rng(seed)
        data, start = damaged(files, rng), time.thread_time()
        try:
            counts[outcome(data, rng)] += 1
        except Exception as error:  # whatever it is, it is no refusal
            wrong += 1
            sys.stdout.write(f"seed {seed}: {type(error).__name__}: {error}\n")
        if time.thread_time() - start > SLOW:
            wrong += 1
            sys.stdout.write(f"seed {seed}: took {time.thread_time() - start:.1f} s\n")
    sys.stdout.writelines(f"{count:8} {what}\n" for what, count in counts.most_common())
    sys.stdout.write(f"{counts.total()} files, {wrong} not as promised, {time.monotonic() - begin:.0f} s\n")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
