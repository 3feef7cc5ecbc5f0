"""Mistake reports: predictions that people say are wrong, as a JSONL file that a study can take as data."""

import fcntl
import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

from pipelines.errors import ConfigError
from pipelines.serve.refusal import Refusal

_LARGEST = 256 * 2**20  # bytes of the file: strangers must not fill the disk


class Reports:
    """A file to which whole lines are appended, each on disk before it is confirmed."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it, readable for its owner alone. Raises `ConfigError`."""
        self._lock = threading.Lock()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise ConfigError(f"--reports {path}: {error.strerror}; name a file in a writable directory") from error

    def append(self, *, text: str, predicted: str, label: str, model: str) -> None:
        """One report. Raises `Refusal` (503) where the disk or the file is full; then nothing is left of it."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = {"text": text, "label": label, "predicted": predicted, "model": model, "reported": now}
        content = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        with self._lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)  # another server may write to the same file
            try:
                self._append(content)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _append(self, content: bytes) -> None:
        size = os.fstat(self._file).st_size
        if size >= _LARGEST:
            raise Refusal(503, "reports_full", "no more reports are taken: the file has grown too large")
        if size and os.pread(self._file, 1, size - 1) != b"\n":  # a kill cut the last line short
            content = b"\n" + content
        try:
            written = os.write(self._file, content)
            if written < len(content):
                raise OSError("only a part was written")
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, size)
            raise Refusal(503, "not_stored", "the report could not be written to disk") from error
