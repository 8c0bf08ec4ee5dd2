"""Option models as command-line flags: names, types, defaults, help, bounds, choices and units come from the model.

Options of nested models are dotted flags: `--optim.lr 1e-4`. One that `option(cli="FILE")` names without a dash is an
argument: it stands without a flag.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from click.core import ParameterSource
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from codectk.errors import PluginError
from codectk.options import Options, RunOptions, leaves
from codectk.recipes import Layer, combine, read_config, read_recipe
from codectk.specs import normalise

Model = type[Options]

_NUMBERS = re.compile(r"[-+0-9.,xe ]+|nan|-?inf", re.IGNORECASE)
"""What a word of a list may look like; any other word after the first is an argument of the command."""

_SETTING = re.compile(r"[A-Za-z_][\w.-]*=")
"""How a word after `--set` begins."""


class OptionsCommand(click.Command):
    """A command whose flags include those of option models.

    Lists may be written as several words, `--ps 32 32 16`; switches as `--x`, `--x true`, `--no-x`.

    Attributes:
        give_way: names of the command's own parameters whose place an option of a model may take.
    """

    give_way: frozenset[str] = frozenset()

    def __init__(self, *args: Any, models: Iterable[Model] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.models = list(models)

    def models_for(self, ctx: click.Context, args: list[str]) -> list[Model]:
        """The models whose flags this call takes; may depend on its arguments."""
        return self.models

    def own_values(self, ctx: click.Context, args: list[str]) -> dict[str, Any]:
        """The command's own parameters as click reads them, before the models' flags are known."""
        probe = click.Command(self.name, params=self.params, add_help_option=False)
        settings = {"ignore_unknown_options": True, "allow_extra_args": True, "resilient_parsing": True}
        return probe.make_context(self.name, list(args), parent=ctx.parent, **settings).params

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse after lists and switches are written as click wants them."""
        ctx.meta["codectk.models"] = self.models_for(ctx, args)
        fields = {
            normalise(flag): field
            for model in ctx.meta["codectk.models"]
            for name, field in leaves(model).items()
            for flag in _flags(name, field)
        }
        return super().parse_args(ctx, join_words(args, fields))

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own parameters, then those of the models."""
        models = ctx.meta.get("codectk.models", self.models)
        theirs = {name for model in models if model is not RunOptions for name in model.model_fields}
        hidden = {RunOptions: theirs}  # a trainer may give a name of a run's options its own meaning
        flags = [flag for model in models for flag in model_flags(model) if flag.name not in hidden.get(model, ())]
        taken = {flag.name for flag in flags} & self.give_way
        own = [parameter for parameter in super().get_params(ctx) if parameter.name not in taken]
        counts = Counter(word for parameter in own + flags for word in {parameter.name, *parameter.opts})
        twice = next((word for word, count in counts.items() if count > 1), None)
        if twice:
            raise PluginError(f"Option '{twice}' is defined twice.", "Report this to the makers of the plugin.")
        return [*own[:-1], *flags, *own[-1:]]  # --help stays last


def model_flags(model: Model) -> list[click.Parameter]:
    """One click option per field of a model, and of the models in it."""
    return [_flag(name, field) for name, field in leaves(model).items()]


def given(ctx: click.Context, model: Model) -> dict[str, Any]:
    """The values of a model's options that stand on the command line, under their dotted names."""
    return {
        name: ctx.params[_parameter(name)]
        for name in leaves(model)
        if ctx.get_parameter_source(_parameter(name)) is ParameterSource.COMMANDLINE
    }


def layers(recipes: str | None, recipe: str | None, config: Path | None) -> list[Layer]:
    """What a recipe and a configuration file set, weakest first.

    Args:
        recipes: the plugin's recipe folder, as in `TrainerSpec.recipes`.
        recipe: name of one of its recipes.
        config: path of a YAML file.

    Raises:
        OptionsError, UnknownName: one of them is missing or cannot be read.
    """
    return [*(read_recipe(recipes, recipe) if recipe else []), *(read_config(config) if config else [])]


def gather(model: Model, flags: Mapping[str, Any], recipes: str | None = None, recipe: str | None = None) -> Options:
    """Options from default < recipe < flag.

    Args:
        model: what to make.
        flags: values from the command line.
        recipes, recipe: see `layers`.

    Raises:
        OptionsError, UnknownName: a source is missing, or holds an unknown name or a bad value.
    """
    sources = [*layers(recipes, recipe, None), *([Layer("the command line", flags)] if flags else [])]
    return combine([model], sources)[0]


def join_words(args: list[str], fields: Mapping[str, FieldInfo]) -> list[str]:
    """`--ps 32 32 16` → `--ps=32,32,16`, `--no-x` → `--x=false`, `--x true` → `--x=true`, `--set a=1 b=2` → two of it.

    Args:
        args: words of the command line.
        fields: flag as `normalise` spells it → what it sets.
    """
    joined: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        name = normalise(word)
        if name.startswith("__no_") and _is_switch(fields.get(f"__{name[5:]}")):
            joined.append(f"--{name[5:]}=false")
        elif _is_list(fields.get(name)):
            paths = _of_paths(fields.get(name))
            taken: list[str] = []
            while rest and not _is_flag(rest[0]) and (not taken or paths or _NUMBERS.fullmatch(rest[0])):
                taken.append(rest.pop(0))
            joined += [f"{word}={json.dumps(taken) if paths else ','.join(taken)}"] if taken else [word]
        elif _is_switch(fields.get(name)):
            follows = rest[0].lower() if rest else ""
            yes_no = {"true": "true", "yes": "true", "1": "true", "false": "false", "no": "false", "0": "false"}
            joined.append(f"{word}={yes_no.get(follows, 'true')}")
            del rest[: follows in yes_no]
        elif word == "--set":
            joined += [word, *(rest[:1])]
            del rest[:1]
            while rest and _SETTING.match(rest[0]):
                joined += [word, rest.pop(0)]
        else:
            joined.append(word)
    return joined


def _is_flag(word: str) -> bool:
    """Whether a word is a flag and no value; `-5` is a value."""
    return word.startswith("--") or (word.startswith("-") and word[1:2].isalpha())


def _parameter(name: str) -> str:
    """What click calls an option: its dotted name as an identifier."""
    return name.replace(".", "__")


def _flags(name: str, field: FieldInfo) -> list[str]:
    """All flags of an option, its name first; or what an argument is called."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    more = str(extra.get("cli") or "").split()
    return more if more and not more[0].startswith("-") else [f"--{name.replace('_', '-')}", *more]


def _flag(name: str, field: FieldInfo) -> click.Parameter:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    flags = _flags(name, field)
    if not flags[0].startswith("-"):
        return click.Argument([_parameter(name)], required=field.is_required(), metavar=flags[0], type=click.Path())
    declarations = [*flags, _parameter(name)]
    text = " ".join(filter(None, [field.description or "", _limits(field, str(extra.get("unit") or ""))]))
    choices = _choices(field)
    metavar = "|".join(choices) if choices else _metavar(field)
    return click.Option(
        declarations,
        help=text,
        default=None,
        metavar=metavar,
        # Of a path, a shell completes names of files.
        type=click.Path() if metavar.startswith("PATH") else click.STRING,
        shell_complete=(lambda ctx, param, word: [c for c in choices if c.startswith(word)]) if choices else None,
    )


def _limits(field: FieldInfo, unit: str) -> str:
    """Unit, bounds and default in brackets."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [f"{sign}{getattr(m, a):g}" for m in field.metadata for a, sign in signs.items() if hasattr(m, a)]
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        shown = "required"
    elif default is None:
        shown = ""
    elif isinstance(default, tuple):
        shown = f"default: {' '.join(map(str, default))}" if default else ""
    else:
        shown = f"default: {str(default).lower() if isinstance(default, bool) else default}"
    parts = [part for part in (unit, ", ".join(bounds), shown) if part]
    return f"[{'; '.join(parts)}]" if parts else ""


def _choices(field: FieldInfo) -> list[str]:
    return [str(value) for value in get_args(field.annotation)] if get_origin(field.annotation) is Literal else []


def _metavar(field: FieldInfo) -> str:
    if _is_list(field):
        return "PATH…" if _of_paths(field) else "LIST"
    names = {int: "INTEGER", float: "NUMBER", bool: "true|false", Path: "PATH"}
    types = get_args(field.annotation) or (field.annotation,)
    return next((names[t] for t in types if t in names), "TEXT")


def _is_list(field: FieldInfo | None) -> bool:
    """Whether an option takes a list, perhaps among other things."""
    if field is None:
        return False
    union = get_origin(field.annotation) in (Union, UnionType)
    kinds = get_args(field.annotation) if union else (field.annotation,)
    plain = (get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in kinds)
    return any(get_origin(kind) is tuple for kind in plain)


def _of_paths(field: FieldInfo | None) -> bool:
    """Whether a list option takes paths, each of which is a word of its own."""
    return field is not None and Path in get_args(field.annotation)


def _is_switch(field: FieldInfo | None) -> bool:
    return field is not None and bool in (get_args(field.annotation) or (field.annotation,))
