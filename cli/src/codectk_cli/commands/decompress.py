"""`codectk decompress`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from codectk.specs import CodecSpec
from codectk_cli.shared import each, load_registry, plan_outputs, warn

if TYPE_CHECKING:
    from codectk.container import Container


@click.command("decompress")
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
@click.option("--max-bytes", default=1 << 31, show_default=True, help="Largest array to decode, in bytes.")
@click.option(
    "--segments", type=click.IntRange(min=1), help="Decode the first so many segments alone (progressive codecs)."
)
def command(
    files: tuple[Path, ...],
    weights: Path | None,
    out: str | None,
    force: bool,
    device: str,
    max_bytes: int,
    segments: int | None,
) -> int:
    """Decompress .ctk files to lossless pictures (.png, or the ending of -o) or .npy arrays.

    A file that was cut, as by a download that broke off, is an error. Of a progressive codec's, --segments decodes what
    is there; one that ends right after a segment is decoded with a warning.
    """
    from codectk import container
    from codectk.compression import LoadedCodec, codec_name, load_codec
    from codectk.files import read_bytes, refuse_existing
    from codectk.inputs import default_suffix, write_array

    registry = load_registry()
    plan = plan_outputs(files, out, "")
    codecs: dict[str, LoadedCodec] = {}

    def work(source: Path, target: Path) -> None:
        file = container.unpack(read_bytes(source), str(source), max_bytes, allow_cut=True)
        info = file.header.info
        # A name that came from the input still has its ending .ctk.
        place = target if out is not None and target == Path(out) else target.with_suffix(default_suffix(info))
        refuse_existing(place, force)
        name = codec_name(file.header, registry)
        spec: CodecSpec = registry.find(CodecSpec, name).spec
        count = _what_is_there(file, spec, str(source), segments) if file.missing_bytes else segments
        if name not in codecs:
            codecs[name] = load_codec(name, weights if spec.needs_weights else None, device)
        write_array(place, codecs[name].decompress(file, source=str(source), segments=count), info, force)
        click.echo(f"{source} → {place}  {' x '.join(map(str, info.shape))} {info.kind}")

    return each(plan, "decompressing", work)


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
