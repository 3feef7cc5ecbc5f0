"""Who trains next, and how far.

A schedule sees nothing but the trials' own reports and answers with a decision; it neither trains nor stores.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import optuna

from pipelines.batches import evaluation_steps, steps_per_epoch
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
    """The same in training examples, rounded so that trials of different batch size report at equal stages."""


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
        """One segment per evaluation."""
        steps = evaluation_steps(rows, config.train)
        whole = round(config.train.epochs * rows)
        return [Stage(until=step, examples=round(whole * step / steps[-1])) for step in steps]

    def decide(self, trial: optuna.Trial) -> Decision:
        """Stop where the pruner says so."""
        return Decision.STOP if self._prunes and trial.should_prune() else Decision.CONTINUE


def examples_seen(step: int, *, rows: int, batch_size: int) -> int:
    """Training examples of so many optimizer steps; the last batch of each epoch may be smaller."""
    epochs, rest = divmod(step, steps_per_epoch(rows, batch_size))
    return epochs * rows + rest * batch_size
