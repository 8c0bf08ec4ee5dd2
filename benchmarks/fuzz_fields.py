"""Random fields through the codec caesar_freq: whether it keeps what it promises, counted by bound and kind.

python benchmarks/fuzz_fields.py --fields 10000 --seed 0
python benchmarks/fuzz_fields.py --fields 10000 --seed 0 --mode learned
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "caesar_freq"))
from random_fields import Case, make, problems, random_case

from codectk.compression import LoadedCodec, load_codec


def outcome(case: Case, codec: LoadedCodec) -> list[str]:
    """What is wrong with a case; errors and warnings too."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return problems(*make(case, Path(folder)), codec)
        except Exception as error:  # whatever it is, it is no field within its bound
            return [f"{type(error).__name__}: {error}"]


def table(counts: Counter[tuple[str, str]]) -> Iterator[str]:
    """Lines: a bound each, a kind in each column."""
    bounds, kinds = (sorted({key[i] for key in counts}) for i in (0, 1))
    yield " " * 14 + "".join(f"{kind.removeprefix('field/'):>7}" for kind in kinds) + "    all"
    for bound in bounds:
        row = [counts[bound, kind] for kind in kinds]
        yield f"{bound:14}" + "".join(f"{n:7}" for n in [*row, sum(row)])


def main() -> int:
    """Run; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=10_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the next has the next")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--mode", help="how all of them are coded, such as learned; left out: as cases have it")
    given = parser.parse_args()
    codec, begin, wrong = load_codec("caesar_freq"), time.monotonic(), 0
    counts: Counter[tuple[str, str]] = Counter()
    for seed in range(given.seed, given.seed + given.fields):
        if time.monotonic() - begin > given.seconds:
            break
        case = random_case(seed)
        if given.mode:
            case = replace(case, plan={**case.plan, "mode": given.mode})
        counts[case.bound[0], case.kind] += 1
        found = outcome(case, codec)
        wrong += bool(found)
        for problem in found:
            sys.stdout.write(f"{case}: {problem}\n")
    sys.stdout.writelines(f"{line}\n" for line in table(counts))
    sys.stdout.write(f"{counts.total()} fields, {wrong} not as promised, {time.monotonic() - begin:.0f} s\n")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
