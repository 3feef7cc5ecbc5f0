"""Searches with our schedule and with Optuna's pruners, one trial's segment at a time."""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import TrialState

from benchmarks.grid import SPACE, Configuration, configuration, suggested
from benchmarks.simulation import Order
from hpo.components import new_sampler
from hpo.informed import Informed
from hpo.schedule import Decision, Stage, Standing
from hpo.scheduling import new_schedule, scheduling
from hpo.space import default_trials, suggest, trial_config
from hpo.spec import StudySpec


def study_spec(*, rows: int, epochs: float, seed: int, **changes: Any) -> StudySpec:
    """A study over the benchmark's space; `changes` replace its top-level entries."""
    plain: dict[str, Any] = {
        "name": "replay",
        "seed": seed,
        "budget": {"trials": 1000},  # more than any budget of epoch-units here pays for
        "schedule": "halving",
        "start_with_defaults": False,
        "run": {"train": {"epochs": epochs}, "data": {"train_rows": rows}},
        "space": SPACE,
    }
    return StudySpec.model_validate(plain | changes)


class Ours:
    """Our schedule and sampler, decided step by step as `hpo.study.Controller` does.

    A trial that is promoted goes on from its checkpoint, so it costs its remaining examples only.
    """

    def __init__(self, spec: StudySpec, *, rows: int) -> None:
        self._spec, self._rows = spec, rows
        self._study = optuna.create_study(direction="maximize")
        for parameters in default_trials(spec) if spec.start_with_defaults else []:
            self._study.enqueue_trial(parameters)
        self._schedule = new_schedule(spec, rows=rows, should_prune=lambda _: False)
        self._standings: dict[int, Standing] = {}
        self._trials: dict[int, optuna.Trial] = {}
        self._configurations: dict[int, Configuration] = {}
        self._stages: dict[int, list[Stage]] = {}
        self._continuing: list[int] = []

    def order(self) -> Order | None:
        """What comes first: a trial that goes on at once, a promoted one, a new one."""
        if self._continuing:
            return self._send(self._continuing.pop(0))
        if ready := self._schedule.promotable(self._standings, planned=self._planned):
            return self._send(ready[0])
        if len(self._standings) >= self._planned:
            return None
        return self._send(self._new())

    def receive(self, order: Order, scores: dict[str, float]) -> None:
        """Report, decide, and end whoever cannot be promoted any more."""
        standing, trial = self._standings[order.trial], self._trials[order.trial]
        trial.report(scores["accuracy"], order.until)
        by_loss = scheduling(self._spec).score == "log_loss"
        standing.reports[order.until] = -scores["log_loss"] if by_loss else scores["accuracy"]
        if order.until == self._stages[order.trial][-1].examples:
            standing.over = True
            self._study.tell(trial, scores["accuracy"])
        elif self._decide(order.trial) is Decision.CONTINUE:
            self._continuing.append(order.trial)
        for number in self._schedule.hopeless(self._standings, planned=self._planned):
            if number not in self._continuing:
                self._end(number)

    @property
    def _planned(self) -> int:
        return self._spec.budget.trials

    def _decide(self, number: int) -> Decision:
        decision = self._schedule.decide(number, self._standings, planned=self._planned)
        if decision is Decision.STOP:
            self._end(number)
        return decision

    def _end(self, number: int) -> None:
        self._study.tell(self._trials[number], state=TrialState.PRUNED)
        self._standings[number].over = True

    def _new(self) -> int:
        self._study.sampler = Informed(new_sampler(self._spec, trial=len(self._standings)))
        trial = self._study.ask()
        values = suggest(trial, self._spec)
        number, config = trial.number, trial_config(self._spec, values)
        self._trials[number], self._standings[number] = trial, Standing(number)
        self._configurations[number] = configuration(values)
        self._stages[number] = self._schedule.stages(config, number=number, rows=self._rows)
        return number

    def _send(self, number: int) -> Order:
        standing = self._standings[number]
        begin = standing.examples
        goal = next(stage.examples for stage in self._stages[number] if stage.examples > begin)
        standing.goal = goal
        return Order(number, self._configurations[number], begin=begin, until=goal)


class WithPruner:
    """Optuna's ask and tell with one of its pruners: a pruned trial is over, all others train to the horizon."""

    def __init__(self, study: optuna.Study, *, marks: Sequence[int], unit: int) -> None:
        """`marks` are the training examples at which a trial reports, the last one its horizon; the pruner is told
        them in units of `unit` examples."""
        self._study, self._marks, self._unit = study, list(marks), unit
        self._trials: dict[int, optuna.Trial] = {}
        self._continuing: list[Order] = []

    def order(self) -> Order:
        """The next stretch of a trial that goes on, or a new trial."""
        if self._continuing:
            return self._continuing.pop(0)
        trial = self._study.ask()
        self._trials[trial.number] = trial
        return Order(trial.number, suggested(trial), begin=0, until=self._marks[0])

    def receive(self, order: Order, scores: dict[str, float]) -> None:
        """Report, and ask the pruner but at the horizon."""
        trial = self._trials[order.trial]
        trial.report(scores["accuracy"], round(order.until / self._unit))
        if order.until == self._marks[-1]:
            self._study.tell(trial, scores["accuracy"])
        elif trial.should_prune():
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._continuing.append(following(order, self._marks))


def following(order: Order, marks: Sequence[int]) -> Order:
    """The stretch after this one."""
    until = next(mark for mark in marks if mark > order.until)
    return Order(order.trial, order.configuration, begin=order.until, until=until)
