"""`codectk plugins`"""

import click

from codectk.registry import get_registry
from codectk_cli.shared import console, table


@click.command("plugins")
def command() -> int:
    """Show every installed plugin, and in full why one did not load."""
    registry = get_registry()
    shown = table("distribution", "version", "module", "state")
    for plugin in registry.plugins:
        shown.add_row(plugin.distribution, plugin.version, plugin.module, "loaded" if plugin.loaded else "NOT LOADED")
    console().print(shown, markup=False)
    for problem in registry.problems:
        click.secho(f"{problem.distribution}, at {problem.stage}: {problem.summary}", fg="red")
        click.echo(problem.details)
    return 1 if registry.problems else 0
