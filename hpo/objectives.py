"""What a study optimizes: scores by name, each with its direction."""

from collections.abc import Mapping
from typing import Literal

from hpo.spec import Objective, StudySpec
from pipelines.scores import METRICS

Direction = Literal["maximize", "minimize"]

COSTS: Mapping[str, Direction] = {"latency_ms": "minimize", "parameters": "minimize"}
"""Measured when a trial finishes, beside the scores: milliseconds for one text, and trained parameters."""


def names() -> list[str]:
    """Everything that can be an objective."""
    return [*METRICS, *COSTS]


def direction(objective: Objective) -> Direction:
    """`maximize` or `minimize`: the objective's own, else the metric's."""
    return objective.direction or COSTS.get(objective.metric) or METRICS[objective.metric].direction


def directions(spec: StudySpec) -> list[Direction]:
    """The directions of all objectives."""
    return [direction(objective) for objective in spec.objective]


def values_of(spec: StudySpec, scores: Mapping[str, float]) -> list[float]:
    """The objectives' values, in order. Raises `KeyError` for a score that was not measured."""
    return [scores[objective.metric] for objective in spec.objective]
