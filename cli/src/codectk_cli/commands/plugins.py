"""`codectk plugins`"""

import click

from codectk.registry import Plugin, get_registry
from codectk_cli.shared import console, table


@click.command("plugins")
@click.option("--timing", is_flag=True, help="Also show what each plugin's import and hooks took, the slowest first.")
def command(timing: bool) -> int:
    """Show every installed plugin, and in full why one did not load.

    CODECTK_PLUGINS=a,b takes these plugins alone, CODECTK_BLOCK=c all but this one, CODECTK_STRICT=1 makes any problem
    an error, and CODECTK_PLUGIN_TIMEOUT sets the seconds that a plugin may take.
    """
    registry = get_registry()
    shown = table("plugin", "distribution", "version", "module", "state", *(["seconds"] if timing else []))
    plugins = sorted(registry.plugins, key=lambda p: -p.seconds) if timing else registry.plugins
    for p in plugins:
        seconds = [f"{p.seconds:.3f}"] if timing else []
        shown.add_row(p.name, p.distribution, p.version, p.module, _state(p), *seconds)
    console().print(shown, markup=False)
    for problem in registry.problems:
        click.secho(f"{problem.distribution}, at {problem.stage}: {problem.summary}", fg="red")
        click.echo(problem.details)
    return 1 if registry.problems else 0


def _state(plugin: Plugin) -> str:
    if plugin.left_out_by:
        return f"left out by {plugin.left_out_by}"
    return "loaded" if plugin.loaded else "NOT LOADED"
