"""How two things are timed against each other: in turn, in both orders, as ratios with an interval.

Whatever else the machine does meets both neighbours of a pair; a drift of its speed cancels, because every pair is
measured in both orders (A B, then B A).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import stats

from benchmarks.timing import Timed


@dataclass(frozen=True)
class Run:
    """One measurement in its place."""

    variant: str
    round: int
    timed: Timed


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % confidence interval; without an interval (NaN) where there is one value only."""

    mean: float
    low: float
    high: float


def interleaved(walk: Sequence[str], rounds: int) -> list[tuple[str, ...]]:
    """The walk forwards, backwards, forwards ...: `[A, B]` gives A B, B A, A B; one entry per round.

    Neighbours of the walk are the pairs that are compared, so a variant may stand in it more than once.
    """
    return [tuple(walk) if number % 2 == 0 else tuple(reversed(walk)) for number in range(rounds)]


def measure(walk: Sequence[str], rounds: int, work: Callable[[str, int], Timed]) -> list[Run]:
    """Call `work(variant, round)` in interleaved order."""
    return [
        Run(variant, number, work(variant, number))
        for number, order in enumerate(interleaved(walk, rounds))
        for variant in order
    ]


def paired_ratios(runs: Sequence[Run], peer: str, ours: str) -> list[float]:
    """How many times longer the peer took for the same work, for each pair of neighbours of one round."""
    costs = []
    for one, other in pairwise(runs):
        if one.round == other.round and {one.variant, other.variant} == {peer, ours}:
            first, second = (one, other) if one.variant == peer else (other, one)
            costs.append(_cost(first.timed) / _cost(second.timed))
    return costs


def geometric_mean(ratios: Sequence[float]) -> Interval:
    """Geometric mean of ratios, with Student's 95 % interval over their logarithms."""
    inside = mean([math.log(ratio) for ratio in ratios])
    return Interval(math.exp(inside.mean), math.exp(inside.low), math.exp(inside.high))


def mean(values: Sequence[float]) -> Interval:
    """Arithmetic mean with Student's 95 % interval."""
    middle = float(np.mean(values))
    if len(values) < 2:
        return Interval(middle, math.nan, math.nan)
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return Interval(middle, middle - half, middle + half)


def ratio_of_means(peers: Sequence[float], ours: Sequence[float], *, draws: int = 10_000) -> Interval:
    """The peer's mean by ours, of values that belong together in pairs, with a bootstrap 95 % interval.

    Pairs are drawn with replacement; the ends are percentiles of the drawn ratios.
    """
    pairs = np.column_stack([peers, ours])
    rows = np.random.default_rng(0).integers(len(pairs), size=(draws, len(pairs)))
    drawn = pairs[rows].mean(axis=1)
    middle, (low, high) = pairs.mean(axis=0), np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    return Interval(float(middle[0] / middle[1]), float(low), float(high))


def _cost(timed: Timed) -> float:
    return timed.wall / timed.work
