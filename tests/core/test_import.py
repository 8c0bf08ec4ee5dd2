"""What starts fast stays fast: importing the package loads nothing heavy."""

import importlib
import json

import pytest

import codectk

HEAVY = ("numpy", "torch", "scipy", "PIL", "pydantic", "yaml", "safetensors")


def imported(site, statement):
    """Which heavy packages a statement loads in a fresh process."""
    script = f"import sys, json\n{statement}\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    result = site.run(script)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_import_codectk_loads_neither_numpy_nor_torch(site):
    assert imported(site, "import numpy") == ["numpy"], "the probe itself does not work"
    assert imported(site, "import codectk") == []


@pytest.mark.parametrize("name", ["CodecSpec", "Registry", "hookimpl", "CodectkError", "CODECTK_API"])
def test_what_a_plugin_module_needs_loads_nothing_heavy(site, name):
    assert imported(site, f"from codectk import {name}") == []


def test_the_registry_with_the_core_plugin_loads_nothing_heavy(site):
    statement = (
        "from importlib.metadata import distribution\nfrom codectk.registry import Registry\n"
        "points = [p for p in distribution('codectk-core').entry_points if p.group == 'codectk']\n"
        "assert Registry(points, strict=True).metrics()"
    )
    assert imported(site, statement) == []


@pytest.mark.parametrize("module", ["checkpoint", "compression", "evaluate", "images", "metric", "options", "device"])
def test_only_training_imports_torch(site, module):
    assert "torch" not in imported(site, f"import codectk.{module}")


@pytest.mark.parametrize("name", codectk.__all__)
def test_every_public_name_is_the_one_of_its_module(name):
    found = getattr(codectk, name)
    home = importlib.import_module(f"codectk.{codectk._HOMES[name]}")
    assert found is getattr(home, name)
    assert name in dir(codectk)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Codek'"):
        _ = codectk.Codek
