"""Who goes into the confirmation, and who comes out of it as the winner: statistics, without training or storage.

A contestant is a configuration, named by its trial's number; its probabilities are those of its fresh trainings on the
select rows, (seeds, rows, classes).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.compare import Difference, Measured, compare_metric, measure_metric
from pipelines.predictions import Predictions

LEVEL = 0.05
"""Two are called different when chance alone would set them so far apart less often than this."""

Probabilities = Mapping[int, NDArray[np.float64]]


@dataclass(frozen=True)
class Verdict:
    """What the fresh trainings say."""

    winner: int
    leader: int
    """Who has the best mean."""
    measured: Mapping[int, Measured]
    """Each contestant's mean over its fresh trainings."""
    behind: Mapping[int, Difference]
    """What each other contestant is worth against the leader (A), by number."""

    @property
    def open(self) -> list[int]:
        """The contestants that cannot be told from the leader, itself among them, in order."""
        return sorted([self.leader, *(number for number, one in self.behind.items() if not lags(one))])

    @property
    def clear(self) -> bool:
        """Everybody else is behind the leader for certain: further trainings would change nothing."""
        return self.open == [self.leader]


def lags(difference: Difference) -> bool:
    """Whether B is worse than A, beyond what chance could do."""
    return difference.gain < 0 and difference.p <= LEVEL


def choose_finalists(
    metric: str, predictions: Mapping[int, Predictions], *, ranked: Sequence[int], most: int
) -> list[int]:
    """The best trial and those that the select rows cannot tell from it, at most `most`, the best first.

    `predictions` are those of each COMPLETE trial on the select rows, `ranked` their numbers, the best first.
    """
    best, *others = ranked
    labels, first = predictions[best].labels, predictions[best].probabilities
    found = [best]
    for number in others:
        if len(found) == most:
            break
        difference = compare_metric(metric, labels, first, predictions[number].probabilities)
        if difference is not None and not lags(difference):
            found.append(number)
    return found


def judge(
    metric: str,
    labels: NDArray[np.int64],
    probabilities: Probabilities,
    *,
    simplest: Sequence[int],
    prefer: Literal["simpler", "higher"],
) -> Verdict:
    """The winner: the leader, or the simplest of those that cannot be told from it.

    `simplest` are the contestants in the order in which they win when nothing else decides. Raises `ValueError` where
    the rows do not define the metric.
    """
    found = {number: measure_metric(metric, labels, model) for number, model in probabilities.items()}
    measured = {number: one for number, one in found.items() if one is not None}
    if len(measured) < len(found):
        raise ValueError(f"these rows do not define {metric}")
    leader = min(measured, key=lambda number: (-goodness(metric, measured[number].value), simplest.index(number)))
    behind = {
        number: _against(metric, labels, probabilities, leader, number) for number in simplest if number != leader
    }
    verdict = Verdict(leader, leader, measured, behind)
    if prefer == "higher":
        return verdict
    return Verdict(next(one for one in simplest if one in verdict.open), leader, measured, behind)


def _against(
    metric: str, labels: NDArray[np.int64], probabilities: Probabilities, leader: int, other: int
) -> Difference:
    difference = compare_metric(metric, labels, probabilities[leader], probabilities[other])
    if difference is None:
        raise ValueError(f"these rows do not define {metric}")
    return difference


def goodness(metric: str, value: float) -> float:
    """A score turned so that more is better."""
    from pipelines.scores import METRICS

    return value if METRICS[metric].direction == "maximize" else -value
