"""`codectk truncate`"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from math import ceil, floor, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codectk.errors import InputError
from codectk.specs import CodecSpec
from codectk_cli.shared import each, load_registry, plan_outputs

if TYPE_CHECKING:
    from codectk.container import Container
    from codectk.registry import Registry

ANY_SIZE = 1 << 62
"""Nothing of the announced size is allocated here."""


@click.command("truncate")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE.ctk|FOLDER…")
@click.option("--bpp", type=float, help="Largest size of the whole file, in bits per pixel (or value, for fields).")
@click.option("--bytes", "size", type=click.IntRange(min=1), help="Largest size of the whole file, in bytes.")
@click.option("--segments", type=click.IntRange(min=1), help="How many segments to keep at most.")
@click.option("-o", "--out", type=click.Path(), help="Output file, or folder; without it --force replaces the file.")
@click.option("--force", is_flag=True, help="Replace output files that exist.")
def command(
    files: tuple[Path, ...], bpp: float | None, size: int | None, segments: int | None, out: str | None, force: bool
) -> int:
    """Make files of a progressive codec smaller by keeping their first segments alone.

    Nothing is decoded or coded again: no weights are needed, and the result decodes to what `codectk decompress
    --segments` makes of the whole file. A file that is small enough already is left as it is, or copied to -o. A file
    that was cut becomes a sound one of the segments that are whole.
    """
    wanted = Wanted(bpp, size, segments)
    wanted.check()
    registry = load_registry()
    plan = plan_outputs(files, out, "")

    def work(source: Path, target: Path) -> None:
        _truncate(source, target, wanted, registry, force)

    return each(plan, "truncating", work)


@dataclass(frozen=True)
class Wanted:
    """What the user asks for: exactly one of the three is set."""

    bpp: float | None
    size: int | None
    segments: int | None

    def check(self) -> None:
        """Wrong usage is told before any file is read."""
        if sum(value is not None for value in (self.bpp, self.size, self.segments)) != 1:
            raise click.UsageError("Give one of --bpp, --bytes and --segments.")
        if self.bpp is not None and not (isfinite(self.bpp) and self.bpp > 0):
            raise click.UsageError(f"--bpp must be above 0, not {self.bpp}.")

    def limit(self, pixels: int) -> int:
        """Largest size in bytes of the file of an array with so many pixels or values."""
        if self.bpp is None:
            return ANY_SIZE if self.size is None else self.size
        return floor(min(self.bpp * pixels / 8, ANY_SIZE) + 1e-9)

    def refusal(self, source: Path, smallest: int, pixels: int) -> InputError:
        """The error for a file whose first segment alone is too large."""
        rate = ceil(8e4 * smallest / pixels) / 1e4
        at_least = f"--bytes {smallest}" if self.bpp is None else f"--bpp {rate:.4f}"
        return InputError(
            f"{source} cannot be that small: with its first segment alone it has {smallest} bytes.",
            f"Ask for {at_least} or more.",
        )


def _truncate(source: Path, target: Path, wanted: Wanted, registry: Registry, force: bool) -> None:
    from codectk import container
    from codectk.files import read_bytes, write_bytes

    data = read_bytes(source)
    file = container.unpack(data, str(source), ANY_SIZE, allow_cut=True)
    _check_progressive(file, source, registry)
    info, there = file.header.info, len(file.segments)
    allowed = range(1, min(there, wanted.segments or there) + 1)
    limit = wanted.limit(info.pixels)

    def result(count: int) -> bytes:
        whole = count == there and not file.missing_bytes
        return data if whole else container.first_segments(file, count, str(source))

    count = bisect_right(allowed, limit, key=lambda k: len(result(k)))
    if not count:
        raise wanted.refusal(source, len(result(1)), info.pixels)
    made = result(count)
    unit = "bpp" if info.is_image else "bits per value"
    sizes = f"{count} of {len(file.header.segment_lengths)} segments, {len(made)} bytes"
    sizes += f", {8 * len(made) / info.pixels:.4f} {unit}"
    if made is data and target.exists() and target.samefile(source):
        click.echo(f"{source}  {sizes}: small enough, left as it is")
        return
    write_bytes(target, made, force)
    click.echo(f"{source} → {target}  {sizes}{': small enough, copied' if made is data else ''}")


def _check_progressive(file: Container, source: Path, registry: Registry) -> None:
    """Only the codec's spec says whether its first segments make sense alone.

    Raises:
        UnknownName: the codec is not installed; the message names the distribution to install.
        InputError: the codec needs all segments.
        ContainerError: the file was cut before the end of its first segment.
    """
    from codectk.compression import codec_name

    spec: CodecSpec = registry.find(CodecSpec, codec_name(file.header, registry)).spec
    if not spec.progressive:
        raise InputError(
            f"{source}: codec {spec.name} is not progressive; it needs all segments.",
            "Compress the original again at a lower quality.",
        )
    if not file.segments:
        raise file.cut_error(str(source))
