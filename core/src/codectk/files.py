"""Reading and writing files so that nothing is half-written and every failure names the file."""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from codectk.errors import InputError, OutputError

MAX_INPUT_BYTES = 1 << 34
"""Files above this size are refused before they are read."""

_KEPT_BYTES = 32
_NO_HARD_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


def check_file(path: Path, limit: int = MAX_INPUT_BYTES) -> None:
    """Make sure that a path names a readable file.

    Raises:
        InputError: it is missing, a folder or device, empty, too large, or not readable.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder, not a file.", "Name a file in it.")
        if not path.exists():
            raise InputError(f"{path} does not exist.", "Check the path.")
        if not path.is_file():
            raise InputError(f"{path} is not a regular file.", "Copy its content into a file first.")
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check its permissions and the disk.") from None
    if size == 0:
        raise InputError(f"{path} is empty (0 bytes).", "Copy or download it again.")
    if size > limit:
        raise InputError(f"{path} has {size} bytes; at most {limit} are read.", "Split it first.")


def read_bytes(path: Path, limit: int = MAX_INPUT_BYTES) -> bytes:
    """The content of a file.

    Raises:
        InputError: see `check_file`.
    """
    check_file(path, limit)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check its permissions and the disk.") from None


def refuse_existing(path: Path, force: bool) -> None:
    """Stop before work is done whose result could not be stored.

    Raises:
        OutputError: the path is a folder, a device or a pipe, or it exists and `force` is false.
    """
    try:
        target = _target(path)
        mode = target.lstat().st_mode if os.path.lexists(target) else None
        exists = os.path.lexists(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    if mode is not None and stat.S_ISDIR(mode):
        raise OutputError(f"{path} is a folder.", "Name a file for the output.")
    if mode is not None and not stat.S_ISREG(mode):
        raise OutputError(f"{path} is not a regular file.", "Name a file for the output.")
    if exists and not force:
        raise _exists(path)


@contextmanager
def atomic_output(path: Path, force: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends well, and is deleted when it does not.

    With `force`, a link stays as it is and the file that it leads to is replaced.

    Raises:
        OutputError: the file exists and `force` is false, or the file system refuses (no space, no permission, …).
    """
    refuse_existing(path, force)
    temporary: Path | None = None
    try:
        target = _target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_beside(target)
        yield temporary
        _flush_to_disk(temporary)
        _give_usual_mode(temporary)
        _publish(temporary, path, target, force)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, force: bool = False) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its name when the block ends well, and is deleted when it does not.

    With `force`, what is there is replaced; whether that may be is for the caller to know.

    Raises:
        OutputError: the path exists and `force` is false, or the file system refuses.
    """
    if os.path.lexists(path) and not force:
        raise _exists(path)
    temporary: Path | None = None
    try:
        target = _target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        stem = os.fsencode(path.stem)[:_KEPT_BYTES].decode(errors="ignore")
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{stem}."))
        (temporary / "new").mkdir()
        yield temporary / "new"
        if target.exists():
            target.rename(temporary / "old")
        try:
            (temporary / "new").rename(target)
        except OSError:
            if (temporary / "old").exists():
                (temporary / "old").rename(target)
            raise
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, data: bytes, force: bool = False) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: see `atomic_output`.
    """
    with atomic_output(path, force) as temporary:
        temporary.write_bytes(data)


def _target(path: Path) -> Path:
    """The path that a link leads to, also where nothing is there; any other path as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _temporary_beside(path: Path) -> Path:
    """A new empty file. The suffix is kept because writers choose their format by it; a long name is cut to fit."""
    stem = os.fsencode(path.stem)[:_KEPT_BYTES].decode(errors="ignore")
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _KEPT_BYTES else ""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{stem}.", suffix=suffix)
    os.close(handle)
    return Path(name)


def _publish(temporary: Path, path: Path, target: Path, force: bool) -> None:
    """Give the finished file its name; a file that came to be under that name meanwhile is kept without `force`."""
    if not force:
        try:
            os.link(temporary, target)  # unlike a rename, it never replaces
        except FileExistsError:
            raise _exists(path) from None
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
        else:
            return
        if os.path.lexists(target):
            raise _exists(path)
    temporary.replace(target)


def _exists(path: Path) -> OutputError:
    return OutputError(f"{path} exists already.", "Add --force to replace it, or -o for another place.")


def _unwritable(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    step = "Free space or choose another place with -o; nothing was changed."
    return OutputError(f"{path} cannot be written: {reason}.", step)


def _flush_to_disk(path: Path) -> None:
    # Without it a power cut after the rename can leave an empty file under the final name.
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _give_usual_mode(path: Path) -> None:
    # mkstemp makes files that only their owner reads; outputs follow the user's umask like any other file.
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)
