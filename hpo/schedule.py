"""Who trains next, and how far.

A schedule sees nothing but what trials have reported and answers with decisions; it neither trains nor stores.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from pipelines.batches import evaluation_steps, total_steps
from pipelines.config import RunConfig


class Decision(Enum):
    """What becomes of a trial after a segment."""

    CONTINUE = "continue"
    """The trial trains its next segment, on the worker that holds it in memory."""
    PAUSE = "pause"
    """The trial rests: its checkpoint is kept, and it can go on later, on any worker."""
    STOP = "stop"
    """The trial is PRUNED: it will not train again, its reports teach the sampler."""


@dataclass(frozen=True)
class Stage:
    """One segment of a trial's way."""

    until: int
    """Optimizer step at which the segment ends."""
    examples: int
    """The same in training examples, so that trials of any batch size are compared at it."""


@dataclass
class Standing:
    """How far a trial has come, and where it is going."""

    number: int
    goal: int = 0
    """Training examples that it is training up to; those of its last report while it rests, and once it is over."""
    reports: dict[int, float] = field(default_factory=dict)
    """By training examples, the score that decides; the higher the better."""
    over: bool = False
    """It will not train again."""

    @property
    def examples(self) -> int:
        """Training examples at its last report."""
        return max(self.reports, default=0)

    @property
    def rests(self) -> bool:
        """It is paused, and may be promoted."""
        return not self.over and bool(self.reports) and self.goal <= self.examples

    @property
    def withdrawn(self) -> bool:
        """It ended on the way to its goal: failed, infeasible or out of budget."""
        return self.over and (self.goal > self.examples or not self.reports)


Standings = Mapping[int, Standing]
"""The standing of every trial that has begun, by its number."""


class Schedule(Protocol):
    """Decides about trials. `planned` is always the number of trials that the study is to have in the end."""

    def stages(self, config: RunConfig, *, number: int, rows: int) -> list[Stage]:
        """The segments of trial `number`, which has this configuration, on so many training rows."""
        ...

    def decide(self, number: int, standings: Standings, *, planned: int) -> Decision:
        """Asked after each report of a trial but its last; the trial rests while this is asked."""
        ...

    def promotable(self, standings: Standings, *, planned: int) -> list[int]:
        """Resting trials that should go on now, the farthest first."""
        ...

    def hopeless(self, standings: Standings, *, planned: int) -> list[int]:
        """Resting trials that cannot be promoted any more, whatever the others will report."""
        ...


class Straight:
    """Every trial trains straight through; a pruner may stop it at an evaluation."""

    def __init__(self, should_prune: Callable[[int], bool]) -> None:
        self._should_prune = should_prune

    def stages(self, config: RunConfig, *, number: int, rows: int) -> list[Stage]:
        """One segment per evaluation; where a short run has fewer steps than evaluations, the later one counts."""
        whole = round(config.train.epochs * rows)
        stages = {
            step: Stage(until=step, examples=round(whole * part / config.train.evaluations))
            for part, step in enumerate(evaluation_steps(rows, config.train), start=1)
        }
        return list(stages.values())

    def decide(self, number: int, standings: Standings, *, planned: int) -> Decision:
        """Stop where the pruner says so."""
        return Decision.STOP if self._should_prune(number) else Decision.CONTINUE

    def promotable(self, standings: Standings, *, planned: int) -> list[int]:
        """Whatever rests may go on: nothing does but for an earlier session with another schedule."""
        return sorted(number for number, standing in standings.items() if standing.rests)

    def hopeless(self, standings: Standings, *, planned: int) -> list[int]:
        """Nobody ever is."""
        return []


def stages_at(marks: list[int], config: RunConfig, *, rows: int) -> list[Stage]:
    """The segments of a run that is scored after `marks` training examples, and at its end.

    Marks at or beyond the end are left out; where two fall on one optimizer step, the later one counts.
    """
    whole, total = round(config.train.epochs * rows), total_steps(rows, config.train)
    stages = {}
    for examples in [*(mark for mark in marks if mark < whole), whole]:
        until = total if examples == whole else max(1, round(total * examples / whole))
        stages[until] = Stage(until=until, examples=examples)
    return list(stages.values())
