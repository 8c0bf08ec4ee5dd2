"""Compiled parts of plugins: shared libraries that know nothing of Python and are called through ctypes."""

import ctypes
from pathlib import Path

from codectk.errors import PluginError


def open_library(path: Path, distribution: str) -> ctypes.CDLL:
    """A plugin's shared library.

    Args:
        path: the file, beside the plugin's modules.
        distribution: what it belongs to.

    Raises:
        PluginError: it was not built, or for another machine.
    """
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise PluginError(
            f"{distribution}'s compiled part does not load ({error}).", f"Install {distribution} again."
        ) from None
