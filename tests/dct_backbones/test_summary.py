"""`codectk dct-backbones summary`: counts of real networks, in a table and in a file."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from codectk.errors import OptionsError
from codectk_cli.main import _run
from codectk_dct_backbones.architecture import Architecture
from codectk_dct_backbones.model import build
from codectk_dct_backbones.summary import architectures, summary
from codectk_dct_backbones.tool_options import SummaryOptions


def rows(**values: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = summary(SummaryOptions.parse(values))["networks"]
    return found


def test_the_published_costs_are_counted() -> None:
    pixels, coded = rows(variant="rgb")[0], rows(variant="luma-fusion", compat="original")[0]
    assert (pixels["parameters"], pixels["GMAC"]) == (21_821_128, pytest.approx(5.115, abs=5e-4))
    assert (coded["parameters"], coded["GMAC"]) == (21_835_784, pytest.approx(4.651, abs=2e-3))


def test_full_grid_costs_at_most_3_9_gmac_and_less_than_pixels() -> None:
    found = {row["variant"]: row for row in rows(coeff_count=64)}
    assert found["full-grid"]["GMAC"] <= 3.9
    assert found["full-grid"]["of RGB's"] == pytest.approx(found["full-grid"]["GMAC"] / found["rgb"]["GMAC"], abs=1e-3)


def test_parameters_are_those_of_the_network_that_is_built() -> None:
    for row in rows(channel_scale="0.1", coeff_count=9, coeff_count_chroma=4, classes=7, image_size=64):
        budget = {} if row["Y"] is None else {"budget": {"luma": 9, "cb": 4, "cr": 4}}
        network = build(Architecture.parse({"variant": row["variant"], "channel_scale": 0.1, "classes": 7, **budget}))
        assert row["parameters"] == sum(p.numel() for p in network.parameters()), row["variant"]


def test_counting_needs_no_memory_for_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = set()
    forward = torch.nn.Conv2d.forward

    def watched(self: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        devices.add((self.weight.device.type, x.device.type))
        return forward(self, x)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", watched)
    assert len(rows(coeff_count=64)) == 6
    assert devices == {("meta", "meta")}


def test_all_combinations_are_rows_but_pixels_have_no_counts() -> None:
    values = {"channel_scale": "1 0.5", "coeff_count": "64 16", "coeff_count_chroma": "16 0"}
    found = list(architectures(SummaryOptions.parse(values)))
    assert len(found) == 2 * (1 + 5 * 4)
    counts = {a.budget.counts for a in found if a.variant == "block-stem"}
    assert counts == {(64, 16, 16), (64, 0, 0), (16, 16, 16), (16, 0, 0)}
    (row,) = rows(variant="block-stem", channel_scale=0.1, coeff_count=64, coeff_count_chroma=0)
    assert row["share of values"] == pytest.approx(2 / 3, abs=1e-4)


def test_other_backbones_have_what_goes_through_pixels() -> None:
    assert [row["variant"] for row in rows(model="cspdarknet53", coeff_count=64)] == ["rgb", "reconstruction"]
    with pytest.raises(OptionsError, match="no variant full-grid"):
        rows(model="cspdarknet53", variant="full-grid")
    with pytest.raises(OptionsError, match="no variant full-grid"):
        rows(variant="full-grid", compat="original")


def test_the_table_is_shown_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["dct-backbones", "summary", "--variant", "luma-fusion-pruned", "--coeff-count", "16", "-o", "cost.json"]
    assert _run(words) == 0
    out = capsys.readouterr().out
    assert "5585352" in out
    (row,) = json.loads(Path("cost.json").read_text())["networks"]
    assert (row["parameters"], row["share of values"]) == (5_585_352, 0.25)
    before = Path("cost.json").read_bytes()
    assert _run(words) == 1
    assert "--force" in capsys.readouterr().err
    assert Path("cost.json").read_bytes() == before


@pytest.mark.parametrize(
    "values", [{"coeff_count": 65}, {"coeff_count": "0", "variant": "block-stem"}, {"channel_scale": 0}]
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(OptionsError):
        rows(**values)
