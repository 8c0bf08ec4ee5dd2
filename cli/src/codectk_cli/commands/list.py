"""`codectk list`"""

import json

import click

from codectk_cli.shared import console, load_registry, table

THINGS = ("codecs", "trainers", "datasets", "metrics", "commands")


@click.command("list")
@click.argument("things", type=click.Choice(THINGS), required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for programs.")
def command(things: str | None, as_json: bool) -> None:
    """Show what is installed, and from which distribution."""
    registry = load_registry()
    found = registry.everything() if things is None else getattr(registry, things)()
    if as_json:
        click.echo(
            json.dumps(
                [
                    {
                        "kind": r.spec.kind_of_thing,
                        "name": r.spec.name,
                        "summary": r.spec.summary,
                        "distribution": r.distribution,
                        "version": r.version,
                    }
                    for r in found
                ],
                indent=2,
            )
        )
        return
    shown = table("kind", "name", "what it is", "distribution", "version")
    for r in found:
        shown.add_row(r.spec.kind_of_thing, r.spec.name, r.spec.summary, r.distribution, r.version)
    console().print(shown, markup=False)
