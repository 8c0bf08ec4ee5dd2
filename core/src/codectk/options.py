"""Option models: one description of a setting for the command line, recipe files, checkpoints and the Python API."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from reprlib import Repr
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from codectk.errors import OptionsError, PluginError, UnknownName
from codectk.specs import normalise

MAX_YAML_BYTES = 1 << 20
"""Configuration files above this size are refused."""


class Options(BaseModel):
    """Base of every option model: frozen, unknown keys refused, defaults checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any], source: str = "the options") -> Self:
        """Check values and make the model.

        Args:
            values: name → value; `-` and `_` are the same in names; strings are converted.
            source: where the values come from, for the error message.

        Raises:
            OptionsError: an unknown name (the nearest one is given), a wrong type, or a value out of bounds.
        """
        try:
            return cls.model_validate(_named(cls, values, source))
        except ValidationError as error:
            raise _invalid(error, source) from None

    @classmethod
    def parse_part(cls, values: Mapping[str, Any], source: str) -> dict[str, Any]:
        """Check some of the options one by one; rules between options wait for `parse`.

        Args:
            values: see `parse`; any option may be missing.
            source: see `parse`.

        Raises:
            OptionsError: as `parse` does, except for rules between options.
        """
        named = _named(cls, values, source)
        for name, value in named.items():
            try:
                _adapter(cls, name).validate_python(value)
            except ValidationError as error:
                raise _invalid(error, source, name) from None
        return named

    def changed(self) -> dict[str, Any]:
        """JSON-ready values of all options that differ from their default."""
        plain = self.model_dump(mode="json")
        return {name: value for name, value in plain.items() if getattr(self, name) != _defaults(type(self))[name]}


class NoOptions(Options):
    """For what has nothing to set."""


def option(
    default: Any = ..., *, help: str, unit: str = "", cli: str = "", anytime: bool = False, **constraints: Any
) -> Any:
    """A field of an option model.

    Args:
        default: value when nothing is given; without one the option must be given.
        help: one sentence for `--help`.
        unit: for example `"px"`.
        cli: more names on the command line, separated by spaces, for example `"-q"`.
        anytime: may differ when a training run is resumed, because results do not depend on it.
        constraints: pydantic's own (`ge`, `le`, `gt`, `lt`, `multiple_of`, `min_length`, `max_length`, `pattern`).
    """
    extra: dict[str, Any] = {"unit": unit, "cli": cli, "anytime": anytime}
    return Field(default, description=help, json_schema_extra=extra, **constraints)


class RunOptions(Options):
    """How any training run is carried out; what is learned is up to the trainer's own options."""

    device: str = option("auto", help="Where to train: auto, cpu, cuda or cuda:N.", anytime=True)
    devices: int = option(1, ge=1, help="Processes to train with, one per GPU.")
    precision: Literal["float32", "bfloat16"] = option("float32", help="Arithmetic of the networks.")
    seed: int = option(0, ge=0, lt=1 << 32, help="Start of all random numbers.")
    save_checkpoint_name: str | None = option(
        None, help="Also write the weights here, as safetensors whatever the ending.", anytime=True
    )
    workers: int = option(2, ge=0, cli="--num-workers", help="Threads that prepare batches.", anytime=True)
    save_every: float = option(300.0, gt=0, unit="s", help="Time between saved states.", anytime=True)
    log_every: int = option(10, ge=1, unit="steps", help="Distance of logged values.")


def read_yaml(path: Path) -> dict[str, Any]:
    """Options from a YAML file: a mapping of names to values.

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


def recipe_path(folder: str | None, name: str) -> Path:
    """The file of a recipe that a plugin ships.

    Args:
        folder: `"package:path/inside"`, from the trainer's spec.
        name: as given to `--recipe`.

    Raises:
        UnknownName: the trainer has no such recipe.
    """
    paths = {normalise(path.stem): path for path in recipes(folder)}
    if normalise(name) not in paths:
        known = ", ".join(sorted(paths)) or "none"
        raise UnknownName(f"There is no recipe named '{name}'.", f"Recipes of this trainer: {known}.")
    return paths[normalise(name)]


def recipes(folder: str | None) -> list[Path]:
    """All recipe files in a plugin's recipe folder."""
    return sorted(packaged(folder).glob("*.yaml")) if folder else []


def packaged(place: str) -> Path:
    """Path of something inside an installed package, without importing the package's other modules.

    Args:
        place: `"package:path/inside"`.

    Raises:
        PluginError: there is no such package.
    """
    from importlib.resources import files

    package, _, inside = place.partition(":")
    try:
        return Path(str(files(package).joinpath(inside)))
    except (ImportError, TypeError) as error:
        raise PluginError(f"{place} is not there: {error}.", "Install the plugin that it belongs to again.") from error


def _expand(value: Any) -> Any:
    """`"32x3,16"` → `["32", "32", "32", "16"]`; anything but a string is returned as it is."""
    if not isinstance(value, str):
        return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value
    items: list[str] = []
    for part in value.replace(",", " ").split():
        item, times, count = part.partition("x")
        if times and (not count.isdigit() or not 1 <= int(count) <= 1000):
            raise ValueError(f"'{part}' is not VALUExCOUNT, such as 32x3")
        items += [item] * (int(count) if times else 1)
    return items


IntList = Annotated[tuple[int, ...], BeforeValidator(_expand)]
"""A list option of integers: `32 32 32 16`, `32,32,32,16` and `32x3,16` are the same."""

FloatList = Annotated[tuple[float, ...], BeforeValidator(_expand)]
"""A list option of numbers, written like `IntList`."""


@cache
def _defaults(model: type[Options]) -> dict[str, Any]:
    return {name: field.get_default(call_default_factory=True) for name, field in model.model_fields.items()}


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
                    problem = f"'{_cut(name)}' stands twice"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                seen.add(name)
            return super().construct_mapping(node, deep)

    return PlainLoader


@cache
def _adapter(model: type[Options], name: str) -> TypeAdapter[Any]:
    annotation = model.model_fields[name].rebuild_annotation()
    return TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False))


def _named(model: type[Options], values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The values under the names of the model's fields."""
    named: dict[str, Any] = {}
    for key, value in values.items():
        name = normalise(str(key))
        if name not in model.model_fields:
            raise _unknown(model, name, source)
        if name in named:
            raise OptionsError(f"Option '{name}' stands twice in {source}.", "Keep one of the two.")
        named[name] = value
    return named


def _unknown(model: type[Options], key: str, source: str) -> OptionsError:
    key = _cut(key)
    near = get_close_matches(key, list(model.model_fields), n=1)
    known = ", ".join(model.model_fields) or "none"
    advice = f"Did you mean '{near[0]}'?" if near else f"Options here: {known}."
    return OptionsError(f"There is no option '{key}' in {source}.", advice)


def _invalid(error: ValidationError, source: str, name: str = "") -> OptionsError:
    first = error.errors(include_url=False, include_context=False)[0]
    name = name or (str(first["loc"][0]) if first["loc"] else "")
    message = _cut(first["msg"].removeprefix("Value error, "), 300)
    if first["type"] == "missing":
        return OptionsError(f"Option '{name}' is missing in {source}.", f"Add it: --{name.replace('_', '-')} VALUE.")
    where = f"Option '{name}' in {source}" if name else f"The options in {source}"
    given = f" (given: {_shown(first['input'])})" if name else ""
    return OptionsError(f"{where}: {message}{given}.", "Change the value; `--help` lists bounds and choices.")


def _shown(value: Any) -> str:
    """A value as a message shows it; of a large one only the start is ever turned into text."""
    short = Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 80, 80
    return _cut(short.repr(value))


def _cut(text: str, length: int = 80) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def _reason(error: Exception) -> str:
    """One line about why a file is not YAML, with the number of the line."""
    mark = getattr(error, "problem_mark", None)
    text = getattr(error, "problem", None) or getattr(error, "reason", None) or error
    line = f" in line {mark.line + 1}" if mark is not None else ""
    return _cut(" ".join(str(text).split()), 200) + line
