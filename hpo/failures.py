"""Trials that failed, and when so many fail that the fault is not in their configurations."""

from dataclasses import dataclass

from optuna.trial import TrialState

from hpo.executors import TaskFailedError, WorkerLostError
from hpo.trials import Active, Trials
from pipelines.errors import ConfigError, UserError

_LIMIT = 5  # failed trials in a row before the study gives up


@dataclass
class Failures:
    """Failed trials of a session."""

    trials: Trials
    in_a_row: int = 0

    def enter(self, active: Active, error: Exception) -> None:
        """End a trial as FAIL for this error.

        Raises it after too many in a row: as it is where it is a bug of ours, else as one line of its kind.
        """
        reason = str(error).partition("\n")[0]
        (self.trials.directory(active.number) / "error.txt").write_text(str(error))
        self.trials.end(active, TrialState.FAIL, reason=f"{_kind(error)}: {reason}")
        self.in_a_row += 1
        if self.in_a_row >= _LIMIT:
            if isinstance(error, TaskFailedError):
                raise error  # it keeps its traceback
            kind = type(error) if isinstance(error, UserError) else ConfigError
            raise kind(f"{_LIMIT} trials in a row failed, the last one with: {reason}")


def _kind(error: Exception) -> str:
    return {WorkerLostError: "worker lost", TaskFailedError: "error"}.get(type(error), type(error).__name__)
