"""When a study is over, and the reason, as values."""

from dataclasses import dataclass

from hpo.spec import Budget


@dataclass(frozen=True)
class Progress:
    """What a study has used so far."""

    finished: int
    """Trials that are COMPLETE, PRUNED or FAILED."""
    minutes: float
    """Wall-clock minutes over all sessions of the study."""


def spent(budget: Budget, progress: Progress) -> str | None:
    """Why the study is over, or None while it may go on."""
    if progress.finished >= budget.trials:
        return f"all {budget.trials} trials are finished"
    if budget.minutes is not None and progress.minutes >= budget.minutes:
        return f"the {budget.minutes:g} minutes are used up"
    return None
