"""The hooks through which a plugin tells codectk what it holds.

A plugin is a distribution with an entry point in the group `codectk` that names a module. That module sets
`CODECTK_API` to the version it was written for and implements any of the hooks below:

    from codectk.hookspecs import hookimpl
    from codectk.specs import CodecSpec

    CODECTK_API = 1

    @hookimpl
    def codectk_codecs():
        return [CodecSpec(name="mine", summary="…", target="my_package.codec:MyCodec", kinds=("image/rgb8",))]

The module must import nothing heavy: it is loaded by every command. Specs name their code as `"module:Name"` strings,
which are imported on use.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from codectk.specs import CodecSpec, CommandSpec, DatasetSpec, MetricSpec, TrainerSpec

PROJECT = "codectk"

CODECTK_API = 1
"""Version of the plugin contract. It rises when something that plugins rely on is removed or changes meaning."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def codectk_codecs() -> Iterable["CodecSpec"]:  # type: ignore[empty-body]
    """Codecs of this plugin. The answers of all plugins are joined."""


@hookspec
def codectk_trainers() -> Iterable["TrainerSpec"]:  # type: ignore[empty-body]
    """Trainers of this plugin. The answers of all plugins are joined."""


@hookspec
def codectk_datasets() -> Iterable["DatasetSpec"]:  # type: ignore[empty-body]
    """Datasets of this plugin. The answers of all plugins are joined."""


@hookspec
def codectk_metrics() -> Iterable["MetricSpec"]:  # type: ignore[empty-body]
    """Metrics of this plugin. The answers of all plugins are joined."""


@hookspec
def codectk_commands() -> Iterable["CommandSpec"]:  # type: ignore[empty-body]
    """Commands of this plugin. The answers of all plugins are joined."""
