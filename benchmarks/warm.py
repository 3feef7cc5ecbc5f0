"""Long-lived warm processes: each variant lives in its own, and rests while another is timed."""

import multiprocessing
import os
import pkgutil
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from benchmarks.timing import Setting, Timed

_SPAWN = multiprocessing.get_context("spawn")  # a forked torch deadlocks


@dataclass(frozen=True)
class Variant:
    """Something that can be timed."""

    make: str
    """`module:callable`, called as `callable(setting)` inside the process."""
    threads: int
    copies: int = 1
    """Processes side by side, each doing the same piece of work on its own."""


class Warm:
    """The processes of one variant, asked over pipes."""

    def __init__(self, variant: Variant, setting: Setting) -> None:
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        for _ in range(variant.copies):
            ours, theirs = _SPAWN.Pipe()
            process = _SPAWN.Process(target=serve, args=(theirs, variant, setting), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def ask(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method in every process at once; their answers. Raises `RuntimeError` with a process's error."""
        for pipe in self._pipes:
            pipe.send((method, arguments))
        answers = [_received(pipe) for pipe in self._pipes]
        for kind, value in answers:
            if kind == "error":
                raise RuntimeError(f"{method} failed in its process: {value}")
        return [value for _, value in answers]

    def time(self, method: str, *arguments: Any) -> Timed:
        """Let every process do its piece of work, side by side; wall time from asking to the last answer."""
        start = time.perf_counter()
        pieces: list[Timed] = self.ask(method, *arguments)
        wall = pieces[0].wall if len(pieces) == 1 else time.perf_counter() - start
        return together(pieces, wall=wall)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.join()


class Here:
    """The same in this very process, for a test of the measuring code."""

    def __init__(self, variant: Variant, setting: Setting) -> None:
        self._sides = [_made(variant, setting) for _ in range(variant.copies)]

    def ask(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of every copy, one after the other."""
        return [_called(side, method, arguments) for side in self._sides]

    def time(self, method: str, *arguments: Any) -> Timed:
        """Let every copy do its piece of work."""
        pieces: list[Timed] = self.ask(method, *arguments)
        return together(pieces, wall=sum(piece.wall for piece in pieces))

    def close(self) -> None:
        """Nothing to end."""


Side = Warm | Here
Start = Callable[[Variant, Setting], Side]


def together(pieces: Sequence[Timed], *, wall: float) -> Timed:
    """Pieces of work that were done side by side, as one."""
    return Timed(
        wall=wall,
        cpu=sum(piece.cpu or 0.0 for piece in pieces),
        work=sum(piece.work for piece in pieces),
        extra=pieces[0].extra,
    )


def serve(pipe: Connection, variant: Variant, setting: Setting) -> None:
    """The main function of a warm process."""
    _use_threads(variant.threads)
    side = None
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        try:
            side = side or _made(variant, setting)
            pipe.send(("done", _called(side, method, arguments)))
        except Exception as error:  # whatever it is, the asking process must hear of it
            pipe.send(("error", f"{type(error).__name__}: {error}"))


def _made(variant: Variant, setting: Setting) -> Any:
    return pkgutil.resolve_name(variant.make)(setting)


def _called(side: Any, method: str, arguments: tuple[Any, ...]) -> Any:
    return _peak() if method == "peak" else getattr(side, method)(*arguments)


def _use_threads(threads: int) -> None:
    """Before torch is imported: it reads these once."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


def _peak() -> float:
    """The most memory this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _received(pipe: Connection) -> tuple[str, Any]:
    try:
        return pipe.recv()  # type: ignore[no-any-return]
    except (EOFError, ConnectionResetError):
        return "error", "the process died"
