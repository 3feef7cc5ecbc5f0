"""Files that are either whole or absent: write beside, flush to disk, rename."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pipelines.errors import DiskFullError, StorageError

Value = TypeVar("Value")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(*parts: str) -> str:
    """A SHA-256 in hex over several texts, unambiguous about where each one ends."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, of whatever library, says that there is no room left."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return True
    return "No space left on device" in str(error)  # safetensors and Arrow have errors of their own


@contextmanager
def disk_full_errors(path: Path) -> Iterator[None]:
    """Turns a full disk into one line about where that was. Raises `DiskFullError`."""
    try:
        yield
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise disk_full(path) from error


def disk_full(path: Path) -> DiskFullError:
    """That there is no room at `path`, in one line."""
    return DiskFullError(f"{path}: the disk is full; nothing is lost: free some space, and run the same command again")


def write_text(path: Path, text: str) -> None:
    """Replace a file's content atomically and durably."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        _flush(beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`write_text` of a value as JSON; NaN and infinity are refused (`ValueError`)."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def read_json(path: Path) -> Any:
    """The value in a JSON file, or None where the file is absent."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def read_sealed(directory: Path, name: str) -> dict[str, Any] | None:
    """The manifest of a directory whose file `name` has the `sha256` that it states; None for any other."""
    try:
        manifest: dict[str, Any] | None = read_json(directory / "manifest.json")
    except ValueError:
        return None
    file = directory / name
    return manifest if manifest and file.exists() and sha256(file) == manifest["sha256"] else None


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Fill a directory that appears at `path`, whole, when the block ends without an error.

    What stood at `path` before is replaced. After a crash a leftover `.NAME.*.tmp` may remain beside it;
    nothing ever reads such a directory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    beside.mkdir()
    try:
        yield beside
        for file in beside.rglob("*"):
            _flush(file)
        _flush(beside)
        _put_in_place(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    _flush(path.parent)


def copied(source: Path, target: Path, *, leaving_out: Container[str] = ()) -> None:
    """Copy the files of a directory, but for some names, into another one that is there."""
    for file in sorted(source.iterdir()):
        if file.name not in leaving_out:
            shutil.copyfile(file, target / file.name)


def built_once(directory: Path, *, read: Callable[[Path], Value | None], write: Callable[[Path], None]) -> Value:
    """What `read` finds in a directory (or file); where that is None, `write` must first build it, whole.

    Of several processes that come at once, one builds and the others wait for it; the one removes what a crash left of
    an earlier attempt. Raises `StorageError` when what was written cannot be read.
    """
    found = read(directory)
    if found is None:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with directory.with_name(f"{directory.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if read(directory) is None:
                for leftover in directory.parent.glob(f".{directory.name}.*.tmp"):
                    remove(leftover)
                write(directory)
        found = read(directory)
    if found is None:
        raise StorageError(f"{directory}: what was just written cannot be read back; check the disk")
    return found


def remove(path: Path) -> None:
    """Remove a file, or a directory with all that is in it; nothing happens where there is none."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _put_in_place(beside: Path, path: Path) -> None:
    """Rename, and make room first where a directory stands: directories cannot be replaced in one call."""
    if path.exists():
        old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        path.rename(old)
        beside.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    else:
        beside.rename(path)


def _flush(path: Path) -> None:
    """Force a file or a directory entry to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
