"""Optuna's terminators by name: whether a study has anything left to gain. They look at COMPLETE trials."""

import warnings
from collections.abc import Callable

import optuna
from optuna.terminator import (
    BaseImprovementEvaluator,
    BestValueStagnationEvaluator,
    EMMREvaluator,
    MedianErrorEvaluator,
    RegretBoundEvaluator,
    StaticErrorEvaluator,
    Terminator,
)

from hpo.components import construct, find_kind
from hpo.spec import Component


def _stagnation(max_stagnation_trials: int = 10) -> Terminator:
    """So many COMPLETE trials in a row brought nothing better."""
    return _terminator(BestValueStagnationEvaluator(max_stagnation_trials), StaticErrorEvaluator(0.0), 1)


def _regret_bound(error: float = 0.005, min_n_trials: int = 10) -> Terminator:
    """A bound of the regret (Makarova et al., 2022) is below `error`, what another seed changes a score by."""
    return _terminator(RegretBoundEvaluator(seed=0), StaticErrorEvaluator(error), min_n_trials)


def _emmr(min_n_trials: int = 10) -> Terminator:
    """The expected minimum model regret (Ishibashi et al., 2023) is a hundredth of what it was at the start."""
    evaluator = EMMREvaluator(seed=0)
    error = MedianErrorEvaluator(evaluator, warm_up_trials=0, n_initial_trials=max(1, min_n_trials // 2))
    return _terminator(evaluator, error, min_n_trials)


def _terminator(evaluator: BaseImprovementEvaluator, error: object, few: int) -> Terminator:
    return Terminator(evaluator, error, few)  # type: ignore[arg-type]


_KINDS: dict[str, Callable[..., Terminator]] = {
    "bestvaluestagnation": _stagnation,
    "regretbound": _regret_bound,
    "emmr": _emmr,
}


class Convergence:
    """A study's terminator, asked once for each COMPLETE trial, since it takes its time."""

    def __init__(self, component: Component | None) -> None:
        self._component = component
        self._reached = new_terminator(component) if component else None
        self._judged = 0

    def reason(self, study: optuna.Study, *, complete: int) -> str | None:
        """Why the study may end, which has so many COMPLETE trials; None while it may go on."""
        if self._component is None or self._reached is None or complete <= self._judged:
            return None
        self._judged = complete
        return f"converged: {self._component.name} sees nothing left to gain" if self._reached(study) else None


def new_terminator(component: Component) -> Callable[[optuna.Study], bool]:
    """Whether a study has nothing left to gain, to be asked. Raises `ConfigError` for an unknown name or option."""
    kind = find_kind(component, _KINDS, section="terminator")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna means to move it to a package of its own
        terminator: Terminator = construct(kind, component.options, section="budget.converged", name=component.name)
    return lambda study: _asked(terminator, study)


def _asked(terminator: Terminator, study: optuna.Study) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return terminator.should_terminate(study)
