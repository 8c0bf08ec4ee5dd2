"""Recipes: YAML files of options that build on one another, and the options that come of several sources.

    _base_: [model.yaml, data.yaml]     read first; relative to this file
    optim:                              merged with the base's `optim` key by key
      lr: 1e-4
      betas: [0.5, 0.9]                 lists are replaced as a whole
    rate:
      _delete_: true                    nothing stays of what the base had under `rate`
      target: 0.5
    optim.clip_max_norm: 0.5            the same as under `optim:`

default < recipe < configuration file < flag: each source is a layer, or several where files build on others.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from codectk.errors import OptionsError, UnknownName
from codectk.nesting import DELETE, cut, expand, merge
from codectk.options import Options, packaged, split
from codectk.specs import normalise

BASE = "_base_"

MAX_YAML_BYTES = 1 << 20
"""Configuration files above this size are refused."""

MAX_FILES = 64
"""More files than these, all bases together, are not read for one configuration."""


class Layer(NamedTuple):
    """What one source sets.

    Attributes:
        source: its name in messages: a file, a recipe, the command line.
        values: name → value, as `Options.parse_part` takes them.
    """

    source: str
    values: Mapping[str, Any]


def combine(models: Sequence[type[Options]], layers: Sequence[Layer]) -> list[Options]:
    """One instance of each model from layers, each stronger than those before it.

    Args:
        models: whose names must differ.
        layers: weakest first; each may hold options of all models.

    Raises:
        OptionsError: a layer holds an unknown name or a bad value (the layer is named), or the options do not fit
            together.
    """
    source = ", ".join(dict.fromkeys(layer.source for layer in layers)) or "the defaults"
    values = merged(models, layers)
    return [model.parse(part, cut(source, 300)) for model, part in zip(models, values, strict=True)]


def merged(models: Sequence[type[Options]], layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """The values of each model from all layers, each checked alone; rules between options wait for `combine`.

    Args:
        models, layers: as in `combine`.

    Raises:
        OptionsError: as `combine` does, except for rules between options.
    """
    values: list[dict[str, Any]] = [{} for _ in models]
    for layer in layers:
        for i, part in enumerate(split(models, layer.values, layer.source)):
            values[i] = merge(values[i], models[i].parse_part(part, layer.source), layer.source)
    return values


def read_config(path: Path) -> list[Layer]:
    """A user's YAML file and what it builds on, weakest first.

    Raises:
        OptionsError: a file is missing, is not YAML, or builds on itself, or two bases of one file have the same key.
    """
    return _Reader(None).layers(path, [])


def read_recipe(folder: str | None, name: str) -> list[Layer]:
    """A recipe that a plugin ships and what it builds on, weakest first; all of it lies in the recipe folder.

    Args:
        folder: `"package:path/inside"`, from the trainer's spec.
        name: as given to `--recipe`.

    Raises:
        UnknownName: the trainer has no such recipe.
        OptionsError: see `read_config`; also for a base outside of the folder.
    """
    path = recipe_path(folder, name)
    return _Reader(path.parent).layers(path, [])


def recipe_path(folder: str | None, name: str) -> Path:
    """The file of a recipe that a plugin ships.

    Args:
        folder, name: as in `read_recipe`.

    Raises:
        UnknownName: the trainer has no such recipe.
    """
    paths = {normalise(path.stem): path for path in recipes(folder)}
    if normalise(name) not in paths:
        known = ", ".join(sorted(paths)) or "none"
        raise UnknownName(f"There is no recipe named '{name}'.", f"Recipes of this trainer: {known}.")
    return paths[normalise(name)]


def recipes(folder: str | None) -> list[Path]:
    """All recipes in a plugin's recipe folder; files in folders below are there to build on."""
    return sorted(packaged(folder).glob("*.yaml")) if folder else []


def read_yaml(path: Path) -> dict[str, Any]:
    """One YAML file as it stands: a mapping of names to values.

    Raises:
        OptionsError: the file is missing, too large, is not YAML, holds something else, or uses aliases.
    """
    import yaml

    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_YAML_BYTES + 1)
        if len(data) > MAX_YAML_BYTES:
            raise OptionsError(f"{path} is above {MAX_YAML_BYTES} bytes.", "Name a file of `name: value` lines.")
        content = yaml.load(data.decode(), _plain_loader())
    except FileNotFoundError:
        raise OptionsError(f"{path} does not exist.", "Check the path of the configuration file.") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: 2020-13-45, not UTF-8, …
        raise OptionsError(
            f"{path} cannot be read as YAML: {_reason(error)}.", "Mend the file and try again."
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise OptionsError(f"{path} must hold `name: value` lines.", "Write one option per line.")
    return {str(key): value for key, value in content.items()}


def parse_value(text: str, source: str) -> Any:
    """A value from the command line: `null`, `[…]` and `{…}` as in YAML; any other text is converted by its option.

    Raises:
        OptionsError: it begins like YAML and is none.
    """
    import yaml

    if text != "null" and not text.startswith(("[", "{")):
        return text
    try:
        return yaml.load(text, _plain_loader())
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise OptionsError(f"{cut(text)} in {source} is not YAML: {_reason(error)}.", "Mend the value.") from None


class _Reader:
    """Reads a file after its bases.

    Args:
        folder: of recipes, which no base may leave; None for a user's own files.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.count = 0

    def layers(self, path: Path, above: list[Path]) -> list[Layer]:
        """The layers of a file, given the files that led to it."""
        self.count += 1
        if self.count > MAX_FILES:
            raise OptionsError(f"{above[0]} builds on more than {MAX_FILES} files.", "Put some of them together.")
        values = expand(read_yaml(path), self._name(path))
        if DELETE in values:
            raise OptionsError(f"`{DELETE}` stands at the top of {path}.", f"Leave `{BASE}` out, or move it inwards.")
        found: list[Layer] = []
        owners: dict[str, Path] = {}
        for base in self._bases(path, values.pop(BASE, []), [*above, path]):
            layers = self.layers(base, [*above, path])
            for key in dict.fromkeys(key for layer in layers for key in layer.values):
                if key in owners:
                    problem = f"{path} builds on {owners[key]} and {base}, which both set '{cut(key)}'."
                    raise OptionsError(
                        problem, "Set it in one of the two; a key in the file itself changes its base's."
                    )
                owners[key] = base
            found += layers
        return [*found, Layer(self._name(path), values)]

    def _bases(self, path: Path, named: Any, above: list[Path]) -> Iterator[Path]:
        words = [named] if isinstance(named, str) else named
        if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
            raise OptionsError(f"`{BASE}` in {path} must be a file or a list of files.", "Write `_base_: other.yaml`.")
        for word in words:
            base = path.parent / word
            try:
                place, there = base.resolve(), base.is_file()
            except (OSError, ValueError):  # a name that is too long, or holds a zero byte
                place, there = base, False
            if self.folder is not None and not place.is_relative_to(self.folder.resolve()):
                raise OptionsError(f"{path} builds on {cut(word)}, outside of the recipes.", "Move that file there.")
            if not there:
                raise OptionsError(
                    f"{path} builds on {cut(str(base), 200)}, which does not exist.", f"Correct `{BASE}` in {path}."
                )
            if place in [other.resolve() for other in above]:
                chain = " → ".join(other.name for other in [*above, base])
                raise OptionsError(f"{path} builds on itself: {cut(chain, 200)}.", f"Correct `{BASE}` in it.")
            yield base

    def _name(self, path: Path) -> str:
        if self.folder is None:
            return str(path)
        return f"recipe {Path(os.path.relpath(path, self.folder)).with_suffix('').as_posix()}"


@cache
def _plain_loader() -> Any:
    """YAML's safe loader without aliases, which can make much of a small file, and without names that stand twice."""
    import yaml

    class PlainLoader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            if getattr(event, "anchor", None) is not None:
                raise yaml.MarkedYAMLError(problem="anchors and aliases are not taken", problem_mark=event.start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key, _ in node.value:
                name = normalise(str(key.value))
                if name in seen:
                    problem = f"'{cut(name)}' stands twice"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                seen.add(name)
            return super().construct_mapping(node, deep)

    return PlainLoader


def _reason(error: Exception) -> str:
    """One line about why a file is not YAML, with the number of the line."""
    mark = getattr(error, "problem_mark", None)
    text = getattr(error, "problem", None) or getattr(error, "reason", None) or error
    line = f" in line {mark.line + 1}" if mark is not None else ""
    return cut(" ".join(str(text).split()), 200) + line
