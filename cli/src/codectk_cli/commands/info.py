"""`codectk info`"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from codectk.errors import UnknownName
from codectk.files import check_file
from codectk.registry import Registered
from codectk.specs import CodecSpec, TrainerSpec, normalise
from codectk_cli.shared import console, load_registry, table


@click.command("info")
@click.argument("what", metavar="NAME|FILE.ctk|WEIGHTS")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object, or a list if several things have that name, for programs."
)
def command(what: str, as_json: bool) -> None:
    """Describe a codec, trainer, dataset or metric by name; a .ctk file; or a weights file.

    A file is described from its own header: no plugin is needed.
    """
    if Path(what).is_file():
        _show([_about_file(Path(what))], as_json)
        return
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

    check_file(path)
    with path.open("rb") as stream:
        if stream.read(len(container.MAGIC)) != container.MAGIC:
            return {"file": str(path), "what": "weights", **read_about(path)}
    file = container.unpack(read_bytes(path), str(path), max_array_bytes=1 << 62)
    header = file.header
    size = path.stat().st_size
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
        "params": header.params,
        "segments": list(header.segment_lengths),
        "to open it": f"pip install {header.distribution}",
    }


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
    shown = table("", "")
    shown.show_header = False
    for key, value in about.items():
        if value not in ("", None, [], {}):
            text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
            shown.add_row(key.replace("_", " "), text if len(text) < 2000 else f"{text[:2000]} …")
    console().print(shown, markup=False)


def _show_options(registered: Registered) -> None:
    from codectk_cli.bridge import model_flags

    spec = registered.spec
    models = {
        "encode options": spec.encode_options if isinstance(spec, CodecSpec) else None,
        "decode options": spec.decode_options if isinstance(spec, CodecSpec) else None,
        "options": spec.options if isinstance(spec, TrainerSpec) else None,
    }
    for title, target in models.items():
        flags = model_flags(registered.load(target)) if target else []
        if not flags:
            continue
        shown = table("flag", "meaning", title=title)
        for flag in flags:
            shown.add_row(", ".join(flag.opts), getattr(flag, "help", ""))
        console().print(shown, markup=False)
