"""codectk: a plugin-based toolkit for learned codecs.

Importing this package imports neither numpy nor torch; every public name is loaded on first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codectk.arrays import ArrayInfo
    from codectk.checkpoint import Checkpoint
    from codectk.codec import Codec, Encoded
    from codectk.compression import LoadedCodec, decompress, load_codec
    from codectk.easy import compress, open
    from codectk.errors import CodectkError
    from codectk.hookspecs import CODECTK_API, hookimpl
    from codectk.options import Options, option
    from codectk.registry import Registry, get_registry
    from codectk.specs import CodecSpec, CommandSpec, DatasetSpec, MetricSpec, TrainerSpec

_HOMES = {
    "ArrayInfo": "arrays",
    "Checkpoint": "checkpoint",
    "Codec": "codec",
    "Encoded": "codec",
    "LoadedCodec": "compression",
    "decompress": "compression",
    "load_codec": "compression",
    "CodectkError": "errors",
    "compress": "easy",
    "open": "easy",
    "CODECTK_API": "hookspecs",
    "hookimpl": "hookspecs",
    "Options": "options",
    "option": "options",
    "Registry": "registry",
    "get_registry": "registry",
    "CodecSpec": "specs",
    "CommandSpec": "specs",
    "DatasetSpec": "specs",
    "MetricSpec": "specs",
    "TrainerSpec": "specs",
}

__all__ = [
    "CODECTK_API",
    "ArrayInfo",
    "Checkpoint",
    "Codec",
    "CodecSpec",
    "CodectkError",
    "CommandSpec",
    "DatasetSpec",
    "Encoded",
    "LoadedCodec",
    "MetricSpec",
    "Options",
    "Registry",
    "TrainerSpec",
    "compress",
    "decompress",
    "get_registry",
    "hookimpl",
    "load_codec",
    "open",
    "option",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'codectk' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"codectk.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
