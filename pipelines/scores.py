"""The numbers that say how good predictions are. A score that is not defined for the rows at hand is left out."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.predictions import Predictions

BINS = 15
"""Bins of the calibration error; Guo et al. 2017 take 15."""


@dataclass(frozen=True)
class Metric:
    """A score that a study can optimize."""

    name: str
    """The key in the dictionary of scores."""
    direction: Literal["maximize", "minimize"]
    """Which way is better."""
    description: str
    """One line for people."""


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "maximize", "share of the texts that are classified correctly"),
        Metric("balanced_accuracy", "maximize", "mean of the recalls of all classes, so that rare classes count alike"),
        Metric("macro_f1", "maximize", "mean over the classes of the harmonic mean of precision and recall"),
        Metric("mcc", "maximize", "Matthews' correlation of predicted and true classes, -1 to 1; 0 is guessing"),
        Metric("log_loss", "minimize", "mean of -ln(probability of the true class), in nats"),
        Metric("brier", "minimize", "mean squared distance of the probabilities from the truth, 0 to 2"),
        Metric("auroc", "maximize", "chance that a text of a class is ranked above a text of another; 0.5 is guessing"),
        Metric("average_precision", "maximize", "area under the precision-recall curve"),
        Metric("ece", "minimize", "expected calibration error: mean gap between confidence and accuracy"),
    )
}
"""Every score that can be a study's objective, by name."""


def score(predictions: Predictions) -> dict[str, float]:
    """All scores that are defined, by name: those of `METRICS`, and four for each class.

    Macro means go over the classes for which their terms are defined, so that classes without rows do not count:

    - `accuracy`; `balanced_accuracy`: mean recall of the classes that have rows (Brodersen et al. 2010).
    - `macro_f1`: mean F1 of the classes that have rows or are predicted.
    - `mcc`: Gorodkin 2004, for any number of classes; 0 where all predictions are of one class, left out where all
      rows are of one class.
    - `log_loss`: in nats; probabilities are clipped to float64's epsilon (2.2e-16), so that it is finite.
    - `brier`: mean over the rows of the squared distance of the probabilities from the one-hot truth, summed over
      the classes (Brier 1950), 0 to 2. For two classes too: twice what scikit-learn gives there by default.
    - `auroc`, `average_precision`: for two classes, class 1 is the positive one; for more, the mean over the classes
      of one class against the rest. Left out where no class has both positive and negative rows.
    - `ece`: see `calibration`.
    - `precision.<class>` (left out for a class never predicted), `recall.<class>` (for a class without rows),
      `f1.<class>` (for both), `support.<class>` (rows), where `<class>` is `metric_key(name)`.

    Raises `ValueError` where there are no rows.
    """
    if not len(predictions.labels):
        raise ValueError("there are no rows to score")
    return _of_decisions(predictions) | _of_probabilities(predictions) | dict(_of_classes(predictions))


def _of_decisions(predictions: Predictions) -> dict[str, float]:
    from sklearn import metrics

    truth, predicted = predictions.labels, predictions.predicted
    present = np.unique(truth)
    scores = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        # This is balanced_accuracy_score, which warns when a class without rows is predicted.
        "balanced_accuracy": metrics.recall_score(truth, predicted, labels=present, average="macro", zero_division=0),
        "macro_f1": metrics.f1_score(truth, predicted, average="macro", zero_division=0),
    }
    if len(present) > 1:
        scores["mcc"] = metrics.matthews_corrcoef(truth, predicted)
    return {name: float(value) for name, value in scores.items()}


def _of_probabilities(predictions: Predictions) -> dict[str, float]:
    from sklearn import metrics

    truth, probabilities = predictions.labels, predictions.probabilities
    classes = range(len(predictions.names))
    # scikit-learn warns of rows whose sum is off by more than 1e-8, as a softmax in single precision is.
    normal = probabilities / probabilities.sum(axis=1, keepdims=True)
    scores = {
        "log_loss": metrics.log_loss(truth, normal, labels=classes),
        "brier": metrics.brier_score_loss(truth, normal, labels=classes, scale_by_half=False),
        "ece": calibration(predictions).error,
    }
    ranked = ranked_classes(predictions)
    if ranked:
        positive = truth[:, None] == np.array(ranked)
        scores["auroc"] = metrics.roc_auc_score(positive, probabilities[:, ranked])
        scores["average_precision"] = metrics.average_precision_score(positive, probabilities[:, ranked])
    return {name: float(value) for name, value in scores.items()}


def ranked_classes(predictions: Predictions) -> list[int]:
    """The classes whose ranking is judged, one against the rest: those with positive and negative rows.

    For two classes only class 1, since the other ranking is its mirror image. Empty where all rows are of one class.
    """
    present = np.unique(predictions.labels).tolist()
    if len(present) < 2:
        return []
    return [1] if len(predictions.names) == 2 else present


def _of_classes(predictions: Predictions) -> Iterator[tuple[str, float]]:
    from sklearn import metrics

    classes = range(len(predictions.names))
    table = metrics.precision_recall_fscore_support(
        predictions.labels, predictions.predicted, labels=classes, zero_division=np.nan
    )
    for kind, values in zip(("precision", "recall", "f1", "support"), table, strict=True):
        for name, value in zip(predictions.names, values.tolist(), strict=True):
            if not np.isnan(value):
                yield f"{kind}.{metric_key(name)}", float(value)


def confusion(predictions: Predictions) -> NDArray[np.int64]:
    """How many rows of each true class (rows) were predicted as each class (columns): (classes, classes)."""
    from sklearn import metrics

    classes = range(len(predictions.names))
    table = metrics.confusion_matrix(predictions.labels, predictions.predicted, labels=classes)
    return np.asarray(table, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Rows grouped by the confidence of their prediction, in bins of equal width from 0 to 1."""

    counts: NDArray[np.int64]
    """(bins,) rows."""
    confidence: NDArray[np.float64]
    """(bins,) mean confidence, 0 to 1; NaN in an empty bin."""
    accuracy: NDArray[np.float64]
    """(bins,) share of right predictions, 0 to 1; NaN in an empty bin."""

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1: the mean gap of confidence and accuracy, weighted by the rows."""
        return float(np.nansum(self.counts * abs(self.accuracy - self.confidence)) / self.counts.sum())


def calibration(predictions: Predictions, bins: int = BINS) -> Calibration:
    """Confidence against accuracy in `bins` bins, open below and closed above (Guo et al. 2017, equations 2 to 5)."""
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    index = np.digitize(predictions.confidence, inner, right=True)
    counts = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(index, weights=predictions.confidence, minlength=bins) / counts
        accuracy = np.bincount(index, weights=predictions.correct, minlength=bins) / counts
    return Calibration(counts, confidence, accuracy)


def metric_key(name: str) -> str:
    """A class name as MLflow accepts it in a metric's name, on every system: letters, digits, `_ - .` and spaces.

    Other characters become `_` and a short hash of the whole name follows, so that different names keep different
    keys. So do names with blanks or a dot at their ends, and very long ones. `good` stays `good`.
    """
    safe = re.sub(r"[^\w.\- ]", "_", name).strip(" .")[:100]
    if safe == name and name:
        return name
    return f"{safe or 'class'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
