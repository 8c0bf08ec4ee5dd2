"""`codectk decompress`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codectk.errors import CodectkError
from codectk.specs import CodecSpec
from codectk_cli.bridge import Model, OptionsCommand, given
from codectk_cli.shared import ByteSize, each, load_registry, plan_outputs, warn

if TYPE_CHECKING:
    from codectk.container import Container


class DecompressCommand(OptionsCommand):
    """Takes the flags of the codecs that made the files."""

    def models_for(self, ctx: click.Context, args: list[str]) -> list[Model]:
        """The decode options of the first file's codec; whatever is wrong with the file is told later."""
        for path in self.own_values(ctx, args)["files"] or ():
            try:
                return [_decode_options(path)]
            except CodectkError:
                continue
        return []


@click.command(
    "decompress",
    cls=DecompressCommand,
    epilog="The decode options of a file's codec: codectk decompress FILE.ctk --help",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE.ctk|FOLDER…")
@click.option(
    "-w",
    "--weights",
    type=click.Path(path_type=Path),
    help="The weights that the files were made with, for codecs that need any.",
)
@click.option("-o", "--out", type=click.Path(), help="Output file, or folder for several inputs.")
@click.option("--force", is_flag=True, help="Replace output files that exist.")
@click.option("--device", default="auto", show_default=True, help="Where networks run: auto, cpu, cuda or cuda:N.")
@click.option(
    "--max-bytes", type=ByteSize(), default="2G", show_default=True, help="Largest array to decode, such as 500M or 2T."
)
@click.option(
    "--segments", type=click.IntRange(min=1), help="Decode the first so many segments alone (progressive codecs)."
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    files: tuple[Path, ...],
    weights: Path | None,
    out: str | None,
    force: bool,
    device: str,
    max_bytes: int,
    segments: int | None,
    **_: Any,
) -> int:
    """Decompress .ctk files to lossless pictures (.png, or the ending of -o) or to fields.

    Codecs that code files themselves write such files, too: -o photo.jpg gives back the JPEG with its coefficients.

    Fields go back into the format that they came from, or that of -o: .npy, .npz, .nc, .h5 or .zarr. All but .npy hold
    what belongs to them too: name, dimensions, attributes, coordinates.

    A file that was cut, as by a download that broke off, is an error. Of a progressive codec's, --segments decodes what
    is there; one that ends right after a segment is decoded with a warning.
    """
    from codectk import container
    from codectk.compression import LoadedCodec, codec_name, load_codec
    from codectk.files import MAX_INPUT_BYTES, read_bytes, write_bytes
    from codectk.inputs import default_suffix, refuse_output, write_array

    registry = load_registry()
    models = ctx.meta["codectk.models"]
    values = given(ctx, models[0]) if models else {}
    plan = plan_outputs(files, out, "")
    codecs: dict[str, LoadedCodec] = {}

    def work(source: Path, target: Path) -> None:
        file = container.unpack(
            read_bytes(source, max(MAX_INPUT_BYTES, max_bytes)), str(source), max_bytes, allow_cut=True
        )
        info = file.header.info
        # A name that came from the input still has its ending .ctk.
        named = out is not None and target == Path(out)
        place = target if named else target.with_suffix(default_suffix(info, file.header.metadata))
        refuse_output(place, force)
        name = codec_name(file.header, registry)
        spec: CodecSpec = registry.find(CodecSpec, name).spec
        count = _what_is_there(file, spec, str(source), segments) if file.missing_bytes else segments
        if name not in codecs:
            codecs[name] = load_codec(name, weights if spec.needs_weights or spec.takes_weights else None, device)
        options = codecs[name].decode_options(values)
        if place.suffix.lower() in spec.files:
            write_bytes(place, codecs[name].decompress_file(file, options, str(source), count), force)
        else:
            x_hat = codecs[name].decompress(file, options, str(source), count)
            write_array(place, x_hat, info, force, file.header.metadata)
        click.echo(f"{source} → {place}  {' x '.join(map(str, info.shape))} {info.kind}")

    return each(plan, "decompressing", work)


def _decode_options(path: Path) -> Model:
    """The option model of the codec of a file, or of the first file in a folder.

    Raises:
        CodectkError: there is no such file, or nothing here knows its codec.
    """
    from codectk.compression import codec_name
    from codectk.container import MAX_HEADER, read_header
    from codectk.files import check_file

    first = next(iter(sorted(path.rglob("*.ctk"))), path) if path.is_dir() else path
    check_file(first)
    with first.open("rb") as stream:
        header = read_header(stream.read(MAX_HEADER), str(first))
    registry = load_registry()
    registered = registry.find(CodecSpec, codec_name(header, registry))
    model: Model = registered.load(registered.spec.decode_options)
    return model


def _what_is_there(file: Container, spec: CodecSpec, source: str, segments: int | None) -> int:
    """How many segments of a file that was cut to decode; without a word of the user's, those of a file that is not
    cut inside one.

    Raises:
        ContainerError: that makes no picture.
    """
    there = len(file.segments)
    if not spec.progressive or not there:
        raise file.cut_error(source)
    if segments is None and file.ends_inside_a_segment:
        raise file.cut_error(source, f"Copy or download it again, or decode what is whole with --segments {there}.")
    if segments is None:
        warn(f"{source} was cut: {there} of {len(file.header.segment_lengths)} segments are there and decoded.")
    return there if segments is None else segments
