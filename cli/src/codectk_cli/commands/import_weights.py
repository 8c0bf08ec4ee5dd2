"""`codectk import-weights`"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codectk.errors import CodectkError, OptionsError, PluginError
from codectk.specs import CodecSpec
from codectk_cli.bridge import Model, OptionsCommand, gather, given
from codectk_cli.shared import complete_codec, load_registry

if TYPE_CHECKING:
    from codectk.checkpoint import Checkpoint
    from codectk.options import Options
    from codectk.registry import Registered


class ImportCommand(OptionsCommand):
    """Takes the flags of the codec that the call names first."""

    def models_for(self, ctx: click.Context, args: list[str]) -> list[Model]:
        """The import options of that codec."""
        name = self.own_values(ctx, args)["codec"]
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
    epilog="The codec's own options, and the files it takes: codectk import-weights CODEC --help, codectk info CODEC",
)
@click.argument("codec", shell_complete=complete_codec)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Weights file to write.")
@click.option("--licence", default="as published", show_default=True, help="Terms of the weights, stored with them.")
@click.option("--force", is_flag=True, help="Replace the output file if it exists.")
@click.pass_context
def command(
    ctx: click.Context, /, codec: str, files: tuple[Path, ...], out: Path, licence: str, force: bool, **_: Any
) -> None:
    """Make a weights file from weights that a method's authors published.

    The files and their order are those of the codec; for frappe CONFIG.json and MODEL.safetensors.
    """
    from codectk.compression import load_codec
    from codectk.files import refuse_existing

    registered = find_importer(codec)
    (model,) = ctx.meta["codectk.models"]
    options = gather(model, given(ctx, model))
    refuse_existing(out, force)
    checkpoint = replace(_imported(registered, files, options), licence=licence)
    load_codec(registered.full_name, checkpoint)  # what does not load is not written
    checkpoint.save(out, force)
    click.echo(f"{', '.join(map(str, files))} → {out}  {out.stat().st_size} bytes")


def find_importer(name: str) -> Registered:
    """The codec of that name.

    Raises:
        UnknownName: there is none.
        OptionsError: it takes no weights of another layout.
    """
    registry = load_registry()
    registered = registry.find(CodecSpec, name)
    if registered.spec.importer is None:
        able = ", ".join(r.spec.name for r in registry.codecs() if r.spec.importer is not None) or "none"
        raise OptionsError(f"Codec {registered.spec.name} imports no weights.", f"Codecs here that do: {able}.")
    return registered


def _imported(registered: Registered, files: tuple[Path, ...], options: Options) -> Checkpoint:
    """What the plugin makes of the files.

    Raises:
        PluginError: something else than weights of its codec.
        CodectkError: the files are not what the importer takes.
    """
    from codectk.checkpoint import Checkpoint

    made = registered.load(registered.spec.importer)(files, options)
    if not isinstance(made, Checkpoint):
        raise PluginError(
            f"The importer of codec {registered.spec.name} returned {type(made).__name__}, not a Checkpoint.",
            f"Report this to the makers of {registered.distribution}.",
        )
    return made
