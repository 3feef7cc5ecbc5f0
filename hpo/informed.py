"""What a sampler gets to see: a trial that is not over yet counts with what it has reported.

While a trial is paused, or trains its next segment, Optuna lists it as RUNNING. Samplers with a constant liar take such
a trial for a bad one, and the others ignore it; but its reports are as good as those of a PRUNED trial, so here it is
shown as one. A trial without a report stays what it is.
"""

import copy
from collections.abc import Callable, Container, Iterable
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
        self._sampler, self._shown = sampler, _Shown()
        if isinstance(after, Informed):
            self._shown = after._shown
            gathered = getattr(after._sampler, "_search_space", None)
            if isinstance(gathered, IntersectionSearchSpace) and type(sampler) is type(after._sampler):
                sampler._search_space = gathered  # type: ignore[attr-defined]

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the sampler inside, over the trials as they are shown."""
        return self._sampler.infer_relative_search_space(self._shown.study(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler inside, over the trials as they are shown."""
        return self._sampler.sample_relative(self._shown.study(study), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the sampler inside, over the trials as they are shown."""
        return self._sampler.sample_independent(self._shown.study(study), trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """As the sampler inside."""
        self._sampler.before_trial(study, trial)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """As the sampler inside."""
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """As the sampler inside."""
        self._sampler.reseed_rng()


class _Shown:
    """The trials as a sampler sees them. A trial that has not changed since is not made anew: thousands may rest."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[FrozenTrial, FrozenTrial]] = {}

    def study(self, study: optuna.Study) -> optuna.Study:
        """The same study, its reporting trials shown as PRUNED."""
        return _ShownStudy(study, self.trials)

    def trials(self, stored: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Each trial as it counts."""
        before, self._made, shown = self._made, {}, []
        for trial in stored:
            if trial.state != TrialState.RUNNING or not trial.intermediate_values:
                shown.append(trial)
                continue
            known = before.get(trial.number)
            made = known if known is not None and known[0] is trial else (trial, _as_pruned(trial))
            self._made[trial.number] = made
            shown.append(made[1])
        return shown


class _ShownStudy(optuna.Study):
    """A study with other trials. Optuna's samplers ask for them through `_get_trials`."""

    def __init__(self, study: optuna.Study, shown: Callable[[list[FrozenTrial]], list[FrozenTrial]]) -> None:
        self.__dict__.update(study.__dict__)
        self._as_shown = shown

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = self._as_shown(super()._get_trials(deepcopy=False, use_cache=use_cache))
        chosen = [trial for trial in trials if states is None or trial.state in states]
        return copy.deepcopy(chosen) if deepcopy else chosen


def _as_pruned(trial: FrozenTrial) -> FrozenTrial:
    shown = copy.copy(trial)
    shown.state = TrialState.PRUNED
    return shown
