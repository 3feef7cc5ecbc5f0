"""Warm worker processes on this machine: started once, replaced when they die."""

import contextlib
import math
import multiprocessing
import os
import queue
import threading
import time
from concurrent.futures import Future
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from hpo.executors import Event, TaskFailedError, WorkerLostError, worker
from hpo.machine import own_cores, pinned

_SPAWN = multiprocessing.get_context("spawn")  # a forked torch deadlocks


class LocalExecutor:
    """A fixed number of worker processes, each with one thread here that speaks with it.

    Where there are cores enough, each worker has its own. A worker that grew by more than `max_growth` bytes since it
    settled is replaced when it would begin with another key, never while it may still hold the last one's state. One
    that tells nothing for `silence` seconds (None: however long) hangs, and is ended.
    """

    def __init__(
        self, *, workers: int, threads: int, logs: Path, max_growth: float = math.inf, silence: float | None = None
    ) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._seats = [
            _Seat(
                {"threads": threads, "cores": cores, "log": logs / f"worker-{index}.log", "parent": os.getpid()},
                events=self._events,
                max_growth=max_growth,
                silence=silence,
            )
            for index, cores in enumerate(pinned(own_cores(), workers=workers, threads=threads))
        ]

    @property
    def slots(self) -> int:
        """How many tasks run side by side."""
        return len(self._seats)

    @property
    def devices(self) -> int:
        """This machine, or the one GPU that its workers share."""
        return 1

    def submit(self, task: str, payload: Any, *, key: str) -> Future[Any]:
        """Run a task on a free worker (see `Executor.submit`). Raises `RuntimeError` when all are busy."""
        free = [seat for seat in self._seats if seat.free]
        if not free:
            raise RuntimeError("no free worker: submit at most `slots` tasks at a time")
        # Else the seat that rests longest: what another left a moment ago, it may be about to come back to.
        seat = min(free, key=lambda seat: (seat.last_key != key, seat.freed))
        return seat.submit(task, payload, key=key)

    def events(self) -> list[Event]:
        """What running tasks told since the last call."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._events.get_nowait())
        return found

    def stop(self) -> None:
        """Ask every running task to end at its next step boundary."""
        for seat in self._seats:
            seat.stop()

    def close(self) -> None:
        """End all workers now."""
        for seat in self._seats:
            seat.close()


class _Seat:
    """A place for one worker process; a dead one is replaced when the next task comes."""

    def __init__(
        self,
        settings: dict[str, Any],
        *,
        events: "queue.SimpleQueue[Event]",
        max_growth: float,
        silence: float | None,
    ) -> None:
        self._settings, self._events, self._silence = settings, events, silence
        self._growth = _Growth(max_growth)
        self._lock = threading.Lock()
        self._process: Any = None
        self._pipe: Connection | None = None
        self.last_key = ""
        self.free = True
        self.freed = 0.0
        """When the last task ended, by the monotonic clock."""

    def submit(self, task: str, payload: Any, *, key: str) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        if key != self.last_key and self._process is not None and self._growth.is_too_much(self._process.pid):
            self.close()
        pipe = self._connected()
        with self._lock, contextlib.suppress(BrokenPipeError, ConnectionResetError):  # receiving will say so again
            pipe.send((task, payload))  # before anyone can ask this seat to stop: a stop must not come first
        self.free, self.last_key = False, key
        threading.Thread(target=self._listen, args=(pipe, future), daemon=True).start()
        return future

    def stop(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if not self.free and self._pipe is not None:
                self._pipe.send("stop")

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def _connected(self) -> Connection:
        """The pipe to a living worker, started now when there is none."""
        if self._pipe is None or not self._process.is_alive():
            self._pipe, theirs = _SPAWN.Pipe()
            self._process = _SPAWN.Process(target=worker.main, args=(theirs,), kwargs=self._settings, daemon=True)
            self._process.start()
            self._growth.begin()
            theirs.close()  # so that the worker's death is seen as the end of the pipe
        return self._pipe

    def _listen(self, pipe: Connection, future: Future[Any]) -> None:
        """Wait for a task's answer, passing its progress on."""
        try:
            kind, value = self._heard(pipe)
            while kind == "progress":
                self._events.put(Event(self.last_key, value))
                kind, value = self._heard(pipe)
        except TimeoutError as error:
            self.close()
            self._pipe = None
            kind, value = "error", WorkerLostError(str(error))
        except (EOFError, OSError):
            self._process.join(timeout=10)
            self._pipe = None
            kind, value = "error", WorkerLostError(_cause(self._process.exitcode))
        except Exception as error:  # an answer that cannot be unpickled here
            kind, value = "error", TaskFailedError(f"its answer cannot be read: {type(error).__name__}: {error}")
        self.freed, self.free = time.monotonic(), True
        if kind == "done":
            future.set_result(value)
        else:
            future.set_exception(value)

    def _heard(self, pipe: Connection) -> tuple[str, Any]:
        """The next message. Raises `TimeoutError` when there is none for too long."""
        if not pipe.poll(self._silence):
            raise TimeoutError(f"the worker process told nothing for {self._silence:g} seconds, and was ended")
        kind, value = pipe.recv()
        return kind, value


class _Growth:
    """How much a worker process has grown since it settled: since the end of its second key, a trial or a warm-up."""

    def __init__(self, most: float) -> None:
        self._most = most
        self.begin()

    def begin(self) -> None:
        """Another process from here on."""
        self._sizes: list[int] = []

    def is_too_much(self, pid: int) -> bool:
        """Look at the process between two keys."""
        with contextlib.suppress(psutil.Error):  # it has just died
            memory = psutil.Process(pid).memory_info()
            own = memory.rss - getattr(memory, "shared", 0)  # without the mapped pages of caches, which cost nothing
            self._sizes = [*self._sizes[:2], own]
        return len(self._sizes) > 2 and self._sizes[-1] - self._sizes[1] > self._most


def _cause(code: int | None) -> str:
    if code == -9:
        return "the worker process was killed (by the kernel when memory ran out, or by hand)"
    return f"the worker process ended with code {code}"
