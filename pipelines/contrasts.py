"""Which of several models differ: all pairs on the same rows, with intervals and p values for as many as they are."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pipelines.compare import Difference, Measured, as_seeds, bootstrap, observed, paired_test
from pipelines.weighted import WEIGHTED, Floats, Labels

_BEYOND = 20  # resamples beyond each end of an interval: fewer know nothing of where it is
_TESTED = 100  # resamples of a test for each of the pairs, by whose number its p value is multiplied
_FEWEST, _MOST = 2_000, 100_000


@dataclass(frozen=True)
class Contrast:
    """Two of several models on the same rows."""

    a: int
    """Place of A among the models."""
    b: int
    difference: Difference
    """Its interval holds together with those of all other pairs; its p value is that of the pair alone."""
    adjusted: float
    """The p value that all pairs together leave of it (Holm 1979)."""


def compare_all(
    metric: str,
    labels: Labels,
    models: Sequence[ArrayLike],
    *,
    matched: bool = False,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[list[Measured], list[Contrast]] | None:
    """A metric of each model, and all their paired differences; None where the rows do not define it.

    As `compare_metric` finds them, each resample of the rows drawn for all models. With the chance `level` the
    intervals of all pairs hold at once, since each has the level 1 - (1 - level) / pairs (Bonferroni); those of the
    single models have `level` each. So many resamples are taken that twenty lie beyond each end of an interval.

    With `matched` the k-th seeds of all models belong together (trained alike but for what is compared): their mean
    difference is meant, and they are no sample of others.
    """
    sides, measure, rng = [as_seeds(model) for model in models], WEIGHTED[metric], np.random.default_rng(seed)
    values = [observed(measure, labels, side) for side in sides]
    if np.isnan(values[0]):
        return None
    pairs = list(itertools.combinations(range(len(sides)), 2))
    outside = (1 - level) / max(1, len(pairs))
    resamples = min(_MOST, max(_FEWEST, round(2 * _BEYOND / outside)))
    drawn = bootstrap(measure, labels, sides, resamples=resamples, rng=rng, all_seeds=matched)
    found = []
    for a, b in pairs:
        apart = drawn[b] - drawn[a]
        for_test = apart[: max(_FEWEST, _TESTED * len(pairs))]
        test, p = paired_test(metric, labels, sides[a], sides[b], drawn=for_test, alternative="two-sided", rng=rng)
        found.append(Difference(metric, values[a], values[b], *_percentiles(apart, outside), p=p, test=test))
    measured = [
        Measured(metric, value, *_percentiles(means, 1 - level)) for value, means in zip(values, drawn, strict=True)
    ]
    adjusted = holm([one.p for one in found])
    return measured, [Contrast(a, b, one, p) for (a, b), one, p in zip(pairs, found, adjusted, strict=True)]


def _percentiles(drawn: Floats, outside: float) -> tuple[float, float]:
    """The ends between which all but a share `outside` of the values lie."""
    low, high = np.quantile(drawn, [outside / 2, 1 - outside / 2])
    return float(low), float(high)


def holm(values: Sequence[float]) -> list[float]:
    """P values of several tests, adjusted so that the chance of any false finding stays below their level (Holm 1979).

    The smallest is multiplied by how many there are, the next by one less, and so on; none is below one before it.
    """
    order = np.argsort(values, kind="stable")
    scaled = np.asarray(values, dtype=np.float64)[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return [float(one) for one in adjusted]
