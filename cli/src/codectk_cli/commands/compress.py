"""`codectk compress`"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codectk.errors import CodectkError, UnknownName
from codectk.options import leaves
from codectk.specs import CodecSpec
from codectk_cli.bridge import Model, OptionsCommand, given
from codectk_cli.shared import ByteSize, codec_of, complete_codec, each, load_registry, plan_outputs, warn

if TYPE_CHECKING:
    from codectk.compression import Compressed, LoadedCodec
    from codectk.images import Picture


class CompressCommand(OptionsCommand):
    """Takes the flags of the codec that the call names."""

    give_way = frozenset({"bpp", "psnr"})  # a codec that takes such a target itself needs no search

    def models_for(self, ctx: click.Context, args: list[str]) -> list[Model]:
        """The encode options of the codec after `-c`, or of the one that the weights after `-w` belong to."""
        try:
            name = self._codec(ctx, args)
            models = [_encode_options(name)] if name is not None else []
        except CodectkError:
            if ctx.resilient_parsing or "--help" in args or "-h" in args:
                return []
            raise
        if name is not None:
            ctx.meta["codectk.codec"] = name
        return models

    def _codec(self, ctx: click.Context, args: list[str]) -> str | None:
        """What the call names, read as click reads it, before the codec's own flags are known."""
        named = self.own_values(ctx, args)
        codec: str | None = named["codec"]
        return codec_of(named["weights"]) if codec is None and named["weights"] is not None else codec


@click.command(
    "compress",
    cls=CompressCommand,
    epilog="The codec's own options: codectk compress -c CODEC --help",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE[:FIELD]|FOLDER…")
@click.option("-c", "--codec", help="Codec to use; not needed with -w.", shell_complete=complete_codec)
@click.option("-w", "--weights", type=click.Path(path_type=Path), help="Weights file.")
@click.option("-o", "--out", type=click.Path(), help="Output file, or folder for several inputs.")
@click.option("--force", is_flag=True, help="Replace output files that exist.")
@click.option("--background", metavar="COLOUR", help="Lay transparent parts on this colour, such as white or #ff8800.")
@click.option("--depth", type=click.Choice(["8"]), help="Reduce deeper pictures to 8 bits.")
@click.option(
    "--bpp",
    "--target-bpp",
    "bpp",
    type=click.FloatRange(min=0, min_open=True),
    help="Largest bits per pixel: search the setting.",
)
@click.option("--psnr", type=float, help="Least quality in dB: search the smallest file that has it.")
@click.option(
    "--max-bytes",
    type=ByteSize(),
    default="16G",
    show_default=True,
    help="Largest file or field to read, such as 500M or 2T. Fields need not fit into memory.",
)
@click.option("--device", default="auto", show_default=True, help="Where networks run: auto, cpu, cuda or cuda:N.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    files: tuple[Path, ...],
    codec: str | None,
    weights: Path | None,
    out: str | None,
    force: bool,
    background: str | None,
    depth: str | None,
    bpp: float | None,
    psnr: float | None,
    max_bytes: int,
    device: str,
    **_: Any,
) -> int:
    """Compress pictures and fields to .ctk files, beside the originals or to -o.

    Some codecs take certain files as they are, such as JPEG files with their coefficients; all others code the picture.
    Fields are read from .npy, .npz, NetCDF, HDF5 and Zarr; in a file of several, one is named as in climate.nc:t2m.
    """
    from codectk.compression import load_codec
    from codectk.files import refuse_existing, write_bytes
    from codectk.inputs import read_array

    name = _named_codec(ctx)
    plan = plan_outputs(files, out, ".ctk")
    loaded = load_codec(name, weights, device)
    (model,) = ctx.meta["codectk.models"]
    values = given(ctx, model)
    loaded.encode_options(values)  # wrong ones are told before any file is read
    targets = {"bpp": bpp, "psnr": psnr}
    searched = {key: value for key, value in targets.items() if value is not None and key not in leaves(model)}

    def work(source: Path, target: Path) -> None:
        refuse_existing(target, force)
        picture = read_array(source, background, int(depth) if depth else None, max_bytes)
        for note in () if picture.file_for(loaded.spec.files) else picture.notes:  # what codes files tells of its own
            warn(f"{source}: {note}.")
        packed = _compress(loaded, picture, values, source, searched)
        for message in packed.messages:
            warn(f"{source}: {message}")
        write_bytes(target, packed.data, force)
        size, info = target.stat().st_size, picture.info
        unit = "bpp" if info.is_image else "bits per value"
        click.echo(f"{source} → {target}  {size} bytes, {8 * size / info.pixels:.4f} {unit}")

    return each(plan, "compressing", work)


def _named_codec(ctx: click.Context) -> str:
    name: str | None = ctx.meta.get("codectk.codec")
    if name is None:
        names = ", ".join(r.spec.name for r in load_registry().codecs())
        raise UnknownName("No codec was named.", f"Choose one with -c: {names}.")
    return name


def _compress(
    loaded: LoadedCodec,
    picture: Picture,
    values: Mapping[str, Any],
    source: Path,
    searched: Mapping[str, float],
) -> Compressed:
    """The file; an error names the input."""
    file = picture.file_for(loaded.spec.files)
    try:
        if not searched:
            return loaded.compress(picture.x, picture.info, loaded.encode_options(values), picture.metadata, file)
        from codectk.target import compress_to

        return compress_to(loaded, picture.x, picture.info, values, **searched, metadata=picture.metadata, file=file)
    except CodectkError as error:
        raise type(error)(f"{source}: {error.problem}", error.next_step) from error


def _encode_options(name: str) -> Model:
    registered = load_registry().find(CodecSpec, name)
    model: Model = registered.load(registered.spec.encode_options)
    return model
