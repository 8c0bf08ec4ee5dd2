"""`codectk train`"""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from codectk.errors import CodectkError, InputError, OptionsError
from codectk.options import Options, RunOptions, recipes
from codectk.registry import Registered
from codectk.specs import TrainerSpec, normalise
from codectk_cli.bridge import OptionsCommand, gather, given
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
    if run_folder:
        options, run_options = _resumed(ctx, registered, model, run_folder)
    else:
        sources = (registered.spec.recipes, ctx.params["recipe"], ctx.params["config"])
        options = gather(model, given(ctx, model), *sources)
        run_options = RunOptions.parse(given(ctx, RunOptions), "the command line")
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


def _resumed(
    ctx: click.Context, registered: Registered, model: type[Options], folder: Path
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
    made = []
    for kind, saved in ((model, about["options"]), (RunOptions, about["run_options"])):
        before = kind.parse(saved, str(folder))
        after = kind.parse({**saved, **given(ctx, kind)}, "the command line")
        for name, field in kind.model_fields.items():
            extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            if getattr(before, name) != getattr(after, name) and not extra.get("anytime"):
                raise OptionsError(
                    f"--{name.replace('_', '-')} was {getattr(before, name)} when {folder} was started.",
                    "Leave it out to continue that run, or start a new one.",
                )
        made.append(after)
    return made[0], RunOptions.parse(made[1].changed())


def _show(folder: Path, options: Options, run_options: Options) -> None:
    for model in (options, run_options):
        for name, value in model.model_dump(mode="json").items():
            mark = "" if name not in model.changed() else "  (set)"
            click.echo(f"{name}: {value}{mark}")
    click.echo(f"run folder: {folder}")


def _new_folder(name: str) -> Path:
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
