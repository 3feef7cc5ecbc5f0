"""Where segments run. An executor follows `concurrent.futures`, plus progress events; see `Executor`."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Event:
    """Something a running task tells."""

    key: str
    """The key that the task was submitted under."""
    progress: dict[str, float]


class WorkerLostError(Exception):
    """The process that ran a task died; the task may be submitted again."""


class TaskFailedError(Exception):
    """A task raised an error that is no `UserError`; the message ends with its traceback."""


class Executor(Protocol):
    """Runs tasks on a fixed number of warm workers."""

    @property
    def slots(self) -> int:
        """How many tasks run side by side."""
        ...

    @property
    def devices(self) -> int:
        """How many GPUs, or machines where there is none, the workers keep for themselves."""
        ...

    def submit(self, task: str, payload: Any, *, key: str) -> Future[Any]:
        """Run `task` (`module:function`, called as `function(payload, watch=...)`) on a worker.

        A worker that last ran a task of the same key is preferred: it may still hold its state in memory.
        The future raises the task's own `UserError` or `InfeasibleError`, `WorkerLostError`, or `TaskFailedError`.
        """
        ...

    def events(self) -> list[Event]:
        """What running tasks told since the last call."""
        ...

    def stop(self) -> None:
        """Ask every running task to end at its next step boundary."""
        ...

    def close(self) -> None:
        """End all workers now."""
        ...
