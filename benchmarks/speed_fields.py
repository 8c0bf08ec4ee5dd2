"""How fast caesar_freq is beside SZ3's own library, from memory to memory, on the fields of a folder.

python benchmarks/speed_fields.py FOLDER --adv48

caesar_freq makes and opens whole `.ctk` files on two threads, checking what it makes; SZ3 is called by HDF5 through
hdf5plugin on one, on files in memory. Medians of five; compare ratios, and let nothing else run on the machine.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean, median

import h5py
import hdf5plugin
from compare_fields import BOUNDS, fields

from codectk.arrays import Array
from codectk.compression import LoadedCodec, load_codec
from codectk.container import unpack
from codectk.easy import described

RUNS = 5


def seconds(work: Callable[[], object]) -> float:
    """Of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratios(mine: LoadedCodec, x: Array, bound: float) -> tuple[float, float]:
    """SZ3's time over caesar_freq's to encode and to decode a field, the errors of both within a part of its range."""
    info, options = described(x, mine.spec.kinds)[1], mine.encode_options({"rel_error": bound})
    filters = hdf5plugin.SZ3(absolute=bound * (float(x.max()) - float(x.min())))
    file, corner = unpack(mine.compress(x, info, options).data), (0,) * x.ndim
    times: list[list[float]] = [[], [], [], []]
    for _ in range(RUNS):
        with h5py.File("speed", "w", driver="core", backing_store=False) as store:

            def write(store: h5py.File = store) -> None:
                store.create_dataset("x", data=x, chunks=x.shape, **filters)
                store.flush()

            times[0].append(seconds(lambda: mine.compress(x, info, options)))
            times[1].append(seconds(write))
            other = store.create_dataset("y", x.shape, x.dtype, chunks=x.shape, **filters)
            other.id.write_direct_chunk(corner, store["x"].id.read_direct_chunk(corner)[1])
            times[2].append(seconds(lambda: mine.decompress(file)))
            times[3].append(seconds(lambda other=other: other[...]))
    encode, peer_encode, decode, peer_decode = map(median, times)
    return peer_encode / encode, peer_decode / decode


def main() -> None:
    """Print a line for each field and bound, and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="Folder of .npz files with an array `data`.")
    parser.add_argument("--adv48", action="store_true", help="Also on the synthetic field ADV48.")
    given = parser.parse_args()
    mine, found = load_codec("caesar_freq"), []
    sys.stdout.write("speed over SZ3's: encode, decode\n")
    for name, x in fields(given.folder, given.adv48):
        for bound in BOUNDS:
            found.append(ratios(mine, x, bound))
            sys.stdout.write(f"{name} {bound:g}: {found[-1][0]:.2f}, {found[-1][1]:.2f}\n")
            sys.stdout.flush()
    means = [geometric_mean(column) for column in zip(*found, strict=True)]
    sys.stdout.write(f"geometric mean of {len(found)}: {means[0]:.2f}, {means[1]:.2f}\n")


if __name__ == "__main__":
    main()
