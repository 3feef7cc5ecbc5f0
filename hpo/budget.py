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


def spent(budget: Budget, progress: Progress, *, kept: float = 0.0) -> str | None:
    """Why the search is over, or None while it may go on. Of every limit but the trials the share `kept` is not its."""
    if progress.finished >= budget.trials:
        return f"all {budget.trials} trials are finished"
    return used_up(budget, progress, kept=kept)


def used_up(budget: Budget, progress: Progress, *, kept: float = 0.0) -> str | None:
    """The same of all limits but the number of trials."""
    rest = ", but for the confirmation's share" if kept else ""
    if _reached(progress.minutes, budget.minutes, kept):
        return f"the {budget.minutes:g} minutes are used up{rest}"
    if _reached(progress.examples, budget.examples, kept):
        return f"the {budget.examples:,} training examples are used up{rest}"
    if _reached(progress.device_hours, budget.device_hours, kept):
        return f"the {budget.device_hours:g} device hours are used up{rest}"
    if budget.price is not None and _reached(progress.device_hours * budget.price, budget.money, kept):
        return f"{budget.money:g} is spent, at {budget.price:g} a device hour{rest}"
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


def _reached(used: float, limit: float | None, kept: float) -> bool:
    return limit is not None and used >= limit * (1 - kept)
