"""Answers that were paid for, kept beside the output until it is whole."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import ConfigError
from pipelines.files import is_disk_full, read_json, write_json


class Kept:
    """The probabilities of a file's first rows, in a directory of their own.

    Rows count when `state.json` says so; what a crash left behind them in `answers` is cut off.
    """

    def __init__(self, directory: Path) -> None:
        self.rows = 0
        self._state, self._answers = directory / "state.json", directory / "answers"
        self._of: dict[str, str] = {}
        self._width = 1

    def go_on(self, of: dict[str, str], *, width: int) -> list[str]:
        """Take up what was kept of the same things, `width` classes wide; else begin anew.

        Returns the names of those that are not the same, none where there was nothing or all is as before.
        """
        try:
            state = read_json(self._state) or {}
        except ValueError:
            state = {}
        before = state.get("of", {})
        changed = [name for name in of if before and before.get(name) != of[name]]
        self._of, self._width = of, width
        self.rows = state["rows"] if before == of and self._fits(state["rows"]) else 0
        if self.rows == 0:
            self._answers.write_bytes(b"")
            self._commit()
        return changed

    def append(self, answers: NDArray[np.float64]) -> None:
        """Keep the answers of the next rows, (rows, classes), for good."""
        with self._answers.open("r+b") as file:
            file.truncate(self._bytes(self.rows))
            file.seek(0, os.SEEK_END)
            file.write(np.ascontiguousarray(answers, dtype="<f8").tobytes())
            file.flush()
            os.fsync(file.fileno())
        self.rows += len(answers)
        self._commit()

    def read(self) -> NDArray[np.float64]:
        """All answers, (rows, classes); not read into memory before they are used."""
        return np.memmap(self._answers, dtype="<f8", mode="r", shape=(self.rows, self._width))

    def _commit(self) -> None:
        write_json(self._state, {"of": self._of, "rows": self.rows})

    def _fits(self, rows: int) -> bool:
        return self._answers.exists() and self._answers.stat().st_size >= self._bytes(rows)

    def _bytes(self, rows: int) -> int:
        return rows * self._width * 8


@contextmanager
def keeping(directory: Path, shown: str) -> Iterator[Kept]:
    """A directory for the answers; it stays when the block fails, and goes when it ends well or kept nothing.

    Raises `ConfigError` where another process is at it or it cannot be made.
    """
    try:
        directory.mkdir(exist_ok=True)
        lock = (directory / "lock").open("w")
    except OSError as error:
        if is_disk_full(error):
            raise
        raise ConfigError(f"{shown}: its directory cannot be written to ({error.strerror})") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{shown}: another process is writing it; wait for it, or name another file") from None
        try:
            yield Kept(directory)
        except BaseException:
            if not (directory / "state.json").exists():
                shutil.rmtree(directory)
            raise
        shutil.rmtree(directory)
