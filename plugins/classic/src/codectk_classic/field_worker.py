"""The process in which the libraries for fields run: `python -m codectk_classic.field_worker`.

    parent ─ one line of JSON, then bytes ─> a library's encoder or decoder ─ one line of JSON, then bytes ─> parent

SZ3 and SPERR trust the bytes that they decode: some end the program, some read or write where they must not. Here that
ends this process alone; `codectk_classic.isolation` starts it and turns its end into an error.
"""

import json
import os
import signal
import struct
import sys
import time
from typing import Any, BinaryIO

import numpy as np

from codectk.arrays import Array

READY = b"ready\n"

_BASE_BYTES = 1 << 30
"""Address space that Python and the libraries may take, without the field."""

_BYTES_PER_BYTE = 64
"""Address space that a library may take for each byte of the field."""


def encode(library: str, x: Array, bound: float) -> bytes:
    """Code a field.

    Args:
        library: `"sz3"`, `"zfp"` or `"sperr"`.
        x: float32 or float64, contiguous, of one to three axes, for SPERR of two or three; all values finite.
        bound: largest absolute error that the library is asked for, above 0.
    """
    if library == "sz3":
        return _sz3_encode(x, bound)
    import imagecodecs

    if library == "zfp":
        level: Any = bound  # the package's types know whole numbers alone
        accuracy = imagecodecs.ZFP.MODE.FIXED_ACCURACY
        # The short header has no shape: the `.ctk` file says it.
        return bytes(imagecodecs.zfp_encode(x, level, mode=accuracy, execution="serial", header=False))
    # Streams of three axes have a header anyway; with one, imagecodecs reads those of two beyond their end.
    return bytes(imagecodecs.sperr_encode(x, bound, imagecodecs.SPERR.MODE.PWE, header=False, numthreads=1))


def decode(library: str, data: bytes, shape: tuple[int, ...], dtype: str) -> Array:
    """The field of that shape and type that `encode` made `data` of."""
    if library == "sz3":
        return _sz3_decode(data, shape, dtype)
    import imagecodecs

    if library == "zfp":
        x_hat: Array = imagecodecs.zfp_decode(data, shape=shape, dtype=np.dtype(dtype))
        return x_hat
    if len(shape) == 3 and data[2:14] != struct.pack("<3I", *shape[::-1]):  # room is made for what the header says
        raise ValueError("its header names another shape")
    x_hat = imagecodecs.sperr_decode(data, shape=shape, dtype=np.dtype(dtype), header=False, numthreads=1)
    return x_hat


def _sz3_encode(x: Array, bound: float) -> bytes:
    """One chunk of a data set in memory, as the HDF5 filter writes it."""
    import h5py
    import hdf5plugin

    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset("x", data=x, chunks=x.shape, **hdf5plugin.SZ3(absolute=bound))
        file.flush()
        skipped, chunk = data.id.read_direct_chunk((0,) * x.ndim)
        if skipped:
            raise ValueError("SZ3 left the values as they were")
        return bytes(chunk)


def _sz3_decode(data: bytes, shape: tuple[int, ...], dtype: str) -> Array:
    import h5py
    import hdf5plugin

    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        # The chunk holds the bound that it was written with; the one given here is not looked at.
        held = file.create_dataset("x", shape, dtype, chunks=shape, **hdf5plugin.SZ3(absolute=1.0))
        held.id.write_direct_chunk((0,) * len(shape), data)
        x_hat: Array = held[...]
        return x_hat


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    requests = sys.stdin.buffer
    # The libraries print what they think of hostile bytes to where the answers go.
    with os.fdopen(os.dup(1), "wb") as answers, open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        answers.write(READY)
        answers.flush()
        while line := requests.readline():
            _answer(json.loads(line), requests, answers)


def _answer(request: dict[str, Any], requests: BinaryIO, answers: BinaryIO) -> None:
    payload = bytearray(request["bytes"])
    if requests.readinto(payload) != len(payload):  # type: ignore[attr-defined]
        return
    library, shape, dtype = request["library"], tuple(request["shape"]), request["dtype"]
    _limit_memory(int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize)
    start = time.perf_counter()
    try:
        if request["work"] == "encode":
            result: Any = encode(library, np.frombuffer(payload, dtype).reshape(shape), request["bound"])
        else:
            x_hat = decode(library, bytes(payload), shape, dtype)
            if x_hat.shape != shape or x_hat.dtype.name != dtype:
                raise ValueError(f"it holds {x_hat.dtype.name} {x_hat.shape}")
            result = np.ascontiguousarray(x_hat).reshape(-1).view(np.uint8).data
    except Exception as error:
        answer, result = {"error": str(error).strip().rstrip(".") or type(error).__name__}, b""
    else:
        answer = {}
    seconds = time.perf_counter() - start
    answers.write(json.dumps({**answer, "seconds": seconds, "bytes": len(result)}).encode() + b"\n")
    answers.write(result)
    answers.flush()


def _limit_memory(field_bytes: int) -> None:
    """Make a library that wants far more than the field can need fail; other systems than Linux keep no such limit."""
    if sys.platform != "linux":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = _BASE_BYTES + _BYTES_PER_BYTE * field_bytes
    resource.setrlimit(resource.RLIMIT_AS, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


if __name__ == "__main__":
    main()
