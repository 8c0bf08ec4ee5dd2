"""`codectk export`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from codectk.errors import CodectkError, OptionsError
from codectk.registry import Registered
from codectk.specs import CodecSpec
from codectk_cli.bridge import Model, OptionsCommand, gather, given
from codectk_cli.shared import codec_of, load_registry


class ExportCommand(OptionsCommand):
    """Takes the flags of the codec that the weights belong to."""

    def models_for(self, ctx: click.Context, args: list[str]) -> list[Model]:
        """The export options of that codec."""
        weights = self.own_values(ctx, args)["weights"]
        if weights is None:
            return []
        try:
            registered = find_exporter(weights)
            return [registered.load(registered.spec.export_options)]
        except CodectkError:
            if ctx.resilient_parsing or "--help" in args or "-h" in args:
                return []
            raise


@click.command("export", cls=ExportCommand, epilog="The codec's own options: codectk export WEIGHTS.safetensors --help")
@click.argument("weights", type=click.Path(path_type=Path), metavar="WEIGHTS")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Weights file to write.")
@click.option("--force", is_flag=True, help="Replace the output file if it exists.")
@click.option("--device", default="auto", show_default=True, help="Where networks run: auto, cpu, cuda or cuda:N.")
@click.pass_context
def command(ctx: click.Context, /, weights: Path, out: Path, force: bool, device: str, **_: Any) -> None:
    """Turn trained weights into weights whose files open on every machine, and say what that costs."""
    from codectk.checkpoint import Checkpoint
    from codectk.compression import load_codec
    from codectk.files import refuse_existing

    registered = find_exporter(weights)
    (model,) = ctx.meta["codectk.models"]
    options = gather(model, given(ctx, model))
    refuse_existing(out, force)
    checkpoint, figures = registered.load(registered.spec.exporter)(Checkpoint.open(weights), options, device)
    load_codec(registered.full_name, checkpoint)  # what does not load is not written
    checkpoint.save(out, force)
    click.echo(f"{weights} → {out}  {out.stat().st_size} bytes")
    for name, value in figures.items():
        click.echo(f"{name}: {value:.6g}")


def find_exporter(weights: Path) -> Registered:
    """The codec of a weights file.

    Raises:
        CodectkError: the file is no weights file, or its codec is not installed.
        OptionsError: that codec has nothing to export.
    """
    registry = load_registry()
    registered = registry.find(CodecSpec, codec_of(weights))
    if registered.spec.exporter is None:
        able = ", ".join(r.spec.name for r in registry.codecs() if r.spec.exporter is not None) or "none"
        raise OptionsError(
            f"Weights of codec {registered.spec.name} need no export.", f"Codecs here that have one: {able}."
        )
    return registered
