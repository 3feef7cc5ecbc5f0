"""Scores of weighted rows against the scores of the rows written out."""

import numpy as np
import pytest

from pipelines.predictions import Predictions
from pipelines.scores import METRICS, score
from pipelines.weighted import WEIGHTED
from tests.test_scores import drawn, made

ONE_CLASS = made([0, 0, 0], [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
ABSENT = made([0, 1, 1, 0], [[0.5, 0.1, 0.4], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3], [0.2, 0.6, 0.2]])
UNTOUCHED = made([0, 1, 1, 0], [[0.5, 0.1, 0.4], [0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.6, 0.2, 0.2]])
CASES = {
    "two classes with ties": drawn(2, 150),
    "three classes with ties": drawn(3, 150),
    "five classes with ties": drawn(5, 150),
    "a class without rows": ABSENT,
    "a class without rows and predictions": UNTOUCHED,
    "one class only": ONE_CLASS,
}


def value(metric: str, predictions: Predictions, weights: list[np.ndarray]) -> np.ndarray:
    one, labels = WEIGHTED[metric], predictions.labels
    return one.values(np.array(weights, dtype=np.float64), labels, one.features(labels, predictions.probabilities))


def test_every_metric_of_a_study_can_be_weighted() -> None:
    assert set(WEIGHTED) == set(METRICS)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("predictions", CASES.values(), ids=CASES)
def test_equal_weights_give_the_score_itself(metric: str, predictions: Predictions) -> None:
    (found,) = value(metric, predictions, [np.ones(len(predictions.labels))])
    expected = score(predictions).get(metric, float("nan"))
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("classes", [2, 4])
def test_a_weight_is_how_often_a_row_stands_there(metric: str, classes: int) -> None:
    predictions, rng = drawn(classes, 90), np.random.default_rng(1)
    draws = [rng.integers(0, 90, 90) for _ in range(3)]
    found = value(metric, predictions, [np.bincount(rows, minlength=90) for rows in draws])
    written_out = [made(predictions.labels[rows], predictions.probabilities[rows]) for rows in draws]
    assert found == pytest.approx([score(one)[metric] for one in written_out], abs=1e-12)
