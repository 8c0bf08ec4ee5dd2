"""Discovery of plugins, one at a time, so that a broken one never takes the others down."""

import os
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint
from inspect import Parameter, isroutine, signature
from types import ModuleType
from typing import Any

import pluggy

from codectk import hookspecs
from codectk.discovery import BLOCK_VARIABLE, Choice, distribution_of, in_time, installed, timeout
from codectk.errors import PluginError, UnknownName, one_line
from codectk.specs import (
    BUILT_IN_COMMANDS,
    CodecSpec,
    CommandSpec,
    DatasetSpec,
    MetricSpec,
    TrainerSpec,
    normalise,
    resolve,
)

STRICT_VARIABLE = "CODECTK_STRICT"

HOOKS: dict[str, type] = {
    "codectk_codecs": CodecSpec,
    "codectk_trainers": TrainerSpec,
    "codectk_datasets": DatasetSpec,
    "codectk_metrics": MetricSpec,
    "codectk_commands": CommandSpec,
}


@dataclass(frozen=True)
class Problem:
    """Something that kept a plugin, or a part of it, from loading.

    Attributes:
        distribution: name of the installed distribution, as `pip` knows it; at stage `"choice"` the variable.
        stage: `"choice"`, `"import"`, `"api"`, `"register"`, `"hook"` or `"name"`.
        summary: one line.
        details: traceback, or the summary again.
    """

    distribution: str
    stage: str
    summary: str
    details: str

    @property
    def line(self) -> str:
        """Who has the problem, and what it is."""
        return f"{self.distribution if self.stage == 'choice' else f'plugin {self.distribution}'}: {self.summary}"


@dataclass(frozen=True)
class Registered:
    """A spec and where it comes from."""

    spec: Any
    distribution: str
    version: str

    @property
    def full_name(self) -> str:
        """Name that stays unique when two plugins use the same one: `distribution/name`."""
        return f"{self.distribution}/{self.spec.name}"

    def load(self, target: str) -> Any:
        """What one of the spec's `"module:Name"` strings names.

        Raises:
            PluginError: the import fails, for whatever reason, or there is no such name.
        """
        try:
            return resolve(target)
        except (KeyboardInterrupt, MemoryError):
            raise
        except BaseException as error:  # a plugin may even raise SystemExit
            raise PluginError(
                f"{self.spec.kind_of_thing.capitalize()} {self.spec.name} of {self.distribution} cannot be loaded: "
                f"{target} ({one_line(error)}).",
                f"Repair it with `pip install --upgrade {self.distribution}`.",
            ) from error


@dataclass(frozen=True)
class Plugin:
    """One installed entry point of the group `codectk`.

    Attributes:
        distribution, version: what holds it.
        name: of the entry point.
        module: that it names.
        loaded: whether all of it is there.
        left_out_by: the environment variable that leaves it out, if one does.
        seconds: what its import and its hooks took.
    """

    distribution: str
    version: str
    name: str
    module: str
    loaded: bool
    left_out_by: str = ""
    seconds: float = 0.0


class Registry:
    """All codecs, trainers, datasets, metrics and commands of the installed plugins.

    Args:
        points: entry points to load; by default those of the group `codectk` in this environment.
        strict: raise `PluginError` at the first problem instead of going on; by default the environment variable
            `CODECTK_STRICT` decides.
        choice: which plugins to take; by default `CODECTK_PLUGINS` and `CODECTK_BLOCK` decide.
        seconds: what each plugin's import and each of its hooks may take; by default `CODECTK_PLUGIN_TIMEOUT` decides.

    Raises:
        PluginError: strict, and there is a problem.
        OptionsError: `CODECTK_PLUGIN_TIMEOUT` is no number.
    """

    def __init__(
        self,
        points: Iterable[EntryPoint] | None = None,
        strict: bool | None = None,
        choice: Choice | None = None,
        seconds: float | None = None,
    ) -> None:
        self.strict = os.environ.get(STRICT_VARIABLE, "") not in ("", "0") if strict is None else strict
        self.problems: list[Problem] = []
        self.plugins: list[Plugin] = []
        self._seconds = timeout() if seconds is None else seconds
        self._found: dict[type, list[Registered]] = {spec_type: [] for spec_type in HOOKS.values()}
        found = sorted(self._points(points), key=lambda p: (distribution_of(p)[0], p.name))
        choice = Choice.from_environment() if choice is None else choice
        for variable, name in choice.unknown(found):
            self._note(variable, "choice", f"no installed plugin is named '{name}': {_names(found)} are")
        for point in found:
            self._load(point, choice.left_out_by(point))
        for spec_type, registered in self._found.items():
            self._report_clashes(spec_type, registered)
        self._report_built_in()

    def codecs(self) -> list[Registered]:
        """All codecs, by name."""
        return self._found[CodecSpec]

    def trainers(self) -> list[Registered]:
        """All trainers, by name."""
        return self._found[TrainerSpec]

    def datasets(self) -> list[Registered]:
        """All datasets, by name."""
        return self._found[DatasetSpec]

    def metrics(self) -> list[Registered]:
        """All metrics, by name."""
        return self._found[MetricSpec]

    def commands(self) -> list[Registered]:
        """All commands of plugins, by name; also those that clash with built-in ones."""
        return self._found[CommandSpec]

    def everything(self) -> list[Registered]:
        """Codecs, trainers, datasets, metrics and commands in this order."""
        return [item for group in self._found.values() for item in group]

    def find(self, spec_type: type, name: str) -> Registered:
        """The one thing of that type with that name, or with that `distribution/name`.

        Raises:
            UnknownName: nothing has that name, or two plugins share it.
        """
        wanted = normalise(name)
        registered = self._found[spec_type]
        by_full_name = [r for r in registered if normalise(r.full_name) == wanted]
        if by_full_name:
            return by_full_name[0]
        by_name = [r for r in registered if normalise(r.spec.name) == wanted]
        if len(by_name) == 1:
            return by_name[0]
        thing = spec_type.kind_of_thing  # type: ignore[attr-defined]
        if by_name:
            both = " or ".join(r.full_name for r in by_name)
            raise UnknownName(f"More than one plugin has a {thing} named '{name}'.", f"Say which: {both}.")
        raise UnknownName(f"There is no {thing} named '{name}'.", self._advice(thing, wanted, registered))

    def _advice(self, thing: str, wanted: str, registered: Sequence[Registered]) -> str:
        names = {normalise(r.spec.name): r.spec.name for r in registered}
        near = get_close_matches(wanted, list(names), n=1)
        if near:
            return f"Did you mean '{names[near[0]]}'? `codectk list {thing}s` shows all."
        if self.left_out():
            return self.left_out()
        broken = sorted({p.distribution for p in self.problems if p.stage not in ("name", "choice")})
        if broken:
            return f"`codectk plugins` shows why {', '.join(broken)} did not load; `codectk list` shows the rest."
        return (
            f"`codectk list {thing}s` shows what is installed; a method is added with `pip install codectk-<method>`."
        )

    def left_out(self) -> str:
        """One sentence on the variables that leave plugins out and which; empty if none does."""
        by: dict[str, list[str]] = {}
        for plugin in self.plugins:
            if plugin.left_out_by:
                by.setdefault(plugin.left_out_by, []).append(plugin.name)
        said = " and ".join(f"{variable} leaves out {', '.join(names)}" for variable, names in by.items())
        return f"{said}: change or unset it." if said else ""

    def why_missing(self, distribution: str) -> str:
        """What to do where something of a distribution is needed and not here, in one sentence."""
        for plugin in self.plugins:
            if plugin.distribution == distribution and plugin.left_out_by:
                return f"{plugin.left_out_by} leaves {distribution} out; change or unset it."
        if any(problem.distribution == distribution for problem in self.problems):
            return "`codectk plugins` shows why it did not load."
        return f"Run `pip install {distribution}`."

    def _points(self, points: Iterable[EntryPoint] | None) -> list[EntryPoint]:
        if points is not None:
            return list(points)
        found, damaged = installed()
        for distribution, error in damaged:
            self._note(distribution, "import", f"its entry points cannot be read ({one_line(error)})")
        return found

    def _load(self, point: EntryPoint, left_out_by: str) -> None:
        distribution, version = distribution_of(point)
        began = time.perf_counter()
        loaded = not left_out_by and self._load_module(point, distribution, version)
        took = time.perf_counter() - began
        self.plugins.append(Plugin(distribution, version, point.name, point.value, loaded, left_out_by, took))

    def _load_module(self, point: EntryPoint, distribution: str, version: str) -> bool:
        module = self._guard(distribution, "import", f"import of {point.value} failed", point.load)
        return (
            module is not None and self._api_fits(distribution, module) and self._collect(distribution, version, module)
        )

    def _api_fits(self, distribution: str, module: ModuleType) -> bool:
        # Not getattr: a module's own __getattr__ may do anything.
        version = vars(module).get("CODECTK_API") if isinstance(module, ModuleType) else None
        if version == hookspecs.CODECTK_API:
            return True
        has = "does not state CODECTK_API" if version is None else f"is for CODECTK_API {version!r}"
        self._note(distribution, "api", f"{has}; this codectk has {hookspecs.CODECTK_API}: update the older of the two")
        return False

    def _collect(self, distribution: str, version: str, module: ModuleType) -> bool:
        """Ask one plugin for its specs. A manager of its own keeps it apart from all others."""
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)

        def register() -> bool:
            _check_hooks(module)
            manager.register(module)
            manager.check_pending()
            return True

        if not self._guard(distribution, "register", "a hook implementation does not fit its specification", register):
            return False
        answers = [
            self._ask(distribution, version, spec_type, getattr(manager.hook, hook))
            for hook, spec_type in HOOKS.items()
            if getattr(manager.hook, hook).get_hookimpls()
        ]
        if not answers:
            self._note(distribution, "hook", "implements no hook: nothing to list")
        return all(answers) and bool(answers)

    def _ask(self, distribution: str, version: str, spec_type: type, hook: Any) -> bool:
        def answers() -> list[Any]:
            results = hook()
            # pluggy drops an answer of None without a word.
            if len(results) != len(hook.get_hookimpls()):
                raise TypeError("the hook returned None instead of an iterable")
            specs = [spec for result in results for spec in result]
            for spec in specs:
                name = getattr(spec, "name", None)
                if not isinstance(spec, spec_type):
                    raise TypeError(f"the hook returned {type(spec).__name__}, not {spec_type.__name__}")
                if not isinstance(name, str):
                    raise TypeError(f"the hook returned a {spec_type.__name__} whose name is {name!r}")
            return specs

        specs = self._guard(distribution, "hook", f"{hook.name} failed", answers)
        if specs is None:
            return False
        self._found[spec_type] += [Registered(spec, distribution, version) for spec in specs]
        self._found[spec_type].sort(key=lambda r: (r.spec.name, r.distribution))
        return True

    def _guard(self, distribution: str, stage: str, what: str, call: Callable[[], Any]) -> Any:
        """The result of `call`, or None after a note of what went wrong."""
        try:
            return in_time(call, self._seconds)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may even raise SystemExit
            self._note(distribution, stage, f"{what} ({one_line(error)})", traceback.format_exc(), error)
            return None

    def _note(
        self, distribution: str, stage: str, summary: str, details: str = "", cause: BaseException | None = None
    ) -> None:
        self.problems.append(Problem(distribution, stage, summary, details or summary))
        if self.strict:
            line = self.problems[-1].line
            raise PluginError(
                f"{line[0].upper()}{line[1:]}.",
                f"Mend or uninstall it, leave it out with {BLOCK_VARIABLE}, or unset {STRICT_VARIABLE} to go on.",
            ) from cause

    def _report_clashes(self, spec_type: type, registered: Sequence[Registered]) -> None:
        groups: dict[str, list[Registered]] = {}
        for item in registered:
            groups.setdefault(normalise(item.spec.name), []).append(item)
        for same in groups.values():
            if len(same) > 1:
                thing = spec_type.kind_of_thing  # type: ignore[attr-defined]
                names = " or ".join(r.full_name for r in same)
                self._note(
                    same[1].distribution, "name", f"{thing} name '{same[0].spec.name}' is taken twice: use {names}"
                )

    def _report_built_in(self) -> None:
        built_in = {normalise(word) for word in BUILT_IN_COMMANDS}
        for item in self.commands():
            if normalise(item.spec.word) in built_in:
                said = f"command '{item.spec.name}' has the name of a built-in command: use {item.full_name}"
                self._note(item.distribution, "name", said)


def _check_hooks(module: ModuleType) -> None:
    """Say in plain words what pluggy says at length, or passes over in silence.

    Raises:
        TypeError: a hook is misspelt, takes arguments, or lacks the decorator.
    """
    for name, value in vars(module).items():
        decorated = isroutine(value) and hasattr(value, f"{hookspecs.PROJECT}_impl")
        if decorated and name not in HOOKS:
            near = get_close_matches(name, list(HOOKS), n=1)
            raise TypeError(
                f"there is no hook {name}; {f'did you mean {near[0]}?' if near else 'hooks are ' + ', '.join(HOOKS)}"
            )
        if name in HOOKS and not decorated:
            raise TypeError(f"{name} lacks the @hookimpl decorator")
        if decorated and _wanted(value):
            raise TypeError(f"{name} is called without arguments, but takes {', '.join(_wanted(value))}")


def _wanted(function: Callable[..., Any]) -> list[str]:
    """Names of the arguments without which a function cannot be called."""
    named = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    parameters = signature(function).parameters.values()
    return [p.name for p in parameters if p.default is Parameter.empty and p.kind in named]


def _names(points: Sequence[EntryPoint]) -> str:
    return ", ".join(sorted({point.name for point in points})) or "none"


@cache
def get_registry() -> Registry:
    """The registry of this environment, loaded once per process."""
    return Registry()
