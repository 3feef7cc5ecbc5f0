"""What a session that is gone left running."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from hpo.doctor.case import Case
from hpo.doctor.finding import Finding


def check(case: Case) -> Iterator[Finding]:
    """Processes that still write into the directory of a study that nobody runs."""
    if case.live:
        return
    for process, file in _writers(case.home):
        what = f"process {process.pid} writes to {file}, and nobody runs the study"
        yield Finding("I14", case.name, None, what, advice=f"end it: kill {process.pid}")


def _writers(home: Path) -> Iterator[tuple[psutil.Process, Path]]:
    """Other processes with a file below `home` open for writing, one entry each; only those that we may look into."""
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            opened = [Path(one.path) for one in process.open_files() if getattr(one, "mode", "w") != "r"]
            if below := [path for path in opened if home.resolve() in path.parents]:
                yield process, below[0]
