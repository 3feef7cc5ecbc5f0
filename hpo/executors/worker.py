"""The main function of a worker process: takes tasks from a pipe, one at a time, and answers through it.

It ends by itself when the controller is gone: a worker never outlives its study.
"""

import os
import pickle
import pkgutil
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hpo.executors import TaskFailedError
from pipelines.errors import UserError
from pipelines.files import disk_full, is_disk_full
from pipelines.host import die_with_parent, keep_freed_memory
from pipelines.segment import InfeasibleError

_TELL_SECONDS = 0.5  # between two progress messages
_LIFE_SECONDS = 5.0  # after which a task that asks whether to stop is known to live, whatever it has to tell


class PipeWatch:
    """The worker's end of `pipelines.segment.Watch`: stop requests come in, progress goes out."""

    def __init__(self, pipe: Connection, *, parent: int) -> None:
        self._pipe, self._parent = pipe, parent
        self._stop = False
        self._told = time.monotonic() - _TELL_SECONDS
        self._last: dict[str, float] = {}

    def stop_requested(self) -> bool:
        """Whether the controller asked for an end. Ends this process when there is no controller any more."""
        if os.getppid() != self._parent:
            os._exit(0)
        if not self._stop and self._pipe.poll():
            self._stop = self._pipe.recv() == "stop"
        if time.monotonic() - self._told > _LIFE_SECONDS:
            self.tell(self._last)
        return self._stop

    def tell(self, progress: Mapping[str, float]) -> None:
        """Send progress, at most twice a second."""
        if time.monotonic() - self._told >= _TELL_SECONDS:
            self._told, self._last = time.monotonic(), dict(progress)
            self._pipe.send(("progress", dict(progress)))


def main(pipe: Connection, *, threads: int, log: Path, parent: int, cores: tuple[int, ...] | None = None) -> None:
    """Serve tasks until the pipe closes, on `cores` alone where they are given."""
    die_with_parent()
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)  # before any library starts threads: they inherit it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the controller decides
    _write_output_to(log)
    _use_threads(threads)
    keep_freed_memory()
    try:
        while True:
            message = pipe.recv()
            if message != "stop":  # a stop that came after the task it was meant for
                _reply(pipe, _answer(message, PipeWatch(pipe, parent=parent)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _answer(message: tuple[str, Any], watch: PipeWatch) -> tuple[str, Any]:
    task, payload = message
    try:
        return "done", pkgutil.resolve_name(task)(payload, watch=watch)
    except (UserError, InfeasibleError) as error:
        return "error", error
    except Exception as error:
        if is_disk_full(error):
            return "error", disk_full(getattr(payload, "directory", Path.cwd()))
        traceback.print_exc()
        return "error", TaskFailedError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")


def _reply(pipe: Connection, answer: tuple[str, Any]) -> None:
    try:
        pipe.send(answer)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        pipe.send(("error", TaskFailedError(f"its answer cannot be sent: {type(error).__name__}: {error}")))


def _use_threads(threads: int) -> None:
    """Before torch is imported: it reads these once."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"


def _write_output_to(log: Path) -> None:
    """What libraries print belongs into a file, not between the lines of the progress display."""
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
