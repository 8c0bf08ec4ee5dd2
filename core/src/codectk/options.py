"""Option models: one description of a setting for the command line, recipe files, checkpoints and the Python API.

A model may hold other models as fields. Their options have dotted names, such as `optim.lr`, and are written so or as
nested mappings: `{"optim.lr": 1e-4}` and `{"optim": {"lr": 1e-4}}` are the same.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from codectk.errors import OptionsError, PluginError
from codectk.nesting import DELETE, cut, expand, merge, shown, twice
from codectk.specs import normalise


class Options(BaseModel):
    """Base of every option model: frozen, unknown keys refused, defaults checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any], source: str = "the options") -> Self:
        """Check values and make the model.

        Args:
            values: name → value; names may be dotted, `-` and `_` are the same in them and in words to choose from;
                strings are converted.
            source: where the values come from, for the error message.

        Raises:
            OptionsError: an unknown name (the nearest one is given), a wrong type, or a value out of bounds.
        """
        named = _named(cls, expand(values, source), source)
        try:
            return cls.model_validate(_filled(cls, named, source))
        except ValidationError as error:
            raise _invalid(error, source, cls) from None

    @classmethod
    def parse_part(cls, values: Mapping[str, Any], source: str) -> dict[str, Any]:
        """Check some of the options one by one; rules between options wait for `parse`.

        Args:
            values: see `parse`; any option may be missing, and nested mappings may hold `_delete_`.
            source: see `parse`.

        Returns:
            The values under the names of the model's fields, nested.

        Raises:
            OptionsError: as `parse` does, except for rules between options.
        """
        named = _named(cls, expand(values, source), source, partial=True)
        _check_parts(cls, named, source)
        return named

    def changed(self) -> dict[str, Any]:
        """JSON-ready values of all options that differ from their default, nested as the models are."""
        return _difference(self, _defaults(type(self)))


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
        cli: more names on the command line, separated by spaces, for example `"-q"` or `"-nw --num-workers"`. Long ones
            are names in files too. A word without a dash, such as `"FILE"`, makes it an argument without a flag.
        anytime: may differ when a training run is resumed, because results do not depend on it.
        constraints: pydantic's own (`ge`, `le`, `gt`, `lt`, `multiple_of`, `min_length`, `max_length`, `pattern`).
    """
    extra: dict[str, Any] = {"unit": unit, "cli": cli, "anytime": anytime}
    return Field(default, description=help, json_schema_extra=extra, **constraints)


def _words(value: Any) -> Any:
    return value.replace(",", " ").split() if isinstance(value, str) else value


WordList = Annotated[tuple[str, ...], BeforeValidator(_words)]
"""A list option of words: `a b c` and `a,b,c` are the same."""


class RunOptions(Options):
    """How any training run is carried out; what is learned is up to the trainer's own options.

    A trainer whose own options have a name of these gives the name its own meaning; here the default holds then.
    """

    device: str = option("auto", cli="-d", help="Where to train: auto, cpu, cuda or cuda:N.", anytime=True)
    devices: int = option(1, ge=1, help="Processes to train with, one per GPU.")
    precision: Literal["float32", "bfloat16"] = option("float32", help="Arithmetic of the networks.")
    channels_last: bool = option(False, help="Keep pictures and weights with the channels last in memory.")
    seed: int = option(0, ge=0, lt=1 << 32, help="Start of all random numbers.")
    save_checkpoint_name: str | None = option(
        None, help="Also write the weights here, as safetensors whatever the ending.", anytime=True
    )
    workers: int = option(2, ge=0, cli="-nw --num-workers", help="Threads that prepare batches.", anytime=True)
    save_every: float = option(300.0, gt=0, unit="s", help="Time between saved states.", anytime=True)
    save_step: int = option(
        0, ge=0, cli="-s", unit="steps", help="Also save the state at multiples of this; 0 does not.", anytime=True
    )
    log_every: int = option(10, ge=1, cli="-l --log-step --print-freq", unit="steps", help="Distance of logged values.")
    start_iter: int = option(
        0, ge=0, cli="-si", help="Go on from this iteration of the run, whose state was kept.", anytime=True
    )
    use_wandb: bool = option(False, cli="-wb --wandb", help="Also log to Weights & Biases.", anytime=True)
    wandb_dryrun: bool = option(False, help="Keep what is logged for Weights & Biases here.", anytime=True)
    wandb_project: str = option("codectk", min_length=1, help="Project of Weights & Biases.", anytime=True)
    wandb_entity: str | None = option(None, help="User or team whose project it is; yourself if nobody.", anytime=True)
    wandb_run_name: str | None = option(None, help="What the run is called there; as its folder.", anytime=True)
    wandb_tags: WordList = option((), help="Words to find the run by there: a,b.", anytime=True)


def nested(field: FieldInfo) -> type[Options] | None:
    """The option model that a field holds, also one that may be None instead."""
    union = get_origin(field.annotation) in (Union, UnionType)
    kinds = [kind for kind in (get_args(field.annotation) if union else (field.annotation,)) if kind is not NoneType]
    kind = kinds[0] if len(kinds) == 1 else None
    return kind if isinstance(kind, type) and issubclass(kind, Options) else None


@cache
def leaves(model: type[Options]) -> dict[str, FieldInfo]:
    """The fields under their dotted names, with those of nested models in the models' place."""
    found: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        inner = nested(field)
        found |= {f"{name}.{leaf}": f for leaf, f in leaves(inner).items()} if inner else {name: field}
    return found


def split(models: Sequence[type[Options]], values: Mapping[str, Any], source: str) -> list[dict[str, Any]]:
    """Which of the values belong to which of the models.

    Raises:
        OptionsError: a name belongs to none of them; the nearest one is given.
    """
    parts: list[dict[str, Any]] = [{} for _ in models]
    for name, value in expand(values, source).items():
        owner = next((part for model, part in zip(models, parts, strict=True) if name in _names(model)), None)
        if owner is None:
            raise _unknown(models, name, source)
        owner[name] = value
    return parts


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


def among(known: Collection[str], what: str) -> AfterValidator:
    """A check for list options of words: all are known ones.

    Args:
        known: all that there are.
        what: what one is, for the message.
    """

    def check(values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if value not in known:
                raise ValueError(f"there is no {what} '{cut(value, 40)}'; there are {', '.join(known)}")
        return values

    return AfterValidator(check)


def _paths(value: Any) -> Any:
    """One path as it is, whatever signs it holds; several as the command line joins them, in JSON."""
    if not isinstance(value, str):
        return (value,) if isinstance(value, Path) else value
    try:
        several = json.loads(value) if value.startswith("[") else None
    except ValueError:
        several = None
    return several if isinstance(several, list) else (value,)


PathList = Annotated[tuple[Path, ...], BeforeValidator(_paths)]
"""A list option of files or folders: `--dirs one "the other"`. Only for commands without arguments."""


@cache
def _defaults(model: type[Options]) -> dict[str, Any]:
    return {name: field.get_default(call_default_factory=True) for name, field in model.model_fields.items()}


@cache
def _adapter(model: type[Options], name: str) -> TypeAdapter[Any]:
    annotation = model.model_fields[name].rebuild_annotation()
    return TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False))


@cache
def _names(model: type[Options]) -> dict[str, str]:
    """Every name that a field has in files → the field."""
    names: dict[str, str] = {}
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        more = [word for word in str(extra.get("cli") or "").split() if word.startswith("--")]
        names |= {normalise(word.removeprefix("--")): name for word in more}
    return names | {name: name for name in model.model_fields}


def _named(
    model: type[Options], values: Mapping[str, Any], source: str, place: str = "", partial: bool = False
) -> dict[str, Any]:
    """Expanded values under the names of the model's fields."""
    named: dict[str, Any] = {}
    for given, value in values.items():
        if partial and place and given == DELETE:
            named[DELETE] = value
            continue
        name = _names(model).get(given)
        if name is None:
            raise _unknown([model], given, source, place)
        if name in named:
            raise twice(place + name, source)
        inner = nested(model.model_fields[name])
        below = inner is not None and isinstance(value, Mapping)
        if inner and below:
            named[name] = _named(inner, value, source, f"{place}{name}.", partial)
        else:
            named[name] = _choice(model.model_fields[name], value)
    return named


def _choice(field: FieldInfo, value: Any) -> Any:
    """The word of a field's choices that a value stands for: `-` and `_` are the same in them too."""
    if not isinstance(value, str) or get_origin(field.annotation) is not Literal:
        return value
    words = {normalise(word): word for word in get_args(field.annotation) if isinstance(word, str)}
    return words.get(normalise(value), value)


def _filled(model: type[Options], named: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The values with what the defaults of nested models set, and an empty mapping for those that must be given.

    So options that are missing are named themselves, not the models that hold them.
    """
    filled = dict(named)
    for name, field in model.model_fields.items():
        inner, default = nested(field), _defaults(model)[name]
        needed = field.is_required() and field.annotation is inner
        values = filled.get(name, {} if needed else None)
        if inner is not None and isinstance(values, Mapping):
            start = default.changed() if isinstance(default, inner) else {}
            filled[name] = _filled(inner, merge(start, values, source), source)
    return filled


def _check_parts(model: type[Options], named: Mapping[str, Any], source: str, place: str = "") -> None:
    for name, value in named.items():
        inner = None if name == DELETE else nested(model.model_fields[name])
        if inner is not None and isinstance(value, Mapping):
            _check_parts(inner, value, source, f"{place}{name}.")
        elif name != DELETE:
            try:
                _adapter(model, name).validate_python(value)
            except ValidationError as error:
                raise _invalid(error, source, model, place + name) from None


def _difference(options: Options, defaults: Mapping[str, Any]) -> dict[str, Any]:
    plain, made = options.model_dump(mode="json"), {}
    for name, default in defaults.items():
        value = getattr(options, name)
        if isinstance(value, Options) and value != default:
            same = isinstance(default, type(value))
            made[name] = _difference(value, dict(default) if same else _defaults(type(value)))
        elif value != default:
            made[name] = plain[name]
    return made


def _unknown(models: Sequence[type[Options]], key: str, source: str, place: str = "") -> OptionsError:
    key = cut(key)
    names = [name for model in models for name in _names(model)]
    inside = [leaf for model in models for leaf in leaves(model) if leaf.rpartition(".")[2] == key]
    near = get_close_matches(key, names, n=1) or inside
    known = ", ".join(place + name for model in models for name in model.model_fields) or "none"
    advice = f"Did you mean '{place}{near[0]}'?" if near else f"Options here: {known}."
    return OptionsError(f"There is no option '{place}{key}' in {source}.", advice)


def _invalid(error: ValidationError, source: str, model: type[Options], name: str = "") -> OptionsError:
    first = error.errors(include_url=False, include_context=False)[0]
    name = name or _dotted(model, first["loc"])
    message = cut(first["msg"].removeprefix("Value error, "), 300)
    if first["type"] == "missing":
        return OptionsError(f"Option '{name}' is missing in {source}.", f"Add it: --{name.replace('_', '-')} VALUE.")
    where = f"Option '{name}' in {source}" if name else f"The options in {source}"
    given = f" (given: {shown(first['input'])})" if name else ""
    return OptionsError(f"{where}: {message}{given}.", "Change the value; `--help` lists bounds and choices.")


def _dotted(model: type[Options] | None, location: tuple[int | str, ...]) -> str:
    """The name of an option from pydantic's path to a part of its value."""
    names: list[str] = []
    for part in location:
        if model is None or part not in model.model_fields:
            break
        names.append(str(part))
        model = nested(model.model_fields[str(part)])
    return ".".join(names)
