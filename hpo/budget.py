"""When a study is over, and the reason, as values."""

from dataclasses import dataclass

from hpo.spec import Budget


@dataclass(frozen=True)
class Progress:
    """What a study has used so far, over all its sessions."""

    finished: int
    """Trials that are COMPLETE, PRUNED or FAILED."""
    minutes: float
    """Wall-clock minutes."""
    examples: int = 0
    """Training examples seen by all trials."""
    device_hours: float = 0.0
    """Hours of GPUs, or of machines where there is none."""


def spent(budget: Budget, progress: Progress) -> str | None:
    """Why the study is over, or None while it may go on."""
    if progress.finished >= budget.trials:
        return f"all {budget.trials} trials are finished"
    if _reached(progress.minutes, budget.minutes):
        return f"the {budget.minutes:g} minutes are used up"
    if _reached(progress.examples, budget.examples):
        return f"the {budget.examples:,} training examples are used up"
    if _reached(progress.device_hours, budget.device_hours):
        return f"the {budget.device_hours:g} device hours are used up"
    if budget.money is not None and budget.price is not None and progress.device_hours * budget.price >= budget.money:
        return f"{budget.money:g} is spent, at {budget.price:g} a device hour"
    return None


def settled(budget: Budget, *, before: Budget | None, finished: int) -> Budget:
    """The budget with its `more` trials counted from what the study has.

    `before` is that of the last launch. While its own `more` trials are not all finished, the same request goes on with
    them: the same command run again after a crash must not add to them.
    """
    if budget.more is None:
        return budget
    if before is not None and before.more == budget.more and finished < before.trials:
        return budget.model_copy(update={"trials": before.trials})
    return budget.model_copy(update={"trials": finished + budget.more})


def in_words(budget: Budget) -> str:
    """The limits, for a person."""
    limits = [
        f"{budget.trials} trials" if budget.more is None else f"{budget.more} more trials",
        f"{budget.minutes:g} minutes" if budget.minutes else "",
        f"{budget.examples:,} training examples" if budget.examples else "",
        f"{budget.device_hours:g} device hours" if budget.device_hours else "",
        f"{budget.money:g} at {budget.price:g} a device hour" if budget.money else "",
        f"until converged ({budget.converged.name})" if budget.converged else "",
    ]
    first, *others = filter(None, limits)
    return f"{first}, at most {', '.join(others)}" if others else first


def _reached(used: float, limit: float | None) -> bool:
    return limit is not None and used >= limit
