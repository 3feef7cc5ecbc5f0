"""Where a study's trials come from: those that an earlier session left, and new ones of the sampler."""

from dataclasses import dataclass, field

import optuna
from optuna.trial import FrozenTrial

from hpo.components import new_sampler
from hpo.informed import Informed
from hpo.planning import Planner
from hpo.spec import StudySpec
from hpo.trials import Active, Trials


@dataclass
class Proposals:
    """Hands out trials that are ready to be trained. What fails in the database may be asked for again."""

    spec: StudySpec
    study: optuna.Study
    trials: Trials
    planner: Planner
    _waiting: list[optuna.Trial | FrozenTrial] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._waiting += [one for one in self.trials.unfinished() if not self.trials.standings[one.number].rests]

    @property
    def left_over(self) -> bool:
        """Whether trials of an earlier session wait to go on: they come before all others."""
        return bool(self._waiting)

    def first(self) -> tuple[Active, str | None] | None:
        """The next trial, and why it cannot be trained (None: it can); nothing when there are as many as are wanted.

        The same trial comes again until it is taken.
        """
        if not self._waiting:
            if len(self.trials.standings) >= self.spec.budget.trials:
                return None
            self._waiting += self._new()
        return self.ready(self._waiting[0])

    def take(self) -> None:
        """The first trial has begun."""
        self._waiting.pop(0)

    def resting(self, number: int) -> tuple[Active, str | None]:
        """A trial that an earlier session left at rest, and why it cannot go on here (None: it can)."""
        return self.ready(self.trials.stored(number))

    def ready(self, trial: optuna.Trial | FrozenTrial) -> tuple[Active, str | None]:
        """A trial with its configuration and its segments, at the one that it is to train next."""
        if isinstance(trial, FrozenTrial):
            self._set_sampler(trial.number)  # it may not have all its values
            trial = optuna.Trial(self.study, trial._trial_id)
        active, reason = self.planner.plan(trial)
        standing = self.trials.begin(trial)
        active.at = sum(stage.examples <= standing.examples for stage in active.stages[:-1])
        if standing.rests:  # it stands at the end of a stage
            active.at -= 1
        return active, reason

    def _new(self) -> list[optuna.Trial | FrozenTrial]:
        """A new proposal; before that, one whose announcement was lost with a connection."""
        if strays := self.trials.strays():
            return [*strays]
        self._set_sampler(len(self.study.get_trials(deepcopy=False)))
        return [self.study.ask()]

    def _set_sampler(self, number: int) -> None:
        self.study.sampler = Informed(new_sampler(self.spec, trial=number), after=self.study.sampler)
