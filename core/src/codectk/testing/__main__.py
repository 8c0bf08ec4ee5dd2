"""`python -m codectk.testing NAME FOLDER [-w WEIGHTS]` writes golden files of an installed codec."""

import argparse
import sys
from pathlib import Path

from codectk.checkpoint import Checkpoint
from codectk.compression import load_codec
from codectk.errors import CodectkError
from codectk.testing.golden import default_weights, write_golden


def main(arguments: list[str] | None = None) -> int:
    """Write golden files of an installed codec; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m codectk.testing", description="Write golden files.")
    parser.add_argument("codec", help="its name")
    parser.add_argument("folder", type=Path, help="where to; files that are there are never replaced")
    parser.add_argument("-w", "--weights", type=Path, help="weights, for a codec that ships none")
    given = parser.parse_args(arguments)
    try:
        weights = Checkpoint.open(given.weights) if given.weights else None
        loaded = load_codec(given.codec, weights)
        written = write_golden(loaded, given.folder, weights=weights or default_weights(loaded.spec))
    except CodectkError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.writelines(f"{path}\n" for path in written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
