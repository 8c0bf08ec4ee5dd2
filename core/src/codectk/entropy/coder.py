"""One stream of symbols whose tables both sides know: rANS, as `native/entropy.c` describes it.

Interleaved rANS: Giesen, "Interleaved entropy coders" (2014), after Duda, "Asymmetric numeral systems" (2013).
"""

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import Array
from codectk.entropy import fallback, native
from codectk.entropy.tables import Tables
from codectk.errors import ContainerError

backend = native if native.library() else fallback


class Encoder:
    """Collects symbols, call by call, and writes them as one stream."""

    def __init__(self) -> None:
        self._items: list[NDArray[np.uint32]] = []

    def encode(self, symbols: Array, tables: Tables, indexes: Array) -> None:
        """Append symbols.

        If all symbols of the call that belong to skippable tables are 0, they cost one bit together; otherwise they
        are coded as all others.

        Args:
            symbols: integers within int32, of any shape.
            tables: of this call; another may use others.
            indexes: integers of a shape that broadcasts to that of the symbols: which table each belongs to.

        Raises:
            ValueError: symbols are no int32, or indexes are not those of tables or have another shape.
        """
        _check(symbols, "symbols", np.iinfo(np.int32).min, np.iinfo(np.int32).max)
        values = np.asarray(symbols, np.int32, order="C").reshape(-1)
        which = np.broadcast_to(_indexes(indexes, tables), symbols.shape).reshape(-1)
        self._items.append(backend.items(tables, values, which))

    def finish(self) -> bytes:
        """The stream of all that was encoded: no byte for no symbol."""
        data: bytes = backend.pack(np.concatenate([np.empty(0, np.uint32), *self._items]))
        return data


class Decoder:
    """Takes symbols from a stream, in the calls and the order in which they were encoded.

    Args:
        data: what `Encoder.finish` gave.
    """

    def __init__(self, data: bytes) -> None:
        self._reader = backend.Reader(bytes(data))

    def decode(self, tables: Tables, indexes: Array) -> NDArray[np.int32]:
        """The symbols of one call of `Encoder.encode`.

        Altered bytes give an error or other symbols: a check sum of the symbols is the caller's.

        Args:
            tables: those of that call.
            indexes: those of that call, in the shape of the symbols.

        Returns:
            int32 in the shape of the indexes.

        Raises:
            ContainerError: the stream is too short, or no encoder writes it.
            ValueError: the indexes are not those of tables.
        """
        which = _indexes(indexes, tables)
        symbols: NDArray[np.int32] | None = self._reader.decode(tables, which.reshape(-1))
        if symbols is None:
            raise ContainerError("The entropy-coded symbols are damaged or cut.", "Copy or download the file again.")
        return symbols.reshape(which.shape)

    def finish(self) -> None:
        """Check that the stream ends here.

        Raises:
            ContainerError: it goes on, or ends in a state in which no encoder began.
        """
        if not self._reader.finished():
            raise ContainerError(
                "The entropy-coded symbols are damaged at the end.", "Copy or download the file again."
            )


def _indexes(indexes: Array, tables: Tables) -> NDArray[np.uint16]:
    _check(indexes, "indexes", 0, len(tables) - 1)
    return np.asarray(indexes, np.uint16, order="C")


def _check(given: Array, what: str, low: int, high: int) -> None:
    """The compiled coder relies on all that is refused here."""
    if given.dtype.kind not in "iu":
        raise ValueError(f"{what} must be integers, not {given.dtype}")
    if given.size and not (low <= given.min() and given.max() <= high):
        raise ValueError(f"{what} must be from {low} to {high}, not from {given.min()} to {given.max()}")
