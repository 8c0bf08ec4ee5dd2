"""`codectk train`"""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from codectk.errors import CodectkError, InputError, OptionsError
from codectk.nesting import flat
from codectk.options import Options, RunOptions, leaves
from codectk.recipes import Layer, combine, parse_value, recipes
from codectk.registry import Registered
from codectk.specs import TrainerSpec, normalise
from codectk_cli.bridge import OptionsCommand, given, layers
from codectk_cli.shared import load_registry


class TrainGroup(click.Group):
    """One command per installed trainer, with that trainer's flags."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all trainers."""
        return [r.spec.name for r in load_registry().trainers()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of one trainer.

        Raises:
            UnknownName: no such trainer, with the nearest name.
        """
        try:
            return _trainer_command(load_registry().find(TrainerSpec, cmd_name))
        except CodectkError:
            if ctx.resilient_parsing:  # completion of a shell: there is nothing to complete
                return None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of trainers."""
        with formatter.section("Trainers"):
            formatter.write_dl([(r.spec.name, r.spec.summary) for r in load_registry().trainers()])


@click.group("train", cls=TrainGroup, subcommand_metavar="NAME [OPTIONS]…")
def command() -> None:
    """Train a method. `codectk train NAME --help` shows its options and recipes."""


def _trainer_command(registered: Registered) -> click.Command:
    spec: TrainerSpec = registered.spec
    model: type[Options] = registered.load(spec.options)
    path = click.Path(path_type=Path)
    names = ", ".join(p.stem for p in recipes(spec.recipes)) or "none"
    parameters: list[click.Parameter] = [
        click.Option(["--recipe"], help=f"Settings that ship with the plugin: {names}."),
        click.Option(
            ["--config"], type=path, help="YAML file of settings, stronger than the recipe, weaker than flags."
        ),
        click.Option(
            ["--set", "settings"],
            multiple=True,
            metavar="NAME=VALUE…",
            help="Any options by name, stronger than flags: --set optim.lr=1e-4 rate=null.",
        ),
        click.Option(["--out"], type=path, help="Run folder.  [default: runs/NAME-DATE-TIME]"),
        click.Option(["--resume"], type=path, metavar="RUN", help="Continue the run in this folder."),
        click.Option(["--dry-run", "-n"], is_flag=True, help="Show the options and stop."),
    ]

    @click.pass_context
    def callback(ctx: click.Context, /, **_: Any) -> int:
        return _train(ctx, registered, model)

    return OptionsCommand(
        spec.name,
        callback=callback,
        params=parameters,
        models=[model, RunOptions],
        help=f"Train {spec.name}: {spec.summary}.",
    )


def _train(ctx: click.Context, registered: Registered, model: type[Options]) -> int:
    run_folder: Path | None = ctx.params["resume"]
    flags = [Layer("the command line", {**given(ctx, model), **given(ctx, RunOptions)}), _settings(ctx)]
    if run_folder:
        options, run_options = _resumed(ctx, registered, model, run_folder, flags)
    else:
        sources = layers(registered.spec.recipes, ctx.params["recipe"], ctx.params["config"])
        options, run_options = _combine(model, [*sources, *flags])
    folder = run_folder or ctx.params["out"] or _new_folder(registered.spec.name)
    if ctx.params["dry_run"]:
        _show(folder, options, run_options)
        return 0
    if run_options.devices > 1 and "WORLD_SIZE" not in os.environ:
        from codectk_cli import launch

        launch.check(options, run_options)
        settled = run_folder or ctx.params["out"]  # if neither is given, all processes must agree on a folder
        return launch.launch(run_options.devices, [*sys.argv[1:], *([] if settled else ["--out", str(folder)])])
    registered.load(registered.spec.target)  # a plugin that is broken says so before a folder is made
    from codectk.runs import train
    from codectk_cli.watch import TerminalWatcher

    with TerminalWatcher() as watcher:
        train(registered, options, folder, run_options, run_folder is not None, watcher)
    return 0


def _combine(model: type[Options], sources: list[Layer]) -> tuple[Options, RunOptions]:
    options, run_options = combine([model, RunOptions], [layer for layer in sources if layer.values])
    return options, RunOptions.parse(run_options.changed())


def _settings(ctx: click.Context) -> Layer:
    """What `--set` says.

    Raises:
        OptionsError: a word is no NAME=VALUE, or a name stands twice.
    """
    values: dict[str, Any] = {}
    for word in ctx.params["settings"]:
        name, sign, text = word.partition("=")
        if not sign or not name:
            raise OptionsError(f"--set {word} is no setting.", "Write --set NAME=VALUE.")
        if name in values:
            raise OptionsError(f"--set gives '{name}' twice.", "Keep one of the two.")
        values[name] = parse_value(text, "--set")
    return Layer("--set", values)


def _resumed(
    ctx: click.Context, registered: Registered, model: type[Options], folder: Path, flags: list[Layer]
) -> tuple[Options, RunOptions]:
    """Options of a run as it was started; flags may repeat them, or change what results do not depend on."""
    from codectk.runs import read_description

    about = read_description(folder)
    if normalise(about["trainer"]) != normalise(registered.spec.name):
        raise InputError(
            f"{folder} is a run of {about['trainer']}.", f"Use `codectk train {about['trainer']} --resume`."
        )
    if ctx.params["recipe"] or ctx.params["config"] or ctx.params["out"]:
        raise OptionsError("--resume takes the options of the run.", "Leave --recipe, --config and --out out.")
    saved = Layer(str(folder), {**about["options"], **about["run_options"]})
    before, after = _combine(model, [saved]), _combine(model, [saved, *flags])
    for one, other in zip(before, after, strict=True):
        _refuse_changes(one, other, folder)
    return after


def _refuse_changes(before: Options, after: Options, folder: Path) -> None:
    fields = leaves(type(before))
    values = flat(before.model_dump(mode="json"))
    for name, value in flat(after.model_dump(mode="json")).items():
        extra = fields[name].json_schema_extra if name in fields else None
        if value != values.get(name) and not (isinstance(extra, dict) and extra.get("anytime")):
            raise OptionsError(
                f"--{name.replace('_', '-')} was {values.get(name)} when {folder} was started.",
                "Leave it out to continue that run, or start a new one.",
            )


def _show(folder: Path, options: Options, run_options: Options) -> None:
    for model in (options, run_options):
        changed = flat(model.changed())
        for name, value in flat(model.model_dump(mode="json")).items():
            mark = "" if name not in changed else "  (set)"
            click.echo(f"{name}: {value}{mark}")
    click.echo(f"run folder: {folder}")


def _new_folder(name: str) -> Path:
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
