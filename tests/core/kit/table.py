"""The table of checks in `docs/conformance.md`: `python tests/core/kit/table.py` prints it."""

import sys

from kit_faults import codecs, commands, datasets, metrics, plugin, trainers

from codectk.testing import (
    CodecConformance,
    CommandConformance,
    DatasetConformance,
    MetricConformance,
    TrainerConformance,
)
from codectk.testing.specs import SpecConformance

KITS = (
    ("Codecs", CodecConformance, plugin.CODECS, codecs),
    ("Trainers", TrainerConformance, plugin.TRAINERS, trainers),
    ("Datasets", DatasetConformance, plugin.DATASETS, datasets),
    ("Metrics", MetricConformance, plugin.METRICS, metrics),
    ("Commands", CommandConformance, plugin.COMMANDS, commands),
)


def checks(kit: type) -> list[str]:
    """Names of the checks that a class has, those of its bases first."""
    found = [name for base in reversed(kit.__mro__) for name in vars(base) if name.startswith("test_")]
    return list(dict.fromkeys(found))


def table() -> str:
    """All checks, what each asks for, and the faulty class that it alone finds."""
    shared = checks(SpecConformance)
    parts = []
    for title, kit, faults, module in KITS:
        rows = [f"## {title}", "", "| check | what holds | a fault that it alone finds |", "|---|---|---|"]
        for name in checks(kit):
            proven = [f"`{cls}`: {_says(module, cls)}" for cls, f in faults.items() if _is(f.check, name)]
            if name in shared and title != "Codecs":
                continue
            if name == "test_listing_it_imports_nothing_heavy":
                proven = ["a plugin whose module imports numpy"]
            says = (getattr(kit, name).__doc__ or "").splitlines()[0]
            rows.append(f"| {name.removeprefix('test_').replace('_', ' ')} | {says} | {'<br>'.join(proven)} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _is(check: str | None, name: str) -> bool:
    return (check or "").partition("[")[0] == name


def _says(module: object, cls: str) -> str:
    return " ".join((getattr(module, cls).__doc__ or "").split()).rstrip(".")


if __name__ == "__main__":
    sys.stdout.write(table())
