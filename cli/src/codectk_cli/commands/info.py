"""`codectk info`"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codectk.errors import OptionsError, PluginError, UnknownName
from codectk.files import check_file
from codectk.registry import Registered
from codectk.specs import CodecSpec, CommandSpec, TrainerSpec, normalise
from codectk_cli.shared import console, load_registry, table

if TYPE_CHECKING:
    from codectk.arrays import Array
    from codectk.checkpoint import Checkpoint
    from codectk.container import Header


@click.command("info")
@click.argument("what", metavar="NAME|FILE.ctk|WEIGHTS")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object, or a list if several things have that name, for programs."
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    metavar="PNG",
    help="Show a weights file's filters as a picture, here.",
)
@click.option("--force", is_flag=True, help="Replace the picture if it exists.")
def command(what: str, as_json: bool, picture: Path | None, force: bool) -> None:
    """Describe a codec, trainer, dataset, metric or command by name; a .ctk file; or a weights file.

    A file is described from its own header: no plugin is needed, except for --picture. Where the file's codec is
    installed and can tell, what the segments hold is shown, too.
    """
    if force and picture is None:
        raise click.UsageError("--force belongs to --picture.")
    if Path(what).is_file():
        about = _about_file(Path(what))
        if picture is not None:
            about["picture"] = _draw(Path(what), about, picture, force)
        _show([about], as_json)
        return
    if picture is not None:
        check_file(Path(what))  # of a name, it says that there is no such file
    registry = load_registry()
    found = [r for r in registry.everything() if normalise(what) in (normalise(r.spec.name), normalise(r.full_name))]
    if not found and Path(what).exists():
        check_file(Path(what))
    if not found:
        raise UnknownName(
            f"'{what}' is neither a file nor the name of anything loaded.",
            registry.left_out() or "`codectk list` shows all names.",
        )
    if as_json:
        _show([_about_spec(registered) for registered in found], as_json)
        return
    for registered in found:
        _show([_about_spec(registered)], as_json)
        _show_options(registered)


def _about_file(path: Path) -> dict[str, Any]:
    from codectk import container
    from codectk.checkpoint import read_about
    from codectk.files import read_bytes
    from codectk_cli.details import details_of

    check_file(path)
    with path.open("rb") as stream:
        if stream.read(len(container.MAGIC)) != container.MAGIC:
            return {"file": str(path), "what": "weights", **read_about(path)}
    file = container.unpack(read_bytes(path), str(path), max_array_bytes=1 << 62)
    header = file.header
    size = path.stat().st_size
    details, left_out = details_of(header, file.segments)
    return {
        "file": str(path),
        "what": "compressed array",
        "bytes": size,
        "header bytes": file.header_bytes,
        "bpp" if header.info.is_image else "bits per value": round(8 * size / header.info.pixels, 4),
        "codec": header.codec,
        "distribution": header.distribution,
        "bitstream version": header.bitstream_version,
        "weights": header.weights_digest.hex() if header.weights_digest else "none needed",
        "array": f"{header.info.kind} {' x '.join(map(str, header.info.shape))}",
        **_about_field(header),
        "params": header.params,
        "segments": list(header.segment_lengths),
        "to open it": f"pip install {header.distribution}",
        **({"details": details} if details else {}),
        **({"left out": left_out} if left_out else {}),
    }


def _about_field(header: Header) -> dict[str, Any]:
    """What a file keeps of a field besides its values; it may be hostile, so only what is as it should be."""
    kept = header.metadata
    attributes, dims, coordinates = (kept.get(key) for key in ("attributes", "dims", "coordinates"))
    about: dict[str, Any] = {"name": kept.get("name")}
    if isinstance(dims, list) and all(isinstance(dim, str) for dim in dims):
        about["dims"] = ", ".join(dims)
    if isinstance(coordinates, dict):
        about["coordinates"] = ", ".join(coordinates)
    if isinstance(attributes, dict):
        about |= {key.replace("_", " "): attributes.get(key) for key in ("long_name", "units")}
    # What a terminal would take for a command is not shown as it is.
    shown = {key: value for key, value in about.items() if value and isinstance(value, str)}
    shown = {key: value if value.isprintable() else ascii(value) for key, value in shown.items()}
    return shown | ({} if header.info.fill_value is None else {"fill value": header.info.fill_value})


def _draw(path: Path, about: Mapping[str, Any], picture: Path, force: bool) -> str:
    """Write a weights file's picture as its codec draws it, and return what was written.

    Raises:
        OptionsError: this is no weights file, its codec draws nothing, or the picture is to be something else than PNG.
        OutputError: the picture exists and `force` is false, or cannot be written.
        CodectkError: the weights are damaged, or their codec is not installed.
    """
    if about["what"] != "weights":
        raise OptionsError(f"{path} is no weights file.", "--picture shows what weights look like.")
    if picture.suffix.lower() != ".png":
        raise OptionsError(f"{picture} does not end in .png.", "Give the picture a name that does.")
    registered = load_registry().find(CodecSpec, about["codec"])
    if registered.spec.picture is None:
        raise OptionsError(f"Codec {registered.spec.name} draws no picture of its weights.", "Leave --picture out.")
    from PIL import Image

    from codectk.checkpoint import Checkpoint
    from codectk.files import atomic_output, refuse_existing

    refuse_existing(picture, force)
    pixels = _pixels(registered, Checkpoint.open(path))
    with atomic_output(picture, force) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")
    return f"{picture}, {pixels.shape[1]} x {pixels.shape[0]}"


def _pixels(registered: Registered, checkpoint: Checkpoint) -> Array:
    """The picture as the plugin draws it, (height, width, 4) uint8.

    Raises:
        PluginError: it is something else.
    """
    pixels: Array = registered.load(registered.spec.picture)(checkpoint)
    shape: tuple[int, ...] = getattr(pixels, "shape", ())
    kind = str(getattr(pixels, "dtype", type(pixels).__name__))
    if len(shape) != 3 or shape[2] != 4 or kind != "uint8":
        raise PluginError(
            f"Codec {registered.spec.name} drew {kind} {shape}, not uint8 (height, width, 4).",
            f"Report this to the makers of {registered.distribution}.",
        )
    return pixels


def _about_spec(registered: Registered) -> dict[str, Any]:
    spec = registered.spec
    values = asdict(spec)
    return {
        "what": spec.kind_of_thing,
        **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()},
        "distribution": registered.distribution,
        "version": registered.version,
    }


def _show(abouts: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(abouts[0] if len(abouts) == 1 else abouts, indent=2, ensure_ascii=False))
        return
    for about in abouts:
        _show_table(about)


def _show_table(about: Mapping[str, Any]) -> None:
    from codectk_cli.details import tables

    details = about["details"] if isinstance(about.get("details"), dict) else {}
    shown = table("", "")
    shown.show_header = False
    for key, value in about.items():
        if value not in ("", None, [], {}, details):
            text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
            shown.add_row(key.replace("_", " "), text if len(text) < 2000 else f"{text[:2000]} …")
    console().print(shown, markup=False)
    for title, part in tables(details):
        console().print(title, markup=False)
        console().print(part, markup=False)


def _show_options(registered: Registered) -> None:
    from codectk_cli.bridge import model_flags

    spec = registered.spec
    models = {
        "encode options": spec.encode_options if isinstance(spec, CodecSpec) else None,
        "decode options": spec.decode_options if isinstance(spec, CodecSpec) else None,
        "import options": spec.import_options if isinstance(spec, CodecSpec | TrainerSpec) else None,
        "options": spec.options if isinstance(spec, TrainerSpec | CommandSpec) else None,
    }
    for title, target in models.items():
        flags = model_flags(registered.load(target)) if target else []
        if not flags:
            continue
        shown = table("flag", "meaning", title=title)
        for flag in flags:
            shown.add_row(", ".join(flag.opts), getattr(flag, "help", ""))
        console().print(shown, markup=False)
