"""A study's trials in every place that knows them: Optuna's storage, the ledger, their directories, the mirror.

Only the controller uses this, and nothing else writes there: so what is kept in memory here is what the storage holds.
Every method may be called again after an error of the database, whatever it had done before: nothing is told twice.
"""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpo.ledger import Ledger
from hpo.objectives import direction, missing_objectives, values_of
from hpo.places import Places
from hpo.records import write_record
from hpo.schedule import Stage, Standing
from hpo.scheduling import scheduling
from hpo.spec import StudySpec
from hpo.storage import best_of, own_trials
from pipelines.config import RunConfig
from pipelines.files import remove
from pipelines.segment import SegmentResult

_GOAL = "goal"  # a trial's attribute: training examples that it was sent to train up to
_RUNGS = "rungs"  # a trial's attribute: scores by examples, where they are not the objective that Optuna is told


class Mirror(Protocol):
    """Whoever shows the trials elsewhere; told that a trial's directory has changed."""

    def changed(self, directory: Path) -> None:
        """Something in this trial's directory is new."""
        ...


@dataclass
class Active:
    """A trial that is not over: on a worker, or at rest."""

    trial: optuna.Trial
    config: RunConfig
    stages: list[Stage]
    at: int = 0
    """Index of the stage that is being trained."""
    attempt: int = 1
    submitted: float = 0.0
    wall: float = 0.0
    """Seconds that its last segment took, from submission to answer."""
    parking: bool = False
    """It is to rest, and its worker is writing the checkpoint for that."""
    progress: dict[str, float] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.trial.number


@dataclass
class Trials:
    """The trials of one study."""

    spec: StudySpec
    study: optuna.Study
    places: Places
    ledger: Ledger
    mirror: Mirror
    foretold: Callable[[Active], dict[str, float]]
    """Seconds of a trial that trains to its end, by kind of work."""
    standings: dict[int, Standing] = field(default_factory=dict)
    """Of every trial that has begun."""
    ended: dict[int, FrozenTrial] = field(default_factory=dict)
    """The trials that are over."""
    best: FrozenTrial | None = None
    """The best COMPLETE one so far."""

    def __post_init__(self) -> None:
        for trial in own_trials(self.study):
            if trial.state != TrialState.WAITING:
                self.standings[trial.number] = self._standing(trial)
                if trial.state.is_finished():
                    self.ended[trial.number] = trial
        self.best = best_of(self.study, self.ended.values())

    def directory(self, number: int) -> Path:
        """Where the trial's files are."""
        return self.places.trial(self.spec.name, number)

    def strays(self) -> list[FrozenTrial]:
        """Trials that are RUNNING in Optuna's storage, and that nobody here began: a reply to `ask` was lost."""
        return [one for one in self.study.get_trials(False, (TrialState.RUNNING,)) if one.number not in self.standings]

    def unfinished(self) -> list[FrozenTrial]:
        """Trials that began and did not end, oldest first."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def stored(self, number: int) -> FrozenTrial:
        """A trial as Optuna's storage has it."""
        storage = self.study._storage
        return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number))

    def begin(self, trial: optuna.Trial) -> Standing:
        """Count a trial among those that have begun; returns its standing."""
        return self.standings.setdefault(trial.number, Standing(trial.number))

    def send(self, active: Active, goal: int) -> None:
        """Write down to how many training examples a trial is sent, before it goes: after a crash it will go there."""
        if self.standings[active.number].goal != goal:
            active.trial.set_user_attr(_GOAL, goal)
            self.standings[active.number].goal = goal

    def report(self, active: Active, result: SegmentResult) -> None:
        """Tell Optuna the scores of this stage, once: it keeps the first report of a step and warns at a second."""
        examples, standing = active.stages[active.at].examples, self.standings[active.number]
        if examples in standing.reports:
            return
        told = len(self.spec.objective) == 1 and not missing_objectives(self.spec, result.scores)
        score = self._score(result)
        if told and examples not in self._stored(active).intermediate_values:
            active.trial.report(values_of(self.spec, result.scores)[0], examples)
        if not told or self._by_loss:  # last: a stage that stands here is not reported again
            reports = {str(key): value for key, value in (standing.reports | {examples: score}).items()}
            active.trial.set_user_attr(_RUNGS, reports)
        standing.reports[examples] = score

    def end(
        self,
        active: Active,
        state: TrialState,
        *,
        values: list[float] | None = None,
        reason: str | None = None,
        result: SegmentResult | None = None,
    ) -> None:
        """Finish a trial in its record, then in Optuna, then free its disk.

        The record comes first: after a crash in between, Optuna still says RUNNING, and the trial is taken up again.
        """
        told = self._stored(active).state.is_finished()  # by an attempt whose answer was lost
        if not told and (reason or "reason" in active.trial.user_attrs):
            active.trial.set_user_attr("reason", reason)
        self.record(active, state=state.name, reason=reason, values=values, result=result)
        if not told:
            self.study.tell(active.trial, values, state=state)
        self.ended[active.number] = self._stored(active)
        before, self.best = self.best, best_of(self.study, self.ended.values())
        self.free_disk({active.number} | ({before.number} if before else set()))
        self.begin(active.trial).over = True  # last: until then, all of this may be done again

    def record(
        self,
        active: Active,
        *,
        state: str,
        reason: str | None = None,
        values: list[float] | None = None,
        result: SegmentResult | None = None,
    ) -> None:
        """Write the trial's record, and let the mirror know."""
        directory = self.directory(active.number)
        write_record(
            directory,
            study=self.spec,
            number=active.number,
            config=active.config,
            state=state,
            reason=reason,
            values=values,
            scores=result.scores if result else {},
            seconds=self.ledger.trial_seconds(self.spec.name, active.number),
            predicted=self.foretold(active),
        )
        self.mirror.changed(directory)

    def spend(self, active: Active, outcome: str, result: SegmentResult | None) -> None:
        """Enter a segment into the ledger."""
        self.ledger.add_segment(
            study=self.spec.name,
            trial=active.number,
            attempt=active.attempt,
            step=result.step if result else 0,
            outcome=outcome,
            wall=active.wall,
            seconds=result.seconds if result else {},
        )

    def catch_up(self) -> None:
        """Do what an earlier session was kept from: show its trials to the mirror, free the disk."""
        for leftover in sorted(self.places.study(self.spec.name).glob("**/.*.tmp")):  # of writes that a kill cut short
            remove(leftover)
        for number in self.standings:
            if (self.directory(number) / "trial.json").exists():
                self.mirror.changed(self.directory(number))
        self.free_disk(self.ended)

    def free_disk(self, ended: Iterable[int]) -> None:
        """A finished trial needs no checkpoints, and only the best trial's model can still be registered."""
        for number in ended:
            shutil.rmtree(self.directory(number) / "checkpoints", ignore_errors=True)
            if self.best is None or number != self.best.number:
                for name in ("model", "final"):
                    shutil.rmtree(self.directory(number) / name, ignore_errors=True)

    def _stored(self, active: Active) -> FrozenTrial:
        return self.study._storage.get_trial(active.trial._trial_id)

    def _standing(self, trial: FrozenTrial) -> Standing:
        if self._by_loss or _RUNGS in trial.user_attrs:
            reports = {int(key): value for key, value in trial.user_attrs.get(_RUNGS, {}).items()}
        else:
            reports = {key: self._sign * value for key, value in trial.intermediate_values.items()}
        goal = trial.user_attrs.get(_GOAL, 0)
        return Standing(trial.number, goal=goal, reports=reports, over=trial.state.is_finished())

    def _score(self, result: SegmentResult) -> float:
        """What ranks a trial at a rung; the higher the better."""
        if self._by_loss:
            return -result.scores["log_loss"]
        metric = self.spec.objective[0].metric
        return self._sign * result.scores.get(metric, 0.0)  # costs come at the end only, and rank nobody before

    @property
    def _by_loss(self) -> bool:
        return scheduling(self.spec).score == "log_loss"

    @property
    def _sign(self) -> float:
        return 1.0 if direction(self.spec.objective[0]) == "maximize" else -1.0
