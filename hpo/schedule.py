"""Who trains next, and how far.

A schedule sees nothing but the trials' own reports and answers with a decision; it neither trains nor stores.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import optuna

from pipelines.batches import evaluation_steps
from pipelines.config import RunConfig


class Decision(Enum):
    """What becomes of a trial after a segment."""

    CONTINUE = "continue"
    """The trial trains its next segment, on the worker that holds it in memory."""
    STOP = "stop"
    """The trial is PRUNED: it will not train again, its reports teach the sampler."""


@dataclass(frozen=True)
class Stage:
    """One segment of a trial's way."""

    until: int
    """Optimizer step at which the segment ends."""
    examples: int
    """The same in training examples: an equal share of the run, so that trials of any batch size are compared at it."""


class Schedule(Protocol):
    """Decides about trials; see `Straight`."""

    def stages(self, config: RunConfig, *, rows: int) -> list[Stage]:
        """The segments of a trial with this configuration on so many training rows."""
        ...

    def decide(self, trial: optuna.Trial) -> Decision:
        """Asked after each report but the last of a trial."""
        ...


class Straight:
    """Every trial trains straight through; Optuna's pruner may stop it at an evaluation."""

    def __init__(self, *, prunes: bool) -> None:
        self._prunes = prunes

    def stages(self, config: RunConfig, *, rows: int) -> list[Stage]:
        """One segment per evaluation; where a short run has fewer steps than evaluations, the later one counts."""
        whole = round(config.train.epochs * rows)
        stages = {
            step: Stage(until=step, examples=round(whole * part / config.train.evaluations))
            for part, step in enumerate(evaluation_steps(rows, config.train), start=1)
        }
        return list(stages.values())

    def decide(self, trial: optuna.Trial) -> Decision:
        """Stop where the pruner says so."""
        return Decision.STOP if self._prunes and trial.should_prune() else Decision.CONTINUE
