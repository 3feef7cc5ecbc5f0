"""The trial's diary on disk: one JSON line per measurement, appended by the worker, mirrored to the tracker.

A crash may tear the last line; it is cut off on opening. A resumed run repeats the steps since its last
checkpoint: what the journal already holds is not written again, so each step stands in it exactly once.
"""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

Kind = Literal["step", "evaluation", "system"]
Record = dict[str, Any]


class Journal:
    """An append-only file of records; each kind's `step` only ever rises."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records = list(read_journal(path))
        self._last = {record["kind"]: record["step"] for record in self.records}
        cut_torn_line(path)
        self._file = path.open("a", encoding="utf-8")

    def append(self, kind: Kind, *, step: int, values: Mapping[str, float]) -> None:
        """Write one record, unless one of this kind stands there for this step or a later one."""
        if step <= self._last.get(kind, -1):
            return
        record = {"kind": kind, "step": step, "time": time.time_ns() // 1_000_000, "values": dict(values)}
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()
        self._last[kind] = step
        self.records.append(record)

    def of_kind(self, kind: Kind) -> list[Record]:
        """All records of one kind, in order of their steps."""
        return [record for record in self.records if record["kind"] == kind]

    def close(self) -> None:
        """Close the file; the journal can be opened again."""
        self._file.close()


def read_journal(path: Path) -> Iterator[Record]:
    """The whole records of a journal, which may be growing; nothing where the file is absent."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def cut_torn_line(path: Path) -> None:
    """Drop what a crash left half-written at the end of a journal."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
