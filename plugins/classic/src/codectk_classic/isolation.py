"""Calls of the libraries for fields in a process of their own, which may end without ending this one.

The process is started by the first call and kept for the next ones; it keeps nothing between them. A library that ends
it, or does not come to an end itself, is a `LibraryError`.
"""

import atexit
import json
import os
import subprocess
import sys
from threading import Lock, Timer
from typing import IO, Any

import numpy as np

from codectk.arrays import Array
from codectk.errors import PluginError
from codectk_classic.field_worker import READY

_SECONDS = 60.0
_SECONDS_PER_BYTE = 1e-6
"""A call may take 60 s, and a second for each megabyte of the field: the libraries are at least eight times as fast."""


class LibraryError(Exception):
    """A library refuses a field or bytes, ends its process on them, or does not come to an end."""


class FieldProcess:
    """The process of `codectk_classic.field_worker`, one call at a time, for any number of threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def encode(self, library: str, x: Array, bound: float) -> tuple[bytes, float]:
        """See `codectk_classic.field_worker.encode`.

        Returns:
            The bytes, and the seconds that the library took.

        Raises:
            LibraryError: there are no bytes.
            PluginError: the process cannot be started.
        """
        result, seconds = self._call(
            {"work": "encode", "library": library, "bound": bound}, x.shape, x.dtype.name, x.reshape(-1).view(np.uint8)
        )
        return bytes(result), seconds

    def decode(self, library: str, data: bytes, shape: tuple[int, ...], dtype: str) -> Array:
        """See `codectk_classic.field_worker.decode`.

        Raises:
            LibraryError: there is no field of that shape and type.
            PluginError: the process cannot be started.
        """
        result, _ = self._call({"work": "decode", "library": library}, shape, dtype, data)
        if len(result) != int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize:
            raise LibraryError("it has another length than its shape says")
        return np.frombuffer(result, dtype).reshape(shape)

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.communicate()

    def _call(
        self, request: dict[str, Any], shape: tuple[int, ...], dtype: str, payload: Any
    ) -> tuple[bytearray, float]:
        field_bytes = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
        line = json.dumps({**request, "shape": shape, "dtype": dtype, "bytes": len(payload)}).encode() + b"\n"
        with self._lock:
            process = self._started()
            timer = Timer(_SECONDS + _SECONDS_PER_BYTE * field_bytes, process.kill)
            timer.daemon = True
            timer.start()
            try:
                answer, result = _exchange(process, line, payload)
            except BaseException as error:  # also an interruption: what the pipe holds then belongs to no other call
                self.close()
                if isinstance(error, OSError | EOFError):
                    raise LibraryError("the library ends its process on it") from error
                raise
            finally:
                timer.cancel()
        if "error" in answer:
            raise LibraryError(answer["error"])
        return result, float(answer["seconds"])

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        self.close()  # a process that a fork has taken over answers its parent
        # -P: the user's working folder is no place to import from.
        command = [sys.executable, "-P", "-m", "codectk_classic.field_worker"]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **threads}, bufsize=1 << 20
        )
        self._process, self._owner = process, os.getpid()
        if _pipe(process.stdout).readline() != READY:
            self.close()
            raise PluginError(
                "The process in which the libraries for fields run does not start.",
                "See what `python -m codectk_classic.field_worker` says; `pip install --upgrade codectk-classic`.",
            )
        return process


def _exchange(process: subprocess.Popen[bytes], line: bytes, payload: Any) -> tuple[dict[str, Any], bytearray]:
    """Send a request and read its answer.

    Raises:
        OSError, EOFError: the process ends before.
    """
    requests, answers = _pipe(process.stdin), _pipe(process.stdout)
    requests.write(line)
    requests.write(payload)
    requests.flush()
    answer = answers.readline()
    if not answer.endswith(b"\n"):
        raise EOFError
    about: dict[str, Any] = json.loads(answer)
    result = bytearray(about["bytes"])
    if answers.readinto(result) != len(result):  # type: ignore[attr-defined]
        raise EOFError
    return about, result


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise EOFError
    return pipe


field_process = FieldProcess()
"""The one that all codecs of this process share."""

atexit.register(field_process.close)
