"""How much worse a model is elsewhere than at home: two samples of rows that have nothing to do with one another."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.compare import draw_rows
from pipelines.predictions import Predictions
from pipelines.scores import METRICS
from pipelines.weighted import KAPPA, OVERCONFIDENCE, WEIGHTED, Floats, Weighted, judged

RESAMPLES = 2000
MEASURES: Mapping[str, Weighted] = {**WEIGHTED, "kappa": KAPPA, "overconfidence": OVERCONFIDENCE}
"""The scores of `scores.METRICS`, agreement with the labels beyond chance, and mean confidence less accuracy."""
_BLOCK = 2**22  # weights held at once, 34 MB
_LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number, and between which other rows might have put it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Shift:
    """One measure elsewhere and at home."""

    measure: str
    there: Estimate
    home: Estimate | None
    """None where no answers on the model's own test rows are kept, or these do not define it."""
    worse: Estimate | None
    """How much worse it is elsewhere; below zero where it is better. Of the overconfidence, how much more it is."""


def shifts(there: Predictions, home: Predictions | None, *, resamples: int | None = None, seed: int = 0) -> list[Shift]:
    """Every measure that the rows define, with 95 % intervals: percentiles of a bootstrap over the rows.

    The two sides are different rows, so each is resampled by itself, and the difference of the two resamples is that of
    the two-sample bootstrap (Efron & Tibshirani 1993, chapter 8). Within each class where a measure needs all classes.
    """
    count = resamples or RESAMPLES
    drawn = resampled(there, resamples=count, seed=seed)
    at_home = {} if home is None else resampled(home, resamples=count, seed=seed + 1)
    ours, theirs = observed(there), {} if home is None else observed(home)
    found = []
    for name, values in drawn.items():
        estimate, other, worse = _estimate(ours[name], values), None, None
        if name in at_home:
            other = _estimate(theirs[name], at_home[name])
            worse = _estimate(_worse(name, ours[name], home=theirs[name]), _worse(name, values, home=at_home[name]))
        found.append(Shift(name, estimate, other, worse))
    return found


def observed(predictions: Predictions) -> dict[str, float]:
    """Each measure of the rows as they are; without those that the rows do not define."""
    whole = np.ones((1, len(predictions.labels)))
    values = {name: float(_values(name, whole, predictions=predictions)[0]) for name in MEASURES}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def resampled(predictions: Predictions, *, resamples: int, seed: int) -> dict[str, Floats]:
    """Each measure of resamples of the rows, (resamples,); without those that the rows do not define."""
    found: dict[str, Floats] = {}
    known = observed(predictions)
    for by_class in (False, True):
        names = [name for name in known if MEASURES[name].by_class is by_class]
        rng = np.random.default_rng([seed, by_class])
        drawn = _weights(predictions, resamples, by_class=by_class, rng=rng)
        blocks = [_block(names, weights, predictions=predictions) for weights in drawn]
        found |= {name: np.concatenate([block[name] for block in blocks]) for name in names}
    return {name: found[name] for name in MEASURES if name in found}


def _block(names: Iterable[str], weights: Floats, *, predictions: Predictions) -> dict[str, Floats]:
    return {name: _values(name, weights, predictions=predictions) for name in names}


def _values(name: str, weights: Floats, *, predictions: Predictions) -> Floats:
    measure, labels = MEASURES[name], predictions.labels
    said = predictions.weighed if name == "kappa" else judged(predictions, name)
    return measure.values(weights, labels, measure.features(labels, said))


def _weights(predictions: Predictions, resamples: int, *, by_class: bool, rng: np.random.Generator) -> Iterator[Floats]:
    labels, rows = predictions.labels, len(predictions.labels)
    strata = [np.flatnonzero(labels == index) for index in np.unique(labels)] if by_class else [np.arange(rows)]
    most = max(1, _BLOCK // rows)
    for start in range(0, resamples, most):
        yield draw_rows(strata, min(most, resamples - start), rng)


def _worse(name: str, there: Floats | float, *, home: Floats | float) -> Floats:
    """The difference, turned so that more is worse."""
    rises = name == "overconfidence" or (name in METRICS and METRICS[name].direction == "minimize")
    return np.asarray(np.subtract(there, home) * (1 if rises else -1), dtype=np.float64)


def _estimate(value: "Floats | float", drawn: Floats) -> Estimate:
    low, high = np.nanquantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Estimate(float(value), low=float(low), high=float(high))
