"""`codectk train`"""

import os
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from codectk.errors import CodectkError, InputError, OptionsError
from codectk.nesting import flat
from codectk.options import Options, RunOptions, leaves
from codectk.recipes import Layer, combine, merged, parse_value, recipes
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


def own_parameters(recipe_names: str) -> list[click.Parameter]:
    """The flags of every trainer's command that are no options of a model.

    Args:
        recipe_names: for `--help`.
    """
    path = click.Path(path_type=Path)
    return [
        click.Option(["--recipe"], help=f"Settings that ship with the plugin: {recipe_names}."),
        click.Option(
            ["--config"], type=path, help="YAML file of settings, stronger than the recipe, weaker than flags."
        ),
        click.Option(
            ["--set", "settings"],
            multiple=True,
            metavar="NAME=VALUE…",
            help="Any options by name, stronger than flags: --set optim.lr=1e-4 rate=null.",
        ),
        click.Option(["--out", "--output-dir"], type=path, help="Run folder.  [default: runs/NAME-DATE-TIME]"),
        click.Option(["--resume"], type=path, metavar="RUN", help="Continue the run in this folder."),
        click.Option(
            ["--auto-resume"],
            is_flag=True,
            help="Continue the unfinished run in --out, or else the newest in runs/, of exactly these settings.",
        ),
        click.Option(
            ["--dry-run", "-n", "-dr"], is_flag=True, help="Show options and what would be trained, and stop."
        ),
        click.Option(["--debug"], is_flag=True, help="Show the options, each logged window, and tracebacks of errors."),
    ]


def _trainer_command(registered: Registered) -> click.Command:
    spec: TrainerSpec = registered.spec
    model: type[Options] = registered.load(spec.options)
    names = ", ".join(p.stem for p in recipes(spec.recipes)) or "none"

    @click.pass_context
    def callback(ctx: click.Context, /, **_: Any) -> int:
        return _train(ctx, registered, model)

    return OptionsCommand(
        spec.name,
        callback=callback,
        params=own_parameters(names),
        models=[model, RunOptions],
        help=f"Train {spec.name}: {spec.summary}.",
    )


def _train(ctx: click.Context, registered: Registered, model: type[Options]) -> int:
    options, run_options, sources, resume = _gather(ctx, registered, model)
    debug = ctx.params["debug"] or ctx.find_root().params["debug"]
    if debug and (run_options.use_wandb or run_options.wandb_dryrun):
        raise OptionsError("--debug and --use-wandb do not go together.", "Leave one of them out.")
    given_folder: Path | None = ctx.params["resume"] or ctx.params["out"]
    if ctx.params["auto_resume"] and not resume:
        unfinished = _unfinished(registered, options, run_options, given_folder)
        given_folder, resume = unfinished or given_folder, unfinished is not None
    folder = given_folder or _new_folder(registered.spec.name)
    if debug or ctx.params["dry_run"]:
        _show(folder, options, run_options)
    if ctx.params["dry_run"]:
        from codectk.runs import dry_run

        for line in dry_run(registered, options, run_options):
            click.echo(line)
        return 0
    if run_options.devices > 1 and "WORLD_SIZE" not in os.environ:
        from codectk_cli import launch

        launch.check(options, run_options)
        # If no folder is given, all processes must agree on one.
        words = [*sys.argv[1:], *([] if given_folder else ["--out", str(folder)])]
        return launch.launch(run_options.devices, words)
    registered.load(registered.spec.target)  # a plugin that is broken says so before a folder is made
    from codectk.runs import train
    from codectk_cli.watch import TerminalWatcher

    with TerminalWatcher(debug) as watcher:
        train(registered, options, folder, run_options, resume, watcher, sources)
    return 0


def _gather(
    ctx: click.Context, registered: Registered, model: type[Options]
) -> tuple[Options, RunOptions, list[str], bool]:
    """Options of trainer and run, the names of the files they came from, and whether a run is resumed."""
    flags = [Layer("the command line", {**given(ctx, model), **given(ctx, RunOptions)}), _settings(ctx)]
    files = layers(registered.spec.recipes, ctx.params["recipe"], ctx.params["config"])
    sources = [layer.source for layer in files]
    if ctx.params["resume"]:
        if files or ctx.params["out"]:
            raise OptionsError("--resume takes the options of the run.", "Leave --recipe, --config and --out out.")
        return *_resumed(registered, model, ctx.params["resume"], [], flags), sources, True
    options, run_options = _combine(model, [*files, *flags])
    if not run_options.start_iter:
        return options, run_options, sources, False
    if ctx.params["out"] is None:
        raise OptionsError("--start-iter needs the folder of a run.", "Name it with --resume or --out.")
    return *_resumed(registered, model, ctx.params["out"], files, flags), sources, True


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
    registered: Registered, model: type[Options], folder: Path, files: list[Layer], flags: list[Layer]
) -> tuple[Options, RunOptions]:
    """Options of a run as it was started; files and flags may repeat them, or change what results do not depend on."""
    from codectk.runs import read_description

    asked = RunOptions.parse(merged([model, RunOptions], [*files, *flags])[1], "the command line")
    about = read_description(folder, asked.start_iter)
    if normalise(about["trainer"]) != normalise(registered.spec.name):
        raise InputError(
            f"{folder} is a run of {about['trainer']}.", f"Use `codectk train {about['trainer']} --resume`."
        )
    saved = Layer(str(folder), {**about["options"], **about["run_options"]})
    before, after = _combine(model, [saved]), _combine(model, [*(files or [saved]), *flags])
    for one, other in zip(before, after, strict=True):
        _refuse_changes(one, other, folder)
    return after


def _unfinished(registered: Registered, options: Options, run_options: RunOptions, out: Path | None) -> Path | None:
    """The run that `--auto-resume` continues; None to begin a new one.

    Raises:
        CodectkError: the folder that the user named holds a finished run, or one of another trainer or other settings.
    """
    from codectk.runs import DESCRIPTION, read_description

    def fits(folder: Path) -> None:
        about = read_description(folder)
        if normalise(about["trainer"]) != normalise(registered.spec.name):
            raise InputError(f"{folder} is a run of {about['trainer']}.", "Name another folder with --out.")
        saved = Layer(str(folder), {**about["options"], **about["run_options"]})
        for one, other in zip(_combine(type(options), [saved]), (options, run_options), strict=True):
            _refuse_changes(one, other, folder)

    if out is not None:
        if not (out / DESCRIPTION).is_file():
            return None
        fits(out)
        return out
    for about in sorted(Path("runs").glob(f"*/{DESCRIPTION}"), key=lambda path: path.stat().st_mtime, reverse=True):
        with suppress(CodectkError):
            fits(about.parent)
            return about.parent
    return None


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
