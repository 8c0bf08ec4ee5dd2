"""The codecs for scientific fields with a bound on the error of every value: SZ3, ZFP and SPERR.

    x ─ fill what is missing ─ fold to at most three axes ─ library's encoder ─> segment 1, the library's bytes
    segment 1 ─ library's decoder ─ compare with x ─ what is beyond the bound or missing ─ zlib ─> segment 2
    segment 1 ─ library's decoder ─ put in the values of segment 2 ─> x_hat

The libraries run in a process of their own (`codectk_classic.isolation`), because they trust the bytes that they
decode.
"""

import zlib
from importlib.util import find_spec
from math import isfinite, prod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from codectk.arrays import Array, ArrayInfo, missing
from codectk.checkpoint import Checkpoint
from codectk.codec import Codec, Encoded
from codectk.errors import OptionsError, PluginError
from codectk_classic import headers
from codectk_classic.isolation import LibraryError, field_process
from codectk_classic.options import FieldOptions

DEFAULT_REL_ERROR = 1e-3
"""What is promised where neither bound is given."""


class FieldCodec(Codec):
    """One library for fields; the first segment is what the library writes.

    Attributes:
        title: its name in messages.
        library: its name in `codectk_classic.field_worker`.
        least_axes: how many axes it must be given.
    """

    title: ClassVar[str]
    library: ClassVar[str]
    least_axes: ClassVar[int] = 1
    rate_points = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)

    @property
    def rate_ladder(self) -> tuple[dict[str, Any], ...]:
        """Bounds from a tenth to a millionth of the value range, twelve to a factor of ten."""
        return tuple({"rel_error": float(f"{10 ** (-1 - step / 12):.3g}")} for step in range(61))

    @classmethod
    def load(cls, checkpoint: Checkpoint | None, device: str) -> Self:
        """Make the codec ready; it has no weights and runs on the CPU.

        Raises:
            PluginError: the library is not installed.
        """
        cls._require_library()
        return cls()

    def encode(self, x: Array, info: ArrayInfo, options: FieldOptions) -> Encoded:
        """Code a field, decode it again, and store apart the values that are missing or not within the bound.

        Notes: `library_seconds` (the library's encoder alone, without the check), `exact_values` (of segment 2).

        Raises:
            OptionsError: both bounds are given.
        """
        gaps = missing(x, info.fill_value)
        low, high = _value_range(x, gaps)
        bound = _absolute(low, high, options)
        data, seconds, x_hat = b"", 0.0, np.zeros_like(x)
        if 0 < bound < np.inf:
            shape = folded(info.shape, self.least_axes)
            filled = np.where(gaps, x.dtype.type(low / 2 + high / 2), x) if gaps.any() else x
            try:
                data, seconds = field_process.encode(self.library, np.ascontiguousarray(filled).reshape(shape), bound)
                x_hat = field_process.decode(self.library, data, shape, info.dtype).reshape(info.shape)
            except LibraryError:  # then all values that are not zero go into segment 2
                data = b""
                x_hat = np.zeros_like(x)
        exact = gaps | ~_within(x, x_hat, bound)
        count = int(np.count_nonzero(exact))
        notes = {"library_seconds": seconds, "exact_values": float(count)}
        if not count:
            return Encoded({"length": len(data)}, (data,), notes=notes)
        values = x[exact].astype(np.dtype(info.dtype).newbyteorder("<"))
        second = zlib.compress(np.packbits(exact).tobytes() + values.tobytes())
        return Encoded({"length": len(data), "exact": count}, (data, second), notes=notes)

    def decode(self, encoded: Encoded, info: ArrayInfo, options: Any) -> Array:
        """The field of shape `info.shape`.

        Raises:
            ContainerError: the segments hold no such field.
        """
        count = encoded.params.get("exact", 0)
        size = prod(info.shape)
        if type(count) is not int or not 0 <= count <= size or len(encoded.segments) != (2 if count else 1):
            raise headers.damaged(self.title, "its segments are not those that it announces")
        data = encoded.segments[0]
        if encoded.params.get("length") != len(data):
            raise headers.damaged(self.title, "it is cut")
        x_hat = np.zeros(info.shape, info.dtype)
        if data:
            shape = folded(info.shape, self.least_axes)
            try:
                x_hat = field_process.decode(self.library, data, shape, info.dtype).reshape(info.shape)
            except LibraryError as error:
                raise headers.damaged(self.title, str(error)) from error
        if count:
            exact, values = self._exact_values(encoded.segments[1], size, count, info)
            x_hat[exact.reshape(info.shape)] = values
        return x_hat

    def _exact_values(self, segment: bytes, size: int, count: int, info: ArrayInfo) -> tuple[Array, Array]:
        """Where the values of segment 2 are, as `size` booleans, and the `count` values.

        Raises:
            ContainerError: the segment does not hold so many.
        """
        dtype = np.dtype(info.dtype).newbyteorder("<")
        mask_bytes = -(-size // 8)
        wanted = mask_bytes + count * dtype.itemsize
        unpacking = zlib.decompressobj()
        with headers.plain_errors(self.title):
            content = unpacking.decompress(segment, wanted + 1)
        if len(content) != wanted or not unpacking.eof or unpacking.unused_data:
            raise headers.damaged(self.title, "it does not hold the exact values that it announces")
        exact = np.unpackbits(np.frombuffer(content, np.uint8, mask_bytes), count=size).astype(bool)
        if np.count_nonzero(exact) != count:
            raise headers.damaged(self.title, "it does not hold the exact values that it announces")
        return exact, np.frombuffer(content, dtype, count, mask_bytes)

    @classmethod
    def _require_library(cls) -> None:
        """Check that the library is here.

        Raises:
            PluginError: it is not.
        """
        import imagecodecs

        if not getattr(imagecodecs, cls.library.upper()).available:
            raise PluginError(
                f"This imagecodecs was built without {cls.title}.", "Run `pip install --force-reinstall imagecodecs`."
            )


class Sz3(FieldCodec):
    """SZ3 as hdf5plugin has it, which tries interpolation and Lorenzo prediction; segment 1 is one HDF5 chunk."""

    title = "SZ3"
    library = "sz3"

    @classmethod
    def _require_library(cls) -> None:
        missing = [name for name in ("h5py", "hdf5plugin") if find_spec(name) is None]
        if missing:
            raise PluginError(
                f"Codec sz3 needs {' and '.join(missing)}, which is not here.",
                'Run `pip install "codectk-classic[fields]"`.',
            )


class Zfp(FieldCodec):
    """ZFP in its mode of fixed accuracy; segment 1 is a ZFP stream without the shape in its header."""

    title = "ZFP"
    library = "zfp"


class Sperr(FieldCodec):
    """SPERR with a point-wise error, in one piece; segment 1 is a SPERR stream, of two axes without header."""

    title = "SPERR"
    library = "sperr"
    least_axes = 2


def folded(shape: tuple[int, ...], least_axes: int) -> tuple[int, ...]:
    """The shape in which a library gets a field.

    Axes V, S and T are folded into one, and axes of length 1 in front left out, for a library that would compress less
    with them: a block of ZFP always has all axes.

    Args:
        shape: one to five lengths.
        least_axes: ones are put in front until there are so many.
    """
    if len(shape) > 3:
        shape = (prod(shape[:-2]), *shape[-2:])
    while len(shape) > least_axes and shape[0] == 1:
        shape = shape[1:]
    return (1,) * (least_axes - len(shape)) + shape


def _value_range(x: Array, gaps: NDArray[np.bool_]) -> tuple[float, float]:
    """Smallest and largest value that is not missing; zeros where there is none."""
    there = x[~gaps]
    return (float(there.min()), float(there.max())) if there.size else (0.0, 0.0)


def _absolute(low: float, high: float, options: FieldOptions) -> float:
    """The bound in the unit of the values, of which `low` is the smallest; 0 where they are all the same.

    Raises:
        OptionsError: both bounds are given.
    """
    if options.abs_error is not None and options.rel_error is not None:
        raise OptionsError("abs_error and rel_error are both given.", "Leave one of them out.")
    if options.abs_error is not None:
        return options.abs_error
    bound = (DEFAULT_REL_ERROR if options.rel_error is None else options.rel_error) * (high - low)
    return bound if isfinite(bound) else 0.0


def _within(x: Array, x_hat: Array, bound: float) -> Any:
    """Where the error is not above the bound, computed as the metric `max_error` does."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.abs(np.subtract(x, x_hat, dtype=np.float64)) <= bound
