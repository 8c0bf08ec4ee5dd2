"""`codectk compress`"""

from pathlib import Path
from typing import Any

import click

from codectk.errors import CodectkError, UnknownName
from codectk.specs import CodecSpec, resolve
from codectk_cli.bridge import Model, OptionsCommand, given
from codectk_cli.shared import complete_codec, each, load_registry, plan_outputs, warn


class CompressCommand(OptionsCommand):
    """Takes the flags of the codec that the call names."""

    def models_for(self, ctx: click.Context, args: list[str]) -> list[Model]:
        """The encode options of the codec after `-c`, or of the one that the weights after `-w` belong to."""
        try:
            name = _codec_of(_value(args, "-c", "--codec"), _value(args, "-w", "--weights"))
        except CodectkError:
            if "--help" in args or "-h" in args:
                return []
            raise
        if name is None:
            return []
        ctx.meta["codectk.codec"] = name
        return [resolve(load_registry().find(CodecSpec, name).spec.encode_options)]


@click.command(
    "compress",
    cls=CompressCommand,
    epilog="The codec's own options: codectk compress -c CODEC --help",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE|FOLDER…")
@click.option("-c", "--codec", help="Codec to use; not needed with -w.", shell_complete=complete_codec)
@click.option("-w", "--weights", type=click.Path(path_type=Path), help="Weights file.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Output file, or folder for several inputs.")
@click.option("--force", is_flag=True, help="Replace output files that exist.")
@click.option("--background", metavar="COLOUR", help="Lay transparent parts on this colour, such as white or #ff8800.")
@click.option("--depth", type=click.Choice(["8"]), help="Reduce deeper pictures to 8 bits.")
@click.option("--device", default="auto", show_default=True, help="Where networks run: auto, cpu, cuda or cuda:N.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    files: tuple[Path, ...],
    codec: str | None,
    weights: Path | None,
    out: Path | None,
    force: bool,
    background: str | None,
    depth: str | None,
    device: str,
    **_: Any,
) -> int:
    """Compress pictures and arrays to .ctk files, beside the originals or to -o."""
    from codectk.compression import load_codec
    from codectk.files import refuse_existing, write_bytes
    from codectk.inputs import read_array

    name = ctx.meta.get("codectk.codec")
    if name is None:
        names = ", ".join(r.spec.name for r in load_registry().codecs())
        raise UnknownName("No codec was named.", f"Choose one with -c: {names}.")
    plan = plan_outputs(files, out, ".ctk")
    loaded = load_codec(name, weights, device)
    (model,) = ctx.meta["codectk.models"]
    options = loaded.encode_options(given(ctx, model))

    def work(source: Path, target: Path) -> None:
        refuse_existing(target, force)
        picture = read_array(source, background, int(depth) if depth else None)
        for note in picture.notes:
            warn(f"{source}: {note}.")
        try:
            data = loaded.compress(picture.x, picture.info, options).data
        except CodectkError as error:
            raise type(error)(f"{source}: {error.problem}", error.next_step) from error
        write_bytes(target, data, force)
        unit = "bpp" if picture.info.is_image else "bits per value"
        click.echo(f"{source} → {target}  {len(data)} bytes, {8 * len(data) / picture.info.pixels:.4f} {unit}")

    return each(plan, "compressing", work)


def _codec_of(codec: str | None, weights: str | None) -> str | None:
    if codec is not None or weights is None:
        return codec
    from codectk.checkpoint import read_about

    return str(read_about(Path(weights))["codec"])


def _value(args: list[str], *flags: str) -> str | None:
    """The value of a flag among unparsed words."""
    for i, word in enumerate(args):
        if word in flags and i + 1 < len(args):
            return args[i + 1]
        name, equals, value = word.partition("=")
        if equals and name in flags:
            return value
    return None
