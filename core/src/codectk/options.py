"""Option models: one description of a setting for the command line, recipe files, checkpoints and the Python API."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from codectk.errors import OptionsError, UnknownName
from codectk.specs import normalise


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
        named = {normalise(str(key)): value for key, value in values.items()}
        for key in named:
            if key not in cls.model_fields:
                raise _unknown(cls, key, source)
        try:
            return cls.model_validate(named)
        except ValidationError as error:
            raise _invalid(error, source) from None

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
    workers: int = option(2, ge=0, help="Threads that prepare batches.", anytime=True)
    save_every: float = option(300.0, gt=0, unit="s", help="Time between saved states.", anytime=True)
    log_every: int = option(10, ge=1, unit="steps", help="Distance of logged values.")


def read_yaml(path: Path) -> dict[str, Any]:
    """Options from a YAML file: a mapping of names to values.

    Raises:
        OptionsError: the file is missing, is not YAML, or holds something else.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OptionsError(f"{path} does not exist.", "Check the path of the configuration file.") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: 2020-13-45, not UTF-8, …
        raise OptionsError(f"{path} cannot be read as YAML: {error}.", "Mend the file and try again.") from None
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
    """
    from importlib.resources import files

    package, _, inside = place.partition(":")
    return Path(str(files(package).joinpath(inside)))


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


def _unknown(model: type[Options], key: str, source: str) -> OptionsError:
    near = get_close_matches(key, list(model.model_fields), n=1)
    known = ", ".join(model.model_fields) or "none"
    advice = f"Did you mean '{near[0]}'?" if near else f"Options here: {known}."
    return OptionsError(f"There is no option '{key}' in {source}.", advice)


def _invalid(error: ValidationError, source: str) -> OptionsError:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return OptionsError(f"Option '{name}' is missing in {source}.", f"Add it: --{name.replace('_', '-')} VALUE.")
    where = f"Option '{name}' in {source}" if name else f"The options in {source}"
    given = f" (given: {first['input']!r})" if name else ""
    return OptionsError(f"{where}: {message}{given}.", "Change the value; `--help` lists bounds and choices.")
