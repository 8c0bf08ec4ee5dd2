"""CAESAR-Freq: scientific fields by frequency transforms and learned priors, with an error bound that holds.

Importing this package imports nothing heavy; every public name is loaded on first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codectk_caesar_freq.api import CAESARFreq, ScientificDataset
    from codectk_caesar_freq.region import Field, open_field

_HOMES = {"CAESARFreq": "api", "Field": "region", "ScientificDataset": "api", "open_field": "region"}

__all__ = ["CAESARFreq", "Field", "ScientificDataset", "open_field"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'codectk_caesar_freq' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"codectk_caesar_freq.{_HOMES[name]}"), name)
