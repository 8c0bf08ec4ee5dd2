"""What holds for the spec of anything: it is installed, complete, cheap to list, and its options work everywhere."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar

import pytest

from codectk.arrays import KINDS
from codectk.options import Options, leaves
from codectk.registry import Registered, get_registry
from codectk.specs import CommandSpec, MetricSpec, TrainerSpec
from codectk.testing.processes import run_fresh

LIGHT = """
import sys
import pluggy, codectk.registry
before = set(sys.modules)
module = __import__(sys.argv[1], fromlist=["*"])
own = sys.argv[1].partition(".")[0]
allowed = {*sys.stdlib_module_names, "codectk", "pluggy", own}
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(",".join(sorted(name for name in loaded - allowed if not name.startswith("__editable__"))))
"""


class SpecConformance:
    """Base of the five conformance classes.

    Attributes:
        spec: the spec, as the plugin's hook returns it.
    """

    spec: ClassVar[Any]

    def registered(self) -> Registered:
        """The spec as it is installed."""
        return get_registry().find(type(self.spec), self.spec.name)

    def models(self) -> list[type[Options]]:
        """The option models that the spec names."""
        spec = self.spec
        names = ("options", "encode_options", "decode_options", "import_options", "bench_options")
        found = [self.registered().load(getattr(spec, n)) for n in names if hasattr(spec, n)]
        return [model for model in found if isinstance(model, type) and issubclass(model, Options)]

    def values_to_try(self) -> list[dict[str, Any]]:
        """Values of options besides the defaults; all models are asked, each takes its own."""
        return []

    def test_it_is_installed_under_its_name(self) -> None:
        """The registry of this environment finds the very spec of this test."""
        assert self.registered().spec == self.spec, "what is installed differs from what is tested: install it again"

    def test_listing_it_imports_nothing_heavy(self) -> None:
        """The entry point's module imports the standard library, codectk, pluggy and its own package alone."""
        distribution = self.registered().distribution
        modules = {plugin.module for plugin in get_registry().plugins if plugin.distribution == distribution}
        assert modules, f"{distribution} has no entry point"
        for module in modules:
            heavy = _heavy(module)
            assert not heavy, f"{module} imports {heavy}; name code as 'module:Name' strings, which are imported on use"

    def test_the_spec_is_complete(self) -> None:
        """Name, summary and kinds say something."""
        spec = self.spec
        assert spec.summary.strip() and len(spec.summary.splitlines()) == 1, (
            "the summary is one line for `codectk list`"
        )
        assert spec.name.replace("_", "a").replace("-", "a").replace(".", "a").isalnum(), "letters, digits, _ - ."
        kinds = getattr(spec, "kinds", ())
        assert set(kinds) <= set(KINDS), f"kinds are {', '.join(KINDS)}"
        assert kinds or isinstance(spec, MetricSpec | TrainerSpec | CommandSpec), "no kind is named"

    def test_everything_that_the_spec_names_exists(self) -> None:
        """Targets can be imported; option models derive from `Options`."""
        registered = self.registered()
        for field in ("target", "importer", "picture", "details", "bench"):
            target = getattr(self.spec, field, None)
            assert target is None or callable(registered.load(target)), f"{target} is no class or function"
        for field in ("encode_options", "decode_options", "import_options", "bench_options", "options"):
            if hasattr(self.spec, field):
                model = registered.load(getattr(self.spec, field))
                assert isinstance(model, type) and issubclass(model, Options), f"{field} is no model of options"

    def test_every_option_has_help(self) -> None:
        """`--help` has a sentence for every flag."""
        for model in self.models():
            bare = [name for name, field in leaves(model).items() if not (field.description or "").strip()]
            assert not bare, f"{model.__name__}: no help for {', '.join(bare)}"

    def test_options_survive_json_and_yaml(self) -> None:
        """Recipes, run folders and weights give back the options that went in."""
        import yaml

        for model, options in self._instances():
            plain = options.model_dump(mode="json")
            assert model.parse(json.loads(json.dumps(plain))) == options, f"{options!r} does not survive JSON"
            assert model.parse(yaml.safe_load(yaml.safe_dump(plain))) == options, f"{options!r} does not survive YAML"

    def test_options_survive_the_command_line(self) -> None:
        """The flags that `--help` shows give the same options as the values do."""
        bridge = pytest.importorskip("codectk_cli.bridge", reason="the command line (codectk) is not installed")
        for model, options in self._instances():
            values = {name: value for name, value in _leaf_values(options) if value is not None}
            words = [word for name, value in values.items() for word in _words(name, value)]
            command = bridge.OptionsCommand("try", models=[model])
            context = command.make_context("try", words)
            parsed = bridge.gather(model, bridge.given(context, model))
            assert parsed == options, f"{' '.join(words)} gives {parsed!r}, not {options!r}"

    def _instances(self) -> list[tuple[type[Options], Options]]:
        made = []
        for model in self.models():
            for values in [{}, *self.values_to_try()]:
                mine = {name: value for name, value in values.items() if name in model.model_fields}
                required = [n for n, field in model.model_fields.items() if field.is_required() and n not in mine]
                if not required:
                    made.append((model, model.parse(mine)))
        return made


@cache  # a plugin has one module for many specs
def _heavy(module: str) -> str:
    return run_fresh(LIGHT, module).strip()


def _leaf_values(options: Options, place: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options:
        if isinstance(value, Options):
            yield from _leaf_values(value, f"{place}{name}.")
        else:
            yield f"{place}{name}", value


def _words(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, list | tuple):
        return [flag, *map(str, value)] if value else []
    return [flag, str(value).lower() if isinstance(value, bool) else str(value)]
