"""The scores of `pipelines/scores.py` for weighted rows, thousands of weightings at once.

A resample of the rows is a weight for each: how often it was drawn. So a score of R resamples is a few products of a
matrix of weights, (R, rows), in place of R calls of scikit-learn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.predictions import Predictions
from pipelines.scores import BINS

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Weighted:
    """One score, in two steps: what it needs to know of each row, and its value from that under any weights.

    A score that is a function of sums over the rows (of a confusion table, of losses) needs no more of a weighting than
    those sums; one that ranks the rows needs their order.
    """

    features: Callable[[Labels, Floats], Floats]
    """Labels, (rows,), and probabilities, (rows, classes), -> (rows, any number)."""
    values: Callable[[Floats, Labels, Floats], Floats]
    """Weights, (R, rows), labels and features of the same rows -> (R,)."""
    by_class: bool
    """Resamples keep each class's number of rows: without a class the score would not be defined, or be another."""


def _sums(finish: Callable[[Floats], Floats]) -> Callable[[Floats, Labels, Floats], Floats]:
    """Values from the weighted means of the features, (R, features)."""
    return lambda weights, _, features: finish(weights @ features / weights.sum(axis=1, keepdims=True))


def _cells(labels: Labels, probabilities: Floats) -> Floats:
    """Which cell of the confusion table, row by row, a row falls into: one-hot, (rows, classes * classes)."""
    classes = probabilities.shape[1]
    return _one_hot(labels * classes + probabilities.argmax(axis=1), classes * classes)


def _one_hot(indices: NDArray[np.integer], size: int) -> Floats:
    return np.asarray(np.eye(size)[indices], dtype=np.float64)


def _confused(score: Callable[[Floats], Floats]) -> Callable[[Floats, Labels, Floats], Floats]:
    """Values of a score of confusion tables, (R, classes, classes), true class first, each of sum 1."""

    def finish(means: Floats) -> Floats:
        classes = int(np.sqrt(means.shape[1]))
        return score(means.reshape(-1, classes, classes))

    return _sums(finish)


def _accuracy(tables: Floats) -> Floats:
    return np.asarray(np.trace(tables, axis1=1, axis2=2), dtype=np.float64)


def _balanced_accuracy(tables: Floats) -> Floats:
    right, true = np.diagonal(tables, axis1=1, axis2=2), tables.sum(axis=2)
    return _mean_where(right, true, defined=true > 0)


def _macro_f1(tables: Floats) -> Floats:
    right, touched = np.diagonal(tables, axis1=1, axis2=2), tables.sum(axis=2) + tables.sum(axis=1)
    return _mean_where(2 * right, touched, defined=touched > 0)


def _mean_where(above: Floats, below: Floats, *, defined: NDArray[np.bool_]) -> Floats:
    """Mean over the classes of a ratio, (R,), where it is defined."""
    ratios = np.divide(above, below, out=np.zeros_like(below), where=defined)
    return np.asarray(ratios.sum(axis=1) / defined.sum(axis=1), dtype=np.float64)


def _mcc(tables: Floats) -> Floats:
    """Gorodkin 2004: 0 where all predictions are of one class, NaN where all rows are."""
    true, guessed = tables.sum(axis=2), tables.sum(axis=1)
    above = _accuracy(tables) - (true * guessed).sum(axis=1)
    below = np.sqrt(np.maximum(0, (1 - (true**2).sum(axis=1)) * (1 - (guessed**2).sum(axis=1))))
    found = np.divide(above, below, out=np.zeros_like(below), where=below > 1e-12)
    return np.where(true.max(axis=1) > 1 - 1e-12, np.nan, found)


COUNTED: Mapping[str, Callable[[Floats], Floats]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "mcc": _mcc,
}
"""Scores that count decisions alone: of confusion tables, (R, classes, classes), true class first, each of sum 1."""


def judged(predictions: Predictions, metric: str) -> Floats:
    """What a score is computed from, (rows, classes): probabilities, weighed by thresholds where decisions count."""
    return predictions.weighed if metric in COUNTED else predictions.probabilities


def _log_losses(labels: Labels, probabilities: Floats) -> Floats:
    tiny = np.finfo(np.float64).eps
    shares = np.clip(_normal(probabilities), tiny, 1 - tiny)
    return -np.log(shares[np.arange(len(labels)), labels])[:, None]


def _squares(labels: Labels, probabilities: Floats) -> Floats:
    truth = _one_hot(labels, probabilities.shape[1])
    return np.asarray(((_normal(probabilities) - truth) ** 2).sum(axis=1, keepdims=True), dtype=np.float64)


def _normal(probabilities: Floats) -> Floats:
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True), dtype=np.float64)


def _gaps(labels: Labels, probabilities: Floats) -> Floats:
    """Right (1 or 0) less confidence of each row, in the column of its bin of confidence; see `scores.calibration`."""
    confidence = probabilities.max(axis=1)
    bins = np.digitize(confidence, np.linspace(0, 1, BINS + 1)[1:-1], right=True)
    gaps = (probabilities.argmax(axis=1) == labels) - confidence
    return np.asarray(_one_hot(bins, BINS) * gaps[:, None], dtype=np.float64)


def _ranks(labels: Labels, probabilities: Floats) -> Floats:
    """Ranks of the rows by each class's probability, equals sharing theirs: (rows, classes, or 2 to 1).

    Ranks, since that is all that these scores look at, and the ranks of two models can be exchanged where their
    probabilities cannot (Venkatraman & Begg 1996).
    """
    from scipy.stats import rankdata

    judged = probabilities[:, 1:] if probabilities.shape[1] == 2 else probabilities
    return np.asarray(rankdata(judged, axis=0), dtype=np.float64)


def _ranked(
    score: Callable[[Floats, NDArray[np.bool_], Floats], Floats],
) -> Callable[[Floats, Labels, Floats], Floats]:
    """Values of a score of one class against the rest: the mean over the classes that have rows within and without."""

    def values(weights: Floats, labels: Labels, ranks: Floats) -> Floats:
        classes = [1] if ranks.shape[1] == 1 else range(ranks.shape[1])
        found = []
        for column, index in enumerate(classes):
            positive = labels == index
            if positive.any() and not positive.all():
                order = np.argsort(-ranks[:, column], kind="stable")
                found.append(score(weights[:, order], positive[order], ranks[order, column]))
        return np.asarray(np.mean(found, axis=0) if found else np.full(len(weights), np.nan), dtype=np.float64)

    return values


def _auroc(weights: Floats, positive: NDArray[np.bool_], falling: Floats) -> Floats:
    """Chance that a positive row ranks above a negative one, equals counting half; the rows come best first."""
    above, upto = _heads(weights[:, ~positive], positive, falling)
    ours, others = weights[:, positive], weights[:, ~positive].sum(axis=1)
    below = others[:, None] - (above + upto) / 2
    return np.asarray((ours * below).sum(axis=1) / (ours.sum(axis=1) * others), dtype=np.float64)


def _heads(negatives: Floats, positive: NDArray[np.bool_], falling: Floats) -> tuple[Floats, Floats]:
    """Weight of the negative rows strictly above each positive row, and of those above or equal: (R, positives)."""
    sums = np.pad(np.cumsum(negatives, axis=1), ((0, 0), (1, 0)))
    ours, theirs = -falling[positive], -falling[~positive]
    return sums[:, np.searchsorted(theirs, ours, "left")], sums[:, np.searchsorted(theirs, ours, "right")]


def _average_precision(weights: Floats, positive: NDArray[np.bool_], falling: Floats) -> Floats:
    """Mean over the positive rows of the precision among all that rank at least as high; the rows come best first."""
    ours = weights[:, positive]
    ranks = -falling[positive]
    right = np.cumsum(ours, axis=1)[:, np.searchsorted(ranks, ranks, "right") - 1]
    wrong = _heads(weights[:, ~positive], positive, falling)[1]
    precision = np.divide(right, right + wrong, out=np.zeros_like(right), where=right > 0)
    return np.asarray((ours * precision).sum(axis=1) / ours.sum(axis=1), dtype=np.float64)


WEIGHTED: Mapping[str, Weighted] = {
    **{name: Weighted(_cells, _confused(score), by_class=name != "accuracy") for name, score in COUNTED.items()},
    "log_loss": Weighted(_log_losses, _sums(lambda means: means[:, 0]), by_class=False),
    "brier": Weighted(_squares, _sums(lambda means: means[:, 0]), by_class=False),
    "auroc": Weighted(_ranks, _ranked(_auroc), by_class=True),
    "average_precision": Weighted(_ranks, _ranked(_average_precision), by_class=True),
    "ece": Weighted(_gaps, _sums(lambda means: np.abs(means).sum(axis=1)), by_class=False),
}
"""All of `scores.METRICS`. A score that the rows do not define is NaN here, and left out there."""


def _kappa(tables: Floats) -> Floats:
    """1 where all answers are right, 0 where as many as by chance are; NaN where chance alone has all right."""
    chance = (tables.sum(axis=2) * tables.sum(axis=1)).sum(axis=1)
    above = _accuracy(tables) - chance
    found = np.divide(above, 1 - chance, out=np.full_like(above, np.nan), where=chance < 1 - 1e-12)
    return np.asarray(found, dtype=np.float64)


def _surplus(labels: Labels, probabilities: Floats) -> Floats:
    confidence = probabilities.max(axis=1)
    return np.asarray((confidence - (probabilities.argmax(axis=1) == labels))[:, None], dtype=np.float64)


KAPPA = Weighted(_cells, _confused(_kappa), by_class=True)
"""Agreement of answers and labels beyond chance (Cohen 1960)."""
OVERCONFIDENCE = Weighted(_surplus, _sums(lambda means: means[:, 0]), by_class=False)
"""Mean confidence less accuracy: above 0 a model is surer than it is right."""
