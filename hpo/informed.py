"""What a sampler gets to see: a trial that is not over yet counts with what it has reported.

While a trial is paused, or trains its next segment, Optuna lists it as RUNNING. Samplers with a constant liar take such
a trial for a bad one, and the others ignore it; but its reports are as good as those of a PRUNED trial, so here it is
shown as one. A trial without a report stays what it is.
"""

import copy
from collections.abc import Container
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, TrialState


class Informed(BaseSampler):
    """A sampler that sees reports of unfinished trials; all else is the sampler inside."""

    def __init__(self, sampler: BaseSampler, *, after: BaseSampler | None = None) -> None:
        """`after` is the sampler that proposed the last trial of the same study. It has gathered which parameters all
        trials have in common, and the new one goes on from there instead of comparing thousands of trials again."""
        self._sampler = sampler
        gathered = getattr(after._sampler, "_search_space", None) if isinstance(after, Informed) else None
        if isinstance(gathered, IntersectionSearchSpace) and type(sampler) is type(after._sampler):
            sampler._search_space = gathered

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the sampler inside, over the trials as they are shown."""
        return self._sampler.infer_relative_search_space(_Shown(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler inside, over the trials as they are shown."""
        return self._sampler.sample_relative(_Shown(study), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the sampler inside, over the trials as they are shown."""
        return self._sampler.sample_independent(_Shown(study), trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """As the sampler inside."""
        self._sampler.before_trial(study, trial)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """As the sampler inside."""
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """As the sampler inside."""
        self._sampler.reseed_rng()


class _Shown(optuna.Study):
    """The same study, its reporting trials shown as PRUNED. Optuna's samplers ask for trials through `_get_trials`."""

    def __init__(self, study: optuna.Study) -> None:
        self.__dict__.update(study.__dict__)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = map(_as_it_counts, super()._get_trials(deepcopy=False, use_cache=use_cache))
        chosen = [trial for trial in trials if states is None or trial.state in states]
        return copy.deepcopy(chosen) if deepcopy else chosen


def _as_it_counts(trial: FrozenTrial) -> FrozenTrial:
    if trial.state != TrialState.RUNNING or not trial.intermediate_values:
        return trial
    shown = copy.copy(trial)
    shown.state = TrialState.PRUNED
    return shown
