"""What a study optimizes: scores by name, each with its direction."""

import math
from collections.abc import Mapping
from typing import Literal

from hpo.spec import Objective, StudySpec
from pipelines.scores import METRICS

Direction = Literal["maximize", "minimize"]

COSTS: Mapping[str, Direction] = {"latency_ms": "minimize", "parameters": "minimize"}
"""Measured when a trial finishes, beside the scores: milliseconds for one text, and weights of the model."""


def names() -> list[str]:
    """Everything that can be an objective."""
    return [*METRICS, *COSTS]


def direction(objective: Objective) -> Direction:
    """`maximize` or `minimize`: the objective's own, else the metric's."""
    return objective.direction or COSTS.get(objective.metric) or METRICS[objective.metric].direction


def directions(spec: StudySpec) -> list[Direction]:
    """The directions of all objectives."""
    return [direction(objective) for objective in spec.objective]


def missing_objectives(spec: StudySpec, scores: Mapping[str, float]) -> str:
    """The objectives without a finite score: undefined on these rows, as AUROC is for a single class."""
    metrics = [objective.metric for objective in spec.objective]
    return ", ".join(metric for metric in metrics if not math.isfinite(scores.get(metric, math.nan)))


def values_of(spec: StudySpec, scores: Mapping[str, float]) -> list[float]:
    """The objectives' values, in order; all of them must be there."""
    return [scores[objective.metric] for objective in spec.objective]


def deciding_metric(spec: StudySpec) -> str:
    """By which a model is judged against another: the first objective that is a score of predictions.

    A cost alone promotes nobody: then it is the accuracy.
    """
    return next((objective.metric for objective in spec.objective if objective.metric in METRICS), "accuracy")
