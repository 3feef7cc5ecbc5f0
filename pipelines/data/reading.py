"""Open a file that a user named, and make sure that it is one and stays the same while it is read."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pipelines.data.wording import limited, suggestion
from pipelines.errors import DataError

MAX_FILE_BYTES = 2 * 1024**3


def exists(path: Path) -> bool:
    """Whether anything, be it a dead link, stands at `path`; a name that no file can have does not."""
    try:
        path.lstat()
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def opened(path: Path, shown: str, *, limit: int | None = MAX_FILE_BYTES) -> Iterator[BinaryIO]:
    """`path` open for reading bytes; `shown` is its name in messages.

    Raises `DataError` when it is missing, no regular file, not readable, empty, of more bytes than `limit`, or
    changed before the block ended.
    """
    _refuse_special(path, shown)
    try:
        handle = path.open("rb")
    except PermissionError:
        raise DataError(f"{shown}: no permission to read it; run `chmod u+r {shown}` or ask its owner") from None
    with handle:
        before = os.fstat(handle.fileno())
        _refuse_size(before.st_size, shown, limit=limit)
        try:
            yield handle
        except OSError as error:
            raise DataError(f"{shown}: cannot be read to its end ({error.strerror}); check the disk") from error
        except DataError:
            # A half-written file looks damaged; the change is then the better explanation.
            _refuse_changed(path, before, shown)
            raise
        _refuse_changed(path, before, shown)


def _refuse_special(path: Path, shown: str) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DataError(_missing(path, shown)) from None
    except PermissionError:
        raise DataError(f"{shown}: no permission to look into its directory; ask the owner for access") from None
    except (OSError, ValueError) as error:  # a name that is too long or holds a NUL, a loop of links ...
        raise DataError(f"{shown!r}: is no usable file name ({error}); name another file") from None
    if stat.S_ISDIR(mode):
        raise DataError(_directory(path, shown))
    if not stat.S_ISREG(mode):
        raise DataError(f"{shown}: is {_special(mode)}, not a regular file; write its content to a file first")


def _special(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe (FIFO)"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"


def _missing(path: Path, shown: str) -> str:
    if path.is_symlink():
        return f"{shown}: is a link to {path.readlink()}, which does not exist; mend the link"
    if not path.parent.is_dir():
        return f"{shown}: no such file; the directory {path.parent} does not exist"
    return f"{shown}: no such file{suggestion(path.name, _files(path.parent))}"


def _directory(path: Path, shown: str) -> str:
    files = _files(path)
    inside = f"; it holds {limited(files)}" if files else ""
    return (
        f"{shown}: is a directory, and not one saved by `datasets` (`save_to_disk`){inside}; name one file, and the "
        "others as data.select, data.calibrate or data.test"
    )


def _files(directory: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in directory.iterdir() if entry.is_file())
    except PermissionError:  # nothing to suggest, then
        return []


def _refuse_size(size: int, shown: str, *, limit: int | None) -> None:
    if size == 0:
        raise DataError(f"{shown}: is empty; it needs a header such as text,label and one row per example")
    if limit is not None and size > limit:
        raise DataError(
            f"{shown}: is {size / 1024**3:.1f} GB, over the limit of {limit // 1024**3} GB; use fewer rows, "
            "or a directory saved by `datasets`, which is read piece by piece"
        )


def _refuse_changed(path: Path, before: os.stat_result, shown: str) -> None:
    """Compare what now stands at the path with the file that was opened: it may be written to, or swapped."""
    try:
        same = _identity(path.stat()) == _identity(before)
    except OSError:
        same = False
    if not same:
        raise DataError(f"{shown}: changed while it was being read; run again when nothing writes to it")


def _identity(state: os.stat_result) -> tuple[int, int, int, int]:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns
