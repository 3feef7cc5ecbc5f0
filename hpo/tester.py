"""Finishes, tests and proves a study's winner on one of its warm workers."""

import time
from pathlib import Path
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from hpo.executors import Executor, WorkerLostError
from pipelines.calibration import CalibrationFacts
from pipelines.errors import ModelError
from pipelines.segment import ElsewhereJob, FinishJob, TestJob

_ATTEMPTS = 3  # when workers die


class WorkerTester:
    """Finishes, tests and proves models on a warm worker, and counts the time: it is evaluation, not overhead."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.seconds = 0.0

    def finish(self, job: FinishJob) -> CalibrationFacts:
        """As `pipelines.finish.finish_model`."""
        facts: CalibrationFacts = self._done("pipelines.finish:finish_model", job, key="finish")
        return facts

    def score_on_test(self, job: TestJob) -> dict[str, dict[str, float]]:
        """As `pipelines.locked.score_on_test`."""
        scores: dict[str, dict[str, float]] = self._done("pipelines.locked:score_on_test", job, key="test")
        return scores

    def score_elsewhere(self, job: ElsewhereJob) -> dict[str, dict[str, float]]:
        """As `pipelines.generalize.floors.score_elsewhere`."""
        scores: dict[str, dict[str, float]] = self._done(
            "pipelines.generalize.floors:score_elsewhere", job, key="elsewhere"
        )
        return scores

    def prove(self, directory: Path) -> None:
        """As `pipelines.proof.prove`."""
        self._done("pipelines.proof:prove", directory, key="proof")

    def _done(self, task: str, payload: Any, *, key: str) -> Any:
        start = time.monotonic()
        again = Retrying(
            retry=retry_if_exception_type(WorkerLostError), stop=stop_after_attempt(_ATTEMPTS), reraise=True
        )
        try:
            return again(lambda: self._executor.submit(task, payload, key=key).result())
        except WorkerLostError as error:
            raise ModelError(f"the worker that was to test the winner died {_ATTEMPTS} times: {error}") from error
        finally:
            self.seconds += time.monotonic() - start
