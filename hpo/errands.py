"""Trainings beside the trials, on a study's workers: of baselines, and with fresh seeds.

What is finished is on disk with its record, and is not done again by a later session.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hpo.executors import TaskFailedError, WorkerLostError
from hpo.records import write_side_record
from hpo.study import Controller
from pipelines.errors import DiskFullError, UserError
from pipelines.files import read_json
from pipelines.segment import InfeasibleError, SegmentResult

_ATTEMPTS = 3
_SAY_SECONDS = 20.0  # between two lines of progress


@dataclass(frozen=True)
class Errand:
    """One training beside the trials."""

    directory: Path
    """Its own; the name is what it is known by."""
    kind: Literal["confirmation", "baseline"]
    about: str
    """A sentence for people."""
    params: Mapping[str, Any]
    """What it trains, by address: a directory that holds something else's record is not taken for this."""
    task: str
    jobs: tuple[Any, ...]
    """Payloads of the task, one after the other; the last result is the errand's."""
    urgent: bool = False
    """It is done even when the time is over: it takes seconds."""

    @property
    def name(self) -> str:
        """What it is known by."""
        return self.directory.name


@dataclass
class Errands:
    """Runs errands with a controller's executor, mirror, meter and signals."""

    controller: Controller
    over: Callable[[], bool]
    """Whether the time of whatever is not urgent is used up."""
    _running: dict[Future[Any], tuple[Errand, int, int]] = field(default_factory=dict)
    """With the index of the job and the attempt."""
    _progress: dict[str, str] = field(default_factory=dict)
    _said: float = field(default_factory=time.monotonic)

    def do(self, errands: Iterable[Errand]) -> dict[str, SegmentResult]:
        """The results by name; what failed, was interrupted or had no time left is missing.

        Raises `DiskFullError`, and whatever the database does once waiting for it is no use.
        """
        found: dict[str, SegmentResult] = {}
        waiting: deque[tuple[Errand, int, int]] = deque()
        for errand in errands:
            if (result := finished(errand)) is not None:
                found[errand.name] = result
                self.controller.mirror.changed(errand.directory)
            else:
                waiting.append((errand, 0, 1))
        told = False
        while waiting or self._running:
            if self._ends:
                waiting = deque(one for one in waiting if one[0].urgent and not self.controller.stopped_on_request)
                if not told:
                    self.controller.executor.stop()
                told = True
            while waiting and len(self._running) < self.controller.executor.slots:
                self._begin(*waiting.popleft())
            for future in self._wait():
                again = self._receive(*self._running.pop(future), future, found)
                waiting.extendleft([again] if again else [])
        return found

    @property
    def _ends(self) -> bool:
        return self.controller.stopped_on_request or self.over()

    def _begin(self, errand: Errand, index: int, attempt: int) -> None:
        if index == 0 and attempt == 1:
            self._record(errand, "RUNNING")
        future = self.controller.executor.submit(errand.task, errand.jobs[index], key=self._key(errand))
        self._running[future] = (errand, index, attempt)

    def _wait(self) -> Iterable[Future[Any]]:
        """Wait a moment for results, and keep the clock and people informed."""
        controller = self.controller
        start, spare = time.monotonic(), controller.executor.slots - len(self._running)
        done, _ = wait(self._running, timeout=0.25, return_when=FIRST_COMPLETED)
        controller.meter.idle += spare * (time.monotonic() - start)
        controller.patiently(controller.meter.enter)
        by_key = {self._key(errand): errand for errand, _, _ in self._running.values()}
        for event in controller.executor.events():
            if (errand := by_key.get(event.key)) is not None:
                self._progress[errand.name] = f"step {event.progress.get('step', 0):.0f}"
                self._progress[errand.name] += f"/{event.progress.get('total', 0):.0f}"
                controller.mirror.changed(errand.directory)
        if time.monotonic() - self._said > _SAY_SECONDS and self._running:
            names = [errand.name for errand, _, _ in self._running.values()]
            controller.say("; ".join(f"{name} {self._progress.get(name, 'starting')}" for name in names))
            self._said = time.monotonic()
        return done

    def _receive(
        self, errand: Errand, index: int, attempt: int, future: Future[Any], found: dict[str, SegmentResult]
    ) -> tuple[Errand, int, int] | None:
        """Record what a job brought; what is to be done next of the same errand, if anything."""
        try:
            result: SegmentResult = future.result()
        except WorkerLostError as error:
            if attempt < _ATTEMPTS and not self._ends:
                return errand, index, attempt + 1
            self._record(errand, "FAIL", reason=f"worker lost: {error}")
        except InfeasibleError as error:
            self._record(errand, "PRUNED", reason=f"infeasible: {error}")
        except DiskFullError:
            self._record(errand, "INTERRUPTED")
            raise
        except (UserError, TaskFailedError) as error:
            (errand.directory / "error.txt").write_text(str(error))
            self._record(errand, "FAIL", reason=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
        else:
            meter = self.controller.meter
            meter.useful += result.seconds.get("train", 0.0) + result.seconds.get("evaluate", 0.0)
            if result.interrupted:
                self._record(errand, "INTERRUPTED")
            elif not result.finished and index + 1 < len(errand.jobs):
                return errand, index + 1, 1
            else:
                found[errand.name] = result
                self._record(errand, "COMPLETE", result=result)
        return None

    def _record(
        self, errand: Errand, state: str, *, reason: str | None = None, result: SegmentResult | None = None
    ) -> None:
        write_side_record(
            errand.directory,
            study=self.controller.spec,
            kind=errand.kind,
            about=errand.about,
            params=errand.params,
            state=state,
            reason=reason,
            result=result,
        )
        self.controller.mirror.changed(errand.directory)
        if reason is not None:
            self.controller.say(f"{errand.name}: {state} ({reason})")

    def _key(self, errand: Errand) -> str:
        return f"{self.controller.spec.name}/{errand.name}"


def finished(errand: Errand) -> SegmentResult | None:
    """What an earlier session brought of this very errand."""
    record, result = (read_json(errand.directory / name) for name in ("trial.json", "result.json"))
    if not record or not result or record["state"] != "COMPLETE" or record["params"] != dict(errand.params):
        return None
    return SegmentResult(**{key: value for key, value in result.items() if key != "fingerprint"})
