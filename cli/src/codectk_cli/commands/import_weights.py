"""`codectk import-weights`"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codectk.errors import CodectkError, OptionsError, PluginError, UnknownName
from codectk.registry import get_registry
from codectk.specs import CodecSpec, TrainerSpec
from codectk_cli.bridge import Model, OptionsCommand, gather, given
from codectk_cli.shared import load_registry

if TYPE_CHECKING:
    from codectk.checkpoint import Checkpoint
    from codectk.options import Options
    from codectk.registry import Registered, Registry


def complete_importer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of what imports weights, for shell completion."""
    return [r.spec.name for r in _importers(get_registry()) if r.spec.name.startswith(incomplete)]


class ImportCommand(OptionsCommand):
    """Takes the flags of the codec or the trainer that the call names first."""

    def models_for(self, ctx: click.Context, args: list[str]) -> list[Model]:
        """Its import options."""
        name = self.own_values(ctx, args)["name"]
        if name is None:
            return []
        try:
            registered = find_importer(name)
            return [registered.load(registered.spec.import_options)]
        except CodectkError:
            if ctx.resilient_parsing or "--help" in args or "-h" in args:
                return []
            raise


@click.command(
    "import-weights",
    cls=ImportCommand,
    epilog="Its own options, and the files it takes: codectk import-weights NAME --help, codectk info NAME",
)
@click.argument("name", shell_complete=complete_importer)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Weights file to write.")
@click.option("--licence", default="as published", show_default=True, help="Terms of the weights, stored with them.")
@click.option("--force", is_flag=True, help="Replace the output file if it exists.")
@click.pass_context
def command(
    ctx: click.Context, /, name: str, files: tuple[Path, ...], out: Path, licence: str, force: bool, **_: Any
) -> None:
    """Make a weights file from weights that a method's authors published.

    NAME is a codec, or a trainer whose weights are of no codec. The files and their order are its own; for frappe
    CONFIG.json and MODEL.safetensors.
    """
    from codectk.compression import load_codec
    from codectk.files import refuse_existing

    registered = find_importer(name)
    (model,) = ctx.meta["codectk.models"]
    options = gather(model, given(ctx, model))
    refuse_existing(out, force)
    checkpoint = replace(_imported(registered, files, options), licence=licence)
    if isinstance(registered.spec, CodecSpec):
        load_codec(registered.full_name, checkpoint)  # what does not load is not written
    checkpoint.save(out, force)
    click.echo(f"{', '.join(map(str, files))} → {out}  {out.stat().st_size} bytes")


def find_importer(name: str) -> Registered:
    """The codec of that name or, where none is or it imports nothing, the trainer.

    Raises:
        UnknownName: there is neither.
        OptionsError: it takes no weights of another layout.
    """
    registry = load_registry()
    found: Registered | None = None
    for kind in (CodecSpec, TrainerSpec):
        try:
            registered = registry.find(kind, name)
        except UnknownName:
            continue
        if registered.spec.importer is not None:
            return registered
        found = found or registered
    if found is None:
        return registry.find(TrainerSpec if "." in name else CodecSpec, name)  # says what resembles it
    able = ", ".join(r.spec.name for r in _importers(registry)) or "none"
    thing = found.spec.kind_of_thing.capitalize()
    raise OptionsError(f"{thing} {found.spec.name} imports no weights.", f"What does here: {able}.")


def _importers(registry: Registry) -> list[Registered]:
    return [r for r in (*registry.codecs(), *registry.trainers()) if r.spec.importer is not None]


def _imported(registered: Registered, files: tuple[Path, ...], options: Options) -> Checkpoint:
    """What the plugin makes of the files.

    Raises:
        PluginError: something else than weights.
        CodectkError: the files are not what the importer takes.
    """
    from codectk.checkpoint import Checkpoint

    made = registered.load(registered.spec.importer)(files, options)
    if not isinstance(made, Checkpoint):
        thing = f"{registered.spec.kind_of_thing} {registered.spec.name}"
        raise PluginError(
            f"The importer of {thing} returned {type(made).__name__}, not a Checkpoint.",
            f"Report this to the makers of {registered.distribution}.",
        )
    return made
