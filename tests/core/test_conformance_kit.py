"""The conformance kit finds every fault that it looks for, and each by one check alone."""

import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

from codectk.testing import (
    CodecConformance,
    CommandConformance,
    DatasetConformance,
    MetricConformance,
    TrainerConformance,
)

KIT = Path(__file__).parent / "kit"
sys.path.insert(0, str(KIT))
from kit_faults import plugin  # noqa: E402

sys.path.remove(str(KIT))

TABLES = {
    CodecConformance: plugin.CODECS,
    TrainerConformance: plugin.TRAINERS,
    DatasetConformance: plugin.DATASETS,
    MetricConformance: plugin.METRICS,
    CommandConformance: plugin.COMMANDS,
}
ALL = {name: faulty.check for table in TABLES.values() for name, faulty in table.items()}


def run(folder: Path, environment: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def found(tmp_path: Path) -> dict[str, set[str]]:
    """Class → checks that failed, from a run of the kit with the faulty distribution installed."""
    folder = tmp_path / "kit"
    shutil.copytree(KIT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    info = folder / "kit_faults-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kit-faults\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[codectk]\nkit = kit_faults.plugin\n")
    environment = {**os.environ, "PYTHONPATH": str(folder), "KIT_FOLDER": str(folder / "golden"), "TMPDIR": str(folder)}
    written = run(folder, {**environment, "KIT_GOLDEN": "1"}, "write_golden.py")
    assert written.returncode == 0, written.stderr
    quick = ("-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:logging")
    done = run(folder, environment, "-m", "pytest", *quick, "--junitxml=report.xml", "run_kit.py")
    assert done.returncode == 1, done.stdout + done.stderr
    failed: dict[str, set[str]] = defaultdict(set)
    for case in ElementTree.parse(folder / "report.xml").iter("testcase"):
        name = case.attrib["classname"].rpartition(".")[2].removeprefix("Test")
        failed[name] |= {case.attrib["name"]} if case.find("failure") is not None else set()
        assert case.find("error") is None, f"{name}: {case.attrib['name']} did not run"
    return dict(failed)


def test_each_fault_is_found_by_one_check_alone_and_what_is_good_passes(found: dict[str, set[str]]) -> None:
    assert found == {name: {check} if check else set() for name, check in ALL.items()}


# One distribution cannot be heavy to list for one of its classes alone; the same checks of specs serve all kits.
ELSEWHERE = {"test_listing_it_imports_nothing_heavy"}


def test_every_check_is_proven_by_a_faulty_class() -> None:
    shared = {name for name in dir(CodecConformance) if name.startswith("test_")} & {
        name for name in dir(MetricConformance) if name.startswith("test_")
    } - {"test_nothing_else_in_the_process_is_changed"}
    for kit, table in TABLES.items():
        checks = {name for name in dir(kit) if name.startswith("test_")}
        proven = {(faulty.check or "").partition("[")[0] for faulty in table.values()}
        unproven = checks - proven - ELSEWHERE - (shared if kit is not CodecConformance else set())
        assert not unproven, f"no faulty class for {unproven}"


def test_a_plugin_that_is_heavy_to_list_is_found(tmp_path: Path) -> None:
    (tmp_path / "heavy_plugin.py").write_text(
        "import numpy\nfrom codectk.hookspecs import hookimpl\nfrom codectk.specs import MetricSpec\nCODECTK_API = 1\n"
        "METRIC = MetricSpec(name='heavy', summary='s', target='codectk.metric:PSNR', direction='higher')\n"
        "@hookimpl\ndef codectk_metrics():\n    return [METRIC]\n"
    )
    info = tmp_path / "heavy_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heavy-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[codectk]\nheavy = heavy_plugin\n")
    (tmp_path / "test_heavy.py").write_text(
        "from heavy_plugin import METRIC\nfrom codectk.testing import MetricConformance\n"
        "class TestHeavy(MetricConformance):\n    spec = METRIC\n"
    )
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "test_listing_it", "test_heavy.py")
    done = run(tmp_path, {**os.environ, "PYTHONPATH": str(tmp_path)}, *words)
    assert done.returncode == 1, done.stdout
    assert "imports numpy" in done.stdout
