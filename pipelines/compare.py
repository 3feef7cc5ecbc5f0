"""Whether one classifier is better than another: both are judged on the same rows, and only their difference counts.

A and B are probabilities, (rows, classes), or those of several seeds each, (seeds, rows, classes). Differences are B
less A; B is better where the difference points the way of the metric.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.scores import METRICS
from pipelines.weighted import WEIGHTED, Floats, Labels, Weighted

Alternative = Literal["two-sided", "better"]
"""What the test looks for: any difference, or that B is better."""

_BLOCK = 2**22  # weights held at once, 34 MB


@dataclass(frozen=True)
class Difference:
    """One metric of A and B on the same rows, and what is known of the difference."""

    metric: str
    a: float
    """A's value; the mean over its seeds."""
    b: float
    low: float
    """The interval's lower end, of B less A."""
    high: float
    p: float
    """How often a difference as large would be seen if there were none."""
    test: str
    """Which test: `exact McNemar`, `permutation` or `bootstrap`."""

    @property
    def difference(self) -> float:
        """B less A."""
        return self.b - self.a

    @property
    def gain(self) -> float:
        """How much better B is: the difference, turned so that more is better."""
        return self.difference * _sign(self.metric)


@dataclass(frozen=True)
class Measured:
    """One metric of one model, and how far other rows might move it."""

    metric: str
    value: float
    """The mean over its seeds."""
    low: float
    """The interval's lower end."""
    high: float


def measure_metric(
    metric: str, labels: Labels, model: ArrayLike, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Measured | None:
    """A metric with its interval, drawn as `compare_metric` draws it; None where the rows do not define it."""
    seeds, measure = as_seeds(model), WEIGHTED[metric]
    value = observed(measure, labels, seeds)
    if np.isnan(value):
        return None
    rng = np.random.default_rng(seed)
    (drawn,) = bootstrap(measure, labels, (seeds,), resamples=resamples, rng=rng)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Measured(metric, value, low=float(low), high=float(high))


def compare_metric(
    metric: str,
    labels: Labels,
    a: ArrayLike,
    b: ArrayLike,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    alternative: Alternative = "two-sided",
    seed: int = 0,
) -> Difference | None:
    """The paired difference of a metric of `scores.METRICS`; None where the rows do not define it.

    The interval: percentiles of the differences over `resamples` resamples of the rows, each drawn for both models
    (Efron & Tibshirani 1993, chapter 13), within each class where the metric needs all classes. With several seeds, the
    seeds of each model are resampled too, crossed with the rows and independently of them (the multi-bootstrap: Sellam
    et al. 2022, "The MultiBERTs"). Of n seeds n - 1 are drawn, which makes the variance of their mean unbiased, where n
    draws give (n - 1) / n of it (Rao & Wu 1988). One seed says nothing of the others; five or more are wanted, since
    percentiles know nothing of Student's t: in simulation 95 % intervals held in 84 % with two seeds, 88 % with three.

    The test: for accuracy, McNemar's, exact; else a permutation of the two models' answers row by row (Yeh 2000), which
    asks whether they could be the same model. With several seeds, the share of the bootstrap's differences beyond zero.
    """
    first, second, measure = as_seeds(a), as_seeds(b), WEIGHTED[metric]
    ours, theirs = (observed(measure, labels, model) for model in (first, second))
    if np.isnan(ours):
        return None
    rng = np.random.default_rng(seed)
    means = bootstrap(measure, labels, (first, second), resamples=resamples, rng=rng)
    drawn = means[1] - means[0]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    test, p = paired_test(metric, labels, first, second, drawn=drawn, alternative=alternative, rng=rng)
    return Difference(metric, ours, theirs, low=float(low), high=float(high), p=p, test=test)


def paired_test(
    metric: str,
    labels: Labels,
    a: Floats,
    b: Floats,
    *,
    drawn: Floats,
    alternative: Alternative,
    rng: np.random.Generator,
) -> tuple[str, float]:
    """Name and p value of the test that fits; `drawn` are the bootstrap's differences."""
    sign, measure = _sign(metric), WEIGHTED[metric]
    if len(a) > 1 or len(b) > 1:
        return "bootstrap", _share_beyond_zero(drawn * sign, alternative)
    if metric == "accuracy":
        changed = flips(labels, a[0], b[0])
        return "exact McNemar", float(mcnemar(len(changed.won), len(changed.lost), alternative))
    ours, theirs = (observed(measure, labels, model) for model in (a, b))
    swapped = _permuted(measure, labels, a[0], b[0], resamples=len(drawn), rng=rng)
    return "permutation", _share_as_large(swapped * sign, (theirs - ours) * sign, alternative)


def _sign(metric: str) -> float:
    return 1.0 if METRICS[metric].direction == "maximize" else -1.0


def as_seeds(probabilities: ArrayLike) -> Floats:
    """Probabilities as those of several seeds, (seeds, rows, classes), also where there is one."""
    given = np.asarray(probabilities, dtype=np.float64)
    return given[None] if given.ndim == 2 else given


def observed(measure: Weighted, labels: Labels, model: Floats) -> float:
    """The metric on the rows as they are, the mean over the seeds."""
    whole = np.ones((1, len(labels)))
    return float(_columns(measure, whole, labels, [measure.features(labels, one) for one in model]).mean())


def _blocks(resamples: int, rows: int) -> Iterator[int]:
    """Sizes of the blocks in which so many resamples of so many rows fit into memory."""
    most = max(1, _BLOCK // rows)
    yield from [most] * (resamples // most) + [resamples % most] * (resamples % most > 0)


def bootstrap(
    measure: Weighted,
    labels: Labels,
    models: Sequence[Floats],
    *,
    resamples: int,
    rng: np.random.Generator,
    all_seeds: bool = False,
) -> list[Floats]:
    """The mean over its seeds of each model, (resamples,), on the same resamples of the rows.

    With `all_seeds` a model is these very seeds, and no sample of others that there might be.
    """
    strata = [np.flatnonzero(labels == index) for index in np.unique(labels)]
    if not measure.by_class:
        strata = [np.arange(len(labels))]
    features = [[measure.features(labels, one) for one in model] for model in models]
    found: list[list[Floats]] = [[] for _ in models]
    for count in _blocks(resamples, len(labels)):
        weights = draw_rows(strata, count, rng)
        for means, of_seeds in zip(found, features, strict=True):
            whole = np.full((count, len(of_seeds)), 1 / len(of_seeds))
            shares = whole if all_seeds else draw_seeds(len(of_seeds), count, rng)
            means.append((shares * _columns(measure, weights, labels, of_seeds)).sum(axis=1))
    return [np.concatenate(means) for means in found]


def _columns(measure: Weighted, weights: Floats, labels: Labels, of_seeds: Sequence[Floats]) -> Floats:
    return np.stack([measure.values(weights, labels, features) for features in of_seeds], axis=1)


def draw_rows(strata: Sequence[NDArray[np.intp]], count: int, rng: np.random.Generator) -> Floats:
    """How often each row stands in each of `count` resamples, (count, rows); each stratum is resampled on its own."""
    weights = np.zeros((count, sum(map(len, strata))))
    for rows in strata:
        size = len(rows)
        places = rng.integers(0, size, (count, size)) + size * np.arange(count)[:, None]
        weights[:, rows] = np.bincount(places.ravel(), minlength=count * size).reshape(count, size)
    return weights


def draw_seeds(seeds: int, count: int, rng: np.random.Generator) -> Floats:
    """Shares of the seeds in each of `count` resamples of one less than there are, (count, seeds)."""
    if seeds == 1:
        return np.ones((count, 1))
    places = rng.integers(0, seeds, (count, seeds - 1)) + seeds * np.arange(count)[:, None]
    return np.bincount(places.ravel(), minlength=count * seeds).reshape(count, seeds) / (seeds - 1)


def _share_beyond_zero(gains: Floats, alternative: Alternative) -> float:
    """The p value of the bootstrap, from gains of B; zero itself counts against a difference."""
    below, above = ((1 + (side <= 0).sum()) / (1 + len(gains)) for side in (gains, -gains))
    return float(below if alternative == "better" else min(1.0, 2 * min(below, above)))


def _permuted(
    measure: Weighted, labels: Labels, a: Floats, b: Floats, *, resamples: int, rng: np.random.Generator
) -> Floats:
    """Differences, (resamples,), where each row's two answers have changed sides with chance one half.

    Both models' answers stand in one list, and a weight of 0 or 1 says who has which.
    """
    features = np.concatenate([measure.features(labels, a), measure.features(labels, b)])
    twice = np.concatenate([labels, labels])
    found = []
    for count in _blocks(resamples, 2 * len(labels)):
        kept = rng.integers(0, 2, (count, len(labels))).astype(np.float64)
        sides = np.concatenate([kept, 1 - kept], axis=1)
        found.append(measure.values(1 - sides, twice, features) - measure.values(sides, twice, features))
    return np.concatenate(found)


def _share_as_large(gains: Floats, observed: float, alternative: Alternative) -> float:
    """The p value of a permutation test; never zero, since what was observed is one of them (Phipson & Smyth 2010)."""
    slack = 1e-12  # equal sums in another order
    reached = gains >= observed - slack if alternative == "better" else abs(gains) >= abs(observed) - slack
    return float((1 + reached.sum()) / (1 + len(gains)))


def mcnemar(won: ArrayLike, lost: ArrayLike, alternative: Alternative = "two-sided") -> Floats:
    """The exact p value of McNemar's test: of the rows that only one model has right, B would have half by chance.

    `won` rows B alone has right, `lost` rows A alone; arrays give an array. McNemar 1947, by the binomial distribution
    itself in place of its limit.
    """
    from scipy.stats import binom

    ours, theirs = np.asarray(won), np.asarray(lost)
    if alternative == "better":
        return np.asarray(binom.sf(ours - 1, ours + theirs, 0.5), dtype=np.float64)
    return np.asarray(np.minimum(1.0, 2 * binom.sf(np.maximum(ours, theirs) - 1, ours + theirs, 0.5)))


@dataclass(frozen=True, eq=False)
class Flips:
    """The rows that exactly one of the two models has right, those first where the probabilities differ most."""

    won: NDArray[np.intp]
    """Rows that B has right and A wrong."""
    lost: NDArray[np.intp]
    """Rows that A has right and B wrong."""


def flips(labels: Labels, a: Floats, b: Floats) -> Flips:
    """What B wins and loses against A, of probabilities of one seed each, (rows, classes)."""
    ours, theirs = a.argmax(axis=1) == labels, b.argmax(axis=1) == labels
    rows = np.arange(len(labels))
    moved = b[rows, labels] - a[rows, labels]
    won, lost = np.flatnonzero(theirs & ~ours), np.flatnonzero(ours & ~theirs)
    return Flips(won[np.argsort(-moved[won], kind="stable")], lost[np.argsort(moved[lost], kind="stable")])


@dataclass(frozen=True)
class Slice:
    """The accuracy of A and B on some of the rows."""

    name: str
    rows: int
    a: float
    b: float
    won: int
    """Rows that B alone has right."""
    lost: int
    """Rows that A alone has right."""
    low: float
    """The interval's lower end, of B less A."""
    high: float


def slices(labels: Labels, a: Floats, b: Floats, *, names: Sequence[str], texts: Sequence[str]) -> list[Slice]:
    """The accuracy by class, and by quartile of the texts' length in characters; slices without rows are left out.

    Each interval is its own 95 %: of twenty slices one lies beside zero by chance.
    """
    lengths = np.array([len(text) for text in texts])
    bounds = np.quantile(lengths, [0.25, 0.5, 0.75], method="inverted_cdf")
    quarter = np.searchsorted(bounds, lengths, side="left")
    chosen = [(f"class {name}", labels == index) for index, name in enumerate(names)]
    chosen += [(_length_of(lengths[quarter == index]), quarter == index) for index in np.unique(quarter)]
    return [_slice(name, labels[rows], a[rows], b[rows]) for name, rows in chosen if rows.any()]


def _length_of(lengths: NDArray[np.int_]) -> str:
    return f"{lengths.min():,} to {lengths.max():,} characters"


def _slice(name: str, labels: Labels, a: Floats, b: Floats) -> Slice:
    ours, theirs = ((model.argmax(axis=1) == labels).mean() for model in (a, b))
    changed = flips(labels, a, b)
    won, lost = len(changed.won), len(changed.lost)
    low, high = matched_interval(won, lost, len(labels))
    return Slice(name, len(labels), float(ours), float(theirs), won=won, lost=lost, low=low, high=high)


def matched_interval(won: int, lost: int, rows: int, level: float = 0.95) -> tuple[float, float]:
    """An interval for the difference of two accuracies on the same rows that holds for few rows too.

    Wald's, with half a row more in each of the four cells (Agresti & Min 2005).
    """
    from scipy.stats import norm

    total, apart, sure = rows + 2, won + lost + 1, won - lost
    half = float(norm.ppf((1 + level) / 2)) * np.sqrt(apart - sure**2 / total) / total
    return max(-1.0, sure / total - half), min(1.0, sure / total + half)
