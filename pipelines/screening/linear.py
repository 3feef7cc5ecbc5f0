"""A linear probe: what logistic regression makes of frozen features, on rows that it was not fitted to."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.screening.sample import Sample

FOLDS = 5


@dataclass(frozen=True)
class LinearProbe:
    """What it reached."""

    accuracy: float
    """Share of all rows that are right, each answered by the fold that had not seen it."""
    error: float
    """Standard error of the accuracy: sqrt(p (1 - p) / rows)."""
    folds: int


def linear_probe(features: NDArray[np.float64], sample: Sample) -> LinearProbe:
    """Cross-validated accuracy of logistic regression (C = 1, standardized features); `sample.groups` share a fold."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=sample.seed)
    right = np.zeros(len(sample.labels), dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with fewer rows than folds, and of fits that end at 1,000 rounds
        for seen, unseen in folds.split(features, sample.labels, sample.groups):
            right[unseen] = _answers(features, sample.labels, seen=seen, unseen=unseen) == sample.labels[unseen]
    accuracy = float(right.mean())
    return LinearProbe(accuracy, float(np.sqrt(accuracy * (1 - accuracy) / len(right))), FOLDS)


def _answers(
    features: NDArray[np.float64], labels: NDArray[np.int64], *, seen: NDArray[np.int64], unseen: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(unseen,) class indices."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(labels[seen])) == 1:  # a rare class may stand in one fold alone
        return np.full(len(unseen), labels[seen][0])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    answers: NDArray[np.int64] = model.fit(features[seen], labels[seen]).predict(features[unseen])
    return answers
