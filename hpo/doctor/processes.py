"""Who is at work on a study, and what a session that is gone left running."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from hpo.doctor.case import Case
from hpo.doctor.finding import Finding
from hpo.places import Places, exclusive


def is_being_run(places: Places, study: str) -> bool:
    """Whether a controller holds the study now."""
    lock = places.study(study) / "controller.lock"
    if not lock.exists():
        return False
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def held(places: Places, study: str) -> Iterator[None]:
    """Hold a study, so that nobody runs it meanwhile. Raises `StorageError` naming whoever runs it."""
    with exclusive(places.study(study)):
        yield


def check(case: Case) -> Iterator[Finding]:
    """Processes that still write into a study's directory, and a lock whose taker is gone."""
    if case.live:
        yield from _stale_lock(case)
        return
    for process, file in _writers(case.home):
        what = f"process {process.pid} writes to {file}, and nobody runs the study"
        yield Finding("I14", case.name, None, what, advice=f"end it: kill {process.pid}")


def _stale_lock(case: Case) -> Iterator[Finding]:
    lock = case.home / "controller.lock"
    taker, _, machine = lock.read_text(encoding="utf-8").strip().partition(" on ") if lock.exists() else ("", "", "")
    if taker.isdigit() and machine == os.uname().nodename and not psutil.pid_exists(int(taker)):
        others = ", ".join(str(process.pid) for process, file in _writers(case.home) if file == lock) or "unknown"
        what = f"{lock} is locked, and process {taker} that took it is gone; open in process {others}"
        yield Finding("I14", case.name, None, what, advice="end the process that inherited it")


def _writers(home: Path) -> Iterator[tuple[psutil.Process, Path]]:
    """Other processes with a file below `home` open for writing, one entry each; only those that we may look into."""
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            opened = [Path(one.path) for one in process.open_files() if getattr(one, "mode", "w") != "r"]
            if below := [path for path in opened if home.resolve() in path.parents]:
                yield process, below[0]
